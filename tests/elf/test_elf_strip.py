"""DWARF leaves an object and nothing else does."""

from __future__ import annotations

import pytest

from bombus.elf.model import R_BPF_64_64, R_BPF_64_ABS32, SHT_NOBITS, STB_GLOBAL, STT_FUNC, STT_SECTION, Elf
from bombus.elf.read import read_elf
from bombus.elf.strip import strip_debug
from bombus.elf.write import ElfWriter
from bombus.errors import ElfError, NotSupported


def sample(order: str = "little", *, machine: int = 247, dwarf: bool = True, crossing: bool = False) -> bytes:
    """A program, .bss and DWARF before and between them, so that all numbers change."""
    writer = ElfWriter(order, machine)
    if dwarf:
        info = writer.add_section(".debug_info", bytes(16))
        text = writer.add_section(".debug_str", b"\0name\0", flags=0x30, entsize=1)
        mark = writer.add_symbol("", type=STT_SECTION, section=text)
        writer.add_relocation(info, 8, mark, R_BPF_64_ABS32)
    code = writer.add_section("xdp", bytes(24), flags=6, align=8)
    if dwarf:
        writer.add_section(".llvm_addrsig", b"\1", type=0x6FFF4C03, flags=0x80000000)
    bss = writer.add_section(".bss", type=SHT_NOBITS, flags=3, align=4, size=100)
    writer.add_symbol("file", type=4, section=0xFFF1)
    data = writer.add_symbol("x", value=4, size=4, section=bss)
    writer.add_symbol("main", size=24, bind=STB_GLOBAL, type=STT_FUNC, section=code)
    extern = writer.add_symbol("elsewhere", bind=STB_GLOBAL)
    writer.add_relocation(code, 0, data, R_BPF_64_64)
    writer.add_relocation(code, 16, extern, 10)
    if crossing:
        writer.add_relocation(code, 8, mark, R_BPF_64_64)
    return writer.to_bytes()


def shape(elf: Elf) -> object:
    """All but numbers and places."""
    names = {s.index: s.name for s in elf.sections}
    rest = {s.index: (s.type, s.flags, s.align, s.entsize, s.size, s.data) for s in elf.sections}
    made = (".symtab", ".strtab", ".relxdp")
    kept = [(names[i], rest[i]) for i in rest if names[i] not in made]
    symbols = [(s.name, s.value, s.size, s.bind, s.type, names.get(s.section, s.section)) for s in elf.symbols]
    links = {
        names[i]: [(r.offset, elf.symbols[r.symbol].name, r.type, r.addend) for r in rows]
        for i, rows in elf.relocations.items()
    }
    return kept, symbols, links, elf.byteorder, elf.machine, elf.flags


@pytest.mark.parametrize("order", ["little", "big"])
def test_all_but_dwarf_stays(order: str) -> None:
    stripped = strip_debug(sample(order))
    assert shape(read_elf(stripped)) == shape(read_elf(sample(order, dwarf=False)))
    assert len(stripped) < len(sample(order))
    assert strip_debug(stripped) is stripped


def test_what_cannot_be_stripped() -> None:
    with pytest.raises(NotSupported, match="no relocatable BPF object"):
        strip_debug(sample(machine=62))
    with pytest.raises(ElfError, match="section 'xdp' refers to DWARF"):
        strip_debug(sample(crossing=True))
    with pytest.raises(ElfError):
        strip_debug(sample()[:100])
