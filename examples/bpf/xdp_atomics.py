"""Every atomic operation."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, map, u32, u64, xdp


class Counters(Struct):
    plus: u64
    minus: u64
    either: u64
    all: u64
    one: u64
    small: u32


counters = map.array(u32, Counters, max_entries=1)
results = map.array(u32, u64, max_entries=8)


def put(index: u32, value: u64) -> None:
    slot = results.lookup(index)
    if slot is not None:
        slot.value = value


@xdp
def atomics(ctx: xdp.Context) -> xdp.Action:
    c = counters.lookup(0)
    if c is None:
        return xdp.ABORTED
    n = u64(ctx.length)
    bpf.atomic(c).plus += n
    bpf.atomic(c).minus -= n
    bpf.atomic(c).either |= n
    bpf.atomic(c).all &= n | 0xF0
    bpf.atomic(c).one ^= n
    bpf.atomic(c).small += u32(n)
    put(u32(0), bpf.fetch_add(bpf.ref(c, "plus", u64), 3))
    put(u32(1), bpf.fetch_or(bpf.ref(c, "either", u64), 0x1000))
    put(u32(2), bpf.fetch_and(bpf.ref(c, "all", u64), 0xFFFF))
    put(u32(3), bpf.fetch_xor(bpf.ref(c, "one", u64), 0xFF))
    put(u32(4), bpf.exchange(bpf.ref(c, "minus", u64), n))
    put(u32(5), bpf.compare_exchange(bpf.ref(c, "minus", u64), n, 7))
    put(u32(6), u64(bpf.fetch_add(bpf.ref(c, "small", u32), 1)))
    return xdp.PASS
