"""Every operation on tnums is sound: at 64 bits for all inputs with z3, multiplication exhaustively at 8."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

z3 = pytest.importorskip("z3")

from meaning import fresh_tnum, in_tnum, low, number, unsigned  # noqa: E402
from symbolic import Code, Paths, Sym, Term  # noqa: E402

CODE = Code()
T = CODE.tnum
FULL = bool(os.environ.get("BOMBUS_PROOFS"))


BINARY = {
    "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "and_": lambda x, y: x & y, "or_": lambda x, y: x | y,
    "xor": lambda x, y: x ^ y,
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    a, _ = fresh_tnum()
    b, _ = fresh_tnum()
    x, y = number("x"), number("y")
    paths = Paths(in_tnum(a, x), in_tnum(b, y))
    for result in paths.run(lambda: getattr(T, name)(a, b)):
        paths.prove(in_tnum(result, BINARY[name](x, y)), name)


def test_a_wrong_function_is_refuted() -> None:
    a, _ = fresh_tnum()
    b, _ = fresh_tnum()
    x, y = number("x"), number("y")
    paths = Paths(in_tnum(a, x), in_tnum(b, y))
    with pytest.raises(AssertionError, match="counterexample"):
        for result in paths.run(lambda: T.or_(a, b)):
            paths.prove(in_tnum(result, x + y), "or is not a sum")


UNARY = {
    "neg": (lambda a: T.neg(a), lambda x: -x),
    "low 1": (lambda a: T.low(a, 1), lambda x: x & 0xFF),
    "low 2": (lambda a: T.low(a, 2), lambda x: x & 0xFFFF),
    "low 4": (lambda a: T.low(a, 4), lambda x: x & 0xFFFFFFFF),
}


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    function, meaning = UNARY[name]
    a, _ = fresh_tnum()
    x = number("x")
    paths = Paths(in_tnum(a, x))
    for result in paths.run(lambda: function(a)):
        paths.prove(in_tnum(result, meaning(x)), name)


@pytest.mark.parametrize("shift", range(64) if FULL else (0, 1, 7, 31, 32, 33, 63))
def test_shifts(shift: int) -> None:
    Sym.bits = 136
    a, _ = fresh_tnum()
    x = number("x")
    paths = Paths(in_tnum(a, x))
    amount = z3.BitVecVal(shift, 64)
    for result in paths.run(lambda: T.shl(a, shift)):
        paths.prove(in_tnum(result, x << amount), "shl")
    for result in paths.run(lambda: T.shr(a, shift)):
        paths.prove(in_tnum(result, z3.LShR(x, amount)), "shr")
    for result in paths.run(lambda: T.sar(a, shift)):
        paths.prove(in_tnum(result, x >> amount), "sar")
    if shift < 32:
        for result in paths.run(lambda: T.sar32(a, shift)):
            shifted = z3.ZeroExt(32, low(x) >> z3.BitVecVal(shift, 32))
            paths.prove(in_tnum(result, shifted), "sar32")


def test_intersect_either_with_low32() -> None:
    a, well_a = fresh_tnum()
    b, well_b = fresh_tnum()
    x, y = number("x"), number("y")
    paths = Paths(in_tnum(a, x), in_tnum(b, x))
    for result in paths.run(lambda: T.intersect(a, b)):
        paths.prove(in_tnum(result, x), "intersect")
    paths = Paths(well_a, well_b, z3.Or(in_tnum(a, x), in_tnum(b, x)))
    for result in paths.run(lambda: T.either(a, b)):
        paths.prove(in_tnum(result, x), "either")
    paths = Paths(in_tnum(a, x), in_tnum(b, y))
    mixed = z3.Concat(z3.Extract(63, 32, x), low(y))
    for result in paths.run(lambda: T.with_low32(a, b)):
        paths.prove(in_tnum(result, mixed), "with_low32")


def test_from_range() -> None:
    Sym.bits = 136
    x, low_, high = number("x"), number("low"), number("high")
    paths = Paths(z3.ULE(low_, x), z3.ULE(x, high))
    for result in paths.run(lambda: T.from_range(unsigned(low_), unsigned(high))):
        paths.prove(in_tnum(result, x), "from_range")


def test_relations() -> None:
    a, well_a = fresh_tnum()
    b, _ = fresh_tnum()
    x = number("x")
    paths = Paths(in_tnum(a, x), in_tnum(b, x))
    for said in paths.run(lambda: bool(T.overlap(a, b))):
        paths.prove(z3.BoolVal(said), "numbers in both: they overlap")
    paths = Paths(well_a, in_tnum(b, x))
    for said in paths.run(lambda: bool(T.contains(a, b))):
        if said:
            paths.prove(in_tnum(a, x), "contains")


def tnums(bits: int) -> list[tuple[int, int]]:
    return [(v, m) for m in range(1 << bits) for v in range(1 << bits) if not v & m]


def members(t: tuple[int, int]) -> Iterator[int]:
    """value | each subset of mask."""
    part = 0
    while True:
        yield t[0] | part
        part = (part - t[1]) & t[1]
        if not part:
            return


def narrow(bits: int) -> Any:
    """The module at a smaller width: its one constant for the width is another."""
    code = Code()
    code.tnum.U64 = (1 << bits) - 1
    return code.tnum


_PARTS = 27 if FULL else 1  # of the first factors, so that none takes long


@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("name", ["mul", "mul_by_cases"])
def test_products_of_all_tnums(name: str, part: int) -> None:
    """Every pair of tnums, and every number of each."""
    np = pytest.importorskip("numpy")
    bits = 8 if FULL else 5
    function = getattr(narrow(bits), name)
    every = tnums(bits)
    top = (1 << bits) - 1
    pairs = [(at, y) for at, b in enumerate(every) for y in members(b)]
    of, ys = np.array([at for at, _ in pairs]), np.array([y for _, y in pairs], np.uint16)
    for a in every[part::_PARTS]:
        products = np.array([function(a, b) for b in every], np.uint16)
        values, masks = products.T
        assert not (values & masks).any() and not ((values | masks) & ~np.uint16(top)).any()
        wanted, known = values[of], np.uint16(top) & ~masks[of]
        for x in members(a):
            wrong = np.flatnonzero(np.uint16(x) * ys & known != wanted)
            assert not len(wrong), (a, every[of[wrong[0]]], x, ys[wrong[0]])


@pytest.mark.parametrize("name", ["mul", "mul_by_cases"])
def test_products_at_64_bits(name: str) -> None:
    function = getattr(T, name)
    rng = random.Random(1)

    def word() -> int:
        return rng.getrandbits(64) & rng.getrandbits(64) >> rng.choice((0, 0, 20, 50))

    for _ in range(20_000 if FULL else 2000):
        masks = word(), word()
        a, b = (word() & ~masks[0], masks[0]), (word() & ~masks[1], masks[1])
        value, mask = function(a, b)
        for _ in range(4):
            x, y = a[0] | word() & a[1], b[0] | word() & b[1]
            assert x * y & ~mask & (1 << 64) - 1 == value


def test_after_of_all_tnums() -> None:
    """The next number of a tnum, at 6 bits."""
    bits = 6
    after = narrow(bits).after
    for t in tnums(bits):
        inside = sorted(members(t))
        for n in range(1 << bits):
            above = [x for x in inside if x > n]
            assert after(*t, n) == (above[0] if above else inside[-1]), (t, n)


def test_single_bits_are_bits() -> None:
    """z3's reading agrees with Python's on concrete numbers: operators of `Sym`, one by one."""
    rng = random.Random(2)
    for _ in range(300):
        p, q, n = rng.randint(-(1 << 60), 1 << 60), rng.randint(-(1 << 60), 1 << 60), rng.randint(0, 7)
        a, b = Sym.of(p), Sym.of(q)
        pairs: list[tuple[Any, int]] = [
            (a + b, p + q), (a - b, p - q), (a & b, p & q), (a | b, p | q), (a ^ b, p ^ q), (~a, ~p), (-a, -p),
            (a >> n, p >> n), (a << n, p << n), (Sym.of(abs(p)).bit_length(), abs(p).bit_length()), (3 - a, 3 - p),
        ]  # fmt: skip
        for sym, expected in pairs:
            assert sym.lo <= expected <= sym.hi
            term: Term = z3.simplify(sym.term)
            assert term.as_signed_long() == expected
        assert z3.is_true(z3.simplify((a < b).term)) == (p < q)
