"""The algebra of Python source: every operation against plain ints, for values with any bounds."""

from __future__ import annotations

import random

import pytest

from bombus.isa.ints import INTS
from bombus.isa.sample import number
from bombus.vm.source import SOURCE, Value, clean, constant, signed

NAMES = {"sdiv": INTS.sdiv, "srem": INTS.srem, "swap": int.from_bytes}
BINARY = ["add", "sub", "mul", "udiv", "urem", "sdiv", "srem", "and_", "or_", "xor", "shl", "lshr", "ashr"]
RELATIONS = ["eq", "ne", "ugt", "uge", "ult", "ule", "sgt", "sge", "slt", "sle"]


def draw(rng: random.Random, name: str, bits: int) -> tuple[Value, int]:
    """A value and the number that its text has: any representative modulo 2**bits, inside the bounds."""
    actual = number(rng, rng.choice((8, 16, 32, bits, bits + 1, bits + 3)))
    kind = rng.randrange(4)
    if kind == 0:
        return constant(actual), actual
    if kind == 1:
        actual &= (1 << bits) - 1
        return Value(name, 0, (1 << bits) - 1), actual
    below, above = (abs(number(rng, rng.choice((4, 16, bits)))) for _ in range(2))
    return Value(name, actual - below, actual + above), actual


def check(result: Value, expected: int, names: dict[str, int], bits: int) -> None:
    actual = eval(result.text, {**NAMES, **names})
    assert result.lo <= actual <= result.hi, result
    assert actual & ((1 << bits) - 1) == expected, result


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("operation", BINARY)
def test_binary(operation: str, bits: int) -> None:
    rng = random.Random(f"{operation}{bits}")
    mask, most_negative = (1 << bits) - 1, 1 << (bits - 1)
    for _ in range(3000):
        a, x = draw(rng, "a", bits)
        b, y = draw(rng, "b", bits)
        if operation in ("shl", "lshr", "ashr"):
            y = rng.randrange(bits)
            b = rng.choice((constant(y), Value("b", 0, bits - 1)))
        if operation in ("udiv", "urem", "sdiv", "srem"):
            if y & mask == 0 or (x & mask == most_negative and y & mask == mask):
                continue
            y &= mask
            b = constant(y) if b.known else Value("b", 0, mask)
        expected = getattr(INTS, operation)(x & mask, y & mask, bits)
        check(getattr(SOURCE, operation)(a, b, bits), expected, {"a": x, "b": y}, bits)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_unary(bits: int) -> None:
    rng = random.Random(bits)
    mask = (1 << bits) - 1
    for _ in range(3000):
        a, x = draw(rng, "a", bits)
        names = {"a": x}
        check(SOURCE.neg(a, bits), -x & mask, names, bits)
        check(SOURCE.bswap(a, bits), INTS.bswap(x & mask, bits), names, bits)
        check(clean(a, bits), x & mask, names, bits)
        check(signed(a, bits), x & mask, names, bits)
        assert clean(a, bits).lo >= 0 and clean(a, bits).hi <= mask
        for low in (8, 16, 32):
            if low < bits:
                check(SOURCE.sext(a, low, bits), INTS.sext(x & ((1 << low) - 1), low, bits), names, bits)
                check(SOURCE.zext(a, low, bits), x & ((1 << low) - 1), names, bits)
                check(SOURCE.trunc(a, bits, low), x & ((1 << low) - 1), names, low)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("relation", RELATIONS)
def test_comparisons(relation: str, bits: int) -> None:
    rng = random.Random(f"{relation}{bits}")
    mask = (1 << bits) - 1
    seen = set()
    for _ in range(2000):
        a, x = draw(rng, "a", bits)
        b, y = draw(rng, "b", bits) if rng.random() < 0.8 else (Value("b", a.lo, a.hi), x)
        truth = SOURCE.compare(relation, a, b, bits)
        expected = INTS.compare(relation, x & mask, y & mask, bits)
        assert eval(truth.text, {"a": x, "b": y}) is expected, truth
        assert eval(truth.opposite, {"a": x, "b": y}) is not expected
        chosen = SOURCE.select(truth, constant(3), a, bits)
        check(chosen, 3 if expected else x & mask, {"a": x, "b": y}, bits)
        seen.add(expected)
    assert seen == {False, True}


def test_masks_that_are_not_needed_are_not_there() -> None:
    byte = Value("a", 0, 255)
    assert clean(SOURCE.add(byte, constant(5), 64), 64).text == "(a + 5)"
    assert clean(SOURCE.mul(byte, byte, 32), 32).text == "(a * a)"
    assert SOURCE.and_(byte, constant(0xFFFF), 64) == byte
    assert signed(byte, 16) == byte
    assert SOURCE.add(Value("fp", 0, (1 << 64) - 1, 0), constant((1 << 64) - 8), 64)[::3] == ("(fp - 8)", -8)
