"""Count system calls by number and process."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, helpers, map, raw_tracepoint, u32, u64


class Enter(Struct):
    regs: u64
    number: u64


class Key(Struct):
    pid: u32
    number: u32


only = bpf.config(u32(0))  # calls of this process; 0: all
calls = map.percpu_hash(Key, u64, max_entries=10240)


@raw_tracepoint("sys_enter")
def enter(ctx: Enter) -> int:
    pid = u32(helpers.get_current_pid_tgid() >> 32)
    if only.value != 0 and pid != only.value:
        return 0
    key = Key(pid=pid, number=u32(ctx.number))
    seen = calls.lookup(key)
    if seen is None:
        calls.update(key, 1, map.NOEXIST)
    else:
        seen.value += 1
    return 0
