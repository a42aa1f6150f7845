"""Which programs are started."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, helpers, map, tracepoint, u8, u32, u64

LICENSE = bpf.license("GPL")


class Exec(Struct):
    common: u64
    filename: u32
    pid: u32
    old_pid: u32


class Event(Struct):
    pid: u32
    uid: u32
    comm: Array[u8] = array(16)


events = map.perf_event_array()


@tracepoint("sched/sched_process_exec")
def exec(ctx: Exec) -> int:
    event = Event(pid=ctx.pid, uid=u32(helpers.get_current_uid_gid()))
    helpers.get_current_comm(event.comm, 16)
    events.output(ctx, event)
    return 0
