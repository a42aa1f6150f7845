"""Count the tasks and the memory areas of each process, with the kernel's open-coded iterators."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Pointer, Struct, map, s32, syscall, u64

LICENSE = bpf.license("GPL")


class mm_struct(Struct, core=True):
    map_count: s32


class task_struct(Struct, core=True):
    pid: s32
    tgid: s32
    mm: Pointer[mm_struct]


class Question(Struct):
    limit: u64
    tasks: u64
    areas: u64


largest = map.hash(s32, u64, max_entries=256)


@syscall
def walk(ctx: Question) -> int:
    tasks = u64(0)
    areas = u64(0)
    with bpf.rcu():
        for task in bpf.iterators.task(task_struct, None, 0):
            if tasks >= ctx.limit:
                break
            tasks += 1
            mm = task.mm
            if mm is None:
                continue
            count = u64(mm.map_count)
            areas += count
            if count > 100:
                largest.update(task.pid, count)
    ctx.tasks = tasks
    ctx.areas = areas
    return 0
