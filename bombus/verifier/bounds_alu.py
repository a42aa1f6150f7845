"""Arithmetic on `Bounds`: the transfer function of each ALU instruction.

Every function takes what is known of dst and src and returns what is known of the result. Range arithmetic is
written once for both widths; a `Width` carries its limits. Results equal Linux 6.12 kernel/bpf/verifier.c:
adjust_scalar_min_max_vals and its parts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Final, NamedTuple

from bombus.bits import U32, U64, s8, s16, s32
from bombus.isa import opcodes as op
from bombus.verifier import tnum
from bombus.verifier.bounds import (
    ANY,
    ANY32,
    ANY64,
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    Bounds,
    Range,
    by_bits,
    const,
    sync,
)
from bombus.verifier.tnum import Tnum


class Width(NamedTuple):
    umax: int
    smin: int
    smax: int
    any: Range
    half_umax: int  # factors up to here cannot overflow when multiplied


W64: Final = Width(U64, S64_MIN, S64_MAX, ANY64, U32)
W32: Final = Width(U32, S32_MIN, S32_MAX, ANY32, 0xFFFF)


def _add(a: Range, b: Range, w: Width) -> Range:
    umin, umax, smin, smax = a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]
    if umin > w.umax or umax > w.umax:
        umin, umax = 0, w.umax
    if not (w.smin <= smin <= w.smax and w.smin <= smax <= w.smax):
        smin, smax = w.smin, w.smax
    return umin, umax, smin, smax


def _sub(a: Range, b: Range, w: Width) -> Range:
    umin, umax, smin, smax = a[0] - b[1], a[1] - b[0], a[2] - b[3], a[3] - b[2]
    if umin < 0:
        umin, umax = 0, w.umax
    if not (w.smin <= smin <= w.smax and w.smin <= smax <= w.smax):
        smin, smax = w.smin, w.smax
    return umin, umax & w.umax, smin, smax


def _add_wrapping(a: Range, b: Range, w: Width) -> Range:
    """Linux 6.17 and later: a sum of which every value wraps around keeps its range."""
    umin, umax = a[0] + b[0], a[1] + b[1]
    if umin > w.umax or umax <= w.umax:
        umin, umax = umin & w.umax, umax & w.umax
    else:
        umin, umax = 0, w.umax
    smin, smax = _signed_wrapped(a[2] + b[2], a[3] + b[3], w)
    return umin, umax, smin, smax


def _sub_wrapping(a: Range, b: Range, w: Width) -> Range:
    """As `_add_wrapping`, for differences."""
    umin, umax = a[0] - b[1], a[1] - b[0]
    if umax < 0 or umin >= 0:
        umin, umax = umin & w.umax, umax & w.umax
    else:
        umin, umax = 0, w.umax
    smin, smax = _signed_wrapped(a[2] - b[3], a[3] - b[2], w)
    return umin, umax, smin, smax


def _signed_wrapped(low: int, high: int, w: Width) -> tuple[int, int]:
    if w.smin <= low <= w.smax and w.smin <= high <= w.smax:
        return low, high
    return w.smin, w.smax


def _mul(a: Range, b: Range, w: Width) -> Range:
    if a[2] < 0 or b[2] < 0 or a[1] > w.half_umax or b[1] > w.half_umax:
        return w.any
    umin, umax = a[0] * b[0], a[1] * b[1]
    if umax > w.smax:
        return umin, umax, w.smin, w.smax
    return umin, umax, umin, umax


def _mul_signed(a: Range, b: Range, w: Width) -> Range:
    """Linux 6.14 and later: products of signed ranges too."""
    umin, umax = a[0] * b[0], a[1] * b[1]
    if umax > w.umax:
        umin, umax = 0, w.umax
    corners = (a[2] * b[2], a[2] * b[3], a[3] * b[2], a[3] * b[3])
    smin, smax = min(corners), max(corners)
    if smin < w.smin or smax > w.smax:
        smin, smax = w.smin, w.smax
    return umin, umax, smin, smax


def _unsigned(umin: int, umax: int, w: Width) -> Range:
    """A range known as unsigned; the signed one follows when no sign seam lies between."""
    low = umin if umin <= w.smax else umin - w.umax - 1
    high = umax if umax <= w.smax else umax - w.umax - 1
    if low <= high:
        return umin, umax, low, high
    return umin, umax, w.smin, w.smax


def _exact(number: int, w: Width) -> Range:
    number &= w.umax
    signed = number if number <= w.smax else number - w.umax - 1
    return number, number, signed, signed


def _bitwise(a: Bounds, b: Bounds, bits: Tnum, limits: Callable[[Range, Range, Tnum], tuple[int, int]]) -> Bounds:
    """Ranges of and/or/xor from the bits of the result and from the operands' ranges."""
    low = tnum.low(bits, 4)
    if low[1] == 0 and b.is_const32:
        r32 = _exact(low[0], W32)
    else:
        r32 = _unsigned(*limits(a.r32, b.r32, low), W32)
    if bits[1] == 0 and b.is_const:
        return const(bits[0])
    r64 = _unsigned(*limits(a.r64, b.r64, bits), W64)
    return by_bits(Bounds(bits, r64, r32))


