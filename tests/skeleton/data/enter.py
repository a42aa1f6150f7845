"""Counts the system calls of one process, by number."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, helpers, map, raw_tracepoint, tracepoint, u32, u64

LICENSE = bpf.license("GPL")


class Arguments(Struct):
    args: Array[u64] = array(2)


class Enter(Struct):
    common: u64
    number: u64


pid = bpf.config(u32(0))
total = bpf.var(u64(0))
others = bpf.var(u64(0))
counts = map.hash(u32, u64, max_entries=512)


@raw_tracepoint("sys_enter")
def enter(ctx: Arguments) -> int:
    if u32(helpers.get_current_pid_tgid() >> 32) != pid.value:
        return 0
    total.value += 1
    number = u32(ctx.args[1])
    slot = counts.lookup(number)
    if slot is not None:
        slot.value += 1
        return 0
    counts.update(number, u64(1))
    return 0


@tracepoint("syscalls/sys_enter_getppid")
def parent(ctx: Enter) -> int:
    if u32(helpers.get_current_pid_tgid() >> 32) == pid.value:
        others.value += 1
    return 0
