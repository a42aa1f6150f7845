"""Test runs that hand the caller's bytes over as the context: raw tracepoints and syscall programs.

Source: Linux 6.12 net/bpf/test_run.c bpf_prog_test_run_raw_tp, bpf_prog_test_run_syscall.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bombus.kernel.user.commands import put
from bombus.kernel.user.hooks import test_run
from bombus.kernel.user.hooks.testrun import F_ON_CPU, forbid, refuse, repeat
from bombus.kernel.user.world import world_of

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog

_MAX_ARGS = 12  # MAX_BPF_FUNC_ARGS


@test_run("RAW_TRACEPOINT", "RAW_TRACEPOINT_WRITABLE")
def run_raw_tp(kernel: UserKernel, prog: Prog, attr: Attr) -> int:
    forbid(attr, "data_in", "data_out", "ctx_out", "duration", "repeat", "batch_size")
    size, cpu = attr.get("ctx_size_in"), attr.get("cpu")
    if size < prog.max_ctx_offset or size > _MAX_ARGS * 8:
        raise refuse(errno.EINVAL, f"ctx_in of {size} bytes; the program reads {prog.max_ctx_offset}")
    world = world_of(kernel)
    on_cpu = attr.get("flags") & F_ON_CPU
    if not on_cpu and cpu:
        raise refuse(errno.EINVAL, "cpu needs BPF_F_TEST_RUN_ON_CPU")
    if on_cpu and cpu >= kernel.possible_cpus:
        raise refuse(errno.ENXIO, f"there is no CPU {cpu}")
    before = world.cpu
    if on_cpu:
        world.cpu = cpu
    try:
        retval = _run(kernel, prog, attr, size, writes=False)
    finally:
        world.cpu = before
    put(attr, "retval", retval)
    return 0


@test_run("SYSCALL")
def run_syscall(kernel: UserKernel, prog: Prog, attr: Attr) -> int:
    forbid(attr, "data_in", "data_out", "ctx_out", "duration", "repeat", "flags", "batch_size")
    size = attr.get("ctx_size_in")
    if size < prog.max_ctx_offset or size > 0xFFFF:
        raise refuse(errno.EINVAL, f"ctx_in of {size} bytes; the program reads {prog.max_ctx_offset}")
    put(attr, "retval", _run(kernel, prog, attr, size, writes=True))
    return 0


def _run(kernel: UserKernel, prog: Prog, attr: Attr, size: int, *, writes: bool) -> int:
    if not size:
        return repeat(prog, 0, 1)[0]
    data = attr.read(attr.get("ctx_in"), size)
    ctx = kernel.memory.allocate(size, name="the context", kind="ctx")
    try:
        ctx.view[:] = data
        retval, _ = repeat(prog, ctx.start, 1)
        if writes:
            attr.write(attr.get("ctx_in"), bytes(ctx.view))
    finally:
        kernel.memory.remove(ctx)
    return retval
