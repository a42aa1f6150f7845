"""Two numbers that change together, under a lock."""

from __future__ import annotations

from bombus.bpf import SpinLock, Struct, map, u32, u64, xdp


class Pair(Struct):
    first: u64
    lock: SpinLock
    filler: u32
    second: u64


in_array = map.array(u32, Pair, max_entries=4)
in_hash = map.hash(u32, Pair, max_entries=4)


@xdp
def array_both(ctx: xdp.Context) -> xdp.Action:
    pair = in_array.lookup(1)
    if pair is None:
        return xdp.ABORTED
    with pair.lock:
        pair.first += 1
        pair.second += 1
    return xdp.PASS


@xdp
def hash_both(ctx: xdp.Context) -> xdp.Action:
    pair = in_hash.lookup(1)
    if pair is None:
        return xdp.ABORTED
    with pair.lock:
        pair.first += 1
        pair.second += 1
    return xdp.PASS
