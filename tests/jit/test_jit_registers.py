"""Every register at the end of a run, native against interpreted, over the engine-neutral corpus.

Each exit of main goes to code that stores r0 to r9 in memory. r1 to r5 mean nothing behind a call, so they count in
programs without calls. BOMBUS_FULL=1: all of the table at level 1, all instructions at level 2 too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "native"))

from native_cases import TABLE, Case, isa_cases, table_cases

from bombus.errors import KernelError
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.jit.engine import NativeEngine, NativeProgram
from bombus.jit.together import compile_together
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel
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


# ------------------------------------------------------------------------------------------------ verified


ARRAY, SOCKET_FILTER = 2, 1


def judged(insns: Sequence[Insn], place: int, data: int) -> list[Insn]:
    """The same for a verifier: r1 becomes a map value, the other registers are numbers, and they end in another."""
    start = [Insn(op.LD_IMM64, 1, op.BPF_PSEUDO_MAP_VALUE, 0, data), Insn(0, 0, 0, 0, 0)]
    for reg in (0, *range(2, 10)):
        start += b.ld_imm64(reg, 0x0123_4567_89AB_CDEF * (reg + 3) & (1 << 64) - 1)
    body = list(insns)
    end = len(body)
    for block in blocks_from(body, 0).values():
        last = block.end - 1
        if 0 <= last < end and body[last].opcode == op.EXIT:
            body[last] = Insn(op.GOTOL, imm=end - last - 1)
    calls = any(insn.opcode in (op.CALL, op.CALLX) for insn in body)
    kept = (0, *(() if calls else range(2, 6)), 6, 7, 8, 9)
    tail = [b.stx("u64", 10, -8 * (at + 1), reg) for at, reg in enumerate(kept)]
    tail += [Insn(op.LD_IMM64, 1, op.BPF_PSEUDO_MAP_VALUE, 0, place), Insn(0, 0, 0, 0, 0)]
    for at, reg in enumerate(kept):
        tail += [b.ldx("u64", 2, 10, -8 * (at + 1)), b.stx("u64", 1, 8 * reg, 2)]
    return [*start, *body, *tail, b.mov(0, 0), b.exit_()]


class Verified:
    """A kernel with two arrays of one value: the registers, and the memory of a case."""

    def __init__(self, engine_: str) -> None:
        verify = "strict" if engine_ == "native" else "off"
        self.kernel = UserKernel("6.18", engine=engine_, verify=verify)
        self.maps = [
            self.kernel.bpf(Attr("BPF_MAP_CREATE", map_type=ARRAY, key_size=4, value_size=size, max_entries=1))
            for size in (80, ROOM)
        ]

    def load(self, insns: Sequence[Insn]) -> int | None:
        code = judged(insns, *self.maps)
        attr = Attr("BPF_PROG_LOAD", prog_type=SOCKET_FILTER, insns=encode(code), insn_cnt=len(code), license=b"GPL\0")
        try:
            return self.kernel.bpf(attr)
        except KernelError:
            return None

    def native(self, fd: int) -> NativeProgram:
        prog: Any = self.kernel.object("BPF_PROG_TEST_RUN", fd, "prog")
        assert isinstance(prog.compiled, NativeProgram)
        return prog.compiled

    def run(self, fd: int, before: bytes) -> list[bytes]:
        for which, value in zip(self.maps, (bytes(80), before.ljust(ROOM, b"\0")), strict=True):
            self.kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=which, key=bytes(4), value=value))
        self.kernel.bpf(Attr("BPF_PROG_TEST_RUN", prog_fd=fd, data_in=bytes(64), data_size_in=64))
        found = [bytearray(80), bytearray(ROOM)]
        for which, room in zip(self.maps, found, strict=True):
            self.kernel.bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=which, key=bytes(4), value=room))
        return [self._without_addresses(found[0]), bytes(found[1])]

    def _without_addresses(self, registers: bytearray) -> bytes:
        """Pointers to the memory become offsets: each kernel has its own."""
        item: Any = self.kernel.object("BPF_MAP_LOOKUP_ELEM", self.maps[1], "map")
        start = item.place().start
        words = memoryview(registers).cast("Q")
        for at, word in enumerate(words):
            if start <= word < start + ROOM:
                words[at] = word - start
        return bytes(registers)


@pytest.mark.parametrize("level", [0, 2])
def test_verified_programs(level: int) -> None:
    """As verified programs run: without checks of what the verifier knows, with all that it knows in the code."""
    programs, cases = isa_cases("little", 1 if FULL else 5 if level == 0 else 17)
    fast, slow = Verified("native"), Verified("reference")
    loaded = {number: fd for number, insns in enumerate(programs) if (fd := fast.load(insns)) is not None}
    assert len(loaded) > len(programs) * 0.9
    compile_together([fast.native(fd) for fd in loaded.values()], level=level)
    assert all(fast.native(fd).is_native for fd in loaded.values())
    plain = {number: slow.load(programs[number]) for number in loaded}
    wrong, registers = [], set()
    for case in cases:
        fd, other = loaded.get(case.program), plain.get(case.program)
        if fd is None or other is None or len(case.before) > ROOM:
            continue
        got, expected = fast.run(fd, case.before), slow.run(other, case.before)
        registers.add(got[0])
        if got != expected:
            wrong.append(f"{case.name}: native {got[0].hex()}, interpreted {expected[0].hex()}")
    assert not wrong
    assert len(registers) > len(loaded) / 2
