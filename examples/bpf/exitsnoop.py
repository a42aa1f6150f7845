"""How processes end: code, signal and age."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Pointer, Struct, array, helpers, map, s32, tracepoint, u8, u32, u64

LICENSE = bpf.license("GPL")


class task_struct(Struct, core=True):
    pid: s32
    tgid: s32
    exit_code: s32
    start_time: u64
    real_parent: Pointer[task_struct]


class Exit(Struct):
    common: u64


class Event(Struct):
    pid: u32
    parent: u32
    code: u32
    signal: u32
    age: u64
    comm: Array[u8] = array(16)


events = map.ringbuf(max_entries=65536)
only = bpf.config(u32(0))  # children of this process; 0: all


@tracepoint("sched/sched_process_exit")
def exit(ctx: Exit) -> int:
    task = helpers.get_current_task_btf(task_struct)
    above = task.real_parent
    if above is None or task.pid != task.tgid:
        return 0
    parent = u32(above.tgid)
    if only.value != 0 and parent != only.value:
        return 0
    with events.reserve(Event) as event:
        if event is None:
            return 0
        status = u32(task.exit_code)
        event.pid = u32(task.tgid)
        event.parent = parent
        event.code = status >> 8 & 0xFF
        event.signal = status & 0x7F
        event.age = helpers.ktime_get_ns() - task.start_time
        helpers.get_current_comm(event.comm, 16)
    return 0
