"""Find a pattern in the payload."""

from __future__ import annotations

from bombus.bpf import Array, Struct, array, map, u8, u32, u64, xdp


class Window(Struct):
    data: Array[u8] = array(4)


found = map.array(u32, u64, max_entries=64)


@xdp
def search(ctx: xdp.Context) -> xdp.Action:
    for at in range(60):
        window = ctx.parse(Window, at)
        if window is None:
            break
        d = window.data
        if d[0] == 0x45 and d[1] == 0 and d[2] == 0 and d[3] < 100:
            slot = found.lookup(u32(at))
            if slot is not None:
                slot.value += u64(d[3])
            return xdp.TX
    return xdp.PASS
