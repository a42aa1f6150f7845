"""What an ELF file is made of, as frozen values.

Facts: System V gABI chapter 4, include/uapi/linux/elf.h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

EM_MIPS = 8
EM_BPF = 247
ET_REL = 1

SHT_PROGBITS = 1
SHT_SYMTAB = 2
SHT_STRTAB = 3
SHT_RELA = 4
SHT_NOBITS = 8
SHT_REL = 9

SHF_WRITE = 1
SHF_ALLOC = 2
SHF_EXECINSTR = 4

SHN_UNDEF = 0
SHN_LORESERVE = 0xFF00
SHN_ABS = 0xFFF1
SHN_COMMON = 0xFFF2
SHN_XINDEX = 0xFFFF

STB_LOCAL = 0
STB_GLOBAL = 1
STB_WEAK = 2

STT_NOTYPE = 0
STT_OBJECT = 1
STT_FUNC = 2
STT_SECTION = 3
STT_FILE = 4

STV_DEFAULT = 0
STV_INTERNAL = 1
STV_HIDDEN = 2

R_BPF_64_64 = 1
R_BPF_64_ABS64 = 2
R_BPF_64_ABS32 = 3
R_BPF_64_NODYLD32 = 4
R_BPF_64_32 = 10


class Section:
    """One section. `data` is empty for SHT_NOBITS, whose `size` counts all the same."""

    __slots__ = ("align", "data", "entsize", "flags", "index", "info", "link", "name", "offset", "size", "type")

    def __init__(
        self, index: int, name: str, type: int, flags: int, offset: int, size: int, link: int, info: int, align: int,
        entsize: int, data: bytes,
    ) -> None:  # fmt: skip
        self.index = index
        self.name = name
        self.type = type
        self.flags = flags
        self.offset = offset
        self.size = size
        self.link = link
        self.info = info
        self.align = align
        self.entsize = entsize
        self.data = data


class Symbol:
    """One symbol; `section` is its section index after SHN_XINDEX was resolved, `other` the whole st_other, of which
    `visibility` is the low part."""

    __slots__ = ("bind", "index", "name", "other", "section", "size", "type", "value", "visibility")

    def __init__(
        self, index: int, name: str, value: int, size: int, bind: int, type: int, visibility: int, section: int,
        other: int = 0,
    ) -> None:  # fmt: skip
        self.index = index
        self.name = name
        self.value = value
        self.size = size
        self.bind = bind
        self.type = type
        self.visibility = visibility
        self.section = section
        self.other = other


class Relocation(NamedTuple):
    """One REL or RELA entry. `addend` is None for REL: it is in the bytes at `offset`. `type` of MIPS64: a byte
    each for the special symbol, third, second and first type."""

    offset: int
    symbol: int
    type: int
    addend: int | None = None


class Relocations(Mapping[int, tuple[Relocation, ...]]):
    """Entries by the index of their target section, made when they are asked for: tables of debug information have
    tens of thousands. `entries` has been checked to work."""

    __slots__ = ("_entries", "_made", "_targets")

    def __init__(self, targets: Iterable[int], entries: Callable[[int], Iterable[Relocation]]) -> None:
        self._targets = dict.fromkeys(targets)
        self._entries = entries
        self._made: dict[int, tuple[Relocation, ...]] = {}

    def __getitem__(self, target: int) -> tuple[Relocation, ...]:
        found = self._made.get(target)
        if found is None:
            if target not in self._targets:
                raise KeyError(target)
            found = self._made[target] = tuple(self._entries(target))
        return found

    def __iter__(self) -> Iterator[int]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)


class Elf(NamedTuple):
    """A parsed file. `relocations` maps the index of a target section to its entries."""

    bits: int
    byteorder: str
    type: int
    machine: int
    flags: int
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: Mapping[int, tuple[Relocation, ...]]
    size: int

    def section(self, name: str) -> Section | None:
        """The first section with a name."""
        return next((s for s in self.sections if s.name == name), None)
