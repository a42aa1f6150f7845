"""Internet checksums (RFC 1071), as little-endian machines compute them.

A `wsum` is the u32 running sum of the kernel (__wsum), a `fold` the u16 that lies in packets (__sum16), both read
as little-endian numbers. Linux may represent a sum of zero as 0xffff in 16 bits; `fold` agrees with csum_fold.
"""

from __future__ import annotations

U32 = 0xFFFF_FFFF


def partial(data: bytes | bytearray | memoryview, seed: int = 0) -> int:
    """csum_partial: the 32-bit ones' complement sum of the data's little-endian u32s and a seed."""
    data = bytes(data)
    padded = data + bytes(-len(data) % 4)
    total = sum(memoryview(padded).cast("I"))
    return add32(total, seed)


def add32(a: int, b: int) -> int:
    """Ones' complement sum of non-negative numbers in 32 bits; zero only when both are."""
    total = a + b
    while total > U32:
        total = (total & U32) + (total >> 32)
    return total


def sub32(a: int, b: int) -> int:
    return add32(a, ~b & U32)


def fold(wsum: int) -> int:
    """csum_fold: 32 bits to the complemented 16 that a packet carries."""
    wsum = (wsum & 0xFFFF) + (wsum >> 16)
    wsum = (wsum & 0xFFFF) + (wsum >> 16)
    return ~wsum & 0xFFFF


def unfold(sum16: int) -> int:
    """csum_unfold: no change of the number, only of its meaning."""
    return sum16


def add16(a: int, b: int) -> int:
    """csum16_add."""
    total = a + b
    return (total & 0xFFFF) + (total >> 16) & 0xFFFF


def replace_by_diff(sum16: int, diff: int) -> int:
    """A packet's checksum after its data changed by the u32 `diff` (csum_replace_by_diff)."""
    return fold(add32(diff, ~sum16 & U32))


def replace2(sum16: int, old: int, new: int) -> int:
    """csum_replace2: a u16 of the data changed."""
    inverted = ~sum16 & 0xFFFF
    without = add16(inverted, ~old & 0xFFFF)
    return ~add16(without, new) & 0xFFFF


def replace4(sum16: int, old: int, new: int) -> int:
    """csum_replace4: a u32 of the data changed."""
    without = sub32(~sum16 & U32, old)
    return fold(add32(without, new))
