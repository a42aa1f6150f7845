"""What is known of one scalar: a tnum, and ranges of its 64 and of its low 32 bits, signed and unsigned.

A `Bounds` is immutable and shared between states. Two parts live here: the value and `sync`, which lets each view
sharpen the others as the kernel does (Linux 6.12 kernel/bpf/verifier.c: reg_bounds_sync). Arithmetic is in
`bounds_alu`, conditions in `bounds_cond`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from bombus.bits import U32, U64, s32, s64
from bombus.verifier import tnum
from bombus.verifier.tnum import Tnum

S64_MIN: Final = -(1 << 63)
S64_MAX: Final = (1 << 63) - 1
S32_MIN: Final = -(1 << 31)
S32_MAX: Final = (1 << 31) - 1
_HIGH: Final = U64 ^ U32

# umin, umax, smin, smax of one width
Range = tuple[int, int, int, int]
ANY64: Final[Range] = (0, U64, S64_MIN, S64_MAX)
ANY32: Final[Range] = (0, U32, S32_MIN, S32_MAX)


# Bits of Bounds.checked: the views do not contradict each other; and not one value alone is left.
CONSISTENT: Final = 1
NO_SINGLE: Final = 2


class Bounds:
    """Immutable. All of `bits` (a tnum), `r64` and `r32` hold at once for the one unknown number.

    checked: what `Env.sane` found out about these very bounds (CONSISTENT, NO_SINGLE), so that it need not look twice.
    """

    __slots__ = ("bits", "checked", "r32", "r64")

    def __init__(self, bits: Tnum, r64: Range, r32: Range) -> None:
        self.bits: Final = bits
        self.r64: Final = r64
        self.r32: Final = r32
        self.checked = 0

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Bounds):
            return NotImplemented
        return self.bits == other.bits and self.r64 == other.r64 and self.r32 == other.r32

    def __hash__(self) -> int:
        return hash((self.bits, self.r64, self.r32))

    def __repr__(self) -> str:
        return f"Bounds(bits=({self.bits[0]:#x}, {self.bits[1]:#x}), r64={self.r64}, r32={self.r32})"

    @property
    def is_const(self) -> bool:
        return self.bits[1] == 0

    @property
    def is_const32(self) -> bool:
        return self.bits[1] & U32 == 0

    @property
    def is_unknown(self) -> bool:
        return self.bits[1] == U64 and self.r64 == ANY64 and self.r32 == ANY32

    def holds(self, number: int) -> bool:
        """Whether a concrete u64 is among the numbers described."""
        low = number & U32
        return (
            number & ~self.bits[1] & U64 == self.bits[0]
            and self.r64[0] <= number <= self.r64[1]
            and self.r64[2] <= s64(number) <= self.r64[3]
            and self.r32[0] <= low <= self.r32[1]
            and self.r32[2] <= s32(low) <= self.r32[3]
        )


ANY: Final = Bounds(tnum.UNKNOWN, ANY64, ANY32)


@lru_cache(maxsize=1 << 14)
def const(number: int) -> Bounds:
    """Exactly one number, given modulo 2**64."""
    number &= U64
    low = number & U32
    signed, signed_low = s64(number), s32(low)
    new = Bounds((number, 0), (number, number, signed, signed), (low, low, signed_low, signed_low))
    new.checked = CONSISTENT | NO_SINGLE
    return new


def from_bits(bits: Tnum) -> Bounds:
    """The ranges that follow from the bits alone, unsynced."""
    return Bounds(bits, _by_bits64(bits, ANY64), _by_bits32(bits, ANY32))


def _by_bits64(bits: Tnum, r: Range) -> Range:
    value, mask = bits
    umin, umax, smin, smax = r
    top = value | mask
    if value > umin:
        umin = value
    if top < umax:
        umax = top
    low = s64(value | mask & 1 << 63)
    high = s64(value | mask & S64_MAX)
    return umin, umax, low if low > smin else smin, high if high < smax else smax


def _by_bits32(bits: Tnum, r: Range) -> Range:
    value = bits[0] & U32
    mask = bits[1] & U32
    umin, umax, smin, smax = r
    top = value | mask
    if value > umin:
        umin = value
    if top < umax:
        umax = top
    low = s32(value | mask & 1 << 31)
    high = s32(value | mask & S32_MAX)
    return umin, umax, low if low > smin else smin, high if high < smax else smax


def by_bits(b: Bounds) -> Bounds:
    """Ranges sharpened by the bits only (Linux: __update_reg_bounds)."""
    return Bounds(b.bits, _by_bits64(b.bits, b.r64), _by_bits32(b.bits, b.r32))


def _signs(r: Range, half: int) -> Range:
    """Let the signed and the unsigned range of one width sharpen each other; `half` is 1 << (width - 1).

    Both describe arcs of one circle of numbers. An arc that does not cross the other view's seam is a range there
    too; one that does may still meet the other range in a single piece.
    """
    umin, umax, smin, smax = r
    whole = 2 * half
    low = umin - whole if umin >= half else umin
    high = umax - whole if umax >= half else umax
    if low <= high:
        if low > smin:
            smin = low
        if high < smax:
            smax = high
    low = smin + whole if smin < 0 else smin
    high = smax + whole if smax < 0 else smax
    if low <= high:
        if low > umin:
            umin = low
        if high < umax:
            umax = high
    elif umax < low:  # only the non-negative piece of the signed range meets the unsigned one
        smin = umin - whole if umin >= half else umin
        if high < umax:
            umax = high
    elif high < umin:  # only the negative piece does
        smax = umax - whole if umax >= half else umax
        if low > umin:
            umin = low
    return umin, umax, smin, smax


def _low_by_high(r32: Range, r64: Range) -> Range:
    """The 32-bit range from a 64-bit range whose upper half stays the same, or steps once through zero."""
    umin, umax, smin, smax = r32
    umin64, umax64, smin64, smax64 = r64
    low_u = umin64 & U32
    high_u = umax64 & U32
    if umin64 >> 32 == umax64 >> 32:
        if low_u > umin:
            umin = low_u
        if high_u < umax:
            umax = high_u
        if s32(low_u) <= s32(high_u):
            smin = max(smin, s32(low_u))
            smax = min(smax, s32(high_u))
    low_s = smin64 & U32
    high_s = smax64 & U32
    if smin64 >> 32 == smax64 >> 32:
        if low_s <= high_s:
            umin = max(umin, low_s)
            umax = min(umax, high_s)
        if s32(low_s) <= s32(high_s):
            smin = max(smin, s32(low_s))
            smax = min(smax, s32(high_s))
    if (umin64 >> 32) + 1 & U32 == umax64 >> 32 and low_u > S32_MAX and high_u <= S32_MAX:
        smin = max(smin, s32(low_u))
        smax = min(smax, high_u)
    if (smin64 >> 32) + 1 & U32 == smax64 >> 32 & U32 and low_s > S32_MAX and high_s <= S32_MAX:
        smin = max(smin, s32(low_s))
        smax = min(smax, high_s)
    return umin, umax, smin, smax


def _high_by_low(r64: Range, low: int, high: int) -> Range:
    """Replace the low half of 64-bit limits by the limits of the low 32 bits (as u32), where that is sharper."""
    umin, umax, smin, smax = r64
    umin = max(umin, umin & _HIGH | low)
    umax = min(umax, umax & _HIGH | high)
    smin = max(smin, (smin >> 32 << 32) | low)
    smax = min(smax, (smax >> 32 << 32) | high)
    return umin, umax, smin, smax


def _deduce(bits: Tnum, r64: Range, r32: Range) -> tuple[Tnum, Range, Range]:
    r32 = _signs(_low_by_high(r32, r64), 1 << 31)
    r64 = _signs(r64, 1 << 63)
    r64 = _high_by_low(r64, r32[0], r32[1])
    smin32, smax32 = r32[2], r32[3]
    if smin32 & U32 <= smax32 & U32:
        r64 = _high_by_low(r64, smin32 & U32, smax32 & U32)
    if smin32 >= 0 and r64[2] >= S32_MIN and r64[3] <= S32_MAX:
        # The upper half is all zeros or all ones, and ones would put the number below smin.
        r64 = (smin32, smax32 & U64, smin32, smax32)
        bits = tnum.intersect(bits, tnum.from_range(smin32, smax32 & U64))
    return bits, r64, r32


@lru_cache(maxsize=1 << 14)
def sync(bits: Tnum, r64: Range, r32: Range) -> Bounds:
    """Let every view sharpen the others (Linux 6.12: reg_bounds_sync, with its three rounds of deduction).

    Paths meet the same values again and again: the last results are kept.
    """
    r32 = _by_bits32(bits, r32)
    r64 = _by_bits64(bits, r64)
    for _ in range(3):
        before = r64, r32
        bits, r64, r32 = _deduce(bits, r64, r32)
        if (r64, r32) == before:
            break
    bits = tnum.intersect(bits, tnum.from_range(r64[0], r64[1]))
    low = tnum.intersect(tnum.low(bits, 4), tnum.from_range(r32[0], r32[1]))
    bits = tnum.with_low32(bits, low)
    return Bounds(bits, _by_bits64(bits, r64), _by_bits32(bits, r32))


def violation(b: Bounds) -> str:
    """Why the views contradict each other, or "" (Linux 6.12: reg_bounds_sanity_check)."""
    umin, umax, smin, smax = b.r64
    umin32, umax32, smin32, smax32 = b.r32
    if umin > umax or smin > smax or umin32 > umax32 or smin32 > smax32:
        return "range bounds violation"
    if b.is_const:
        number = b.bits[0]
        if umin != number or umax != number or smin != s64(number) or smax != s64(number):
            return "const tnum out of sync with range bounds"
    if b.is_const32:
        low = b.bits[0] & U32
        if umin32 != low or umax32 != low or smin32 != s32(low) or smax32 != s32(low):
            return "const subreg tnum out of sync with range bounds"
    return ""
