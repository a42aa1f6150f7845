"""Sample stacks when a counter overflows."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, contexts, helpers, map, perf_event, s64, u8, u32, u64

LICENSE = bpf.license("GPL")
USER_STACK = 1 << 8


class Key(Struct):
    pid: u32
    gap: u32
    kernel: s64
    user: s64
    comm: Array[u8] = array(16)


only = bpf.config(u32(0))  # samples of this process; 0: all
stacks = map.stack_trace(max_entries=1024)
counts = map.hash(Key, u64, max_entries=10240)


@perf_event
def sample(ctx: contexts.BpfPerfEventData) -> int:
    pid = u32(helpers.get_current_pid_tgid() >> 32)
    if only.value != 0 and pid != only.value:
        return 0
    key = Key(pid=pid)
    helpers.get_current_comm(key.comm, 16)
    key.kernel = stacks.stack_id(ctx, 0)
    key.user = stacks.stack_id(ctx, USER_STACK)
    seen = counts.lookup(key)
    if seen is None:
        counts.update(key, 1)
    else:
        bpf.atomic(seen).value += 1
    return 0
