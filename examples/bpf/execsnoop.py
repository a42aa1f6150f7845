"""Which programs are started, by whom, with their file names."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Pointer, Struct, array, helpers, map, s32, tp_btf, u8, u32, u64

LICENSE = bpf.license("GPL")


class task_struct(Struct, core=True):
    tgid: s32
    real_parent: Pointer[task_struct]


class Text(Struct):
    room: Array[u8] = array(128)


class linux_binprm(Struct, core=True):
    filename: Pointer[Text]


class Exec(Struct):
    task: Pointer[task_struct]
    old_pid: u64
    bprm: Pointer[linux_binprm]


class Event(Struct):
    pid: u32
    parent: u32
    uid: u32
    length: u32
    comm: Array[u8] = array(16)
    filename: Array[u8] = array(128)


events = map.ringbuf(max_entries=65536)
only = bpf.config(u32(0))  # children of this process; 0: all


@tp_btf("sched_process_exec")
def exec(ctx: Exec) -> int:
    task, program = ctx.task, ctx.bprm
    if task is None or program is None:
        return 0
    above, name = task.real_parent, program.filename
    if above is None or name is None:
        return 0
    parent = u32(above.tgid)
    if only.value != 0 and parent != only.value:
        return 0
    with events.reserve(Event) as event:
        if event is None:
            return 0
        event.pid = u32(task.tgid)
        event.parent = parent
        event.uid = u32(helpers.get_current_uid_gid())
        helpers.get_current_comm(event.comm, 16)
        event.length = u32(helpers.probe_read_kernel_str(event.filename, 128, name))
    return 0
