"""Every kind of type and map that a skeleton knows, in one program."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, Union, array, bits, map, s16, s64, u8, u32, u64, xdp

LICENSE = bpf.license("GPL")


class Inner(Struct):
    number: s16
    bytes: Array[u8] = array(3)


class Word(Union):
    whole: u64
    halves: Array[u32] = array(2)


class Shape(Struct):
    version: u8 = bits(4)
    kind: u8 = bits(3)
    flag: u8 = bits(1)
    inner: Inner
    row: Array[Inner] = array(2)
    word: Word
    negative: s64


limit = bpf.config(u32(7))
step = bpf.config(s64(-1))
total = bpf.var(u64(5))
last = bpf.var(Shape)
shapes = map.hash(u32, Shape, max_entries=16)
slots = map.array(u32, u64, max_entries=4)
cpus = map.percpu_array(u32, u64, max_entries=2)
cpu_hash = map.percpu_hash(u32, u64, max_entries=8)
queue = map.queue(u32, max_entries=4)
seen = map.bloom_filter(u32, max_entries=64)
events = map.ringbuf(max_entries=4096)
jumps = map.prog_array(max_entries=2)
stacks = map.stack_trace(max_entries=8)


@xdp
def measure(ctx: xdp.Context) -> xdp.Action:
    total.value += 1
    if ctx.length > limit.value:
        last.version = u8(3)
        last.flag = u8(1)
        last.negative = step.value
        last.row[1].number = s16(-2)
        last.word.whole = u64(0x0000000200000001)
        shapes.update(u32(1), last)
        slot = cpus.lookup(u32(0))
        if slot is not None:
            slot.value += 1
        item = slots.lookup(u32(2))
        if item is not None:
            item.value = u64(ctx.length)
        with events.reserve(Shape) as event:
            if event is None:
                return xdp.ABORTED
            event.assign(last)
        jumps.tail_call(ctx, 0)
        return xdp.PASS
    return xdp.DROP


@xdp
def after(ctx: xdp.Context) -> xdp.Action:
    return xdp.TX
