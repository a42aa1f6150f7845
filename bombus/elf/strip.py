"""Objects without DWARF, as `llvm-strip -g` leaves them: what loaders read (BTF, its line information) stays.

Facts: System V gABI chapter 4; DWARF 5 section 7.4 (sections are named .debug_*); LLVM docs/Extensions.rst
(.llvm_addrsig numbers symbols, so it does not outlive a new symbol table).
"""

from __future__ import annotations

from bombus.elf.model import (
    EM_BPF,
    ET_REL,
    SHN_LORESERVE,
    SHT_NOBITS,
    SHT_REL,
    SHT_RELA,
    SHT_STRTAB,
    SHT_SYMTAB,
    Elf,
    Section,
)
from bombus.elf.read import SHT_SYMTAB_SHNDX, read_elf
from bombus.elf.write import ElfWriter
from bombus.errors import ElfError, NotSupported

_MADE_ANEW = (SHT_SYMTAB, SHT_STRTAB, SHT_REL, SHT_RELA, SHT_SYMTAB_SHNDX)
_SHT_GROUP = 17
_SHT_LLVM_ADDRSIG = 0x6FFF4C03


def strip_debug(data: bytes) -> bytes:
    """A BPF object without its .debug_* sections, their relocations and the symbols that stand for them.

    Code, maps, BTF and all other symbols are as they were; section and symbol numbers are new. An object without DWARF
    comes back as it is. ElfError for a broken file, NotSupported for one that is no relocatable BPF object or has
    section groups.
    """
    elf = read_elf(data)
    if elf.bits != 64 or elf.type != ET_REL or elf.machine != EM_BPF:
        raise NotSupported("leaving DWARF out of this file", "it is no relocatable BPF object")
    if not any(_is_debug(section) for section in elf.sections):
        return data
    if any(section.type == _SHT_GROUP for section in elf.sections):
        raise NotSupported("leaving DWARF out of an object with section groups")
    writer = ElfWriter(elf.byteorder, elf.machine, elf.flags)
    sections = _sections(elf, writer)
    symbols = _symbols(elf, writer, sections)
    for target, rows in elf.relocations.items():
        if target not in sections:
            continue
        for row in rows:
            if row.symbol not in symbols:
                name = elf.sections[target].name
                raise ElfError(f"section {name!r} refers to DWARF", offset=row.offset)
            writer.add_relocation(sections[target], row.offset, symbols[row.symbol], row.type, row.addend)
    return writer.to_bytes()


def _is_debug(section: Section) -> bool:
    return section.name.startswith(".debug_")


def _sections(elf: Elf, writer: ElfWriter) -> dict[int, int]:
    """Numbers of the sections that stay: old to new."""
    kept = {}
    for s in elf.sections[1:]:
        if _is_debug(s) or s.type in _MADE_ANEW or s.type == _SHT_LLVM_ADDRSIG:
            continue
        size = s.size if s.type == SHT_NOBITS else None
        kept[s.index] = writer.add_section(
            s.name, s.data, type=s.type, flags=s.flags, align=s.align, entsize=s.entsize, size=size
        )
    return kept


def _symbols(elf: Elf, writer: ElfWriter, sections: dict[int, int]) -> dict[int, int]:
    """Numbers of the symbols that stay: old to new."""
    kept = {0: 0}
    for s in elf.symbols[1:]:
        if 0 < s.section < SHN_LORESERVE and s.section not in sections:
            continue
        kept[s.index] = writer.add_symbol(
            s.name, value=s.value, size=s.size, bind=s.bind, type=s.type, visibility=s.other,
            section=sections.get(s.section, s.section),
        )  # fmt: skip
    return kept
