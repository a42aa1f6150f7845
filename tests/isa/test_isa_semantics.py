"""What instructions do, read with Python ints: a table of edge cases, and an independent C-like reading."""

from __future__ import annotations

import ctypes
import random
from typing import Any

import pytest

from bombus.bits import U32, U64
from bombus.errors import EncodingError
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa import semantics as sem
from bombus.isa.forms import FORMS
from bombus.isa.insn import Insn
from bombus.isa.ints import INTS
from bombus.isa.sample import number, sample

MIN64, MIN32 = 1 << 63, 1 << 31


def run(insn: Insn, byteorder: str = "little", **registers: int) -> Any:
    """The effect of one instruction with r0..r10 given by name, 0 otherwise."""
    values = [registers.get(f"r{n}", 0) & U64 for n in range(11)]
    return sem.effect(insn, INTS, values.__getitem__, byteorder=byteorder)  # type: ignore[arg-type]


# instruction on r0 (and r1), r0 before, r1 before, r0 after
ALU = [
    (b.add(0, b.R1), U64, 1, 0),
    (b.add32(0, b.R1), U64, 1, 0),
    (b.add32(0, -1), 5, 0, 4),
    (b.sub(0, 1), 0, 0, U64),
    (b.mul(0, b.R1), MIN64, 2, 0),
    (b.div(0, b.R1), 7, 0, 0),
    (b.div(0, 0), 7, 0, 0),
    (b.div(0, -1), U64, 0, 1),
    (b.div32(0, b.R1), U64, 1 << 32, 0),
    (b.mod(0, b.R1), U64, 0, U64),
    (b.mod32(0, b.R1), U64, 1 << 32, U32),
    (b.mod32(0, 0), U64, 0, U32),
    (b.sdiv(0, b.R1), MIN64, U64, MIN64),
    (b.sdiv(0, -1), MIN64, 0, MIN64),
    (b.sdiv(0, b.R1), -7 & U64, 2, -3 & U64),
    (b.sdiv(0, b.R1), 7, 0, 0),
    (b.sdiv32(0, b.R1), MIN32, U32, MIN32),
    (b.sdiv32(0, -1), MIN32, 0, MIN32),
    (b.smod(0, b.R1), MIN64, U64, 0),
    (b.smod(0, -1), MIN64, 0, 0),
    (b.smod(0, b.R1), -7 & U64, 2, U64),
    (b.smod(0, b.R1), -7 & U64, 0, -7 & U64),
    (b.smod32(0, b.R1), -7 & U64, 0, -7 & U32),
    (b.smod32(0, b.R1), 7, -2 & U32, 1),
    (b.lsh(0, b.R1), 1, 64, 1),
    (b.lsh(0, b.R1), 1, 127, MIN64),
    (b.lsh32(0, b.R1), 1, 33, 2),
    (b.rsh32(0, 31), U64, 0, 1),
    (b.arsh(0, b.R1), MIN64, 63, U64),
    (b.arsh32(0, 31), MIN32, 0, U32),
    (b.neg(0), 1, 0, U64),
    (b.neg(0, bits=32), U64, 0, 1),
    (b.mov(0, -1), 0, 0, U64),
    (b.mov32(0, -1), 0, 0, U32),
    (b.mov32(0, b.R1), 0, U64, U32),
    (b.movsx(0, 1, 8), 0, 0x80, -128 & U64),
    (b.movsx(0, 1, 16), 0, 0x8000, -0x8000 & U64),
    (b.movsx(0, 1, 32), 0, MIN32, -MIN32 & U64),
    (b.movsx(0, 1, 8, bits=32), 0, 0x1FF, U32),
    (b.bswap(0, 16), 0x112233445566_7788, 0, 0x8877),
    (b.bswap(0, 64), 0x1122334455667788, 0, 0x8877665544332211),
    (b.to_le(0, 32), U64, 0, U32),
    (b.to_be(0, 32), 0x1122334455667788, 0, 0x88776655),
    (b.or_(0, -1), 0, 0, U64),
    (b.and32(0, -1), U64, 0, U32),
    (b.xor(0, b.R1), 6, 3, 5),
]


@pytest.mark.parametrize(("insn", "r0", "r1", "after"), ALU, ids=range(len(ALU)))
def test_alu(insn: Insn, r0: int, r1: int, after: int) -> None:
    assert run(insn, r0=r0, r1=r1) == sem.Write(0, after)


def test_byte_order_of_the_target_decides_what_le_and_be_do() -> None:
    value = 0x1122334455667788
    assert run(b.to_le(0, 64), "big", r0=value).value == 0x8877665544332211
    assert run(b.to_be(0, 64), "big", r0=value).value == value
    assert run(b.to_be(0, 16), "big", r0=value).value == 0x7788
    assert run(b.bswap(0, 16), "big", r0=value).value == 0x8877


# condition, 64-bit relation, 32-bit relation, for r0 = -1 and r1 = 2**32
JUMPS = [
    ("==", False, False), ("!=", True, True), (">", True, True), (">=", True, True), ("<", False, False),
    ("<=", False, False), ("s>", False, False), ("s>=", False, False), ("s<", True, True), ("s<=", True, True),
    ("&", True, False),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "wide", "narrow"), JUMPS)
