"""BPF_PROG_TEST_RUN: one direct run of a program, per program type as net/bpf/test_run.c does it.

The runs themselves are in `hooks`. Here: what holds for every type, and running one packet after the other.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from bombus.errors import KernelError, UsageError
from bombus.kernel.user.commands import ENOTSUPP, command
from bombus.kernel.user.hooks import load_runners, runner_of
from bombus.kernel.user.hooks.testrun import CALL
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.trampoline import hooks_of, reached

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.hooks.packets import PacketRunner
    from bombus.kernel.user.kernel import UserKernel


@command(CALL)
def prog_test_run(kernel: UserKernel, attr: Attr) -> int:
    # Linux 6.12 kernel/bpf/syscall.c: bpf_prog_test_run
    for way in ("in", "out"):
        if bool(attr.get(f"ctx_size_{way}")) != bool(attr.get(f"ctx_{way}")):
            raise KernelError(errno.EINVAL, CALL, f"ctx_{way} and ctx_size_{way} go together")
    prog = kernel.object(CALL, attr.get("prog_fd"), "prog")
    assert isinstance(prog, Prog)
    load_runners()
    runner = runner_of(prog.type.name)
    since = prog.type.test_run
    if runner is None or since is None or since > kernel.version:
        raise KernelError(ENOTSUPP, CALL, f"{prog.type.short} programs have no test run in Linux {kernel.version}")
    if prog.type.name in _NO_FINISH or not hooks_of(kernel).points.get(_FINISH):
        return runner(kernel, prog, attr)
    return _finished(kernel, lambda: runner(kernel, prog, attr))


def _finished(kernel: UserKernel, run: Callable[[], int]) -> int:
    """The end of a run is a tracepoint, whose programs see the errno and may change it (raw_tp.w)."""
    number = 0
    try:
        run()
    except KernelError as error:
        if error.errno not in _AT_THE_END:
            raise
        number = error.errno
    place = kernel.memory.allocate(4, name="the errno", kind="btf", writable=True)
    try:
        place.view[:] = (-number).to_bytes(4, "little", signed=True)
        reached(kernel, _FINISH, (place.start,))
        number = -int.from_bytes(place.view, "little", signed=True)
    finally:
        kernel.memory.remove(place)
    if number:
        raise KernelError(number, CALL, f"at the tracepoint {_FINISH}")
    return 0


# Linux 6.12 net/bpf/test_run.c: trace_bpf_test_finish. These have no such end; refusals before the end do not reach it.
_FINISH: Final = "bpf_test_finish"
_NO_FINISH: Final = frozenset(
    f"BPF_PROG_TYPE_{name}" for name in ("RAW_TRACEPOINT", "RAW_TRACEPOINT_WRITABLE", "SYSCALL")
)
_AT_THE_END: Final = frozenset({errno.ENOSPC, errno.EFAULT})


class PacketRun(NamedTuple):
    """verdict: r0 as u32; data: the packet as the program left it (XDP metadata included)."""

    verdict: int
    data: bytes


def run_packet(kernel: UserKernel, program: Prog | int, data: bytes, ifindex: int = 1) -> PacketRun:
    """Run an XDP or skb program (or its descriptor) over one packet: a test run without the bpf(2) ceremony.

    Raises KernelError with the errno of BPF_PROG_TEST_RUN for a packet that it would not take, VmFault when the
    program misbehaves, UsageError for a type that takes no packets.
    """
    verdict, out = packet_runner_of(kernel, program)(data, ifindex)
    return PacketRun(verdict, out)


def packet_runner_of(kernel: UserKernel, program: Prog | int) -> PacketRunner:
    """The function behind `run_packet`: (packet, ifindex) -> (verdict, packet afterwards). It lives with the program.

    The program is compiled now, not with its first packet. UsageError for a type that takes no packets.
    """
    prog = kernel.object(CALL, program, "prog") if isinstance(program, int) else program
    assert isinstance(prog, Prog)
    if prog.runner is None:
        load_runners()
        from bombus.kernel.user.hooks.packets import packet_runner

        prog.runner = packet_runner(kernel, prog)
        if prog.runner is None:
            raise UsageError(f"{prog.type.short} programs do not run on packets")
        prog.compiled.prepare()
    return prog.runner  # type: ignore[return-value]
