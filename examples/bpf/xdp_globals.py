"""Globals: data, zeroed data, settings, structs."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, map, s32, u8, u32, u64, xdp


class Totals(Struct):
    packets: u64
    bytes: u64
    kinds: u32


totals = bpf.var(Totals)
start = bpf.var(u32(1000))
zero = bpf.var(u64(0))
negative = bpf.var(s32(-5))
on = bpf.var(True)
limit = bpf.config(u32(60))
step = bpf.config(u8(3))
enabled = bpf.config(True)
copies = map.array(u32, u64, max_entries=8)


@xdp
def count(ctx: xdp.Context) -> xdp.Action:
    if not enabled.value:
        return xdp.ABORTED
    totals.packets += 1
    totals.bytes += u64(ctx.length)
    start.value += u32(step.value)
    zero.value ^= totals.bytes
    negative.value -= 1
    on.value = not on.value
    copies.update(0, totals.packets)
    copies.update(1, totals.bytes)
    copies.update(2, u64(start.value))
    copies.update(3, zero.value)
    copies.update(4, u64(negative.value))
    copies.update(5, u64(on.value))
    return xdp.DROP if ctx.length > limit.value else xdp.PASS