def test_jumps(condition: str, wide: bool, narrow: bool) -> None:
    registers = {"r0": U64, "r1": 1 << 32}
    assert run(b.jmp(condition, 0, b.R1, 7), **registers) == sem.Branch(wide, 7)
    assert run(b.jmp(condition, 0, b.R1, -7, bits=32), **registers) == sem.Branch(narrow, -7)


def test_jump_immediates_are_sign_extended() -> None:
    assert run(b.jmp("==", 0, -1, 1), r0=U64).condition is True
    assert run(b.jmp("==", 0, -1, 1), r0=U32).condition is False
    assert run(b.jmp("==", 0, -1, 1, bits=32), r0=U32).condition is True
    assert run(b.jmp("&", 0, -(2**31), 1), r0=MIN64).condition is True


def test_memory() -> None:
    load = run(b.ldx("s16", 3, 1, -4), r1=2)
    assert load == sem.Load(3, U64 - 1, 2, True)
    assert load.extend(INTS, 0x8000) == -0x8000 & U64
    assert run(b.ldx("u16", 3, 1, 4), r1=2).extend(INTS, 0x8000) == 0x8000
    assert run(b.ldx("u64", 3, 1, 4), r1=2).extend(INTS, U64) == U64
    assert run(b.st("u64", 1, 0, -1), r1=8) == sem.Store(8, 8, U64)
    assert run(b.st("u16", 1, 0, -2), r1=8) == sem.Store(8, 2, 0xFFFE)
    assert run(b.stx("u8", 1, 2, 2), r1=8, r2=0x1FF) == sem.Store(10, 1, 0xFF)
    assert run(b.load_acquire("u16", 1, 2, 4), r2=8) == sem.Load(1, 12, 2, acquire=True)
    assert run(b.store_release("u16", 1, 4, 2), r1=8, r2=U64) == sem.Store(12, 2, 0xFFFF, release=True)


# imm, size, memory before, r1 before, r0 before, memory after, (register, value) or None
ATOMICS = [
    (op.BPF_ADD, 8, U64, 1, 0, 0, None),
    (op.BPF_ADD | op.BPF_FETCH, 8, U64, 1, 0, 0, (1, U64)),
    (op.BPF_ADD | op.BPF_FETCH, 4, U32, U64, 0, U32 - 1, (1, U32)),
    (op.BPF_OR, 4, 1, 2, 0, 3, None),
    (op.BPF_AND | op.BPF_FETCH, 8, 6, 3, 0, 2, (1, 6)),
    (op.BPF_XOR | op.BPF_FETCH, 8, 6, 3, 0, 5, (1, 6)),
    (op.BPF_XCHG, 8, 6, 3, 0, 3, (1, 6)),
    (op.BPF_XCHG, 4, 6, U64, 0, U32, (1, 6)),
    (op.BPF_CMPXCHG, 8, 6, 3, 6, 3, (0, 6)),
    (op.BPF_CMPXCHG, 8, 6, 3, 7, 6, (0, 6)),
    (op.BPF_CMPXCHG, 4, 6, 3, U64 - U32 + 6, 3, (0, 6)),
    (op.BPF_CMPXCHG, 4, 6, 3, U64, 6, (0, 6)),
]


@pytest.mark.parametrize(("imm", "size", "memory", "r1", "r0", "after", "result"), ATOMICS)
def test_atomics(
    imm: int, size: int, memory: int, r1: int, r0: int, after: int, result: tuple[int, int] | None
) -> None:
    effect = run(b.atomic(imm, "u64" if size == 8 else "u32", 2, 8, 1), r0=r0, r1=r1, r2=100)
    assert (effect.address, effect.size) == (108, size)
    assert effect.update(INTS, memory) == after
    assert effect.result == (result[0] if result else None)
    if result:
        assert effect.fetched(INTS, memory) == result[1]


def test_control_and_the_rest() -> None:
    assert run(b.ja(-3)) == sem.Goto(-3)
    assert run(b.gotol(70000)) == sem.Goto(70000)
    assert run(b.may_goto(2)) == sem.MayGoto(2)
    assert run(b.call(12)) == sem.CallHelper(12)
    assert run(b.call_local(-4)) == sem.CallLocal(-4)
    assert run(b.call_kfunc(7, 1)) == sem.CallKfunc(7, 1)
    assert run(Insn(op.CALLX, 3), r3=5) == sem.CallRegister(5)
    assert run(b.exit_()) == sem.Exit()
    assert run(b.ld_abs("u16", 12)) == sem.LoadPacket(12, 2)
    assert run(b.ld_abs("u8", -0x1000)) == sem.LoadPacket(0xFFFF_F000, 1)
    assert run(b.ld_ind("u32", 2, -1), r2=1 << 32) == sem.LoadPacket(U32, 4)
    assert run(b.addr_space_cast(1, 2, 0, 1), r2=9) == sem.AddressCast(1, 9, 0, 1)
    first, second = b.ld_imm64(4, 0x1122334455667788)
    assert sem.effect(first, INTS, [0].__getitem__, second) == sem.Write(4, 0x1122334455667788)
    first, second = b.ld_imm64(4, 5 | 16 << 32, src=op.BPF_PSEUDO_MAP_VALUE)
    assert sem.effect(first, INTS, [0].__getitem__, second) == sem.LoadPseudo(4, 2, 5, 16)
    assert [sem.slots(first), sem.slots(b.exit_())] == [2, 1]


