"""Unverified bytes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))

import fuzz_jit_sandbox

from bombus.errors import EncodingError, UsageError, VmFault
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.jit.sandbox import Sandbox

EXIT = b.exit_()
PROGRAMS = int(os.environ.get("BOMBUS_VM_PROGRAMS", "150"))
BOTH = pytest.mark.parametrize("engine", ["native", "reference"])


def box(insns: list[Insn], engine: str = "native", budget: int | None = 10_000) -> Sandbox:
    made = Sandbox(budget=budget, engine=engine)
    made.load(encode(insns))
    return made


@BOTH
def test_memory_in_and_out(engine: str) -> None:
    made = box([b.ldx("u8", 0, 1, 3), b.add(0, b.R2), b.st("u8", 1, 0, 9), EXIT], engine)
    data = bytearray(b"\1\2\3\4\5")
    assert made.exec(data) == 4 + 5
    assert data == b"\x09\2\3\4\5"
    assert made.exec(bytes(4)) == 4
    assert made.exec(bytearray(100)) == 100


@BOTH
@pytest.mark.parametrize(
    ("insns", "kind"),
    [
        ([b.ldx("u8", 0, 1, 5), EXIT], "load"),
        ([b.ldx("u64", 0, 1, -1), EXIT], "load"),
        ([b.ldx("u64", 0, 1, 4094), EXIT], "load"),
        ([b.mov(1, 0), b.st("u8", 1, 0, 1), EXIT], "store"),
        ([*b.ld_imm64(1, 0x7FFF_F000_0000), b.ldx("u64", 0, 1, 0), EXIT], "load"),
        ([b.ldx("u64", 0, 10, 0), EXIT], "load"),
        ([b.stx("u64", 10, -520, 1), EXIT], "store"),
        ([b.call(7), EXIT], "helper"),
        ([b.call_kfunc(7), EXIT], "helper"),
        ([b.ja(-1)], "budget"),
        ([b.call_local(-1), EXIT], "stack"),
        ([b.mov(0, 1)], "jump"),
        ([Insn(0xFF)], "opcode"),
    ],
)
def test_rules(engine: str, insns: list[Insn], kind: str) -> None:
    made = box(insns, engine)
    for _ in range(2):
        with pytest.raises(VmFault) as fault:
            made.exec(bytearray(5))
        assert fault.value.kind == kind


@pytest.mark.parametrize("at", [8, 13, 61])
@pytest.mark.parametrize("operation", [op.BPF_ADD, op.BPF_XOR | op.BPF_FETCH, op.BPF_XCHG, op.BPF_CMPXCHG])
def test_atomics_anywhere(at: int, operation: int) -> None:
    """Off their alignment, too: across cache lines such a step would stop the whole machine for a while."""
    ends = []
    for engine in ("native", "reference"):
        made = box([
            b.mov(2, 0x1234567), b.ldx("u64", 0, 1, at), b.mov(3, 1001), b.atomic(operation, "u64", 1, at, 2),
            b.add(3, -1), b.jmp("!=", 3, 0, -3), b.add(0, b.R2), EXIT,
        ], engine)  # fmt: skip
        data = bytearray(range(128))
        ends.append((made.exec(data), data))
    assert ends[0] == ends[1]
    assert ends[0][1] != bytes(range(128))


@BOTH
def test_helpers(engine: str) -> None:
    seen: list[tuple[int, ...]] = []
    made = Sandbox(engine=engine)

    def fail(*_args: int) -> int:
        raise LookupError("no")

    made.register(5, lambda *args: seen.append(args))
    made.register(6, lambda a, *_: a * 2, name="twice")
    made.register(8, fail)
    for number in (5, 12, -1):
        with pytest.raises(UsageError):
            made.register(number, fail)
    made.load(encode([*(b.mov(r, r) for r in range(1, 6)), b.call(5), b.mov(1, 21), b.call(6), EXIT]))
    assert made.exec() == 42
    assert seen == [(1, 2, 3, 4, 5)]
    made.unload()
    made.load(encode([b.call(8), EXIT]))
    with pytest.raises(LookupError, match="no"):
        made.exec()


@BOTH
def test_shared_memory(engine: str) -> None:
    made = Sandbox(engine=engine)
    region = made.share(16)
    fixed = made.share(8, writable=False)
    made.load(encode([b.ldx("u64", 1, 1, 0), b.st("u64", 1, 8, 7), b.ldx("u64", 0, 1, 0), EXIT]))
    region.view[:8] = (33).to_bytes(8, "little")
    assert made.exec(region.start.to_bytes(8, "little")) == 33
    assert region.view[8] == 7
    with pytest.raises(VmFault) as fault:
        made.exec((fixed.start - 8).to_bytes(8, "little"))
    assert fault.value.kind in ("readonly", "store")


def test_what_can_be_loaded() -> None:
    made = Sandbox()
    for wrong in (b"", bytes(7)):
        with pytest.raises(EncodingError):
            made.load(wrong)
    with pytest.raises(UsageError):
        made.load(bytes(8 * 65537))
    with pytest.raises(UsageError):
        made.exec()
    code = encode([b.mov(0, 5), EXIT])
    made.load(code)
    with pytest.raises(UsageError, match="unload"):
        made.load(code)
    with pytest.raises(UsageError, match="before"):
        made.register(1, lambda *_: 0)
    assert made.exec() == 5


def test_disassembly() -> None:
    pytest.importorskip("capstone")
    made = box([b.mov(0, 5), EXIT])
    text = made.disassemble()
    assert "bpf_func_0:" in text and "ret" in text


def test_random_bytes() -> None:
    """A short version of fuzz/fuzz_jit_sandbox.py."""
    pair = fuzz_jit_sandbox.Pair()
    for seed, slow, native in pair.compare(range(PROGRAMS)):
        assert fuzz_jit_sandbox.same(slow, native), f"seed {seed}: reference {slow[:3]}, native {native[:3]}"


@BOTH
def test_nothing_to_jump_to(engine: str) -> None:
    """bpf_tail_call that finds no program changes no register: r0 is from the block before."""
    assert box([b.mov(0, 7), b.jmp("==", 2, 9, 1), b.mov(3, 0), b.mov(2, 0), b.call(12), EXIT], engine).exec() == 7
