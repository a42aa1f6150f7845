"""Places an x86-64 object file that LLVM wrote into memory: sections, relocations, a table of outside addresses.

Facts: System V x86-64 psABI, chapter 4.4 (relocation types).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from bombus.bits import align_up
from bombus.elf.model import SHF_ALLOC, SHN_ABS, SHN_UNDEF, SHT_NOBITS, STB_GLOBAL, STT_FUNC, Elf, Symbol
from bombus.elf.read import read_elf
from bombus.errors import CodegenError
from bombus.jit.pages import PAGES, Code

EM_X86_64: Final = 62
R_64, R_PC32, R_PLT32, R_GOTPCREL, R_PC64, R_GOTPCRELX, R_REX_GOTPCRELX = 1, 2, 4, 9, 24, 41, 42
_FROM_TABLE: Final = (R_GOTPCREL, R_GOTPCRELX, R_REX_GOTPCRELX)
_LEFT_OUT: Final = (".note.GNU-stack",)
_FRAMES: Final = ".eh_frame"
_STUB: Final = 8  # bytes: jmp *[rip + n]

Resolve = Callable[[str], int]
"""The address of an outside symbol. KeyError for one that there is none of."""


class Linked(NamedTuple):
    """symbols: address of each exported symbol; functions: address and bytes of each function, those of its own too;
    code: what keeps them in place. frames: address and bytes of .eh_frame, where the object has one for debuggers."""

    symbols: dict[str, int]
    functions: dict[str, tuple[int, int]]
    code: Code
    frames: tuple[int, int] = (0, 0)


def link(data: bytes, resolve: Resolve) -> Linked:
    """Place an object. CodegenError for what it holds beyond code, constants and the relocations named above."""
    elf = read_elf(data)
    if elf.machine != EM_X86_64:
        raise CodegenError(f"an object for machine {elf.machine}, not for this one")
    return _Linker(elf, resolve).run()


class _Linker:
    def __init__(self, elf: Elf, resolve: Resolve) -> None:
        self.elf = elf
        self.resolve = resolve
        self.place: dict[int, int] = {}  # section -> offset
        self.table: dict[int, int] = {}  # symbol -> its entry of the table of addresses
        self.stubs: dict[int, int] = {}  # symbol -> its jump
        self.base = 0

    def run(self) -> Linked:
        elf = self.elf
        size = 0
        for section in elf.sections:
            if section.flags & SHF_ALLOC and section.name not in _LEFT_OUT:
                if section.type == SHT_NOBITS:
                    raise CodegenError(f"the object has variables ({section.name})")
                size = align_up(size, max(section.align, 1))
                self.place[section.index] = size
                size += section.size
        size = align_up(size, 8)
        outside = self._outside()
        for symbol in outside:
            self.table[symbol] = size
            size += 8
        for symbol in outside:
            self.stubs[symbol] = size
            size += _STUB
        code = PAGES.allocate(size)
        self.base = code.address
        image = bytearray(size)
        for index, offset in self.place.items():
            section = elf.sections[index]
            image[offset : offset + section.size] = section.data
        for symbol, offset in self.table.items():
            struct.pack_into("<Q", image, offset, self._address(elf.symbols[symbol]))
            stub = self.stubs[symbol]
            image[stub : stub + 2] = b"\xff\x25"
            struct.pack_into("<i", image, stub + 2, offset - (stub + 6))
        for index in self.place:
            for entry in elf.relocations.get(index, ()):
                self._relocate(image, self.place[index] + entry.offset, entry.symbol, entry.type, entry.addend or 0)
        code.fill(bytes(image))
        placed = [(s, self.base + self.place[s.section] + s.value) for s in elf.symbols if s.section in self.place]
        return Linked(
            {symbol.name: address for symbol, address in placed if symbol.bind == STB_GLOBAL},
            {symbol.name: (address, symbol.size) for symbol, address in placed if symbol.type == STT_FUNC}, code,
            self._frames(),
        )  # fmt: skip

    def _frames(self) -> tuple[int, int]:
        section = self.elf.section(_FRAMES)
        return (0, 0) if section is None else (self.base + self.place[section.index], section.size)

    def _outside(self) -> list[int]:
        """Symbols that need an entry of the table."""
        found: dict[int, None] = {}
        for index in self.place:
            for entry in self.elf.relocations.get(index, ()):
                symbol = self.elf.symbols[entry.symbol]
                if entry.type in _FROM_TABLE or symbol.section == SHN_UNDEF:
                    found[entry.symbol] = None
        return list(found)

    def _address(self, symbol: Symbol) -> int:
        if symbol.section == SHN_UNDEF:
            try:
                return self.resolve(symbol.name)
            except KeyError:
                raise CodegenError(f"the code needs {symbol.name!r}, which there is none of") from None
        if symbol.section == SHN_ABS:
            return symbol.value
        if symbol.section not in self.place:
            raise CodegenError(f"the code needs {symbol.name!r}, which was left out")
        return self.base + self.place[symbol.section] + symbol.value

    def _relocate(self, image: bytearray, at: int, index: int, kind: int, addend: int) -> None:
        symbol = self.elf.symbols[index]
        here = self.base + at
        if kind == R_64:
            struct.pack_into("<Q", image, at, (self._address(symbol) + addend) & 0xFFFF_FFFF_FFFF_FFFF)
            return
        if kind in _FROM_TABLE:
            value = self.base + self.table[index] + addend - here
        elif kind == R_PC64:
            struct.pack_into("<q", image, at, self._address(symbol) + addend - here)
            return
        elif kind in (R_PC32, R_PLT32):
            outside = symbol.section == SHN_UNDEF
            target = self.base + self.stubs[index] if outside else self._address(symbol)
            value = target + addend - here
        else:
            raise CodegenError(f"the object has relocations of type {kind}")
        if not -(1 << 31) <= value < 1 << 31:
            raise CodegenError("the object is larger than its code can reach")
        struct.pack_into("<i", image, at, value)
