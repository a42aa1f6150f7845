"""Tristate numbers: what is known of each bit of a 64-bit value.

A tnum is a pair `(value, mask)`: a bit set in `mask` is unknown, all others are as in `value`; `value & mask` is 0.
The set of numbers that it stands for is { x : x & ~mask == value }. Pairs, not objects: these functions are the
innermost loop of the verifier.

Source of the domain: "Sound, Precise, and Fast Abstract Interpretation with Tristate Numbers" (CGO 2022);
what is computed equals Linux 6.12 kernel/bpf/tnum.c.
"""

from __future__ import annotations

from typing import Final

from bombus.bits import U32, U64, s32, s64

Tnum = tuple[int, int]

UNKNOWN: Final[Tnum] = (0, U64)


def from_range(low: int, high: int) -> Tnum:
    """The smallest tnum that holds every number of [low, high] (unsigned): their common leading bits."""
    unknown = (1 << (low ^ high).bit_length()) - 1
    return low & ~unknown, unknown


def add(a: Tnum, b: Tnum) -> Tnum:
    lowest = a[0] + b[0]
    # Bits that differ between the smallest and the largest sum are reached by a carry out of unknown bits.
    unknown = (lowest + a[1] + b[1] ^ lowest | a[1] | b[1]) & U64
    return lowest & ~unknown & U64, unknown


def sub(a: Tnum, b: Tnum) -> Tnum:
    difference = a[0] - b[0]
    unknown = (difference + a[1] ^ difference - b[1] | a[1] | b[1]) & U64
    return difference & ~unknown & U64, unknown


def neg(a: Tnum) -> Tnum:
    return sub((0, 0), a)


def and_(a: Tnum, b: Tnum) -> Tnum:
    ones = a[0] & b[0]
    return ones, (a[0] | a[1]) & (b[0] | b[1]) & ~ones


def or_(a: Tnum, b: Tnum) -> Tnum:
    ones = a[0] | b[0]
    return ones, (a[1] | b[1]) & ~ones


def xor(a: Tnum, b: Tnum) -> Tnum:
    unknown = a[1] | b[1]
    return (a[0] ^ b[0]) & ~unknown, unknown


def mul(a: Tnum, b: Tnum) -> Tnum:
    """Long multiplication: the known product of the values, plus what unknown bits may add to it."""
    product = a[0] * b[0] & U64
    extra: Tnum = (0, 0)
    value, mask = a
    b_value, b_mask = b
    while value | mask:
        if value & 1:
            extra = add(extra, (0, b_mask))
        elif mask & 1:
            extra = add(extra, (0, b_value | b_mask))
        value >>= 1
        mask >>= 1
        b_value = b_value << 1 & U64
        b_mask = b_mask << 1 & U64
    return add((product, 0), extra)


def either(a: Tnum, b: Tnum) -> Tnum:
    """What is known of a number that is one of two."""
    mask = (a[0] ^ b[0]) | a[1] | b[1]
    return a[0] & b[0] & ~mask, mask


def mul_by_cases(a: Tnum, b: Tnum) -> Tnum:
    """Long multiplication that takes both cases for each unknown bit of `a` (Linux 6.18 and later)."""
    total: Tnum = (0, 0)
    for bit in range((a[0] | a[1]).bit_length()):
        if a[0] >> bit & 1:
            total = add(total, shl(b, bit))
        elif a[1] >> bit & 1:
            total = either(total, add(total, shl(b, bit)))
    return total


def shl(a: Tnum, shift: int) -> Tnum:
    return a[0] << shift & U64, a[1] << shift & U64


def shr(a: Tnum, shift: int) -> Tnum:
    return a[0] >> shift, a[1] >> shift


def sar(a: Tnum, shift: int) -> Tnum:
    """Arithmetic right shift: an unknown sign bit spreads as unknown bits."""
    return s64(a[0]) >> shift & U64, s64(a[1]) >> shift & U64


def sar32(a: Tnum, shift: int) -> Tnum:
    """Arithmetic right shift of the low half; the high half becomes 0."""
    return s32(a[0]) >> shift & U32, s32(a[1]) >> shift & U32


def intersect(a: Tnum, b: Tnum) -> Tnum:
    """What is known when both are true of one number. A bit known as 0 in one and 1 in the other becomes 1."""
    unknown = a[1] & b[1]
    return (a[0] | b[0]) & ~unknown, unknown


def overlap(a: Tnum, b: Tnum) -> bool:
    """Whether some number is in both."""
    return (a[0] ^ b[0]) & ~(a[1] | b[1]) & U64 == 0


def contains(a: Tnum, b: Tnum) -> bool:
    """Whether every number of b is in a."""
    return b[1] & ~a[1] == 0 and b[0] & ~a[1] == a[0]


def is_aligned(a: Tnum, size: int) -> bool:
    """Whether every number of a is a multiple of size (a power of two, or 0 for anything)."""
    return size == 0 or (a[0] | a[1]) & (size - 1) == 0


def after(value: int, mask: int, number: int) -> int:
    """The smallest number above `number` that has the known bits; the greatest of all when there is none above."""
    top = value | mask
    if number >= top:
        return top
    if number < value:
        return value
    fixed = ~mask & U64
    # Take the unknown bits of `number` as a counter; where its known bits differ decides whether it must go up.
    differ = (number ^ value) & fixed
    if differ:
        bit = 1 << differ.bit_length() - 1
        kept = number & mask & ~(bit - 1)
        if value & bit:  # the number is below at the first difference: the lower unknown bits start again at 0
            return kept | value
        return ((kept | fixed | (bit - 1)) + bit & mask & ~(bit - 1)) | value
    return ((number | fixed) + 1 & mask) | value


def low(a: Tnum, size: int) -> Tnum:
    """The low `size` bytes, zero-extended."""
    keep = (1 << size * 8) - 1
    return a[0] & keep, a[1] & keep


def with_low32(a: Tnum, b: Tnum) -> Tnum:
    """a with its low half replaced by b's."""
    high = U64 ^ U32
    return a[0] & high | b[0] & U32, a[1] & high | b[1] & U32


def sign_bits(a: Tnum) -> str:
    """64 characters 0, 1 or x, most significant bit first."""
    return "".join("x" if a[1] >> bit & 1 else str(a[0] >> bit & 1) for bit in range(63, -1, -1))
