"""Relocations that LLVM's code for the architectures of `arch` has: what is computed, and where its bits go.

Facts: the psABI supplements (x86-64, i386, Arm ELF, AArch64 ELF, Power ELFv2, SPARC V8 and V9, s390x ELF, MIPS, RISC-V,
LoongArch), the types' numbers as in include/uapi/linux/elf.h and their documents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bombus.bits import sign_extend

Put = Callable[[int, int], int]
"""(what is there, value) -> what is to be there."""
Get = Callable[[int], int]
"""The addend that REL relocations keep in place."""


@dataclass(frozen=True, slots=True)
class Rule:
    """value: "abs" is S + A, "in page" its low bits, "pc" S + A - P, "direct" S - P, "page" pages between S + A and P,
    "toc" S + A - TOC, "toc word" TOC, "got" S + A - GOT, "slot" where the table of addresses has S + A, counted from
    where code has that table, "slot page" the same for the page of S + A (MIPS), "gp" S + A from there, "from gp" the
    other way round, "call" as "pc" to the local entry of a function, "high" and "low" halves of S + A that belong
    together (MIPS), "pair" the two instructions of a far call, "again" the low half of what the instruction at S
    reaches (RISC-V). size: bytes at P. bits: the value has to fit them, signed or not; 0: it is cut. align: low bits
    that have to be zero."""

    value: str
    size: int
    put: Put
    get: Get | None = None
    bits: int = 0
    align: int = 1


def _whole(_there: int, value: int) -> int:
    return value


def _same(there: int) -> int:
    return there


def _field(shift: int, low: int, width: int) -> Put:
    """`width` bits of the value above `shift` go to bit `low` on."""
    mask = (1 << width) - 1
    return lambda there, value: there & ~(mask << low) | (value >> shift & mask) << low


def _data(value: str, size: int) -> Rule:
    return Rule(value, size, _whole, lambda there: sign_extend(there, size * 8), size * 8)


def _split(*parts: tuple[int, int, int]) -> Put:
    """Fields that one value is spread over."""
    puts = [_field(*part) for part in parts]

    def put(there: int, value: int) -> int:
        for one in puts:
            there = one(there, value)
        return there

    return put


def _ha(value: int) -> int:
    """So that adding the low half, which is signed, gives the value."""
    return value + 0x8000


_X86_64: Final = {1: _data("abs", 8), 2: _data("pc", 4), 4: _data("pc", 4), 10: _data("abs", 4), 11: _data("abs", 4)}
_I386: Final = {1: _data("abs", 4), 2: _data("pc", 4), 4: _data("pc", 4), 9: _data("got", 4), 10: _data("pc", 4)}

_ARM_MOV: Final = _split((0, 0, 12), (12, 16, 4))
_ARM_CALL: Final = Rule("pc", 4, _field(2, 0, 24), lambda there: sign_extend(there << 2, 26), 26, 4)
_ARM: Final = {
    2: _data("abs", 4), 3: _data("pc", 4), 28: _ARM_CALL, 29: _ARM_CALL,
    43: Rule("abs", 4, _ARM_MOV, lambda there: sign_extend((there >> 4 & 0xF000) | there & 0xFFF, 16)),
    44: Rule("abs", 4, lambda there, value: _ARM_MOV(there, value >> 16),
             lambda there: sign_extend((there >> 4 & 0xF000) | there & 0xFFF, 16)),
    45: Rule("pc", 4, _ARM_MOV, lambda there: sign_extend((there >> 4 & 0xF000) | there & 0xFFF, 16)),
    46: Rule("pc", 4, lambda there, value: _ARM_MOV(there, value >> 16),
             lambda there: sign_extend((there >> 4 & 0xF000) | there & 0xFFF, 16)),
}  # fmt: skip

_AARCH64: Final = {
    257: _data("abs", 8), 258: _data("abs", 4), 260: _data("pc", 8), 261: _data("pc", 4),
    275: Rule("page", 4, _split((12, 29, 2), (14, 5, 19)), bits=33),
    277: Rule("in page", 4, _field(0, 10, 12)), 278: Rule("in page", 4, _field(0, 10, 12)),
    284: Rule("in page", 4, lambda there, value: _field(1, 10, 11)(there, value & 0xFFF), align=2),
    285: Rule("in page", 4, lambda there, value: _field(2, 10, 10)(there, value & 0xFFF), align=4),
    286: Rule("in page", 4, lambda there, value: _field(3, 10, 9)(there, value & 0xFFF), align=8),
    299: Rule("in page", 4, lambda there, value: _field(4, 10, 8)(there, value & 0xFFF), align=16),
    282: Rule("pc", 4, _field(2, 0, 26), bits=28, align=4), 283: Rule("pc", 4, _field(2, 0, 26), bits=28, align=4),
    280: Rule("pc", 4, _field(2, 5, 19), bits=21, align=4), 279: Rule("pc", 4, _field(2, 5, 14), bits=16, align=4),
}  # fmt: skip

_LO16: Final = _field(0, 0, 16)
_HI16: Final = _field(16, 0, 16)


def _put_ha(there: int, value: int) -> int:
    return _HI16(there, _ha(value))


_PPC: Final = {
    1: _data("abs", 4), 4: Rule("abs", 2, _LO16), 5: Rule("abs", 2, _HI16), 6: Rule("abs", 2, _put_ha),
    10: Rule("pc", 4, _field(2, 2, 24), bits=26, align=4),
    # The addend is for stubs that load from a table: it says which.
    18: Rule("direct", 4, _field(2, 2, 24), bits=26, align=4),
    11: Rule("pc", 4, _field(2, 2, 14), bits=16, align=4), 26: _data("pc", 4),
}  # fmt: skip
_PPC64: Final = {
    1: _data("abs", 4), 38: _data("abs", 8), 51: _data("toc word", 8), 26: _data("pc", 4), 44: _data("pc", 8),
    10: Rule("call", 4, _field(2, 2, 24), bits=26, align=4), 116: Rule("call", 4, _field(2, 2, 24), bits=26, align=4),
    11: Rule("pc", 4, _field(2, 2, 14), bits=16, align=4),
    47: Rule("toc", 2, _LO16, bits=16), 48: Rule("toc", 2, _LO16), 49: Rule("toc", 2, _HI16),
    50: Rule("toc", 2, _put_ha), 63: Rule("toc", 2, _field(2, 2, 14), bits=16, align=4),
    64: Rule("toc", 2, _field(2, 2, 14), align=4),
    250: Rule("pc", 2, _LO16), 251: Rule("pc", 2, _HI16), 252: Rule("pc", 2, _put_ha),
}  # fmt: skip

_SPARC: Final = {
    3: _data("abs", 4), 23: _data("abs", 4), 32: _data("abs", 8), 54: _data("abs", 8), 6: _data("pc", 4),
    7: Rule("pc", 4, _field(2, 0, 30), bits=32, align=4), 18: Rule("pc", 4, _field(2, 0, 30), bits=32, align=4),
    8: Rule("pc", 4, _field(2, 0, 22), bits=24, align=4), 41: Rule("pc", 4, _field(2, 0, 19), bits=21, align=4),
    9: Rule("abs", 4, _field(10, 0, 22), bits=32), 12: Rule("abs", 4, _field(0, 0, 10)),
    11: Rule("abs", 4, _field(0, 0, 13), bits=13),
    16: Rule("pc", 4, _field(0, 0, 10)), 17: Rule("pc", 4, _field(10, 0, 22), bits=32),
    13: Rule("slot", 4, _field(0, 0, 10)), 14: Rule("slot", 4, _field(0, 0, 13), bits=13),
    15: Rule("slot", 4, _field(10, 0, 22), bits=32),
}  # fmt: skip

_S390X: Final = {
    22: _data("abs", 8), 4: _data("abs", 4), 5: _data("pc", 4), 23: _data("pc", 8),
    19: Rule("pc", 4, _field(1, 0, 32), bits=33, align=2), 20: Rule("pc", 4, _field(1, 0, 32), bits=33, align=2),
    16: Rule("pc", 2, _field(1, 0, 16), bits=17, align=2), 17: Rule("pc", 2, _field(1, 0, 16), bits=17, align=2),
}  # fmt: skip

_MIPS: Final = {
    2: _data("abs", 4), 18: _data("abs", 8), 3: _data("pc", 4),
    4: Rule("abs", 4, _field(2, 0, 26), lambda there: (there & 0x3FF_FFFF) << 2, align=4),
    5: Rule("high", 4, _put_ha), 6: Rule("low", 4, _LO16),
    28: Rule("abs", 4, lambda there, value: _LO16(there, (value + 0x8000_8000) >> 32)),
    29: Rule("abs", 4, lambda there, value: _LO16(there, (value + 0x8000_8000_8000) >> 48)),
    10: Rule("pc", 4, _field(2, 0, 16), lambda there: sign_extend((there & 0xFFFF) << 2, 18), 18, 4),
    9: Rule("slot page", 4, _LO16, bits=16), 11: Rule("slot", 4, _LO16, lambda there: 0, 16), 12: _data("gp", 4),
    # N64: R_MIPS_GOT_DISP, _GOT_PAGE and _GOT_OFST, and three in one: R_MIPS_GPREL16, _SUB and _HI16 or _LO16;
    # R_MIPS_GPREL32 and _64.
    19: Rule("slot", 4, _LO16, bits=16), 20: Rule("slot page", 4, _LO16, bits=16), 21: Rule("low", 4, _LO16),
    0x05_18_07: Rule("from gp", 4, _put_ha), 0x06_18_07: Rule("from gp", 4, _LO16), 0x12_0C: _data("gp", 8),
}  # fmt: skip


def _riscv_u(there: int, value: int) -> int:
    return _field(12, 12, 20)(there, value + 0x800)


_RISCV_I: Final = _field(0, 20, 12)
_RISCV_S: Final = _split((0, 7, 5), (5, 25, 7))


def riscv_call(there: int, value: int) -> int:
    """auipc and jalr, one after the other, as one 64-bit number."""
    return _riscv_u(there & 0xFFFF_FFFF, value) | _RISCV_I(there >> 32, value) << 32


_RISCV: Final = {
    1: _data("abs", 4), 2: _data("abs", 8),
    16: Rule("pc", 4, _split((11, 7, 1), (1, 8, 4), (5, 25, 6), (12, 31, 1)), bits=13, align=2),
    17: Rule("pc", 4, _split((12, 12, 8), (11, 20, 1), (1, 21, 10), (20, 31, 1)), bits=21, align=2),
    18: Rule("pc", 8, riscv_call, bits=32), 19: Rule("pc", 8, riscv_call, bits=32),
    23: Rule("pc", 4, _riscv_u, bits=32), 24: Rule("again", 4, _RISCV_I), 25: Rule("again", 4, _RISCV_S),
    26: Rule("abs", 4, _riscv_u), 27: Rule("abs", 4, _RISCV_I), 28: Rule("abs", 4, _RISCV_S),
}  # fmt: skip

_LOONGARCH: Final = {
    1: _data("abs", 4), 2: _data("abs", 8), 99: _data("pc", 4), 109: _data("pc", 8),
    64: Rule("pc", 4, _field(2, 10, 16), bits=18, align=4),
    65: Rule("pc", 4, _split((2, 10, 16), (18, 0, 5)), bits=23, align=4),
    66: Rule("pc", 4, _split((2, 10, 16), (18, 0, 10)), bits=28, align=4),
    71: Rule("page+", 4, _field(12, 5, 20), bits=32), 72: Rule("in page", 4, _field(0, 10, 12)),
}  # fmt: skip

EM_SPARC32PLUS: Final = 18
EM_RISCV: Final = 243
EM_PPC64: Final = 21
EM_MIPS: Final = 8
SPARCS: Final = (2, EM_SPARC32PLUS, 43)

# By e_machine; None is a relocation that changes nothing.
RULES: Final[dict[int, dict[int, Rule]]] = {
    62: _X86_64, 3: _I386, 40: _ARM, 183: _AARCH64, 20: _PPC, EM_PPC64: _PPC64, 2: _SPARC, EM_SPARC32PLUS: _SPARC,
    43: _SPARC, 22: _S390X, 8: _MIPS, EM_RISCV: _RISCV, 258: _LOONGARCH,
}  # fmt: skip
# R_*_RELATIVE, by e_machine: what the run-time linker adds where a library lies to; R_MIPS_REL32 without a symbol.
RELATIVE: Final = {62: 8, 3: 8, 40: 23, 183: 1027, 20: 22, EM_PPC64: 22, 2: 22, EM_SPARC32PLUS: 22, 43: 22, 22: 12,
                   EM_MIPS: 3, EM_RISCV: 3, 258: 3}  # fmt: skip
# Types that only tell linkers what they may change: R_RISCV_RELAX, R_LARCH_RELAX, R_MIPS_JALR.
HINTS: Final = {EM_RISCV: frozenset((51,)), 258: frozenset((100,)), 8: frozenset((37,))}
