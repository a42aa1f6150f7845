"""The function that a declaration tag makes the callback for exceptions has to be one of the program."""

from __future__ import annotations

import pytest

from bombus.btf.build import Builder
from bombus.btf.types import DeclTag, Func, FuncProto, Int, Param
from bombus.isa import build as b
from bombus.spec.version import KernelVersion
from bombus.verifier.main import verify
from bombus.verifier.program import FuncInfo, Program

_GLOBAL = 1
_XDP = 6


@pytest.mark.parametrize(
    ("start", "errno", "message"),
    [
        (2, 0, "Func#1 ('caught') is safe for any args that match its prototype"),
        (4, 22, "call to invalid destination"),
        (0xFFFF_FFFF, 22, "call to invalid destination"),
    ],
)
def test_where_the_callback_begins(start: int, errno: int, message: str) -> None:
    # Linux 6.12 kernel/bpf/verifier.c: add_subprog. Found by fuzzing.
    types = Builder()
    number = types.add(Int("int", 4, 1, 0, 32))
    proto = types.add(FuncProto(number, (Param("cookie", types.add(Int("u64", 8, 0, 0, 64))),)))
    main = types.add(Func("main", proto, _GLOBAL))
    callback = types.add(Func("caught", proto, _GLOBAL))
    types.add(DeclTag("exception_callback:caught", main))
    insns = [b.mov(0, 0), b.exit_(), b.mov(0, 0), b.exit_()]
    program = Program(
        insns, _XDP, KernelVersion(6, 12), btf=types.build(), func_info=(FuncInfo(0, main), FuncInfo(start, callback)),
        vmlinux=Builder().build(),
    )  # fmt: skip
    verdict = verify(program)
    assert (verdict.errno, verdict.message) == (errno, message)
