"""ELF32 and ELF64 files of both byte orders to `Elf`.

Whatever the bytes are, nothing but ElfError comes out; work is bounded by the file's size.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Literal

from bombus.elf.model import (
    EM_BPF,
    EM_MIPS,
    SHN_XINDEX,
    SHT_NOBITS,
    SHT_REL,
    SHT_RELA,
    SHT_SYMTAB,
    Elf,
    Relocation,
    Relocations,
    Section,
    Symbol,
)
from bombus.errors import ElfError

MAGIC = b"\x7fELF"
SHT_SYMTAB_SHNDX = 18

# Per class: header after e_ident, section header, symbol, REL, RELA; without byte order.
_HEADER = {32: "HHIIIIIHHHHHH", 64: "HHIQQQIHHHHHH"}
_SECTION = {32: "10I", 64: "IIQQQQIIQQ"}
_SYMBOL = {32: "IIIBBH", 64: "IBBHQQ"}
_REL = {32: "II", 64: "QQ"}
_RELA = {32: "IIi", 64: "QQq"}


def read_elf(data: bytes | bytearray | memoryview, path: str | None = None) -> Elf:
    """Parse a whole file. Raises ElfError."""
    try:
        return _Reader(memoryview(data)).read()
    except ElfError as error:
        if path is None:
            raise
        raise ElfError(error.message, offset=error.offset, path=path) from None


class _Reader:
    __slots__ = ("bits", "data", "mark")

    def __init__(self, data: memoryview) -> None:
        if len(data) < 20 or data[:4] != MAGIC:
            raise ElfError("no ELF magic", offset=0)
        bits = {1: 32, 2: 64}.get(data[4])
        mark = {1: "<", 2: ">"}.get(data[5])
        if bits is None:
            raise ElfError(f"class {data[4]} is neither 32 nor 64 bits", offset=4)
        if mark is None:
            raise ElfError(f"data encoding {data[5]} is neither little nor big endian", offset=5)
        if data[6] != 1:
            raise ElfError(f"version {data[6]}", offset=6)
        self.data, self.bits, self.mark = data, bits, mark

    def read(self) -> Elf:
        header = struct.Struct(self.mark + _HEADER[self.bits])
        if len(self.data) < 16 + header.size:
            raise ElfError("the header is cut off", offset=16)
        kind, machine, _, _, _, shoff, flags, _, _, _, shentsize, shnum, shstrndx = header.unpack_from(self.data, 16)
        headers = self.headers(shoff, shentsize, shnum)
        if headers and shstrndx == SHN_XINDEX:
            shstrndx = headers[0][6]
        sections = self.sections(headers, shstrndx)
        symtabs = [s for s in sections if s.type == SHT_SYMTAB]
        if len(symtabs) > 1:
            raise ElfError("more than one symbol table", offset=symtabs[1].offset)
        symbols = self.symbols(sections, symtabs[0]) if symtabs else ()
        end = max((s.offset + len(s.data) for s in sections), default=0)
        return Elf(
            self.bits, "little" if self.mark == "<" else "big", kind, machine, flags, sections, symbols,
            self.relocations(sections, len(symbols), machine), max(end, shoff + len(headers) * shentsize),
        )  # fmt: skip

    def headers(self, shoff: int, shentsize: int, shnum: int) -> list[tuple[int, ...]]:
        if not shoff:
            return []
        row = struct.Struct(self.mark + _SECTION[self.bits])
        if shentsize != row.size:
            raise ElfError(f"section headers of {shentsize} bytes, expected {row.size}", offset=16)
        if shoff + row.size > len(self.data):
            raise ElfError("the section headers lie behind the end", offset=shoff)
        # Zero sections with a table: the count is in the first header's size.
        count = shnum or row.unpack_from(self.data, shoff)[5]
        if count * row.size > len(self.data) - shoff:
            raise ElfError(f"{count} section headers do not fit the file", offset=shoff)
        return [row.unpack_from(self.data, shoff + i * row.size) for i in range(count)]

    def sections(self, headers: list[tuple[int, ...]], shstrndx: int) -> tuple[Section, ...]:
        names = b""
        if headers and shstrndx:
            if shstrndx >= len(headers):
                raise ElfError(f"section name table is section {shstrndx} of {len(headers)}")
            names = self.content(headers[shstrndx])
        found = []
        total = 0
        for index, row in enumerate(headers):
            name, kind, flags, _, offset, size, link, info, align, entsize = row
            data = self.content(row) if index else b""
            total += len(data)
            # Overlapping sections could ask for far more memory than the file has.
            if total > 2 * len(self.data) + 4096:
                raise ElfError("sections overlap", offset=offset)
            text = string_at(names, name)
            found.append(Section(index, text, kind, flags, offset, size, link, info, align, entsize, data))
        return tuple(found)

    def content(self, row: tuple[int, ...]) -> bytes:
        kind, offset, size = row[1], row[4], row[5]
        if kind in (0, SHT_NOBITS):
            return b""
        if offset > len(self.data) or size > len(self.data) - offset:
            raise ElfError(f"a section of {size} bytes reaches behind the end", offset=offset)
        return bytes(self.data[offset : offset + size])

    def rows(self, section: Section, layout: str) -> Iterator[tuple[int, ...]]:
        row = struct.Struct(self.mark + layout)
        if section.entsize != row.size or len(section.data) % row.size:
            raise ElfError(
                f"section {section.name!r} of {section.size} bytes has entries of {section.entsize} bytes, "
                f"expected {row.size}",
                offset=section.offset,
            )
        return row.iter_unpack(section.data)

    def symbols(self, sections: tuple[Section, ...], table: Section) -> tuple[Symbol, ...]:
        if table.link >= len(sections):
            raise ElfError(f"symbol names are in section {table.link}", offset=table.offset)
        names = sections[table.link].data
        extended = next((s.data for s in sections if s.type == SHT_SYMTAB_SHNDX and s.link == table.index), b"")
        found = []
        for index, row in enumerate(self.rows(table, _SYMBOL[self.bits])):
            if self.bits == 64:
                name, info, other, section, value, size = row
            else:
                name, value, size, info, other, section = row
            if section == SHN_XINDEX:
                if len(extended) < index * 4 + 4:
                    raise ElfError(f"symbol {index} has no extended section index", offset=table.offset)
                (section,) = struct.unpack_from(self.mark + "I", extended, index * 4)
            found.append(
                Symbol(index, string_at(names, name), value, size, info >> 4, info & 15, other & 3, section, other)
            )  # fmt: skip
        return tuple(found)

    def relocations(self, sections: tuple[Section, ...], symbols: int, machine: int) -> Relocations:
        tables: dict[int, list[Section]] = {}
        # MIPS64 has no 64-bit r_info: it is u32 symbol, then four bytes (special symbol, third, second, first type).
        bytewise = machine == EM_MIPS and self.bits == 64 and self.mark == "<"
        shift = 8 if self.bits == 32 else 32
        for section in sections:
            if section.type not in (SHT_REL, SHT_RELA):
                continue
            if section.info >= len(sections):
                raise ElfError(f"relocations {section.name!r} for section {section.info}", offset=section.offset)
            infos = [row[1] for row in self.rows(section, self.layout(section))]
            if bytewise:
                infos = [(info & 0xFFFF_FFFF) << shift for info in infos]
            symbol = max(infos, default=0) >> shift
            if symbol >= max(symbols, 1):
                raise ElfError(f"relocation in {section.name!r} names symbol {symbol}", offset=section.offset)
            tables.setdefault(section.info, []).append(section)

        def entries(target: int) -> Iterator[Relocation]:
            for section in tables[target]:
                for offset, info, *addend in self.rows(section, self.layout(section)):
                    if bytewise:
                        types = int.from_bytes((info >> 32).to_bytes(4, "little"), "big")
                        symbol, kind = info & 0xFFFF_FFFF, types
                    else:
                        symbol, kind = info >> shift, info & (1 << shift) - 1
                    yield Relocation(offset, symbol, kind, addend[0] if addend else None)

        return Relocations(list(tables), entries)

    def layout(self, section: Section) -> str:
        return (_RELA if section.type == SHT_RELA else _REL)[self.bits]


def string_at(table: bytes, offset: int) -> str:
    """A NUL-terminated name; "" for offset 0 of an empty table. Raises ElfError behind the end."""
    if not offset:
        return ""
    end = table.find(b"\0", offset)
    if offset >= len(table) or end < 0:
        raise ElfError(f"name at {offset} lies outside its string table of {len(table)} bytes")
    if end - offset > 4096:
        raise ElfError(f"name at {offset} is longer than 4096 bytes")
    return table[offset:end].decode("utf-8", "surrogateescape")


def find_embedded(data: bytes) -> Iterator[tuple[int, Elf]]:
    """BPF objects inside any binary (libbpf skeletons keep them in .rodata): their offset and what they hold.

    `data[offset : offset + elf.size]` are an object's bytes. ElfError when more places look like an object than
    any real file has.
    """
    view = memoryview(data)
    at, tries = data.find(MAGIC), 0
    while at >= 0:
        following = at + 4
        head = data[at : at + 20]
        order: Literal["little", "big"] = "big" if head[5:6] == b"\2" else "little"
        if head[18:20] == EM_BPF.to_bytes(2, order):
            tries += 1
            if tries > _MAX_EMBEDDED:
                raise ElfError(f"more than {_MAX_EMBEDDED} places look like an embedded object", offset=at)
            with contextlib.suppress(ElfError):  # magic bytes by chance
                found = read_elf(view[at:])
                yield at, found
                following = at + max(found.size, 4)
        at = data.find(MAGIC, following)


_MAX_EMBEDDED = 4096
