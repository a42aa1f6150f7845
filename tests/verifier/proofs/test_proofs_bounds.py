"""Every transfer function on `Bounds` is sound against isa/semantics.py, at 64 bits unless a test says otherwise.

The functions themselves are run on z3 terms (see `symbolic`). A function that calls another is proved with that one
replaced by its contract: its precondition is proved at the call, and what it returns is anything that its own proof
allows.

BOMBUS_PROOFS=1 proves the rest: all shift amounts, and what takes minutes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

z3 = pytest.importorskip("z3")

from meaning import (  # noqa: E402
    fresh_range,
    fresh_tnum,
    in_bounds,
    in_range,
    in_tnum,
    low,
    low_in_bounds,
    number,
    result_of,
    signed,
    unsigned,
)
from symbolic import Code, Paths, Real, Sym, Term  # noqa: E402

import bombus.verifier.alu  # noqa: E402
import bombus.verifier.alu_pointer  # noqa: E402
import bombus.verifier.branch  # noqa: E402
from bombus.isa import opcodes as op  # noqa: E402
from bombus.isa.insn import Insn  # noqa: E402
from bombus.spec.version import KernelVersion  # noqa: E402
from bombus.verifier.main import verify  # noqa: E402
from bombus.verifier.program import Program  # noqa: E402

FULL = bool(os.environ.get("BOMBUS_PROOFS"))
COMPILED = not bombus.verifier.alu.__file__.endswith(".py")


@pytest.fixture(autouse=True)
def width() -> Iterator[None]:
    Sym.bits = 72
    yield
    Sym.bits = 72


def fresh_bounds(code: Code) -> Any:
    bits, _ = fresh_tnum()
    return code.bounds.Bounds(bits, fresh_range(64), fresh_range(32))


def with_identity_sync() -> Code:
    """`sync` keeps every number that its arguments hold (proved below), so its arguments may stand for its result."""
    code = Code()
    for module in (code.bounds, code.alu, code.cond):
        module.sync = code.bounds.Bounds
    return code


# The views sharpen each other.


def test_by_bits() -> None:
    code = Code()
    bits, _ = fresh_tnum()
    x = number("x")
    r64, r32 = fresh_range(64), fresh_range(32)
    paths = Paths(in_tnum(bits, x), in_range(r64, x))
    for result in paths.run(lambda: code.bounds._by_bits64(bits, r64)):
        paths.prove(in_range(result, x), "64 bits")
    # Of the low half alone: the upper bits of the tnum may belong to another number.
    value, mask = bits
    matches = ((unsigned(low(x)) ^ value) & ~mask & 0xFFFFFFFF == 0).term
    paths = Paths(matches, (value & mask == 0).term, in_range(r32, low(x)))
    for result in paths.run(lambda: code.bounds._by_bits32(bits, r32)):
        paths.prove(in_range(result, low(x)), "32 bits")


@pytest.mark.parametrize("bits", [8, 32, 64])
def test_signs(bits: int) -> None:
    code = Code()
    x, r = number("x", bits), fresh_range(bits)
    paths = Paths(in_range(r, x))
    for result in paths.run(lambda: code.bounds._signs(r, 1 << bits - 1)):
        paths.prove(in_range(result, x))


@pytest.mark.skipif(not FULL, reason="BOMBUS_PROOFS=1 takes the time for it")
def test_low_by_high() -> None:
    code = Code()
    x, r64, r32 = number("x"), fresh_range(64), fresh_range(32)
    paths = Paths(in_range(r64, x), in_range(r32, low(x)))
    for result in paths.run(lambda: code.bounds._low_by_high(r32, r64)):
        paths.prove(in_range(result, low(x)))


def test_high_by_low() -> None:
    code = Code()
    x, r64 = number("x"), fresh_range(64)
    least, most = number("least", 32), number("most", 32)
    paths = Paths(in_range(r64, x), z3.ULE(least, low(x)), z3.ULE(low(x), most))
    for result in paths.run(lambda: code.bounds._high_by_low(r64, unsigned(least), unsigned(most))):
        paths.prove(in_range(result, x))


class Contract:
    """Replacements that check what a function needs and return anything that it may."""

    def __init__(self, x: Term) -> None:
        self.x = x
        self.paths: Paths

    def range_of(self, bits: int) -> Any:
        found = fresh_range(bits)
        self.paths.solver.add(in_range(found, self.x if bits == 64 else low(self.x)))
        return Opaque(found)

    def tnum(self) -> Any:
        found, _ = fresh_tnum()
        self.paths.solver.add(in_tnum(found, self.x))
        return found

    def need(self, *claims: Term) -> None:
        self.paths.prove(z3.And(*claims), "precondition")


class Opaque(tuple[Any, ...]):
    """A range; whether two are equal is one choice, which tells nothing."""

    __slots__ = ()
    __hash__ = tuple.__hash__

    def __eq__(self, other: object) -> bool:
        return Paths.current.decide(z3.Bool(f"equal{next(_equal)}"))


_equal = itertools.count()


def test_deduce() -> None:
    code = Code()
    x = number("x")
    c = Contract(x)

    def low_by_high(r32: Any, r64: Any) -> Any:
        c.need(in_range(r32, low(x)), in_range(r64, x))
        return c.range_of(32)

    def signs(r: Any, half: int) -> Any:
        wide = half == 1 << 63
        c.need(in_range(r, x if wide else low(x)))
        return c.range_of(64 if wide else 32)

    def high_by_low(r64: Any, least: Any, most: Any) -> Any:
        u = unsigned(low(x))
        c.need(in_range(r64, x), (Sym.of(least) <= u).term, (u <= Sym.of(most)).term)
        return c.range_of(64)

    def from_range(least: Any, most: Any) -> Any:
        c.need((Sym.of(least) <= unsigned(x)).term, (unsigned(x) <= Sym.of(most)).term)
        return c.tnum()

    code.bounds._low_by_high, code.bounds._signs, code.bounds._high_by_low = low_by_high, signs, high_by_low
    code.tnum.from_range = from_range
    bits, r64, r32 = fresh_tnum()[0], fresh_range(64), fresh_range(32)
    c.paths = Paths(in_tnum(bits, x), in_range(r64, x), in_range(r32, low(x)))
    for new_bits, new_r64, new_r32 in c.paths.run(lambda: code.bounds._deduce(bits, r64, r32)):
        c.paths.prove(z3.And(in_tnum(new_bits, x), in_range(new_r64, x), in_range(new_r32, low(x))))


def test_sync() -> None:
    code = Code()
    x = number("x")
    c = Contract(x)

    def by_bits(wide: bool) -> Callable[[Any, Any], Any]:
        def stub(bits: Any, r: Any) -> Any:
            c.need(in_tnum(bits, x), in_range(r, x if wide else low(x)))
            return c.range_of(64 if wide else 32)

        return stub

    def deduce(bits: Any, r64: Any, r32: Any) -> Any:
        c.need(in_tnum(bits, x), in_range(r64, x), in_range(r32, low(x)))
        return c.tnum(), c.range_of(64), c.range_of(32)

    def from_range(least: Any, most: Any) -> Any:
        # Called for the whole number, then for its low half.
        whole = z3.And((Sym.of(least) <= unsigned(x)).term, (unsigned(x) <= Sym.of(most)).term)
        u = unsigned(low(x))
        part = z3.And((Sym.of(least) <= u).term, (u <= Sym.of(most)).term)
        calls.append(1)
        c.need(whole if len(calls) % 2 else part)
        found, well = fresh_tnum()
        c.paths.solver.add(well, in_tnum(found, x if len(calls) % 2 else z3.ZeroExt(32, low(x))))
        return found

    calls: list[int] = []
    code.bounds._by_bits64, code.bounds._by_bits32, code.bounds._deduce = by_bits(True), by_bits(False), deduce
    code.tnum.from_range = from_range
    bits, r64, r32 = fresh_tnum()[0], fresh_range(64), fresh_range(32)
    c.paths = Paths(in_tnum(bits, x), in_range(r64, x), in_range(r32, low(x)))
    for result in c.paths.run(lambda: code.bounds.sync(bits, r64, r32)):
        c.paths.prove(in_bounds(result, x))
    assert c.paths.count >= 4


def test_const_and_from_bits() -> None:
    code = Code()
    x = number("x")
    paths = Paths()
    for result in paths.run(lambda: code.bounds.const(unsigned(x))):
        paths.prove(in_bounds(result, x), "const")
        y = number("y")
        paths.prove(z3.Implies(in_bounds(result, y), x == y), "nothing else")
    bits, _ = fresh_tnum()
    paths = Paths(in_tnum(bits, x))
    code.bounds._by_bits64 = code.bounds._by_bits32 = lambda bits, r: r  # proved above
    for result in paths.run(lambda: code.bounds.from_bits(bits)):
        paths.prove(in_bounds(result, x), "from_bits")


# Arithmetic.

TABLES = ("UNSIGNED_MUL", "SIGNED_MUL", "WRAPPING", "MUL_BY_CASES")
OPERATIONS = {
    "add": op.BPF_ADD, "sub": op.BPF_SUB, "and": op.BPF_AND, "or": op.BPF_OR, "xor": op.BPF_XOR, "mul": op.BPF_MUL,
}  # fmt: skip


def opcode(operation: int, is32: bool) -> int:
    return operation | op.BPF_X | (op.BPF_ALU if is32 else op.BPF_ALU64)


def contract_of_by_bits(code: Code, paths: Paths, x: Term, is32: bool) -> None:
    """by_bits keeps the number; of a 32-bit operation only its low half means something."""

    def by_bits(b: Any) -> Any:
        paths.prove(low_in_bounds(b, low(x)) if is32 else in_bounds(b, x), "precondition of by_bits")
        found = fresh_bounds(code)
        paths.solver.add(low_in_bounds(found, low(x)) if is32 else in_bounds(found, x))
        return found

    code.alu.by_bits = by_bits


def width_of(code: Code, bits: int) -> Any:
    top, half = (1 << bits) - 1, 1 << bits - 1
    w = code.alu.Width(top, -half, half - 1, (0, top, -half, half - 1), (1 << bits // 2) - 1)
    assert w == {32: code.alu.W32, 64: code.alu.W64}.get(bits, w)
    return w


def number_ranges(w: Any, kind: Any) -> tuple[list[Any], list[Term], list[Term], list[Term]]:
    """Two ranges of numbers (z3.Int or z3.Real), both readings of a member of each, and what holds of them.

    The readings are equal, or one turn of the circle apart.
    """
    ranges, unsigned_, signed_, assumed = [], [], [], []
    for operand in "ab":
        parts = ("umin", "umax", "smin", "smax", "u", "s")
        umin, umax, smin, smax, u, s = (kind(f"{part}_{operand}") for part in parts)
        assumed += [umin >= 0, umin <= u, u <= umax, umax <= w.umax]
        assumed += [smin >= w.smin, smin <= s, s <= smax, smax <= w.smax]
        assumed.append(z3.Or(z3.And(u <= w.smax, s == u), z3.And(u > w.smax, s == u - (w.umax + 1))))
        ranges.append(tuple(map(Real, (umin, umax, smin, smax))))
        unsigned_.append(u)
        signed_.append(s)
    return ranges, unsigned_, signed_, assumed


@pytest.mark.parametrize("bits", [8, 32, 64])
@pytest.mark.parametrize("name", ["_add", "_sub", "_add_wrapping", "_sub_wrapping"])
def test_sums_of_ranges(name: str, bits: int) -> None:
    code = Code()
    w = width_of(code, bits)
    ranges, (ua, ub), (sa, sb), assumed = number_ranges(w, z3.Int)
    u, s = (ua + ub, sa + sb) if "add" in name else (ua - ub, sa - sb)
    u, s = Real(u).turned(0, w.umax).term, Real(s).turned(w.smin, w.smax).term
    paths = Paths(*assumed, logic="QF_LIA")
    for result in paths.run(lambda: getattr(code.alu, name)(*ranges, w)):
        umin, umax, smin, smax = (Real.of(limit).term for limit in result)
        paths.prove(z3.And(umin >= 0, umin <= u, u <= umax, umax <= w.umax), "unsigned")
        paths.prove(z3.And(smin >= w.smin, smin <= s, s <= smax, smax <= w.smax), "signed")
    assert paths.count >= 4


@pytest.mark.parametrize("bits", [32, 64])
def test_unsigned_limits(bits: int) -> None:
    code = Code()
    least, most, x = number("least", bits), number("most", bits), number("x", bits)
    paths = Paths(z3.ULE(least, x), z3.ULE(x, most))
    w = code.alu.W64 if bits == 64 else code.alu.W32
    for result in paths.run(lambda: code.alu._unsigned(unsigned(least), unsigned(most), w)):
        paths.prove(in_range(result, x))
    for result in paths.run(lambda: code.alu._exact(unsigned(x), w)):
        paths.prove(in_range(result, x))


def contract_of_parts(code: Code, paths: Paths, a: Any, b: Any, z: Term) -> None:
    """Sums and products of ranges and tnums, each proved apart, given a and b themselves."""

    def tnums(p: Any, q: Any) -> Any:
        assert p is a.bits and q is b.bits
        found, _ = fresh_tnum()
        paths.solver.add(in_tnum(found, z))
        return found

    def ranges(p: Any, q: Any, w: Any) -> Any:
        wide = w is code.alu.W64
        assert (p is a.r64 and q is b.r64) if wide else (w is code.alu.W32 and p is a.r32 and q is b.r32)
        found = fresh_range(64 if wide else 32)
        paths.solver.add(in_range(found, z if wide else low(z)))
        return found

    code.tnum.add = code.tnum.sub = code.tnum.mul = code.tnum.mul_by_cases = tnums
    for name in ("_add", "_sub", "_add_wrapping", "_sub_wrapping", "_mul", "_mul_signed"):
        setattr(code.alu, name, ranges)


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
@pytest.mark.parametrize("name", ["add", "sub", "mul"])
@pytest.mark.parametrize("table", TABLES)
def test_arithmetic(name: str, is32: bool, table: str) -> None:
    """How the parts of sums, differences and products are put together."""
    code = with_identity_sync()
    a, b = fresh_bounds(code), fresh_bounds(code)
    x, y = number("x"), number("y")
    # A part is told the whole 64-bit result; that the names say what the parts do is all that is taken on trust.
    whole = {"add": x + y, "sub": x - y, "mul": number("product")}[name]
    paths = Paths(in_bounds(a, x), in_bounds(b, y))
    contract_of_parts(code, paths, a, b, whole)
    chosen = getattr(code.alu, table)
    for result in paths.run(lambda: code.alu.alu(OPERATIONS[name], a, b, is32=is32, table=chosen)):
        paths.prove(in_bounds(result, z3.ZeroExt(32, low(whole)) if is32 else whole), name)
    if name != "mul":
        z = result_of(opcode(OPERATIONS[name], is32), x, y)
        Paths().prove(z == (z3.ZeroExt(32, low(whole)) if is32 else whole), "isa")


def test_the_parts_belong_together() -> None:
    """Which parts each operation is made of (see test_arithmetic)."""
    code = Code()
    names = {
        "add": ("add", "_add"), "sub": ("sub", "_sub"), "add_wrapping": ("add", "_add_wrapping"),
        "sub_wrapping": ("sub", "_sub_wrapping"), "mul": ("mul", "_mul"), "mul_signed": ("mul", "_mul_signed"),
        "mul_by_cases": ("mul_by_cases", "_mul_signed"),
    }  # fmt: skip
    for function, (tnum_part, range_part) in names.items():
        used = getattr(code.alu, function).__code__.co_names
        assert tnum_part in used and range_part in used
        others = {part for pair in names.values() for part in pair} - {tnum_part, range_part}
        assert not others & set(used)
    table = code.alu.MUL_BY_CASES
    made_of = [table[OPERATIONS[name]].__name__ for name in ("add", "sub", "mul")]
    assert made_of == ["add_wrapping", "sub_wrapping", "mul_by_cases"]


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
@pytest.mark.parametrize("name", ["and", "or", "xor"])
def test_bitwise(name: str, is32: bool) -> None:
    code = with_identity_sync()
    a, b = fresh_bounds(code), fresh_bounds(code)
    x, y = number("x"), number("y")
    z = result_of(opcode(OPERATIONS[name], is32), x, y)
    whole = result_of(opcode(OPERATIONS[name], False), x, y)
    paths = Paths(in_bounds(a, x), in_bounds(b, y))

    def limited(least: Any, most: Any, w: Any) -> Any:
        wide = w is code.alu.W64
        inside = unsigned(whole if wide else low(whole))
        paths.prove(z3.And((Sym.of(least) <= inside).term, (inside <= Sym.of(most)).term), "limits")
        found = fresh_range(64 if wide else 32)
        paths.solver.add(in_range(found, whole if wide else low(whole)))
        return found

    code.alu._unsigned = limited
    contract_of_by_bits(code, paths, whole, is32)
    for result in paths.run(lambda: code.alu.alu(OPERATIONS[name], a, b, is32=is32)):
        paths.prove(in_bounds(result, z), name)


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
@pytest.mark.parametrize("name", ["add", "sub", "and", "or", "xor"])
def test_arithmetic_of_constants(name: str, is32: bool) -> None:
    """The short cut for two known numbers."""
    code = with_identity_sync()
    x, y = number("x"), number("y")
    operation = OPERATIONS[name]
    z = result_of(opcode(operation, is32), x, y)
    paths = Paths()

    def body() -> Any:
        a, b = code.bounds.const(unsigned(x)), code.bounds.const(unsigned(y))
        assert a.checked and b.checked
        return code.alu.alu(operation, a, b, is32=is32)

    for result in paths.run(body):
        paths.prove(in_bounds(result, z), name)


def test_every_table_is_proved() -> None:
    """The tables are made of the functions that are proved here; divisions and the like are in none."""
    code = Code()
    found = {function.__name__ for table in TABLES for function in getattr(code.alu, table).values()}
    assert found == {
        "add", "sub", "add_wrapping", "sub_wrapping", "mul", "mul_signed", "mul_by_cases", "and_", "or_", "xor",
    }  # fmt: skip
    assert set(code.alu._SHIFTS) == {op.BPF_LSH, op.BPF_RSH, op.BPF_ARSH}
    assert set(code.alu._EXACT) == set(OPERATIONS.values())
    a, b = code.bounds.ANY, code.bounds.const(3)
    for operation in (op.BPF_DIV, op.BPF_MOD):
        assert code.alu.alu(operation, a, b, is32=False) is None and code.alu.alu(operation, a, b, is32=True) is None
    assert code.alu.alu(op.BPF_LSH, b, a, is32=False) is None


_DIVISIONS = [
    (kind | code, off)
    for kind in (op.BPF_ALU64, op.BPF_ALU) for code in (op.BPF_DIV, op.BPF_MOD) for off in (0, 1)
]  # fmt: skip


@pytest.mark.parametrize(("kind", "off"), _DIVISIONS)
def test_quotients_are_unknown(kind: int, off: int) -> None:
    """div, mod, sdiv, smod: nothing is claimed of the result, which is sound."""
    insns = [Insn(0xB7, 0, imm=100), Insn(0xB7, 1, imm=7), Insn(kind | op.BPF_X, 0, 1, off), Insn(0xB7, 0), Insn(0x95)]
    for imm in (None, 3):
        if imm is not None:
            insns[2] = Insn(kind, 0, 0, off, imm)
        log = verify(Program(insns, 1, KernelVersion(6, 18), log_level=2)).log
        assert "R0=scalar()" in log, log


# Products: of ranges over the reals, of tnums in test_proofs_tnum.


@pytest.mark.parametrize("bits", [8, 32, 64])
@pytest.mark.parametrize("name", ["_mul", "_mul_signed"])
def test_products_of_ranges(name: str, bits: int) -> None:
    """A product that fits lies between the limits; where it may not nothing is claimed, so wrapping cannot matter."""
    code = Code()
    code.alu.min, code.alu.max = Real.least, Real.greatest
    w = width_of(code, bits)
    ranges, (ua, ub), (sa, sb), assumed = number_ranges(w, z3.Real)
    paths = Paths(*assumed, logic="QF_NRA")
    for result in paths.run(lambda: getattr(code.alu, name)(*ranges, w)):
        umin, umax, smin, smax = (Real.of(limit).term for limit in result)
        paths.prove(z3.Or(
            z3.And(umin == 0, umax == w.umax), z3.And(umin >= 0, umin <= ua * ub, ua * ub <= umax, umax <= w.umax)
        ), "unsigned")  # fmt: skip
        paths.prove(z3.Or(
            z3.And(smin == w.smin, smax == w.smax),
            z3.And(w.smin <= smin, smin <= sa * sb, sa * sb <= smax, smax <= w.smax),
        ), "signed")  # fmt: skip
    assert paths.count >= 4


def test_a_wrong_product_is_refuted() -> None:
    x, y, most = z3.Reals("x y most")
    paths = Paths(x >= 0, x <= most, y >= 0, y <= most, logic="QF_NRA")
    for limit in paths.run(lambda: Real(most) * 5):
        with pytest.raises(AssertionError, match="counterexample"):
            paths.prove(x * y <= limit.term)


_AMOUNTS = range(64) if FULL else (0, 5, 31, 32, 63)


@pytest.mark.parametrize("shift", _AMOUNTS)
@pytest.mark.parametrize("operation", [op.BPF_LSH, op.BPF_RSH, op.BPF_ARSH], ids=["lsh", "rsh", "arsh"])
@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
def test_shifts(operation: int, shift: int, is32: bool) -> None:
    Sym.bits = 136
    code = with_identity_sync()
    a = fresh_bounds(code)
    amount = code.bounds.const(shift)
    if is32 and shift > 31:
        assert code.alu.alu(operation, a, amount, is32=True) is None
        return
    x = number("x")
    z = result_of(opcode(operation, is32), x, z3.BitVecVal(shift, 64))
    paths = Paths(in_bounds(a, x))
    contract_of_by_bits(code, paths, z, is32)
    for result in paths.run(lambda: code.alu.alu(operation, a, amount, is32=is32)):
        paths.prove(in_bounds(result, z))


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
def test_negation(is32: bool) -> None:
    """0 - x, as the verifier computes it."""
    code = with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_NEG | (op.BPF_ALU if is32 else op.BPF_ALU64), x, x)
    zero = code.bounds.const(0)
    paths = Paths(in_bounds(a, x))
    contract_of_parts(code, paths, zero, a, -x)
    for result in paths.run(lambda: code.alu.alu(op.BPF_SUB, zero, a, is32=is32, table=code.alu.MUL_BY_CASES)):
        paths.prove(in_bounds(result, z))


# Casts.


def test_zero_extension() -> None:
    code = with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_MOV | op.BPF_X | op.BPF_ALU, x, x)
    paths = Paths(low_in_bounds(a, low(x)))
    for result in paths.run(lambda: code.alu.zext32(a)):
        paths.prove(in_bounds(result, z))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_truncation(size: int) -> None:
    code = with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_END | op.BPF_TO_LE | op.BPF_ALU, x, x, imm=8 * size) if size > 1 else x & 0xFF
    paths = Paths(in_bounds(a, x))
    for result in paths.run(lambda: code.alu.truncate(a, size)):
        paths.prove(in_bounds(result, z))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_sign_extension(size: int) -> None:
    code = with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_MOV | op.BPF_X | op.BPF_ALU64, x, x, off=8 * size)
    paths = Paths(in_bounds(a, x))
    contract_of_from_range(code, paths, z)
    for result in paths.run(lambda: code.alu.sign_extend(a, size)):
        paths.prove(in_bounds(result, z))


@pytest.mark.parametrize("size", [1, 2])
def test_sign_extension_of_the_low_half(size: int) -> None:
    code = with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_MOV | op.BPF_X | op.BPF_ALU, x, x, off=8 * size)
    paths = Paths(in_bounds(a, x))
    contract_of_from_range(code, paths, z3.SignExt(32, low(z)))
    for result in paths.run(lambda: code.alu.zext32(code.alu.sign_extend32(a, size))):
        paths.prove(in_bounds(result, z))


def contract_of_from_range(code: Code, paths: Paths, z: Term) -> None:
    def from_range(least: Any, most: Any) -> Any:
        paths.prove(z3.And((Sym.of(least) <= unsigned(z)).term, (unsigned(z) <= Sym.of(most)).term), "from_range")
        found, _ = fresh_tnum()
        paths.solver.add(in_tnum(found, z))
        return found

    code.tnum.from_range = from_range


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("klass", [op.BPF_ALU64, op.BPF_ALU | op.BPF_X], ids=["bswap", "be"])
def test_byte_swaps(size: int, klass: int) -> None:
    """Bits move, each to where isa/semantics.py moves it: shown bit by bit, as nothing else happens to them."""
    from bombus.verifier.bounds import ANY32, ANY64, Bounds, const
    from bombus.verifier.regs import scalar

    for bit in range(64):
        moved = bombus.verifier.alu._swapped(scalar(const(1 << bit)), size, swaps=True)
        one = z3.BitVecVal(1 << bit, 64)
        meaning = z3.simplify(result_of(op.BPF_END | klass, one, one, imm=8 * size))
        assert moved.bounds == const(meaning.as_long())
        unknown = bombus.verifier.alu._swapped(scalar(Bounds((0, 1 << bit), ANY64, ANY32)), size, swaps=True)
        assert unknown.bounds.bits == (0, meaning.as_long())


# Conditions.

JUMPS = {
    "jeq": op.BPF_JEQ, "jne": op.BPF_JNE, "jset": op.BPF_JSET, "jgt": op.BPF_JGT, "jge": op.BPF_JGE, "jlt": op.BPF_JLT,
    "jle": op.BPF_JLE, "jsgt": op.BPF_JSGT, "jsge": op.BPF_JSGE, "jslt": op.BPF_JSLT, "jsle": op.BPF_JSLE,
}  # fmt: skip


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
@pytest.mark.parametrize("name", JUMPS)
def test_conditions(name: str, is32: bool) -> None:
    """Predictions are right, and both branches keep the numbers that take them."""
    code = with_identity_sync()
    condition = JUMPS[name]
    a, b = fresh_bounds(code), fresh_bounds(code)
    x, y = number("x"), number("y")
    holds = result_of(condition | op.BPF_X | (op.BPF_JMP32 if is32 else op.BPF_JMP), x, y, off=1)
    paths = Paths(in_bounds(a, x), in_bounds(b, y))
    for said in paths.run(lambda: code.cond.taken(condition, a, b, is32=is32)):
        if said is not None:
            paths.prove(holds if said else z3.Not(holds), "prediction")
    for truth, known in ((True, condition), (False, code.cond.OPPOSITE[condition])):
        for forget in (True, False):
            paths = Paths(in_bounds(a, x), in_bounds(b, y), holds if truth else z3.Not(holds))
            learn = partial(code.cond.refine, known, a, b, is32=is32, forget_ranges=forget)
            for new_a, new_b in paths.run(learn):
                paths.prove(z3.And(in_bounds(new_a, x), in_bounds(new_b, y)), f"{name} {truth}")


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
@pytest.mark.parametrize("name", JUMPS)
def test_swapped_conditions(name: str, is32: bool) -> None:
    code = Code()
    klass = op.BPF_JMP32 if is32 else op.BPF_JMP
    x, y = number("x"), number("y")
    swapped = code.cond.SWAPPED[JUMPS[name]]
    Paths().prove(
        result_of(JUMPS[name] | op.BPF_X | klass, x, y, off=1) == result_of(swapped | op.BPF_X | klass, y, x, off=1)
    )


# Kernels before 6.8.


@pytest.mark.parametrize("bits", [8, 32, 64])
def test_early_signs(bits: int) -> None:
    code = Code()
    x, r = number("x", bits), fresh_range(bits)
    paths = Paths(in_range(r, x))
    for result in paths.run(lambda: code.early._signs(r, 1 << bits - 1)):
        paths.prove(in_range(result, x))


def test_early_sync() -> None:
    code = Code()
    x = number("x")
    c = Contract(x)

    def by_bits(b: Any) -> Any:  # proved in test_by_bits
        c.need(in_bounds(b, x))
        return code.bounds.Bounds(c.tnum(), c.range_of(64), c.range_of(32))

    def signs(r: Any, half: int) -> Any:
        c.need(in_range(r, x if half == 1 << 63 else low(x)))
        return c.range_of(64 if half == 1 << 63 else 32)

    def from_range(least: Any, most: Any) -> Any:
        calls.append(1)
        part = x if len(calls) % 2 else z3.ZeroExt(32, low(x))
        c.need((Sym.of(least) <= unsigned(part)).term, (unsigned(part) <= Sym.of(most)).term)
        found, well = fresh_tnum()
        c.paths.solver.add(well, in_tnum(found, part))
        return found

    calls: list[int] = []
    code.early.by_bits, code.early._signs, code.tnum.from_range = by_bits, signs, from_range
    bits, r64, r32 = fresh_tnum()[0], fresh_range(64), fresh_range(32)
    c.paths = Paths(in_tnum(bits, x), in_range(r64, x), in_range(r32, low(x)))
    for result in c.paths.run(lambda: code.early.sync(bits, r64, r32)):
        c.paths.prove(in_bounds(result, x))


def early_with_identity_sync() -> Code:
    code = Code()
    code.early.sync = code.bounds.Bounds
    return code


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
@pytest.mark.parametrize("name", JUMPS)
def test_early_conditions(name: str, is32: bool) -> None:
    """Both branches keep the numbers that take them."""
    code = early_with_identity_sync()
    condition = JUMPS[name]
    a, b = fresh_bounds(code), fresh_bounds(code)
    x, y = number("x"), number("y")
    holds = result_of(condition | op.BPF_X | (op.BPF_JMP32 if is32 else op.BPF_JMP), x, y, off=1)
    for truth, known in ((True, condition), (False, code.cond.OPPOSITE[condition])):
        paths = Paths(in_bounds(a, x), in_bounds(b, y), holds if truth else z3.Not(holds))
        for new_a, new_b in paths.run(partial(code.early.refine, known, a, b, is32=is32)):
            paths.prove(z3.And(in_bounds(new_a, x), in_bounds(new_b, y)), f"{name} {truth}")


@pytest.mark.parametrize("size", [1, 2, 4])
def test_early_truncation(size: int) -> None:
    code = early_with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_END | op.BPF_TO_LE | op.BPF_ALU, x, x, imm=8 * size) if size > 1 else x & 0xFF
    paths = Paths(in_bounds(a, x))
    for result in paths.run(lambda: code.early.truncate(a, size)):
        paths.prove(in_bounds(result, z))


# What the rest of the verifier does with scalars.


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
def test_a_register_compared_with_itself(is32: bool) -> None:
    """Its ranges shrink only on the branch that cannot be taken."""
    klass = op.BPF_JMP32 if is32 else op.BPF_JMP
    x = number("x")
    for condition in bombus.verifier.branch._STRICT:
        Paths().prove(z3.Not(result_of(condition | op.BPF_X | klass, x, x, off=1)))


@pytest.mark.skipif(COMPILED, reason="compiled code takes no terms")
@pytest.mark.parametrize("low_half", [0, 0xFFFFFFFF])
def test_forked_low_half(low_half: int) -> None:
    code = Code()
    a = fresh_bounds(code)
    x = number("x")
    paths = Paths(in_bounds(a, x), low(x) == low_half)
    for result in paths.run(lambda: bombus.verifier.alu._low_known(a, low_half)):
        paths.prove(in_bounds(result, x))


@pytest.mark.skipif(COMPILED, reason="compiled code takes no terms")
@pytest.mark.skipif(not FULL, reason="BOMBUS_PROOFS=1 takes the time for it")
@pytest.mark.parametrize("forward", [True, False], ids=["plus", "minus"])
def test_variable_part_of_pointers(forward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pointer plus or minus a scalar: the sum of its variable part and the scalar."""
    from bombus.verifier.regs import PTR_TO_MAP_VALUE, Reg

    code = Code()
    a, b = fresh_bounds(code), fresh_bounds(code)
    x, y = number("x"), number("y")
    z = x + y if forward else x - y
    pointer = Reg(PTR_TO_MAP_VALUE, a)
    paths = Paths(in_bounds(a, x), in_bounds(b, y))

    def tnums(p: Any, q: Any) -> Any:
        assert p is a.bits and q is b.bits
        found, _ = fresh_tnum()
        paths.solver.add(in_tnum(found, z))
        return found

    monkeypatch.setattr(bombus.verifier.alu, "tnum", SimpleNamespace(add=tnums, sub=tnums))
    for result in paths.run(lambda: bombus.verifier.alu_pointer._moved(None, pointer, b, False, forward=forward)):  # type: ignore[arg-type]
        paths.prove(in_bounds(result.bounds, z))


