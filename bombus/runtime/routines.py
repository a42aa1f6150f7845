"""What compilers call on machines that lack an instruction: 64-bit division and atomics, memory of any size.

Names and meaning are those of libgcc and compiler-rt, so that code of any compiler finds them. Nothing divides by zero:
programs test for it before. The loops use only what 32-bit machines have as instructions, so that no routine
calls itself.
"""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import s32, s64, u8, u32, u64, var

# ------------------------------------------------------------------------------------------------ division


def _quotient(a: u64, b: u64) -> u64:
    """a / b, bit by bit from the top. b is not 0."""
    rest = u64(0)
    result = u64(0)
    bit = u64(1) << 63
    while bit != 0:
        carry = rest >> 63
        rest = (rest << 1) | u64((a & bit) != 0)
        if carry != 0 or rest >= b:
            rest = rest - b
            result = result | bit
        bit = bit >> 1
    return result


def udivdi3(a: u64, b: u64) -> u64:
    return _quotient(a, b)


def umoddi3(a: u64, b: u64) -> u64:
    return a - _quotient(a, b) * b


def divdi3(a: s64, b: s64) -> s64:
    x = u64(0) - u64(a) if a < 0 else u64(a)
    y = u64(0) - u64(b) if b < 0 else u64(b)
    q = _quotient(x, y)
    return s64(u64(0) - q) if (a < 0) != (b < 0) else s64(q)


def moddi3(a: s64, b: s64) -> s64:
    x = u64(0) - u64(a) if a < 0 else u64(a)
    y = u64(0) - u64(b) if b < 0 else u64(b)
    rest = x - _quotient(x, y) * y
    return s64(u64(0) - rest) if a < 0 else s64(rest)


def udivsi3(a: u32, b: u32) -> u32:
    rest = u64(0)
    result = u32(0)
    bit = u32(1) << 31
    while bit != 0:
        rest = (rest << 1) | u64((a & bit) != 0)
        if rest >= u64(b):
            rest = rest - u64(b)
            result = result | bit
        bit = bit >> 1
    return result


def divsi3(a: s32, b: s32) -> s32:
    x = u32(0) - u32(a) if a < 0 else u32(a)
    y = u32(0) - u32(b) if b < 0 else u32(b)
    q = udivsi3(x, y)
    return s32(u32(0) - q) if (a < 0) != (b < 0) else s32(q)


# ------------------------------------------------------------------------------------------------ shifts


def _low(x: u64) -> u32:
    return u32(x)


def _high(x: u64) -> u32:
    return u32(x >> 32)


def _join(high: u32, low: u32) -> u64:
    return (u64(high) << 32) | u64(low)


def ashldi3(x: u64, count: u32) -> u64:
    n = count & 63
    if n == 0:
        return x
    if n >= 32:
        return _join(_low(x) << (n & 31), u32(0))
    return _join((_high(x) << n) | (_low(x) >> (32 - n)), _low(x) << n)


def lshrdi3(x: u64, count: u32) -> u64:
    n = count & 63
    if n == 0:
        return x
    if n >= 32:
        return _join(u32(0), _high(x) >> (n & 31))
    return _join(_high(x) >> n, (_low(x) >> n) | (_high(x) << (32 - n)))


def ashrdi3(x: u64, count: u32) -> u64:
    n = count & 63
    if n == 0:
        return x
    sign = u32(0) - (_high(x) >> 31)
    if n >= 32:
        more = n & 31
        low = _high(x) >> more
        if more != 0:
            low = low | (sign << (32 - more))
        return _join(sign, low)
    return _join((_high(x) >> n) | (sign << (32 - n)), (_low(x) >> n) | (_high(x) << (32 - n)))


