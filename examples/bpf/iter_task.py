"""A line for every task."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Pointer, Struct, helpers, iterator, s32, u64

LICENSE = bpf.license("GPL")


class seq_file(Struct, core=True):
    size: u64


class bpf_iter_meta(Struct, core=True):
    seq: Pointer[seq_file]


class task_struct(Struct, core=True):
    pid: s32
    tgid: s32


class bpf_iter__task(Struct):
    meta: Pointer[bpf_iter_meta]
    task: Pointer[task_struct]


class Line(Struct):
    pid: s32
    tgid: s32


@iterator("task")
def tasks(ctx: bpf_iter__task) -> int:
    task = ctx.task
    meta = ctx.meta
    if task is None or meta is None:
        return 0
    seq = meta.seq
    if seq is None:
        return 0
    helpers.seq_write(seq, Line(pid=task.pid, tgid=task.tgid), 8)
    return 0
