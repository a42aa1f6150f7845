"""Fixed-width integers on Python's unbounded ones.

Every function takes any int and returns one inside the named width.
"""

from __future__ import annotations

from typing import Final

U8: Final = 0xFF
U16: Final = 0xFFFF
U32: Final = 0xFFFF_FFFF
U64: Final = 0xFFFF_FFFF_FFFF_FFFF
NUMBER_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}  # of `array` and memoryview, by bytes; small letters: signed


def u32(value: int) -> int:
    """The low 32 bits as an unsigned number."""
    return value & U32


def u64(value: int) -> int:
    """The low 64 bits as an unsigned number."""
    return value & U64


def sign_extend(value: int, bits: int) -> int:
    """The low `bits` bits read as a two's complement number (may be negative)."""
    sign = 1 << (bits - 1)
    return (value & ((1 << bits) - 1) ^ sign) - sign


def s8(value: int) -> int:
    return ((value & 0xFF) ^ 0x80) - 0x80


def s16(value: int) -> int:
    return ((value & 0xFFFF) ^ 0x8000) - 0x8000


def s32(value: int) -> int:
    return ((value & U32) ^ 0x8000_0000) - 0x8000_0000


def s64(value: int) -> int:
    return ((value & U64) ^ 0x8000_0000_0000_0000) - 0x8000_0000_0000_0000


def bswap(value: int, bits: int) -> int:
    """The low `bits` bits (16, 32 or 64) with their bytes in reverse order."""
    size = bits // 8
    return int.from_bytes((value & ((1 << bits) - 1)).to_bytes(size, "little"), "big")


def align_up(value: int, alignment: int) -> int:
    """The next multiple of `alignment` (a power of two) at or above `value`."""
    return (value + alignment - 1) & -alignment


def is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def ring_size(size: int, page: int = 4096) -> int:
    """The bytes that a ring buffer of at least `size` has: a power of two pages (as libbpf rounds it up)."""
    pages = max((size + page - 1) // page, 1)
    return page << (pages - 1).bit_length()
