"""Conditions on `Bounds`: whether a branch can be predicted, and what each outcome teaches.

Conditions are named by the BPF_OP part of the jump's opcode. The opposite of BPF_JSET has no opcode; it is NOT_SET.
Results equal Linux 6.12 kernel/bpf/verifier.c: is_scalar_branch_taken and regs_refine_cond_op.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bombus.bits import U32, U64, is_power_of_two, s32, s64
from bombus.isa import opcodes as op
from bombus.verifier import tnum
from bombus.verifier.bounds import ANY32, ANY64, Bounds, Range, sync

NOT_SET: Final = op.BPF_JSET | 8

# "a OP b" is "b SWAPPED[OP] a"
SWAPPED: Final = {
    op.BPF_JEQ: op.BPF_JEQ,
    op.BPF_JNE: op.BPF_JNE,
    op.BPF_JSET: op.BPF_JSET,
    op.BPF_JGE: op.BPF_JLE,
    op.BPF_JGT: op.BPF_JLT,
    op.BPF_JLE: op.BPF_JGE,
    op.BPF_JLT: op.BPF_JGT,
    op.BPF_JSGE: op.BPF_JSLE,
    op.BPF_JSGT: op.BPF_JSLT,
    op.BPF_JSLE: op.BPF_JSGE,
    op.BPF_JSLT: op.BPF_JSGT,
}

# "not a OP b" is "a OPPOSITE[OP] b"
OPPOSITE: Final = {
    op.BPF_JEQ: op.BPF_JNE,
    op.BPF_JNE: op.BPF_JEQ,
    op.BPF_JSET: NOT_SET,
    NOT_SET: op.BPF_JSET,
    op.BPF_JGE: op.BPF_JLT,
    op.BPF_JGT: op.BPF_JLE,
    op.BPF_JLE: op.BPF_JGT,
    op.BPF_JLT: op.BPF_JGE,
    op.BPF_JSGE: op.BPF_JSLT,
    op.BPF_JSGT: op.BPF_JSLE,
    op.BPF_JSLE: op.BPF_JSGT,
    op.BPF_JSLT: op.BPF_JSGE,
}

# Ordered comparisons: (index of the lower limit in a Range, true when greater, false when ... or equal)
_ORDERED: Final = {
    op.BPF_JGT: (0, True, True),
    op.BPF_JGE: (0, True, False),
    op.BPF_JLT: (0, False, True),
    op.BPF_JLE: (0, False, False),
    op.BPF_JSGT: (2, True, True),
    op.BPF_JSGE: (2, True, False),
    op.BPF_JSLT: (2, False, True),
    op.BPF_JSLE: (2, False, False),
}


def is_const(b: Bounds, is32: bool) -> bool:
    return b.is_const32 if is32 else b.is_const


def const_value(b: Bounds, is32: bool) -> int:
    return b.bits[0] & U32 if is32 else b.bits[0]


def _apart(a: Range, b: Range) -> bool:
    return a[0] > b[1] or a[1] < b[0] or a[2] > b[3] or a[3] < b[2]


def _equal(a: Bounds, b: Bounds, is32: bool) -> bool | None:
    bits_a, bits_b = (tnum.low(a.bits, 4), tnum.low(b.bits, 4)) if is32 else (a.bits, b.bits)
    if bits_a[1] == 0 and bits_b[1] == 0:
        return bits_a[0] == bits_b[0]
    if not tnum.overlap(bits_a, bits_b) or _apart(a.r32, b.r32):
        return False
    if not is32 and _apart(a.r64, b.r64):
        return False
    return None


def taken(condition: int, a: Bounds, b: Bounds, *, is32: bool) -> bool | None:
    """Whether `a condition b` always holds (True), never does (False), or may (None)."""
    if condition == op.BPF_JEQ:
        return _equal(a, b, is32)
    if condition == op.BPF_JNE:
        equal = _equal(a, b, is32)
        return None if equal is None else not equal
    if condition == op.BPF_JSET:
        if not is_const(b, is32):
            a, b = b, a
        if not is_const(b, is32):
            return None
        tested = const_value(b, is32)
        if a.bits[0] & ~a.bits[1] & tested:
            return True
        if (a.bits[0] | a.bits[1]) & tested == 0:
            return False
        return None
    at, greater, strict = _ORDERED[condition]
    range_a, range_b = (a.r32, b.r32) if is32 else (a.r64, b.r64)
    if not greater:
        range_a, range_b = range_b, range_a
    low_a, high_a, low_b, high_b = range_a[at], range_a[at + 1], range_b[at], range_b[at + 1]
    if strict:
        return True if low_a > high_b else False if high_a <= low_b else None
    return True if low_a >= high_b else False if high_a < low_b else None


def _meet(a: Range, b: Range) -> Range:
    return max(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), min(a[3], b[3])


def _without(r: Range, number: int, signed: int) -> Range:
    """A range whose limits are not `number`."""
    umin, umax, smin, smax = r
    return umin + (umin == number), umax - (umax == number), smin + (smin == signed), smax - (smax == signed)


def _refine_equal(a: Bounds, b: Bounds, is32: bool) -> tuple[Bounds, Bounds]:
    if is32:
        r32 = _meet(a.r32, b.r32)
        low = tnum.intersect(tnum.low(a.bits, 4), tnum.low(b.bits, 4))
        return (
            Bounds(tnum.with_low32(a.bits, low), a.r64, r32),
            Bounds(tnum.with_low32(b.bits, low), b.r64, r32),
        )
    r64 = _meet(a.r64, b.r64)
    bits = tnum.intersect(a.bits, b.bits)
    return Bounds(bits, r64, a.r32), Bounds(bits, r64, b.r32)


def _refine_by_const(
    a: Bounds, b: Bounds, is32: bool, learn: Callable[[Bounds, int, bool], Bounds]
) -> tuple[Bounds, Bounds]:
    """Conditions that teach something about one side when the other is known."""
    if is_const(b, is32):
        return learn(a, const_value(b, is32), is32), b
    if is_const(a, is32):
        return a, learn(b, const_value(a, is32), is32)
    return a, b


def _not_equal(a: Bounds, number: int, is32: bool) -> Bounds:
    if is32:
        return Bounds(a.bits, a.r64, _without(a.r32, number, s32(number)))
    return Bounds(a.bits, _without(a.r64, number, s64(number)), a.r32)


def _some_set(a: Bounds, number: int, is32: bool) -> Bounds:
    if not is_power_of_two(number):  # which of several bits is set stays unknown
        return a
    return Bounds(tnum.or_(a.bits, (number, 0)), a.r64, a.r32)


def _none_set(a: Bounds, number: int, is32: bool) -> Bounds:
    # The ranges are forgotten first: on a dead branch they would contradict the bits.
    keep = ~number & U64
    return Bounds((a.bits[0] & keep, a.bits[1] & keep), ANY64, ANY32)


def _none_set_keeping_ranges(a: Bounds, number: int, is32: bool) -> Bounds:
    keep = ~number & U64
    return Bounds((a.bits[0] & keep, a.bits[1] & keep), a.r64, a.r32)


def _refine_less(a: Bounds, b: Bounds, is32: bool, at: int, strict: int, top: int) -> tuple[Bounds, Bounds]:
    """a < b (strict = 1) or a <= b (strict = 0) for the limits at `at`. `top` wraps unsigned limits."""
    range_a, range_b = (a.r32, b.r32) if is32 else (a.r64, b.r64)
    high = range_b[at + 1] - strict
    low = range_a[at] + strict
    if at == 0:
        high &= top
        low &= top
        new_a = (range_a[0], min(range_a[1], high), range_a[2], range_a[3])
        new_b = (max(range_b[0], low), range_b[1], range_b[2], range_b[3])
    else:
        new_a = (range_a[0], range_a[1], range_a[2], min(range_a[3], high))
        new_b = (range_b[0], range_b[1], max(range_b[2], low), range_b[3])
    if is32:
        return Bounds(a.bits, a.r64, new_a), Bounds(b.bits, b.r64, new_b)
    return Bounds(a.bits, new_a, a.r32), Bounds(b.bits, new_b, b.r32)


def refine(condition: int, a: Bounds, b: Bounds, *, is32: bool, forget_ranges: bool = True) -> tuple[Bounds, Bounds]:
    """What is known of a and b once `a condition b` is known to hold.

    The views of a result may contradict each other (see `bounds.violation`) when the condition can in truth not
    hold. `forget_ranges` is what kernels with the fix for dead NOT_SET branches do.
    """
    if condition == op.BPF_JEQ:
        a, b = _refine_equal(a, b, is32)
    elif condition == op.BPF_JNE:
        a, b = _refine_by_const(a, b, is32, _not_equal)
    elif condition == op.BPF_JSET:
        a, b = _refine_by_const(a, b, is32, _some_set)
    elif condition == NOT_SET:
        a, b = _refine_by_const(a, b, is32, _none_set if forget_ranges else _none_set_keeping_ranges)
    else:
        at, greater, strict = _ORDERED[condition]
        top = U32 if is32 else U64
        if greater:
            b, a = _refine_less(b, a, is32, at, int(strict), top)
        else:
            a, b = _refine_less(a, b, is32, at, int(strict), top)
    return sync(a.bits, a.r64, a.r32), sync(b.bits, b.r64, b.r32)
