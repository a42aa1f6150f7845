"""A histogram of packet sizes in powers of two."""

from __future__ import annotations

from bombus.bpf import map, u32, u64, xdp

sizes = map.array(u32, u64, max_entries=16)


def log2(value: u32) -> u32:
    result = u32(0)
    for shift in (8, 4, 2, 1):
        if value >> shift != 0:
            value >>= shift
            result += shift
    return result


@xdp
def measure(ctx: xdp.Context) -> xdp.Action:
    slot = sizes.lookup(log2(ctx.length))
    if slot is not None:
        slot.value += 1
    return xdp.PASS
