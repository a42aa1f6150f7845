"""One 8-byte instruction slot, and its wire format in both byte orders.

Wire format (RFC 9669 section 3): opcode u8, two register nibbles, off s16, imm s32. On little-endian targets
dst is the low nibble, on big-endian ones the high nibble.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Literal, NamedTuple

from bombus.errors import EncodingError, UsageError
from bombus.isa.opcodes import LD_IMM64

ByteOrder = Literal["little", "big"]
Buffer = bytes | bytearray | memoryview

INSN_SIZE = 8
_LITTLE = struct.Struct("<BBhi")
_BIG = struct.Struct(">BBhi")

# Bounds of each field: lowest and highest value that the encoding holds.
_LIMITS = {
    "opcode": (0, 0xFF),
    "dst": (0, 15),
    "src": (0, 15),
    "off": (-0x8000, 0x7FFF),
    "imm": (-0x8000_0000, 0x7FFF_FFFF),
}


class Insn(NamedTuple):
    """One slot. `off` and `imm` are signed. An ld_imm64 takes two slots; the second has opcode 0.

    Construction checks nothing (it is hot); `encode` checks that fields fit, `isa.validate` that they mean
    something.
    """

    opcode: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0

    @property
    def is_ld_imm64(self) -> bool:
        """True for the first slot of a two-slot 64-bit immediate load."""
        return self.opcode == LD_IMM64


def decode(data: Buffer, byteorder: ByteOrder = "little") -> list[Insn]:
    """All slots of `data`. EncodingError when its length is not a multiple of 8."""
    if len(data) % INSN_SIZE:
        raise EncodingError(f"{len(data)} bytes are not a whole number of {INSN_SIZE}-byte slots", field="length")
    new = tuple.__new__  # NamedTuple's own __new__ costs twice as much, and every field is in range here
    if byteorder == "little":
        return [
            new(Insn, (opcode, regs & 15, regs >> 4, off, imm)) for opcode, regs, off, imm in _LITTLE.iter_unpack(data)
        ]
    if byteorder == "big":
        return [
            new(Insn, (opcode, regs >> 4, regs & 15, off, imm)) for opcode, regs, off, imm in _BIG.iter_unpack(data)
        ]
    raise UsageError(f"byte order {byteorder!r}; use 'little' or 'big'")


def encode(insns: Iterable[Insn], byteorder: ByteOrder = "little") -> bytes:
    """The wire form. EncodingError naming field and instruction when a value does not fit its field."""
    out = bytearray()
    if byteorder == "little":
        pack, low = _LITTLE.pack, True
    elif byteorder == "big":
        pack, low = _BIG.pack, False
    else:
        raise UsageError(f"byte order {byteorder!r}; use 'little' or 'big'")
    for index, insn in enumerate(insns):
        opcode, dst, src, off, imm = insn
        if (dst | src) & ~15:
            raise _out_of_range(insn, index)
        try:
            out += pack(opcode, dst | src << 4 if low else dst << 4 | src, off, imm)
        except struct.error:
            raise _out_of_range(insn, index) from None
    return bytes(out)


def _out_of_range(insn: Insn, index: int) -> EncodingError:
    for field, (lowest, highest) in _LIMITS.items():
        value = getattr(insn, field)
        if not isinstance(value, int) or not lowest <= value <= highest:
            return EncodingError(f"{value!r} does not fit; it must be {lowest} to {highest}", field=field, insn=index)
    raise AssertionError(f"{insn} fits")


def imm64(first: Insn, second: Insn) -> int:
    """The unsigned 64-bit value of an ld_imm64's two slots."""
    return (second.imm & 0xFFFF_FFFF) << 32 | first.imm & 0xFFFF_FFFF