@pytest.mark.skipif(COMPILED, reason="compiled code takes no terms")
@pytest.mark.skipif(not FULL, reason="BOMBUS_PROOFS=1 takes the time for it")
def test_single_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """`env.single`: what it says of a scalar with one value left (tnum.after is proved apart)."""
    from bombus.verifier import env
    from bombus.verifier.regs import SCALAR_VALUE, Reg

    code = Code()
    a = fresh_bounds(code)
    x = number("x")
    paths = Paths(in_bounds(a, x))

    def after(value: Any, mask: Any, above: Any) -> Any:
        found = unsigned(number("after"))
        top = value | mask
        # A member; the next above when there is one, the greatest otherwise.
        paths.solver.add(
            ((found ^ value) & ~mask == 0).term,
            z3.Implies((Sym.of(above) < top).term, (found > above).term),
            z3.Implies((Sym.of(above) >= top).term, (found == top).term),
            z3.Implies((unsigned(x) > above).term, (unsigned(x) >= found).term),
        )
        return found

    monkeypatch.setattr(env, "tnum", SimpleNamespace(after=after))
    monkeypatch.setattr(env, "const", code.bounds.const)
    for result in paths.run(lambda: env.single(Reg(SCALAR_VALUE, a))):
        paths.prove(in_bounds(result.bounds, x))


def test_meanings_agree_with_holds() -> None:
    """`Bounds.holds`, which the run-time soundness tests use, is the meaning that is proved about."""
    code = Code()
    a = fresh_bounds(code)
    x = number("x")
    value, mask = a.bits
    paths = Paths((value & mask == 0).term)
    for said in paths.run(lambda: a.holds(unsigned(x))):
        paths.prove(in_bounds(a, x) if said else z3.Not(in_bounds(a, x)))
    assert signed(x).hi == (1 << 63) - 1
