"""The process above the current one, through kernel structs found by BTF."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Pointer, Struct, array, helpers, map, raw_tracepoint, s32, u8, u32, u64

LICENSE = bpf.license("GPL")


class task_struct(Struct, core=True):
    tgid: s32
    pid: s32
    real_parent: Pointer[task_struct]
    comm: Array[u8] = array(16)


class Args(Struct):
    first: u64
    second: u64


class Family(Struct):
    own: s32
    parent: s32
    grandparent: s32
    comm: Array[u8] = array(16)


families = map.array(u32, Family, max_entries=1)


@raw_tracepoint("sched_switch")
def look(ctx: Args) -> int:
    family = families.lookup(0)
    if family is None:
        return 1
    task = helpers.get_current_task_btf(task_struct)
    family.own = task.tgid
    family.comm = task.comm
    parent = task.real_parent
    if parent is not None:
        family.parent = parent.tgid
        grandparent = parent.real_parent
        if grandparent is not None:
            family.grandparent = grandparent.tgid
    return 0
