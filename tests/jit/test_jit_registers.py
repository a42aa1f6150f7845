"""Every register at the end of a run, native against interpreted, over the engine-neutral corpus.

Each exit of main goes to code that stores r0 to r9 in memory. r1 to r5 mean nothing behind a call, so they count in
programs without calls. BOMBUS_FULL=1: all of the table at level 1, all instructions at level 2 too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "native"))

from native_cases import TABLE, Case, isa_cases, table_cases

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.jit.engine import NativeEngine
from bombus.jit.together import compile_together
from bombus.vm.engines import engine
from bombus.vm.env import PlainEnv
from bombus.vm.flow import blocks_from

BATCH = 60
FULL = bool(os.environ.get("BOMBUS_FULL"))
ROOM = 512


def stored(insns: Sequence[Insn], place: int) -> list[Insn]:
    out = list(insns)
    end = len(out)
    for block in blocks_from(out, 0).values():
        last = block.end - 1
        if 0 <= last < end and out[last].opcode == op.EXIT:
            out[last] = Insn(op.GOTOL, imm=end - last - 1)
    for reg in range(10):
        out.append(b.stx("u64", 10, -8 * (reg + 1), reg))
    out += b.ld_imm64(1, place)
    for reg in range(10):
        out += [b.ldx("u64", 2, 10, -8 * (reg + 1)), b.stx("u64", 1, 8 * reg, 2)]
    return [*out, b.ldx("u64", 0, 10, -8), b.exit_()]


def differences(programs: list[list[Insn]], cases: list[Case], level: int) -> list[str]:
    env = PlainEnv()
    registers = env.memory.allocate(80, name="registers", kind="mem")
    data = env.memory.allocate(ROOM, name="data", kind="mem")
    wrong: list[str] = []
    compiler, interpreter = NativeEngine(level=level), engine("reference")
    for first in range(0, len(programs), BATCH):
        texts = [stored(insns, registers.start) for insns in programs[first : first + BATCH]]
        native = [compiler.compile(text, env) for text in texts]
        compile_together(native, level=level)
        slow = [interpreter.compile(text, env) for text in texts]
        for case in cases:
            number = case.program - first
            if not 0 <= number < len(texts) or len(case.before) > ROOM:
                continue
            found = []
            for program in (native[number], slow[number]):
                registers.view[:] = bytes(80)
                data.view[: len(case.before)] = case.before
                result = program.run(data.start)
                values = [int.from_bytes(registers.view[8 * n : 8 * n + 8], "little") for n in range(10)]
                if any(insn.opcode in (op.CALL, op.CALLX) for insn in programs[case.program]):
                    values[1:6] = []
                found.append((result, values, bytes(data.view[: len(case.before)])))
            if found[0] != found[1]:
                wrong.append(f"{case.name}: native {found[0]}, interpreted {found[1]}")
    return wrong


@pytest.mark.parametrize("level", [0, 2])
def test_instructions(level: int) -> None:
    programs, cases = isa_cases("little", 1 if level == 0 or FULL else 9)
    assert len(cases) > 2500 or level
    assert not differences(programs, cases, level)


@pytest.mark.oracle
@pytest.mark.skipif(not TABLE.exists(), reason="no recorded lib/test_bpf.c table in ../shared/oracle")
def test_table() -> None:
    programs, cases = table_cases(1 if FULL else 6)
    assert len(cases) > 30
    assert not differences(programs, cases, 1 if FULL else 0)
