"""How long tasks wait for a CPU: a histogram in powers of two."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Pointer, Struct, helpers, map, s32, tp_btf, u32, u64

LICENSE = bpf.license("GPL")


class task_struct(Struct, core=True):
    pid: s32
    tgid: s32


class Wakeup(Struct):
    task: Pointer[task_struct]


class Switch(Struct):
    preempt: u64
    previous: Pointer[task_struct]
    next: Pointer[task_struct]


started = map.hash(u32, u64, max_entries=10240)
only = bpf.config(u32(0))  # tasks of this process; 0: all
histogram = map.array(u32, u64, max_entries=32)


def log2(value: u64) -> u32:
    result = u32(0)
    for shift in (16, 8, 4, 2, 1):
        if value >> shift != 0:
            value >>= shift
            result += shift
    return result


@tp_btf("sched_wakeup")
def wakeup(ctx: Wakeup) -> int:
    task = ctx.task
    if task is not None and (only.value == 0 or u32(task.tgid) == only.value):
        started.update(u32(task.pid), helpers.ktime_get_ns())
    return 0


@tp_btf("sched_switch")
def switch(ctx: Switch) -> int:
    task = ctx.next
    if task is None:
        return 0
    pid = u32(task.pid)
    since = started.lookup(pid)
    if since is None:
        return 0
    waited = (helpers.ktime_get_ns() - since.value) // 1000
    slot = histogram.lookup(min(log2(waited), u32(31)))
    if slot is not None:
        bpf.atomic(slot).value += 1
    started.delete(pid)
    return 0
