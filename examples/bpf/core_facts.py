"""What the kernel's types are like, found out when the program is loaded."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Arguments, Array, KernelEnum, Struct, array, map, s32, tp_btf, u8, u32, u64

LICENSE = bpf.license("GPL")
facts = map.array(u32, u64, max_entries=16)


class task_struct(Struct, core=True):
    pid: s32
    start_boottime: u64
    in_execve: u32 = bpf.bits(1)
    comm: Array[u8] = array(16)


class task_before_5_5(Struct, core=True, name="task_struct___before"):
    real_start_time: u64


class bpf_map_type(KernelEnum):
    BPF_MAP_TYPE_RINGBUF = 27
    BPF_MAP_TYPE_OF_THE_FUTURE = 1000


@bpf.global_function
def started(task: task_struct) -> u64:
    if bpf.kernel_has(task_struct, "start_boottime"):
        return task.start_boottime
    return bpf.cast(task, task_before_5_5).real_start_time


@tp_btf("sched_switch")
def look(ctx: Arguments, preempt: bool, previous: task_struct, following: task_struct) -> int:
    facts.update(0, u64(bpf.kernel_size(task_struct)))
    facts.update(1, u64(bpf.kernel_size(task_struct, "comm")))
    facts.update(2, u64(bpf.kernel_offset(task_struct, "pid")))
    facts.update(3, bpf.enum_value(bpf_map_type.BPF_MAP_TYPE_RINGBUF))
    facts.update(4, u64(bpf.enum_has(bpf_map_type.BPF_MAP_TYPE_OF_THE_FUTURE)))
    facts.update(5, started(following))
    facts.update(6, u64(previous.in_execve))
    facts.update(7, u64(preempt))
    return 0
