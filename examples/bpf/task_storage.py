"""Count the switches of each task in storage that goes with the task."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Pointer, Struct, map, s32, tp_btf, u64

LICENSE = bpf.license("GPL")


class task_struct(Struct, core=True):
    pid: s32


class Switch(Struct):
    preempt: u64
    previous: Pointer[task_struct]
    next: Pointer[task_struct]


class Seen(Struct):
    switches: u64
    last: s32


seen = map.task_storage(Seen)


@tp_btf("sched_switch")
def switched(ctx: Switch) -> int:
    task, previous = ctx.next, ctx.previous
    if task is None or previous is None:
        return 0
    slot = seen.get(task)
    if slot is not None:
        slot.switches += 1
        slot.last = previous.pid
    return 0
