"""Short versions of fuzz/fuzz_vm_*.py. BOMBUS_VM_PROGRAMS scales them."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))

import fuzz_vm_engines
import fuzz_vm_linux
from linux_bpf import Refused

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, decode
from bombus.vm.engines import NAMES, engine
from bombus.vm.env import Compiled, Engine, Env, PlainEnv
from bombus.vm.fast import FastEngine, FastProgram
from bombus.vm.reference import ReferenceEngine

PROGRAMS = int(os.environ.get("BOMBUS_VM_PROGRAMS", "500"))


def linux() -> fuzz_vm_linux.Judge:
    try:
        judge = fuzz_vm_linux.Judge()
        with judge.kernel.load("socket", [b.mov(0, 0), b.exit_()]) as fd:
            judge.kernel.run(fd, bytes(64))
    except (OSError, Refused) as error:
        pytest.skip(f"bpf(2) is refused: {error}")
    return judge


@pytest.mark.linux
def test_random_programs_do_what_linux_does() -> None:
    tally = fuzz_vm_linux.Tally()
    judge = linux()
    for seed in range(PROGRAMS):
        fuzz_vm_linux.compare(judge, seed, [FastEngine(), ReferenceEngine(strict=True)], tally)
    assert not tally.different, "\n".join(tally.different)
    assert tally.accepted == PROGRAMS  # a refused program tests nothing


class WrongEngine:
    """Adds where it should subtract."""

    name = "wrong"

    def compile(self, insns: list[Insn], env: Env) -> FastProgram:
        sub, add = b.sub(0, b.R0).opcode, b.add(0, b.R0).opcode
        return FastEngine().compile([i._replace(opcode=add) if i.opcode == sub else i for i in insns], env)


@pytest.mark.linux
def test_a_wrong_engine_is_noticed() -> None:
    tally, judge = fuzz_vm_linux.Tally(), linux()
    wrong: Engine = WrongEngine()  # type: ignore[assignment]
    for seed in range(100):
        fuzz_vm_linux.compare(judge, seed, [wrong], tally)
    assert tally.different


def test_unsafe_programs_end_alike() -> None:
    ends = set()
    for seed in range(PROGRAMS * 3):
        slow, fast = fuzz_vm_engines.compare(seed)
        assert fuzz_vm_engines.same(slow, fast), f"seed {seed}: reference {slow[:3]}, fast {fast[:3]}"
        ends.add(slow[1] if slow[0] == "fault" else "returned")
    assert ends == {"returned", "load", "store", "atomic", "readonly", "opcode", "jump", "budget", "helper", "stack",
                    "call"}  # fmt: skip


@pytest.mark.linux
def test_kernel_recounts_the_recorded_cases() -> None:
    """tests/cases/vm_isa.json still is what this kernel says (it may know less of the ISA than 6.18)."""
    kernel = linux().kernel
    cell = kernel.array(32)
    ran = 0
    for case in json.loads((Path(__file__).parents[1] / "cases" / "vm_isa.json").read_text())[::7]:
        insns = [*b.ld_imm64(1, cell.number, src=2), *decode(bytes.fromhex(case["insns"]))]
        try:
            fd = kernel.load("socket", insns)
        except Refused:
            continue
        with fd:
            for before, after, r0 in case["runs"]:
                kernel.update(cell, 0, bytes.fromhex(before))
                assert f"{kernel.run(fd, bytes(64))[0]:08x}" == r0, case["name"]
                assert kernel.lookup(cell, 0, 32).hex() == after, case["name"]
        ran += 1
    assert ran > 30


@pytest.mark.linux
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_linux_counts_tail_calls_as_the_engines_do(calls: int) -> None:
    """A program that tail calls itself, out of its main function or out of `calls` subprogram calls."""
    kernel = linux().kernel
    array, cell = kernel.program_array(1), kernel.array(8)

    def program(array_slots: list[Insn], cell_slots: list[Insn]) -> list[Insn]:
        body = [*cell_slots, b.mov(2, 1), b.atomic(op.BPF_ADD, "u64", 1, 0, 2), b.mov(1, b.R6), *array_slots,
                b.mov(3, 0), b.call(12), b.mov(0, 7), b.exit_()]  # fmt: skip
        if not calls:
            return [b.mov(6, b.R1), *body]
        main = [b.mov(6, b.R1)]
        for number in range(calls):
            main += [b.mov(1, b.R6), b.call_local(2 * (calls - number - 1) + 2)]
        return [*main, b.mov(0, 5), b.exit_(), b.mov(6, b.R1), *body]

    insns = program(b.ld_imm64(2, array.number, src=1), b.ld_imm64(1, cell.number, src=2))
    with kernel.load("socket", insns, functions=[0, 2 * calls + 3] if calls else []) as fd:
        kernel.update(array, 0, struct.pack("<I", fd.number))
        expected = kernel.run(fd, bytes(64))[0], struct.unpack("<Q", kernel.lookup(cell, 0, 8))[0]
    assert expected[1] >= 34
    for name in NAMES:
        env = SelfCalling()
        count = env.memory.allocate(8, name="count", kind="map_value")
        env.program = engine(name).compile(program(b.ld_imm64(2, 0x77), b.ld_imm64(1, count.start)), env)
        assert (env.program.run(0), struct.unpack("<Q", count.view)[0]) == expected


class SelfCalling(PlainEnv):
    program: Compiled

    def tail_call(self, ctx: int, array: int, index: int) -> Compiled | None:
        return self.program
