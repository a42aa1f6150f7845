"""Programs with typed arguments of system calls and kernel functions, for typed_arguments.py."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import contexts, helpers, kprobe, map, s32, s64, u32, u64

LICENSE = bpf.license("GPL")
seen = map.hash(u32, u64, max_entries=64)
pid = bpf.config(u32(0))


def note(key: u32, value: u64) -> None:
    if u32(helpers.get_current_pid_tgid() >> 32) == pid.value:
        seen.update(key, value)


@bpf.ksyscall("pread64")
def reads(fd: s32, place: u64, count: u64, at: s64) -> int:
    note(u32(0), u64(fd))
    note(u32(1), place)
    note(u32(2), count)
    note(u32(3), u64(at))
    return 0


@bpf.ksyscall("mmap")
def maps(ctx: contexts.PtRegs, start: u64, size: u64, protection: u32, flags: u32, fd: s32, offset: u64) -> int:
    note(u32(10), size)
    note(u32(11), u64(protection))
    note(u32(12), u64(flags))
    note(u32(13), u64(fd))
    note(u32(14), offset)
    return 0


@bpf.kretsyscall("pread64")
def read(result: s64) -> int:
    note(u32(20), u64(result))
    return 0


@kprobe("vfs_read")
def inner(file: u64, place: u64, count: u64) -> int:
    note(u32(30), place)
    note(u32(31), count)
    return 0