def _wide(a: u32, b: u32) -> u64:
    """a * b with all 64 bits, from 16-bit halves."""
    low = (a & 0xFFFF) * (b & 0xFFFF)
    first = (a >> 16) * (b & 0xFFFF) + (low >> 16)
    second = (a & 0xFFFF) * (b >> 16) + (first & 0xFFFF)
    return _join((a >> 16) * (b >> 16) + (first >> 16) + (second >> 16), (second << 16) | (low & 0xFFFF))


def muldi3(a: u64, b: u64) -> u64:
    low = _wide(_low(a), _low(b))
    return _join(_high(low) + _low(a) * _high(b) + _high(a) * _low(b), _low(low))


# ------------------------------------------------------------------------------------------------ memory


def memory_set(target: u64, byte: u32, size: u64) -> u64:
    at = u64(0)
    while at < size:
        bpf.write_once(bpf.at(target + at, u8), u8(byte))
        at = at + 1
    return target


def memory_copy(target: u64, source: u64, size: u64) -> u64:
    at = u64(0)
    while at < size:
        bpf.write_once(bpf.at(target + at, u8), bpf.at(source + at, u8).value)
        at = at + 1
    return target


def memory_move(target: u64, source: u64, size: u64) -> u64:
    if target <= source:
        return memory_copy(target, source, size)
    at = size
    while at != 0:
        at = at - 1
        bpf.write_once(bpf.at(target + at, u8), bpf.at(source + at, u8).value)
    return target


def memory_compare(left: u64, right: u64, size: u64) -> s32:
    at = u64(0)
    while at < size:
        one = bpf.at(left + at, u8).value
        other = bpf.at(right + at, u8).value
        if one != other:
            return s32(1) if one > other else s32(-1)
        at = at + 1
    return s32(0)


# ------------------------------------------------------------------------------------------------ atomics

# One lock for all places: what needs it is rare, and a program never waits inside.
lock = var(u32(0))


def _take() -> None:
    while bpf.compare_exchange(lock, u32(0), u32(1)) != 0:
        pass


def _give() -> None:
    bpf.exchange(lock, u32(0))


def atomic_load(place: u64) -> u64:
    _take()
    value = bpf.read_once(bpf.at(place, u64))
    _give()
    return value


def atomic_store(place: u64, value: u64) -> None:
    _take()
    bpf.write_once(bpf.at(place, u64), value)
    _give()


def atomic_exchange(place: u64, value: u64) -> u64:
    _take()
    slot = bpf.at(place, u64)
    old = bpf.read_once(slot)
    bpf.write_once(slot, value)
    _give()
    return old


def atomic_compare_exchange(place: u64, expected: u64, value: u64) -> bool:
    _take()
    slot = bpf.at(place, u64)
    wanted = bpf.at(expected, u64)
    old = bpf.read_once(slot)
    same = old == wanted.value
    if same:
        bpf.write_once(slot, value)
    _give()
    wanted.value = old
    return same


def atomic_fetch_add(place: u64, value: u64) -> u64:
    _take()
    slot = bpf.at(place, u64)
    old = bpf.read_once(slot)
    bpf.write_once(slot, old + value)
    _give()
    return old


def atomic_fetch_sub(place: u64, value: u64) -> u64:
    _take()
    slot = bpf.at(place, u64)
    old = bpf.read_once(slot)
    bpf.write_once(slot, old - value)
    _give()
    return old


def atomic_fetch_and(place: u64, value: u64) -> u64:
    _take()
    slot = bpf.at(place, u64)
    old = bpf.read_once(slot)
    bpf.write_once(slot, old & value)
    _give()
    return old


def atomic_fetch_or(place: u64, value: u64) -> u64:
    _take()
    slot = bpf.at(place, u64)
    old = bpf.read_once(slot)
    bpf.write_once(slot, old | value)
    _give()
    return old


def atomic_fetch_xor(place: u64, value: u64) -> u64:
    _take()
    slot = bpf.at(place, u64)
    old = bpf.read_once(slot)
    bpf.write_once(slot, old ^ value)
    _give()
    return old
