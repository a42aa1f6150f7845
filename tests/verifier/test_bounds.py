"""Soundness by sampling: whatever concrete numbers do, the bounds of the result hold them.

(The proofs over all inputs are in test_bounds_proofs.py.)
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bombus.bits import U32, U64, s8, s16, s32, s64
from bombus.isa import opcodes as op
from bombus.verifier import bounds_alu, bounds_cond, tnum
from bombus.verifier.bounds import ANY, ANY32, ANY64, Bounds, const, from_bits, sync, violation

EDGES = [0, 1, 2, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, U32, 1 << 32]
EDGES += [U64 - e for e in EDGES] + [(1 << 63) - 1, 1 << 63]
numbers = st.one_of(st.sampled_from(EDGES), st.integers(0, U64), st.integers(0, U32), st.integers(0, 300))


@st.composite
def known(draw: st.DrawFn) -> tuple[Bounds, int]:
    """Bounds and one number that they hold."""
    number = draw(numbers)
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return const(number), number
    mask = draw(numbers) if kind != 1 else U64
    r64, r32 = ANY64, ANY32
    if kind >= 2:
        other, third = draw(numbers), draw(numbers)
        low, high = min(number, other), max(number, other)
        slow, shigh = min(s64(number), s64(third)), max(s64(number), s64(third))
        r64 = (low, high, slow, shigh)
    if kind >= 3:
        n32, other, third = number & U32, draw(numbers) & U32, draw(numbers) & U32
        r32 = (min(n32, other), max(n32, other), min(s32(n32), s32(third)), max(s32(n32), s32(third)))
    return sync((number & ~mask & U64, mask), r64, r32), number


@given(known())
def test_sync_keeps_the_number_and_is_consistent(pair: tuple[Bounds, int]) -> None:
    bounds, number = pair
    assert bounds.holds(number)
    assert violation(bounds) == ""
    assert sync(bounds.bits, bounds.r64, bounds.r32).holds(number)


CONCRETE: dict[int, Callable[[int, int, int], int]] = {
    op.BPF_ADD: lambda a, b, w: a + b,
    op.BPF_SUB: lambda a, b, w: a - b,
    op.BPF_MUL: lambda a, b, w: a * b,
    op.BPF_AND: lambda a, b, w: a & b,
    op.BPF_OR: lambda a, b, w: a | b,
    op.BPF_XOR: lambda a, b, w: a ^ b,
    op.BPF_LSH: lambda a, b, w: a << (b & w - 1),
    op.BPF_RSH: lambda a, b, w: a >> (b & w - 1),
    op.BPF_ARSH: lambda a, b, w: (s32(a) if w == 32 else s64(a)) >> (b & w - 1),
}


@pytest.mark.parametrize("operation", CONCRETE)
@pytest.mark.parametrize("is32", [False, True])
@pytest.mark.parametrize("table", [bounds_alu.UNSIGNED_MUL, bounds_alu.SIGNED_MUL])
@settings(max_examples=150, deadline=None)
@given(a=known(), b=known())
def test_alu_is_sound(operation: int, is32: bool, table: dict, a: tuple[Bounds, int], b: tuple[Bounds, int]) -> None:
    if operation in (op.BPF_LSH, op.BPF_RSH, op.BPF_ARSH):
        amount = b[1] % (32 if is32 else 64)
        b = const(amount), amount
    result = bounds_alu.alu(operation, a[0], b[0], is32=is32, table=table)
    assert result is not None
    width = 32 if is32 else 64
    keep = U32 if is32 else U64
    number = CONCRETE[operation](a[1] & keep, b[1] & keep, width) & keep
    assert result.holds(number), (result, hex(number))
    if a[0].is_const and b[0].is_const:
        assert result == const(number)


@settings(max_examples=400, deadline=None)
@given(a=known(), size=st.sampled_from([1, 2, 4]))
def test_extensions_are_sound(a: tuple[Bounds, int], size: int) -> None:
    bounds, number = a
    low = number & (1 << size * 8) - 1
    signed = {1: s8, 2: s16, 4: s32}[size](low)
    assert bounds_alu.truncate(bounds, size).holds(low)
    assert bounds_alu.sign_extend(bounds, size).holds(signed & U64)
    if size < 4:
        result = bounds_alu.zext32(bounds_alu.sign_extend32(bounds, size))
        assert sync(result.bits, result.r64, result.r32).holds(signed & U32)


HOLDS: dict[int, Callable[[int, int, Callable[[int], int]], bool]] = {
    op.BPF_JEQ: lambda a, b, s: a == b,
    op.BPF_JNE: lambda a, b, s: a != b,
    op.BPF_JSET: lambda a, b, s: a & b != 0,
    op.BPF_JGT: lambda a, b, s: a > b,
    op.BPF_JGE: lambda a, b, s: a >= b,
    op.BPF_JLT: lambda a, b, s: a < b,
    op.BPF_JLE: lambda a, b, s: a <= b,
    op.BPF_JSGT: lambda a, b, s: s(a) > s(b),
    op.BPF_JSGE: lambda a, b, s: s(a) >= s(b),
    op.BPF_JSLT: lambda a, b, s: s(a) < s(b),
    op.BPF_JSLE: lambda a, b, s: s(a) <= s(b),
}


@pytest.mark.parametrize("condition", HOLDS)
@pytest.mark.parametrize("is32", [False, True])
@settings(max_examples=200, deadline=None)
@given(a=known(), b=known(), same=st.booleans())
def test_conditions_are_sound(
    condition: int, is32: bool, a: tuple[Bounds, int], b: tuple[Bounds, int], same: bool
) -> None:
    (bounds_a, x), (bounds_b, y) = a, b
    if same:  # equal numbers are rare by chance
        assume(bounds_b.holds(x))
        y = x
    keep = U32 if is32 else U64
    truth = HOLDS[condition](x & keep, y & keep, s32 if is32 else s64)
    said = bounds_cond.taken(condition, bounds_a, bounds_b, is32=is32)
    assert said is None or said == truth
    known_condition = condition if truth else bounds_cond.OPPOSITE[condition]
    for forget in (True, False):
        new_a, new_b = bounds_cond.refine(known_condition, bounds_a, bounds_b, is32=is32, forget_ranges=forget)
        assert new_a.holds(x) and new_b.holds(y)
        assert violation(new_a) == "" and violation(new_b) == ""


@settings(max_examples=300, deadline=None)
@given(numbers, numbers, numbers, numbers)
@example(0, 0, U64, U64)
def test_tnum_relations(value: int, mask: int, value2: int, mask2: int) -> None:
    a, b = (value & ~mask & U64, mask), (value2 & ~mask2 & U64, mask2)
    if tnum.contains(a, b):
        assert tnum.overlap(a, b) and tnum.contains(a, (b[0] | b[1], 0))
    both = (value & ~mask | value2 & mask) & U64
    assert tnum.contains(a, (both, 0))
    if tnum.contains(b, (both, 0)):
        assert tnum.overlap(a, b) and tnum.contains(tnum.intersect(a, b), (both, 0))
    assert tnum.contains(tnum.from_range(min(value, value2), max(value, value2)), (value, 0))


def test_known_forms() -> None:
    assert ANY.is_unknown and not const(5).is_unknown
    assert from_bits((0x8000_0000_0000_0000, 0xF)).r64 == (1 << 63, (1 << 63) + 15, -(1 << 63), -(1 << 63) + 15)
    half = sync(tnum.UNKNOWN, (0, 10, -(1 << 63), (1 << 63) - 1), ANY32)
    assert half.bits == (0, 15) and half.r64 == (0, 10, 0, 10) and half.r32 == (0, 10, 0, 10)
    assert violation(Bounds((5, 0), (4, 5, 5, 5), (5, 5, 5, 5))) == "const tnum out of sync with range bounds"
    assert violation(Bounds((0, U64), (4, 3, 5, 5), (5, 5, 5, 5))) == "range bounds violation"
