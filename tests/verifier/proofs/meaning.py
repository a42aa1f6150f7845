"""What the domains mean: which concrete numbers a tnum, a range and a `Bounds` stand for, as z3 formulas."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import z3
from symbolic import Sym, Term

from bombus.bits import U32, U64
from bombus.isa import semantics
from bombus.isa.insn import Insn

_names = itertools.count()


def number(name: str, bits: int = 64) -> Term:
    return z3.BitVec(f"{name}{next(_names)}", bits)


def unsigned(x: Term) -> Sym:
    """A z3 bit vector as the int that it is unsigned."""
    return Sym(z3.ZeroExt(Sym.bits - x.size(), x), 0, (1 << x.size()) - 1)


def signed(x: Term) -> Sym:
    half = 1 << x.size() - 1
    return Sym(z3.SignExt(Sym.bits - x.size(), x), -half, half - 1)


def low(x: Term) -> Term:
    return z3.Extract(31, 0, x)


def fresh_tnum(bits: int = 64) -> tuple[Any, Term]:
    value, mask = unsigned(number("value", bits)), unsigned(number("mask", bits))
    return (value, mask), (value & mask == 0).term


def fresh_range(bits: int) -> Any:
    return (
        unsigned(number("umin", bits)), unsigned(number("umax", bits)),
        signed(number("smin", bits)), signed(number("smax", bits)),
    )  # fmt: skip


def in_tnum(t: Any, x: Term, bits: int = 64) -> Term:
    """x is one of the numbers; the tnum is well formed."""
    value, mask = Sym.of(t[0]), Sym.of(t[1])
    limit = (1 << bits) - 1
    return z3.And(
        (unsigned(x) & ~mask == value).term, (value & mask == 0).term,
        (value >= 0).term, (value <= limit).term, (mask >= 0).term, (mask <= limit).term,
    )  # fmt: skip


def in_range(r: Any, x: Term) -> Term:
    umin, umax, smin, smax = map(Sym.of, r)
    u, s = unsigned(x), signed(x)
    half = 1 << x.size() - 1
    return z3.And(
        (umin <= u).term, (u <= umax).term, (smin <= s).term, (s <= smax).term,
        (umin >= 0).term, (umax < 2 * half).term, (smin >= -half).term, (smax < half).term,
    )  # fmt: skip


def in_bounds(b: Any, x: Term) -> Term:
    return z3.And(in_tnum(b.bits, x), in_range(b.r64, x), in_range(b.r32, low(x)))


def low_in_bounds(b: Any, x32: Term) -> Term:
    """What is said of the low half alone."""
    value, mask = Sym.of(b.bits[0]), Sym.of(b.bits[1])
    return z3.And(
        ((unsigned(x32) ^ value) & ~mask & U32 == 0).term, in_range(b.r32, x32),
        (value >= 0).term, (value <= U64).term, (mask >= 0).term, (mask <= U64).term, (value & mask == 0).term,
    )  # fmt: skip


class Z3Ops:
    """The SMT reading of `isa.semantics`."""

    def const(self, value: int, bits: int) -> Term:
        return z3.BitVecVal(value, bits)

    def add(self, a: Term, b: Term, bits: int) -> Term:
        return a + b

    def sub(self, a: Term, b: Term, bits: int) -> Term:
        return a - b

    def mul(self, a: Term, b: Term, bits: int) -> Term:
        return a * b

    def udiv(self, a: Term, b: Term, bits: int) -> Term:
        return z3.UDiv(a, b)

    def urem(self, a: Term, b: Term, bits: int) -> Term:
        return z3.URem(a, b)

    def sdiv(self, a: Term, b: Term, bits: int) -> Term:
        return a / b

    def srem(self, a: Term, b: Term, bits: int) -> Term:
        return z3.SRem(a, b)

    def and_(self, a: Term, b: Term, bits: int) -> Term:
        return a & b

    def or_(self, a: Term, b: Term, bits: int) -> Term:
        return a | b

    def xor(self, a: Term, b: Term, bits: int) -> Term:
        return a ^ b

    def shl(self, a: Term, n: Term, bits: int) -> Term:
        return a << n

    def lshr(self, a: Term, n: Term, bits: int) -> Term:
        return z3.LShR(a, n)

    def ashr(self, a: Term, n: Term, bits: int) -> Term:
        return a >> n

    def neg(self, a: Term, bits: int) -> Term:
        return -a

    def bswap(self, a: Term, bits: int) -> Term:
        return z3.Concat(*(z3.Extract(i + 7, i, a) for i in range(0, bits, 8)))

    def zext(self, a: Term, from_bits: int, to_bits: int) -> Term:
        return z3.ZeroExt(to_bits - from_bits, a)

    def sext(self, a: Term, from_bits: int, to_bits: int) -> Term:
        return z3.SignExt(to_bits - from_bits, a)

    def trunc(self, a: Term, from_bits: int, to_bits: int) -> Term:
        return z3.Extract(to_bits - 1, 0, a)

    def compare(self, relation: str, a: Term, b: Term, bits: int) -> Term:
        return _RELATIONS[relation](a, b)

    def select(self, condition: Term, a: Term, b: Term, bits: int) -> Term:
        return z3.If(condition, a, b)


_RELATIONS: dict[str, Callable[[Term, Term], Term]] = {
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
    "ugt": z3.UGT, "uge": z3.UGE, "ult": z3.ULT, "ule": z3.ULE,
    "sgt": lambda a, b: a > b, "sge": lambda a, b: a >= b, "slt": lambda a, b: a < b, "sle": lambda a, b: a <= b,
}  # fmt: skip


def result_of(opcode: int, x: Term, y: Term, off: int = 0, imm: int = 0) -> Term:
    """What an ALU instruction with dst = x and src = y writes, or whether a jump is taken (isa.semantics)."""
    effect: Any = semantics.effect(Insn(opcode, 1, 2, off, imm), Z3Ops(), lambda n: x if n == 1 else y)
    return effect.value if isinstance(effect, semantics.Write) else effect.condition
