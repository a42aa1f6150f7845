"""Add the packet's first bytes up, with bpf_loop and a callback."""

from __future__ import annotations

from bombus.bpf import Array, Struct, array, helpers, map, s64, u8, u32, u64, xdp


class Work(Struct):
    total: u64
    rounds: u64
    data: Array[u8] = array(16)


class Start(Struct):
    data: Array[u8] = array(16)


sums = map.array(u32, u64, max_entries=2)


def add(index: u32, work: Work) -> s64:
    if index >= 16:
        return s64(1)
    work.total += u64(work.data[index])
    work.rounds += 1
    return s64(0)


@xdp
def total(ctx: xdp.Context) -> xdp.Action:
    start = ctx.parse(Start)
    if start is None:
        return xdp.DROP
    work = Work(data=start.data)
    rounds = helpers.loop(20, add, work, 0)
    slot = sums.lookup(0)
    if slot is not None:
        slot.value += work.total
    slot = sums.lookup(1)
    if slot is not None:
        slot.value += u64(rounds) * 1000 + work.rounds
    return xdp.PASS