def test_every_form_has_a_meaning() -> None:
    rng = random.Random(1)
    for form in FORMS:
        for _ in range(4):
            insns = sample(rng, form)
            effect = sem.effect(insns[0], INTS, lambda n: n, insns[1] if insns[1:] else None)
            assert effect is not None


def test_no_meaning_without_a_form() -> None:
    """Every opcode byte either is in the table of forms, or is callx, or raises naming the field."""
    known = {form.opcode for form in FORMS} | {op.CALLX}
    for opcode in range(256):
        insn = Insn(opcode, 1, 0, 0, 16)
        if opcode in known:
            continue
        with pytest.raises(EncodingError) as error:
            sem.effect(insn, INTS, lambda n: n, Insn(0))
        assert error.value.field in ("opcode", "imm")


@pytest.mark.parametrize(
    ("insn", "field"),
    [(Insn(op.BPF_ALU64 | op.BPF_DIV, 0, 0, 2, 3), "off"), (b.movsx(0, 1, 32, bits=32), "off"),
     (b.movsx(0, 1, 7), "off"), (b.to_le(0, 8), "imm"), (Insn(op.CALL, 0, 3), "src"),
     (Insn(op.MAY_GOTO, 0, 1, 2), "src"), (b.atomic(0x20, "u64", 0, 0, 1), "imm"),
     (b.atomic(op.BPF_ADD, "u8", 0, 0, 1), "opcode"), (Insn(op.LD_IMM64), "length"),
     (b.mov(11, 0), "dst"), (b.mov(0, b.Reg(15)), "src")],
)  # fmt: skip
def test_senseless_encodings(insn: Insn, field: str) -> None:
    with pytest.raises(EncodingError) as error:
        sem.effect(insn, INTS, lambda n: 0)
    assert error.value.field == field


def c_reading(insn: Insn, a: int, c: int) -> int:
    """Division-free ALU in terms of ctypes' fixed-width ints: a second opinion that shares no code."""
    wide = insn.opcode & 7 == op.BPF_ALU64
    unsigned: Any = ctypes.c_uint64 if wide else ctypes.c_uint32
    signed: Any = ctypes.c_int64 if wide else ctypes.c_int32
    x = unsigned(a).value
    y = unsigned(c if insn.opcode & op.BPF_X else insn.imm).value
    amount = y % (64 if wide else 32)
    code = insn.opcode & 0xF0
    result = {
        op.BPF_ADD: lambda: x + y, op.BPF_SUB: lambda: x - y, op.BPF_MUL: lambda: x * y,
        op.BPF_OR: lambda: x | y, op.BPF_AND: lambda: x & y, op.BPF_XOR: lambda: x ^ y,
        op.BPF_LSH: lambda: x << amount, op.BPF_RSH: lambda: x >> amount,
        op.BPF_ARSH: lambda: signed(x).value >> amount, op.BPF_MOV: lambda: y,
    }[code]()  # fmt: skip
    return int(unsigned(result).value)


def test_alu_against_ctypes() -> None:
    rng = random.Random(2)
    forms = [f for f in FORMS if f.name in
             ("add", "sub", "mul", "or", "and", "xor", "lsh", "rsh", "arsh", "mov")]  # fmt: skip
    for _ in range(20_000):
        insn = sample(rng, rng.choice(forms), registers=1)[0]._replace(dst=0)
        a, c = number(rng, 64) & U64, number(rng, 64) & U64
        source = a if insn.src == 0 else c
        assert run(insn, r0=a, r1=c) == sem.Write(0, c_reading(insn, a, source)), insn


def test_division_against_exact_arithmetic() -> None:
    rng = random.Random(3)
    for _ in range(20_000):
        bits = rng.choice((32, 64))
        mask = (1 << bits) - 1
        a, c = number(rng, 64) & U64, number(rng, 64) & U64
        x, y = a & mask, c & mask
        sx, sy = (v - (1 << bits) if v >> (bits - 1) else v for v in (x, y))
        quotient = 0 if y == 0 else x // y
        squotient = 0 if sy == 0 else int(abs(sx) // abs(sy)) * (1 if (sx < 0) == (sy < 0) else -1)
        assert run(b.alu(op.BPF_DIV, 0, b.R1, bits=bits), r0=a, r1=c).value == quotient
        assert run(b.alu(op.BPF_MOD, 0, b.R1, bits=bits), r0=a, r1=c).value == x - quotient * y
        assert run(b.alu(op.BPF_DIV, 0, b.R1, bits=bits, off=1), r0=a, r1=c).value == squotient & mask
        assert run(b.alu(op.BPF_MOD, 0, b.R1, bits=bits, off=1), r0=a, r1=c).value == (sx - squotient * sy) & mask
