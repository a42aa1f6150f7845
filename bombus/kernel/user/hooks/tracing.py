"""Test runs of tracing programs: the kernel calls functions that are there to be traced.

Linux 6.12 net/bpf/test_run.c: bpf_prog_test_run_tracing, bpf_fentry_test1 and its kin.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bombus.btf.types import Kind
from bombus.errors import NotSupported
from bombus.kernel.user.commands import put
from bombus.kernel.user.hooks import test_run
from bombus.kernel.user.hooks.raw import run_raw_tp
from bombus.kernel.user.hooks.testrun import forbid, refuse
from bombus.kernel.user.trampoline import called
from bombus.spec.attachtypes import ATTACH_TYPE

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.vm.memory import Region

_TP_BTF, _FENTRY, _FEXIT, _FMOD = (
    ATTACH_TYPE[name].id for name in ("BPF_TRACE_RAW_TP", "BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT", "BPF_MODIFY_RETURN")
)
_POINTER: Final = "pointer"  # an argument that points to eight bytes, all zero
# Each function, what it is called with, and what it then returns. Not every version has all of them.
_CALLS: Final[tuple[tuple[str, tuple[int | str, ...], int], ...]] = (
    ("bpf_fentry_test1", (1,), 2),
    ("bpf_fentry_test2", (2, 3), 5),
    ("bpf_fentry_test3", (4, 5, 6), 15),
    ("bpf_fentry_test4", (7, 8, 9, 10), 34),
    ("bpf_fentry_test5", (11, 12, 13, 14, 15), 65),
    ("bpf_fentry_test6", (16, 17, 18, 19, 20, 21), 111),
    ("bpf_fentry_test7", (0,), 0),
    ("bpf_fentry_test8", (_POINTER,), 0),
    ("bpf_fentry_test9", (_POINTER,), 0),
    ("bpf_fentry_test10", (0,), 0),
)


@test_run("TRACING")
def run_tracing(kernel: UserKernel, prog: Prog, attr: Attr) -> int:
    """Linux test-runs no program of a tracepoint with types; here it gets its arguments as a raw tracepoint does."""
    if prog.expected_attach_type == _TP_BTF:
        return run_raw_tp(kernel, prog, attr)
    forbid(attr, "flags", "cpu", "batch_size")
    run = {_FENTRY: _call_all, _FEXIT: _call_all, _FMOD: _modify}.get(prog.expected_attach_type)
    if run is None:
        raise NotSupported("test runs of these tracing programs", "Linux has none of them, too")
    place = kernel.memory.allocate(8, name="an argument", kind="btf")
    try:
        put(attr, "retval", run(kernel, place))
    finally:
        kernel.memory.remove(place)
    return 0


def _has(kernel: UserKernel, name: str) -> bool:
    types = kernel.types()
    return types is not None and types.find(name, Kind.FUNC) is not None


def _call_all(kernel: UserKernel, place: Region) -> int:
    for name, given, expected in _CALLS:
        if not _has(kernel, name):
            continue
        place.view[:] = bytes(8)
        args = [place.start if isinstance(arg, str) else arg for arg in given]
        if called(kernel, name, args, _constant(expected)) != expected:
            raise refuse(errno.EFAULT, f"{name} was made to return something else")
    return 0


def _constant(value: int) -> Callable[[], int]:
    return lambda: value


def _modify(kernel: UserKernel, place: Region) -> int:
    """The sum of two results, and above bit 16 how many of the two functions really ran."""

    def body(rest: int) -> Callable[[], int]:
        def run() -> int:
            place.view[0] += 1
            return 1 + int(place.view[0]) + rest

        return run

    effects = result = 0
    for name, more in (("bpf_modify_return_test", ()), ("bpf_modify_return_test2", (3, 4, 5, 6, 7))):
        place.view[:] = (2).to_bytes(8, "little")
        result += called(kernel, name, (1, place.start, *more), body(sum(more)))
        effects += place.view[0] != 2
    return effects << 16 | result & 0xFFFF
