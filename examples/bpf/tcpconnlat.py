"""How long TCP connections take to be established."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, contexts, helpers, kprobe, map, u32, u64

LICENSE = bpf.license("GPL")


class Event(Struct):
    nanoseconds: u64
    pid: u32


started = map.hash(u64, u64, max_entries=4096)
events = map.perf_event_array()


@kprobe("tcp_v4_connect")
def connect(ctx: contexts.PtRegs) -> int:
    started.update(ctx.di, helpers.ktime_get_ns())
    return 0


@kprobe("tcp_rcv_state_process")
def state(ctx: contexts.PtRegs) -> int:
    sock = ctx.di
    since = started.lookup(sock)
    if since is None:
        return 0
    event = Event(nanoseconds=helpers.ktime_get_ns() - since.value, pid=u32(helpers.get_current_pid_tgid() >> 32))
    events.output(ctx, event)
    started.delete(sock)
    return 0
