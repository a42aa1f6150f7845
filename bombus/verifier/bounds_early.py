"""How kernels before 6.8 let the views of a number sharpen each other, and what their conditions teach.

The halves of a number learn from its bits only, and a 32-bit condition forgets the 64-bit ranges (Linux 6.1
kernel/bpf/verifier.c: reg_bounds_sync, reg_set_min_max, __reg_combine_32_into_64, __reg_combine_64_into_32).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from bombus.bits import U32, U64, is_power_of_two
from bombus.isa import opcodes as op
from bombus.verifier import tnum
from bombus.verifier.bounds import (
    ANY32,
    ANY64,
    S32_MAX,
    S32_MIN,
    Bounds,
    Range,
    by_bits,
    const,
)
from bombus.verifier.bounds_cond import NOT_SET, SWAPPED
from bombus.verifier.tnum import Tnum

# Ordered comparisons with a number: (which limit of a Range they move, by how much it is off)
_LIMITS: Final = {
    op.BPF_JGE: (0, 0), op.BPF_JGT: (0, 1), op.BPF_JLE: (1, 0), op.BPF_JLT: (1, -1),
    op.BPF_JSGE: (2, 0), op.BPF_JSGT: (2, 1), op.BPF_JSLE: (3, 0), op.BPF_JSLT: (3, -1),
}  # fmt: skip


def _signs(r: Range, half: int) -> Range:
    """The signed and the unsigned range of one width; `half` is 1 << (width - 1)."""
    umin, umax, smin, smax = r
    whole = 2 * half
    if smin >= 0 or smax < 0:
        umin, umax = max(smin & whole - 1, umin), min(smax & whole - 1, umax)
    elif umax < half:
        umax = min(smax, umax)
    elif umin >= half:
        umin = max(smin & whole - 1, umin)
    else:
        return r
    return umin, umax, umin - whole if umin >= half else umin, umax - whole if umax >= half else umax


@lru_cache(maxsize=1 << 12)
def sync(bits: Tnum, r64: Range, r32: Range) -> Bounds:
    """As `bounds.sync`, with one round of deduction in which the widths do not learn from each other's ranges."""
    b = by_bits(Bounds(bits, r64, r32))
    r64, r32 = _signs(b.r64, 1 << 63), _signs(b.r32, 1 << 31)
    bits = tnum.intersect(bits, tnum.from_range(r64[0], r64[1]))
    low = tnum.intersect(tnum.low(bits, 4), tnum.from_range(r32[0], r32[1]))
    return by_bits(Bounds(tnum.with_low32(bits, low), r64, r32))


def _limited(r: Range, condition: int, number: int, half: int) -> Range:
    """A range of which the members are in an ordered relation to a number (given modulo 2 * half)."""
    at, distance = _LIMITS[condition]
    whole = 2 * half
    limit = number + distance & whole - 1
    if at > 1 and limit >= half:
        limit -= whole
    new = list(r)
    new[at] = min(r[at], limit) if at & 1 else max(r[at], limit)
    return new[0], new[1], new[2], new[3]


def _learned(condition: int, a: Bounds, number: int, is32: bool) -> Bounds:
    """What is known of a once `a condition number` holds, unsynced."""
    bits, r64, r32 = a.bits, a.r64, a.r32
    low = number & U32
    if condition == op.BPF_JEQ:
        if not is32:
            return const(number)
        return Bounds(tnum.with_low32(bits, (low, 0)), r64, const(low).r32)
    if condition == op.BPF_JSET:
        tested = low if is32 else number
        return Bounds(tnum.or_(bits, (tested, 0)), r64, r32) if is_power_of_two(tested) else a
    if condition == NOT_SET:
        keep = ~(low if is32 else number) & U64
        return Bounds((bits[0] & keep, bits[1] & keep), ANY64, ANY32)
    if condition == op.BPF_JNE:
        return a
    if is32:
        return Bounds(bits, r64, _limited(r32, condition, low, 1 << 31))
    return Bounds(bits, _limited(r64, condition, number, 1 << 63), r32)


def _combined(b: Bounds, is32: bool) -> Bounds:
    """After a condition of one width, the ranges of the other are made anew from it."""
    umin, umax, smin, smax = b.r32 if is32 else b.r64
    if is32:
        r64 = ANY64
        if (b.bits[0] | b.bits[1]) >> 32 == 0:
            r64 = (umin, umax, smin, smax) if smin >= 0 and smax >= 0 else (umin, umax, 0, U32)
        return sync(b.bits, r64, b.r32)
    r32 = ANY32
    if S32_MIN <= smin <= S32_MAX and S32_MIN <= smax <= S32_MAX:
        r32 = (*r32[:2], smin, smax)
    if umin <= U32 and umax <= U32:
        r32 = (umin, umax, *r32[2:])
    return sync(b.bits, b.r64, r32)


def refine(condition: int, a: Bounds, b: Bounds, *, is32: bool) -> tuple[Bounds, Bounds]:
    """What is known of a and b once `a condition b` is known to hold: nothing new when neither is a constant."""
    if b.is_const or (is32 and b.is_const32):
        return _combined(_learned(condition, a, b.bits[0], is32), is32), b
    if a.is_const or (is32 and a.is_const32):
        return a, _combined(_learned(SWAPPED.get(condition, condition), b, a.bits[0], is32), is32)
    if condition == op.BPF_JEQ and not is32:
        x, y = a.r64, b.r64
        r64 = max(x[0], y[0]), min(x[1], y[1]), max(x[2], y[2]), min(x[3], y[3])
        bits = tnum.intersect(a.bits, b.bits)
        return sync(bits, r64, a.r32), sync(bits, r64, b.r32)
    return a, b


def truncate(b: Bounds, size: int) -> Bounds:
    """The low `size` bytes (1, 2 or 4), zero-extended (Linux: coerce_reg_to_size)."""
    keep = (1 << size * 8) - 1
    umin, umax = b.r64[0], b.r64[1]
    umin, umax = (umin & keep, umax & keep) if umin & ~keep == umax & ~keep else (0, keep)
    cut = Bounds(tnum.low(b.bits, size), (umin, umax, umin, umax), b.r32)
    return cut if size == 4 else _combined(cut, False)

