"""Call functions of the kernel: find the current task by its number."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, helpers, map, s32, u32, u64, xdp

LICENSE = bpf.license("GPL")


class task_struct(Struct, core=True):
    tgid: s32


@bpf.kfunc
def bpf_task_from_pid(pid: s32) -> task_struct | None: ...


@bpf.kfunc
def bpf_task_release(task: task_struct) -> None: ...


tgids = map.array(u32, u64, max_entries=2)


@xdp
def find(ctx: xdp.Context) -> xdp.Action:
    task = bpf_task_from_pid(s32(u32(helpers.get_current_pid_tgid())))
    if task is None:
        return xdp.DROP
    tgids.update(0, u64(task.tgid))
    bpf_task_release(task)
    return xdp.PASS
