"""Read a member under the name that this kernel has for it."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, helpers, map, raw_tracepoint, u32, u64

LICENSE = bpf.license("GPL")


class task_struct(Struct, core=True):
    start_time: u64
    start_boottime: u64


class old_task(Struct, core=True, name="task_struct___old"):
    real_start_time: u64


class no_such_struct(Struct, core=True):
    a: u32


class Args(Struct):
    first: u64


started = map.array(u32, u64, max_entries=4)


@raw_tracepoint("sched_switch")
def look(ctx: Args) -> int:
    if bpf.kernel_has(task_struct, "start_boottime"):
        task = helpers.get_current_task_btf(task_struct)
        started.update(0, task.start_boottime)
    elif bpf.kernel_has(old_task, "real_start_time"):
        old = helpers.get_current_task_btf(old_task)
        started.update(0, old.real_start_time)
    started.update(1, u64(bpf.kernel_has(old_task, "real_start_time")))
    started.update(2, u64(bpf.kernel_has(task_struct)))
    started.update(3, u64(bpf.kernel_has(no_such_struct)))
    return 0