def _limits_and(a: Range, b: Range, bits: Tnum) -> tuple[int, int]:
    return bits[0], min(a[1], b[1])


def _limits_or(a: Range, b: Range, bits: Tnum) -> tuple[int, int]:
    return max(a[0], b[0]), bits[0] | bits[1]


def _limits_xor(a: Range, b: Range, bits: Tnum) -> tuple[int, int]:
    return bits[0], bits[0] | bits[1]


def add(a: Bounds, b: Bounds) -> Bounds:
    return Bounds(tnum.add(a.bits, b.bits), _add(a.r64, b.r64, W64), _add(a.r32, b.r32, W32))


def sub(a: Bounds, b: Bounds) -> Bounds:
    return Bounds(tnum.sub(a.bits, b.bits), _sub(a.r64, b.r64, W64), _sub(a.r32, b.r32, W32))


def add_wrapping(a: Bounds, b: Bounds) -> Bounds:
    return Bounds(tnum.add(a.bits, b.bits), _add_wrapping(a.r64, b.r64, W64), _add_wrapping(a.r32, b.r32, W32))


def sub_wrapping(a: Bounds, b: Bounds) -> Bounds:
    return Bounds(tnum.sub(a.bits, b.bits), _sub_wrapping(a.r64, b.r64, W64), _sub_wrapping(a.r32, b.r32, W32))


def mul(a: Bounds, b: Bounds) -> Bounds:
    return Bounds(tnum.mul(a.bits, b.bits), _mul(a.r64, b.r64, W64), _mul(a.r32, b.r32, W32))


def mul_signed(a: Bounds, b: Bounds) -> Bounds:
    return Bounds(tnum.mul(a.bits, b.bits), _mul_signed(a.r64, b.r64, W64), _mul_signed(a.r32, b.r32, W32))


def mul_by_cases(a: Bounds, b: Bounds) -> Bounds:
    bits = tnum.mul_by_cases(a.bits, b.bits)
    return Bounds(bits, _mul_signed(a.r64, b.r64, W64), _mul_signed(a.r32, b.r32, W32))


def and_(a: Bounds, b: Bounds) -> Bounds:
    return _bitwise(a, b, tnum.and_(a.bits, b.bits), _limits_and)


def or_(a: Bounds, b: Bounds) -> Bounds:
    return _bitwise(a, b, tnum.or_(a.bits, b.bits), _limits_or)


def xor(a: Bounds, b: Bounds) -> Bounds:
    return _bitwise(a, b, tnum.xor(a.bits, b.bits), _limits_xor)


def _shl_limits(r: Range, shift: int, bits: int, w: Width) -> tuple[int, int]:
    if r[1] > 1 << (bits - 1 - shift):
        return 0, w.umax
    return r[0] << shift, r[1] << shift


