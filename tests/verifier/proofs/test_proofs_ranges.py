"""The views of a number sharpen each other, and ranges are added and multiplied, soundly: at 64 bits unless a test says
otherwise. How this is proved is said in `symbolic` and `contracts`.

BOMBUS_PROOFS=1 proves what takes minutes, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

z3 = pytest.importorskip("z3")

from contracts import Contract, fresh_bounds  # noqa: E402
from meaning import fresh_range, fresh_tnum, in_bounds, in_range, in_tnum, low, number, signed, unsigned  # noqa: E402
from symbolic import Code, Paths, Real, Sym, Term  # noqa: E402

FULL = bool(os.environ.get("BOMBUS_PROOFS"))


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


# Sums and products of ranges.


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


# The meaning.


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
