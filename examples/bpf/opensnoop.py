"""Which process opens which file."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, helpers, map, tracepoint, u8, u32, u64

LICENSE = bpf.license("GPL")


class Enter(Struct):
    common: u64
    number: u64
    directory: u64
    filename: u64
    flags: u64
    mode: u64


class Event(Struct):
    pid: u32
    uid: u32
    flags: u64
    comm: Array[u8] = array(16)
    filename: Array[u8] = array(64)


events = map.ringbuf(max_entries=65536)
only = bpf.config(u32(0))


@tracepoint("syscalls/sys_enter_openat")
def openat(ctx: Enter) -> int:
    pid = u32(helpers.get_current_pid_tgid() >> 32)
    if only.value != 0 and pid != only.value:
        return 0
    with events.reserve(Event) as event:
        if event is None:
            return 0
        event.pid = pid
        event.uid = u32(helpers.get_current_uid_gid())
        event.flags = ctx.flags
        helpers.get_current_comm(event.comm, 16)
        helpers.probe_read_user_str(event.filename, 64, ctx.filename)
    return 0