def shl64(a: Bounds, b: Bounds) -> Bounds:
    """Shift left by a known amount below 64."""
    shift = b.r64[0]
    low, high = _shl_limits(a.r64, shift, 64, W64)
    if shift == 32:  # what compilers emit to sign-extend: the signed low half moves up as it is
        signed = a.r32[2] << 32, a.r32[3] << 32
    else:
        signed = S64_MIN, S64_MAX
    low32, high32 = (0, U32) if shift > 31 else _shl_limits(a.r32, shift, 32, W32)
    r32 = low32, high32, S32_MIN, S32_MAX
    return by_bits(Bounds(tnum.shl(a.bits, shift), (low, high, *signed), r32))


def shl32(a: Bounds, b: Bounds) -> Bounds:
    """Shift the low half left by a known amount below 32."""
    shift = b.r32[0]
    bits = tnum.low(tnum.shl(tnum.low(a.bits, 4), shift), 4)
    low, high = _shl_limits(a.r32, shift, 32, W32)
    return by_bits(Bounds(bits, ANY64, (low, high, S32_MIN, S32_MAX)))


def shr64(a: Bounds, b: Bounds) -> Bounds:
    shift = b.r64[0]
    r64 = a.r64[0] >> shift, a.r64[1] >> shift, S64_MIN, S64_MAX
    return by_bits(Bounds(tnum.shr(a.bits, shift), r64, ANY32))


def shr32(a: Bounds, b: Bounds) -> Bounds:
    shift = b.r32[0]
    r32 = a.r32[0] >> shift, a.r32[1] >> shift, S32_MIN, S32_MAX
    return by_bits(Bounds(tnum.shr(tnum.low(a.bits, 4), shift), ANY64, r32))


def sar64(a: Bounds, b: Bounds) -> Bounds:
    shift = b.r64[0]
    r64 = 0, U64, a.r64[2] >> shift, a.r64[3] >> shift
    return by_bits(Bounds(tnum.sar(a.bits, shift), r64, ANY32))


def sar32(a: Bounds, b: Bounds) -> Bounds:
    shift = b.r32[0]
    r32 = 0, U32, a.r32[2] >> shift, a.r32[3] >> shift
    return by_bits(Bounds(tnum.sar32(a.bits, shift), ANY64, r32))


def zext32(b: Bounds) -> Bounds:
    """The low half, zero-extended, unsynced (Linux: zext_32_to_64)."""
    umin, umax, smin, smax = b.r32
    if smin < 0 or smax < 0:
        smin, smax = 0, U32
    return Bounds(tnum.low(b.bits, 4), (umin, umax, smin, smax), b.r32)


_ANY_WIDTH: dict[int, Callable[[Bounds, Bounds], Bounds]] = {
    op.BPF_ADD: add,
    op.BPF_SUB: sub,
    op.BPF_MUL: mul,
    op.BPF_AND: and_,
    op.BPF_OR: or_,
    op.BPF_XOR: xor,
}
_SHIFTS: dict[int, tuple[Callable[[Bounds, Bounds], Bounds], Callable[[Bounds, Bounds], Bounds]]] = {
    op.BPF_LSH: (shl64, shl32),
    op.BPF_RSH: (shr64, shr32),
    op.BPF_ARSH: (sar64, sar32),
}
SIGNED_MUL: Final = {**_ANY_WIDTH, op.BPF_MUL: mul_signed}
UNSIGNED_MUL: Final = _ANY_WIDTH
WRAPPING: Final = {**SIGNED_MUL, op.BPF_ADD: add_wrapping, op.BPF_SUB: sub_wrapping}
MUL_BY_CASES: Final = {**WRAPPING, op.BPF_MUL: mul_by_cases}


# The same on two numbers, where the ranges of both are known to say no more than the bits do.
_EXACT: Final[dict[int, Callable[[int, int], int]]] = {
    op.BPF_ADD: operator.add,
    op.BPF_SUB: operator.sub,
    op.BPF_MUL: operator.mul,
    op.BPF_AND: operator.and_,
    op.BPF_OR: operator.or_,
    op.BPF_XOR: operator.xor,
}


