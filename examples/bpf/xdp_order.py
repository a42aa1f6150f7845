"""Everything is evaluated once, from left to right."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, map, u32, u64, xdp


class Table(Struct):
    cells: Array[u32] = array(8)
    calls: u32


tables = map.array(u32, Table, max_entries=2)
trace = bpf.var(u64(0))


@bpf.noinline
def step(digit: u64) -> u32:
    trace.value = trace.value * 10 + digit
    return u32(trace.value) & 7


def pick(table: Table, by: u32) -> u32:
    table.calls += 1
    return (table.calls * 3 + by) & 7


@xdp
def order(ctx: xdp.Context) -> xdp.Action:
    table = tables.lookup(0)
    copy = tables.lookup(1)
    if table is None or copy is None:
        return xdp.ABORTED
    trace.value = u64(0)
    table.cells[pick(table, u32(1))] += u32(ctx.length) + 1
    table.cells[step(u64(1))] += step(u64(2)) * 100
    i = u32(2)
    table.cells[i] += (i := u32(5))
    table.cells[i & 7] -= 1
    table.cells[step(u64(3))] = step(u64(4))
    total = step(u64(5)) + step(u64(6)) * step(u64(7))
    if step(u64(8)) < step(u64(9)) <= step(u64(1)):
        total += min(step(u64(2)), step(u64(3)))
    a, b = step(u64(4)), step(u64(5))
    copy.cells[0] = total
    copy.cells[1] = u32(trace.value)
    copy.cells[2] = a * 8 + b
    copy.cells[i] ^= u32(trace.value >> 32)
    return xdp.PASS
