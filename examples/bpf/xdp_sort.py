"""Sort the first bytes of the packet (insertion sort in a map's memory)."""

from __future__ import annotations

from bombus.bpf import Array, Struct, array, map, u8, u32, xdp

COUNT = 8


class Bytes(Struct):
    data: Array[u8] = array(COUNT)


sorted_bytes = map.array(u32, Bytes, max_entries=1)


@xdp
def sort(ctx: xdp.Context) -> xdp.Action:
    start = ctx.parse(Bytes)
    room = sorted_bytes.lookup(0)
    if start is None or room is None:
        return xdp.DROP
    room.assign(start)
    for _ in range(COUNT - 1):
        for at in range(COUNT - 1):
            if room.data[at] > room.data[at + 1]:
                byte = room.data[at]
                room.data[at] = room.data[at + 1]
                room.data[at + 1] = byte
    return xdp.PASS
