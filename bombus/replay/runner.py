"""One packet through one program, as cheaply as each kernel allows."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from bombus.kernel.api import Attr

if TYPE_CHECKING:
    from bombus.kernel.handles import Program

_ROOM = 1 << 17  # bytes: the largest packet that a test run takes, and what a program may add to it
_XDP_MD = struct.Struct("<6I")
_ADJUST_META = 54  # bpf_xdp_adjust_meta: include/uapi/linux/bpf.h


class Run(NamedTuple):
    """retval: r0 as u32. data: the packet afterwards, without XDP metadata. ns: mean time of one run."""

    retval: int
    data: bytes
    ns: int


Runner = Callable[[bytes], Run]


def runner(program: Program, helpers: Collection[int], repeat: int = 1) -> Runner:
    """A function from packet to Run. helpers: numbers of those that the program calls. repeat: runs of each packet,
    one after the other on the same buffer.

    The function raises KernelError for a packet that the kernel does not take, VmFault (user kernel).
    """
    if program.kernel.name == "user" and repeat == 1:
        return _direct(program)
    return _test_run(program, repeat, _ADJUST_META in helpers)


def _direct(program: Program) -> Runner:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.run import packet_runner_of

    assert isinstance(program.kernel, UserKernel)
    run_packet = packet_runner_of(program.kernel, program.fd)  # compiles the program
    clock = time.perf_counter_ns

    def run(data: bytes) -> Run:
        start = clock()
        verdict, out = run_packet(data, 1)
        return Run(verdict, out, clock() - start)

    return run


def _test_run(program: Program, repeat: int, moves_metadata: bool) -> Runner:
    kernel = program.kernel
    buffer, out = bytearray(_ROOM), bytearray(_ROOM)
    attr = Attr(
        "BPF_PROG_TEST_RUN", prog_fd=program.fd, repeat=repeat, data_in=buffer, data_out=out,
        data_size_in=0, data_size_out=len(out),
    )  # fmt: skip
    metadata = moves_metadata and program.type.name == "BPF_PROG_TYPE_XDP"
    context = bytearray(_XDP_MD.size)
    if metadata:
        attr.set("ctx_in", context)
        attr.set("ctx_out", context)
        attr.set("ctx_size_in", len(context))
    attr.pin()

    def run(data: bytes) -> Run:
        size = len(data)
        if size > _ROOM:
            size = _ROOM  # more than any kernel takes: its errno is the answer
        buffer[:size] = data[:size]
        attr.set("data_size_in", size)
        attr.set("data_size_out", _ROOM)
        if metadata:
            _XDP_MD.pack_into(context, 0, 0, size, 0, 0, 0, 0)
            attr.set("ctx_size_out", len(context))
        kernel.bpf(attr)
        skip = 0
        if metadata:
            # The packet comes back with its metadata before it; `data` says how long that is.
            skip = _XDP_MD.unpack(context)[0]
        return Run(attr.get("retval"), bytes(out[skip : attr.get("data_size_out")]), attr.get("duration"))

    return run
