"""How long TCP connections take to be established, from the first SYN on."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, be32, helpers, map, s32, tracepoint, u8, u16, u32, u64

LICENSE = bpf.license("GPL")
ESTABLISHED, SYN_SENT = 1, 2
TCP = 6


class Change(Struct):
    common: u64
    sock: u64
    old: s32
    new: s32
    source_port: u16
    destination_port: u16
    family: u16
    protocol: u16
    source: be32
    destination: be32


class Begin(Struct):
    time: u64
    pid: u32
    gap: u32
    comm: Array[u8] = array(16)


class Event(Struct):
    nanoseconds: u64
    pid: u32
    source: be32
    destination: be32
    source_port: u16
    destination_port: u16
    comm: Array[u8] = array(16)


begun = map.hash(u64, Begin, max_entries=4096)
events = map.ringbuf(max_entries=65536)
only = bpf.config(u32(0))  # connections of this process; 0: all


@tracepoint("sock/inet_sock_set_state")
def state(ctx: Change) -> int:
    if ctx.protocol != TCP:
        return 0
    sock = ctx.sock
    if ctx.new == SYN_SENT:  # the process that connects runs now
        pid = u32(helpers.get_current_pid_tgid() >> 32)
        if only.value != 0 and pid != only.value:
            return 0
        begin = Begin(time=helpers.ktime_get_ns(), pid=pid)
        helpers.get_current_comm(begin.comm, 16)
        begun.update(sock, begin)
        return 0
    since = begun.lookup(sock)
    if since is None:
        return 0
    if ctx.new == ESTABLISHED:
        with events.reserve(Event) as event:
            if event is not None:
                event.nanoseconds = helpers.ktime_get_ns() - since.time
                event.pid = since.pid
                event.source = ctx.source
                event.destination = ctx.destination
                event.source_port = ctx.source_port
                event.destination_port = ctx.destination_port
                for i in range(16):
                    event.comm[i] = since.comm[i]
    begun.delete(sock)
    return 0
