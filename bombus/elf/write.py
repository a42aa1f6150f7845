"""ELF64 relocatable files of both byte orders, from sections, symbols and relocations.

Facts: System V gABI chapter 4. The string table serves section and symbol names alike; local symbols stand first,
as the gABI asks.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from bombus.bits import align_up
from bombus.elf.model import (
    EM_BPF,
    ET_REL,
    SHN_LORESERVE,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    STB_LOCAL,
    STT_NOTYPE,
    STV_DEFAULT,
    Relocation,
)
from bombus.errors import ElfError

_HEADER_SIZE = 64
_SYMBOL_SIZE = 24


@dataclass(slots=True)
class _Section:
    name: str
    type: int
    flags: int
    align: int
    entsize: int
    data: bytes
    size: int
    link: int = 0
    info: int = 0


@dataclass(slots=True)
class _Symbol:
    name: str
    value: int
    size: int
    bind: int
    type: int
    visibility: int
    section: int


@dataclass(slots=True)
class ElfWriter:
    """Collects the parts of a relocatable file. Indices returned are those that the methods take.

    Sections keep their indices in the file; symbols are renumbered so that local ones come first.
    """

    byteorder: str = "little"
    machine: int = EM_BPF
    flags: int = 0
    _sections: list[_Section] = field(default_factory=list)
    _symbols: list[_Symbol] = field(default_factory=list)
    _relocations: dict[int, list[Relocation]] = field(default_factory=dict)

    def add_section(
        self, name: str, data: bytes = b"", *, type: int = SHT_PROGBITS, flags: int = 0, align: int = 1,
        entsize: int = 0, size: int | None = None,
    ) -> int:  # fmt: skip
        """A section's index, from 1. `size` is for SHT_NOBITS, which has no bytes. ElfError for a bad alignment."""
        if align < 0 or align & (align - 1):
            raise ElfError(f"section {name!r}: alignment {align} is no power of two")
        if len(self._sections) + 4 >= SHN_LORESERVE:
            raise ElfError("too many sections")
        if type == SHT_NOBITS and data:
            raise ElfError(f"section {name!r} without bits has bytes")
        self._sections.append(
            _Section(name, type, flags, align, entsize, data, len(data) if size is None else size)
        )
        return len(self._sections)

    def add_symbol(
        self, name: str, *, value: int = 0, size: int = 0, bind: int = STB_LOCAL, type: int = STT_NOTYPE,
        visibility: int = STV_DEFAULT, section: int = 0,
    ) -> int:  # fmt: skip
        """A symbol's number for `add_relocation`, from 1. `section` 0 leaves it undefined."""
        if section > len(self._sections) and section < SHN_LORESERVE:
            raise ElfError(f"symbol {name!r} is in section {section} of {len(self._sections)}")
        self._symbols.append(_Symbol(name, value, size, bind, type, visibility, section))
        return len(self._symbols)

    def add_relocation(self, section: int, offset: int, symbol: int, type: int, addend: int | None = None) -> None:
        """A relocation in a section; with an addend all of that section's must have one."""
        if not 1 <= section <= len(self._sections):
            raise ElfError(f"relocation in section {section} of {len(self._sections)}")
        if not 0 <= symbol <= len(self._symbols):
            raise ElfError(f"relocation names symbol {symbol} of {len(self._symbols)}")
        rows = self._relocations.setdefault(section, [])
        if rows and (rows[0].addend is None) != (addend is None):
            raise ElfError("relocations with and without addend", offset=offset)
        rows.append(Relocation(offset, symbol, type, addend))

    def to_bytes(self) -> bytes:
        """The file. ElfError for values that do not fit their fields."""
        try:
            return self._write()
        except (struct.error, UnicodeEncodeError) as error:
            raise ElfError(str(error)) from None

    def _write(self) -> bytes:
        mark = "<" if self.byteorder == "little" else ">"
        names = _Names()
        order = sorted(range(len(self._symbols)), key=lambda i: self._symbols[i].bind != STB_LOCAL)
        number = {0: 0} | {old + 1: new for new, old in enumerate(order, 1)}
        symbols = [bytes(_SYMBOL_SIZE)]
        for s in (self._symbols[i] for i in order):
            symbols.append(
                struct.pack(mark + "IBBHQQ", names.add(s.name), s.bind << 4 | s.type, s.visibility, s.section,
                            s.value, s.size)
            )  # fmt: skip
        local = 1 + sum(s.bind == STB_LOCAL for s in self._symbols)
        symtab = len(self._sections) + len(self._relocations) + 1
        sections = list(self._sections)
        for target, rows in self._relocations.items():
            sections.append(self._relocation_section(target, rows, number, symtab, mark))
        table = b"".join(symbols)
        sections.append(_Section(".symtab", SHT_SYMTAB, 0, 8, _SYMBOL_SIZE, table, len(table), symtab + 1, local))
        offsets = [names.add(section.name) for section in sections] + [names.add(".strtab")]
        text = bytes(names.data)
        sections.append(_Section(".strtab", SHT_STRTAB, 0, 1, 0, text, len(text)))
        return self._layout(sections, offsets, mark)

    def _relocation_section(
        self, target: int, rows: Sequence[Relocation], number: dict[int, int], symtab: int, mark: str
    ) -> _Section:
        name = self._sections[target - 1].name
        if rows[0].addend is None:
            data = b"".join(struct.pack(mark + "QQ", r.offset, number[r.symbol] << 32 | r.type) for r in rows)
            return _Section(".rel" + name, SHT_REL, 0, 8, 16, data, len(data), symtab, target)
        data = b"".join(struct.pack(mark + "QQq", r.offset, number[r.symbol] << 32 | r.type, r.addend) for r in rows)
        return _Section(".rela" + name, SHT_RELA, 0, 8, 24, data, len(data), symtab, target)

    def _layout(self, sections: Sequence[_Section], names: Sequence[int], mark: str) -> bytes:
        body = bytearray(_HEADER_SIZE)
        headers = [bytes(64)]
        for section, name in zip(sections, names, strict=True):
            body += bytes(align_up(len(body), max(section.align, 1)) - len(body))
            headers.append(
                struct.pack(mark + "IIQQQQIIQQ", name, section.type, section.flags, 0, len(body), section.size,
                            section.link, section.info, section.align, section.entsize)
            )  # fmt: skip
            body += section.data
        body += bytes(align_up(len(body), 8) - len(body))
        ident = b"\x7fELF\x02" + (b"\x01" if mark == "<" else b"\x02") + b"\x01" + bytes(9)
        body[:_HEADER_SIZE] = ident + struct.pack(
            mark + "HHIQQQIHHHHHH", ET_REL, self.machine, 1, 0, 0, len(body), self.flags, _HEADER_SIZE, 0, 0, 64,
            len(headers), len(headers) - 1,
        )  # fmt: skip
        return bytes(body) + b"".join(headers)


class _Names:
    """A string table in which each name stands once."""

    __slots__ = ("_at", "data")

    def __init__(self) -> None:
        self.data = bytearray(1)
        self._at = {"": 0}

    def add(self, name: str) -> int:
        if "\0" in name:
            raise ElfError(f"NUL in the name {name!r}")
        found = self._at.get(name)
        if found is None:
            found = self._at[name] = len(self.data)
            self.data += name.encode("utf-8", "surrogateescape") + b"\0"
        return found
