"""The reference interpreter: frames, calls, tail calls, faults."""

from __future__ import annotations

import pytest

from bombus.errors import VmFault
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.vm.env import PlainEnv
from bombus.vm.reference import ReferenceEngine


def run(*parts: object, ctx: int = 0, env: PlainEnv | None = None, **options: object) -> int:
    insns = b.program(*parts)  # type: ignore[arg-type]
    return ReferenceEngine(**options).compile(insns, env or PlainEnv()).run(ctx)  # type: ignore[arg-type]


def test_stack_and_calls() -> None:
    assert run(b.st("u64", 10, -8, 7), b.mov(6, 5), b.mov(1, b.R10), b.add(1, -8), b.call_local(2),
               b.add(0, b.R6), b.exit_(), b.mov(6, 99), b.ldx("u64", 0, 1), b.exit_()) == 12  # fmt: skip


def test_strict_names_the_register() -> None:
    with pytest.raises(VmFault) as fault:
        run(b.mov(0, b.R2), b.exit_(), strict=True)
    assert (fault.value.kind, fault.value.insn) == ("register", 0)
    assert run(b.mov(0, b.R1), b.exit_(), ctx=3, strict=True) == 3
    assert run(b.mov(6, 1), b.call_local(2), b.add(0, b.R6), b.exit_(), b.mov(0, 4), b.exit_(), strict=True) == 5


def test_trace_and_counts() -> None:
    seen: list[tuple[int, int]] = []
    program = ReferenceEngine(trace=lambda pc, regs: seen.append((pc, regs[0])), count=True).compile(
        [b.mov(0, 3), b.sub(0, 1), b.jmp("!=", 0, 0, -2), b.exit_()], PlainEnv()
    )
    assert program.run(0) == 0
    assert program.counts == [1, 3, 3, 1]
    assert seen == [(0, 0), (1, 3), (2, 2), (1, 2), (2, 1), (1, 1), (2, 0), (3, 0)]


def test_callbacks_run_inside_the_run() -> None:
    env = PlainEnv()
    env.helpers[181] = lambda n, function, ctx, flags, _: sum(program.call(function, (i, ctx)) for i in range(n))
    insns = b.program(b.mov(1, 3), b.ld_imm64(2, 5, src=op.BPF_PSEUDO_FUNC), b.mov(3, b.R10), b.mov(4, 0),
                      b.call(181), b.exit_(),
                      b.mov(0, b.R1), b.st("u64", 2, -8, 1), b.exit_())  # fmt: skip
    program = ReferenceEngine().compile(insns, env)
    assert program.run(0) == 3