def alu(
    operation: int,
    a: Bounds,
    b: Bounds,
    *,
    is32: bool,
    table: dict[int, Callable[[Bounds, Bounds], Bounds]] = UNSIGNED_MUL,
    synced: Callable[[Tnum, Range, Range], Bounds] | None = None,
) -> Bounds | None:
    """What is known of `a operation b`, or None when nothing is (divisions, shifts by an unknown amount).

    `operation` is the BPF_OP part of the opcode. `table` chooses how multiplication is done, which changed in
    Linux 6.14; `synced` (by default `sync`) how the views of the result sharpen each other.
    """
    if a.bits[1] == 0 and b.bits[1] == 0 and a.checked and b.checked:
        exact = _EXACT.get(operation)
        if exact is not None:
            number = exact(a.bits[0], b.bits[0])
            return const(number & U32 if is32 else number & U64)
    function = table.get(operation)
    if function is None:
        shift = _SHIFTS.get(operation)
        if shift is None or b.r64[1] >= (32 if is32 else 64):
            return None
        if is32:
            known = b.is_const32 and b.r32[0] == b.r32[1] and b.r32[2] == b.r32[3]
        else:
            known = b.is_const and b.r64[0] == b.r64[1] and b.r64[2] == b.r64[3]
        if not known:
            return None
        function = shift[1] if is32 else shift[0]
    result = function(a, b)
    if is32:
        result = zext32(result)
    return (synced or sync)(result.bits, result.r64, result.r32)


def truncate(b: Bounds, size: int) -> Bounds:
    """The low `size` bytes (1, 2 or 4), zero-extended (Linux: coerce_reg_to_size)."""
    if b is ANY:
        return _ANY_OF_SIZE[size]
    return _truncated(b, size)


def _truncated(b: Bounds, size: int) -> Bounds:
    keep = (1 << size * 8) - 1
    umin, umax = b.r64[0], b.r64[1]
    if umin & ~keep == umax & ~keep:
        umin &= keep
        umax &= keep
    else:
        umin, umax = 0, keep
    return sync(tnum.low(b.bits, size), (umin, umax, umin, umax), ANY32 if size < 4 else b.r32)


_ANY_OF_SIZE: Final = {size: _truncated(ANY, size) for size in (1, 2, 4)}


_SIGNED: Final = {1: s8, 2: s16, 4: s32}


def sign_extend(b: Bounds, size: int) -> Bounds:
    """The low `size` bytes, sign-extended to 64 bits (Linux: coerce_reg_to_size_sx)."""
    signed = _SIGNED[size]
    if b.is_const:
        return const(signed(b.bits[0]))
    smin, smax = b.r64[2], b.r64[3]
    if smin >> size * 8 == smax >> size * 8:
        first, second = signed(smin), signed(smax)
        low, high = min(first, second), max(first, second)
        if (low >= 0) == (high >= 0):
            r64 = low & U64, high & U64, low, high
            r32 = low & U32, high & U32, s32(low), s32(high)
            return Bounds(tnum.from_range(low & U64, high & U64), r64, r32)
    half = 1 << size * 8 - 1
    return Bounds(tnum.UNKNOWN, (0, U64, -half, half - 1), (0, U32, -half, half - 1))


def sign_extend32(b: Bounds, size: int) -> Bounds:
    """The low `size` bytes (1 or 2), sign-extended to 32 bits; the caller zero-extends (coerce_subreg_to_size_sx)."""
    signed = _SIGNED[size]
    if b.is_const:
        number = signed(b.bits[0])
        low = number & U32
        # The 64-bit ranges are left as they were: the zero extension that follows replaces them.
        return Bounds((number & U64, 0), b.r64, (low, low, s32(number), s32(number)))
    smin, smax = b.r32[2], b.r32[3]
    if (smin & U32) >> size * 8 == (smax & U32) >> size * 8:
        first, second = signed(smin), signed(smax)
        low, high = min(first, second), max(first, second)
        if (low >= 0) == (high >= 0):
            bits = tnum.low(tnum.from_range(low & U64, high & U64), 4)
            return Bounds(bits, b.r64, (low & U32, high & U32, low, high))
    half = 1 << size * 8 - 1
    return Bounds((0, U32), b.r64, (0, U32, -half, half - 1))
