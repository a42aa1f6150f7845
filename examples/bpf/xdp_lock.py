"""Change two numbers together, under a spin lock."""

from __future__ import annotations

from bombus.bpf import SpinLock, Struct, map, u32, u64, xdp


class Pair(Struct):
    lock: SpinLock
    packets: u64
    bytes: u64


pairs = map.array(u32, Pair, max_entries=1)


@xdp
def both(ctx: xdp.Context) -> xdp.Action:
    pair = pairs.lookup(0)
    if pair is None:
        return xdp.ABORTED
    length = u64(ctx.length)
    with pair.lock:
        pair.packets += 1
        pair.bytes += length
    return xdp.PASS
