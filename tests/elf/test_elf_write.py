"""What ElfWriter writes, read_elf reads back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bombus.elf.model import R_BPF_64_64, SHT_NOBITS, STB_GLOBAL, STB_LOCAL, STT_FUNC, STT_OBJECT, STV_HIDDEN
from bombus.elf.read import read_elf
from bombus.elf.write import ElfWriter
from bombus.errors import ElfError


def sample(order: str) -> bytes:
    writer = ElfWriter(order)
    code = writer.add_section("xdp", bytes(24), flags=6, align=8)
    writer.add_section("license", b"GPL\0", flags=3)
    bss = writer.add_section(".bss", type=SHT_NOBITS, flags=3, align=4, size=100)
    main = writer.add_symbol("main", size=24, bind=STB_GLOBAL, type=STT_FUNC, section=code)
    data = writer.add_symbol("x", value=4, size=4, type=STT_OBJECT, visibility=STV_HIDDEN, section=bss)
    ext = writer.add_symbol("elsewhere", bind=STB_GLOBAL)
    assert (main, data, ext) == (1, 2, 3)
    writer.add_relocation(code, 0, data, R_BPF_64_64)
    writer.add_relocation(code, 16, ext, 10)
    return writer.to_bytes()


@pytest.mark.parametrize("order", ["little", "big"])
def test_round_trip(order: str) -> None:
    elf = read_elf(sample(order))
    assert (elf.byteorder, elf.bits, elf.type, elf.machine) == (order, 64, 1, 247)
    names = ["", "xdp", "license", ".bss", ".relxdp", ".symtab", ".strtab"]
    assert [s.name for s in elf.sections] == names
    assert elf.sections[3].size == 100 and not elf.sections[3].data
    rows = [(s.name, s.value, s.size, s.bind, s.type, s.visibility, s.section) for s in elf.symbols[1:]]
    assert rows == [
        ("x", 4, 4, STB_LOCAL, STT_OBJECT, STV_HIDDEN, 3),
        ("main", 0, 24, STB_GLOBAL, STT_FUNC, 0, 1),
        ("elsewhere", 0, 0, STB_GLOBAL, 0, 0, 0),
    ]
    found = [(r.offset, elf.symbols[r.symbol].name, r.type, r.addend) for r in elf.relocations[1]]
    assert found == [(0, "x", R_BPF_64_64, None), (16, "elsewhere", 10, None)]
    assert elf.section(".symtab") is not None and elf.sections[5].info == 2


@pytest.mark.parametrize("order", ["little", "big"])
def test_readelf_has_no_complaint(order: str, tmp_path: Path) -> None:
    tool = shutil.which("llvm-readelf-19") or shutil.which("readelf")
    if tool is None:
        pytest.skip("no readelf")
    path = tmp_path / "x.o"
    path.write_bytes(sample(order))
    done = subprocess.run([tool, "-a", str(path)], capture_output=True, text=True, check=True)
    assert not done.stderr and "elsewhere" in done.stdout


def test_refusals() -> None:
    writer = ElfWriter()
    with pytest.raises(ElfError, match="power of two"):
        writer.add_section("x", align=3)
    with pytest.raises(ElfError, match="section 7"):
        writer.add_symbol("x", section=7)
    with pytest.raises(ElfError, match="section 1 of 0"):
        writer.add_relocation(1, 0, 0, 1)
    with pytest.raises(ElfError, match="NUL"):
        writer.add_section("a\0b")
        writer.to_bytes()
    with pytest.raises(ElfError):
        bad = ElfWriter()
        bad.add_symbol("x", value=1 << 64)
        bad.to_bytes()
