"""Linking: against bpftool, a linked object's way into a kernel, and what cannot be linked."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bombus.btf.dump_raw import dump
from bombus.btf.parse import Btf
from bombus.elf.model import SHN_LORESERVE, Elf
from bombus.elf.read import read_elf
from bombus.errors import LinkError
from bombus.object.link import link
from bombus.object.read import read_object

DATA = Path(__file__).parent / "data"


def linked(*names: str) -> bytes:
    return link([(name, (DATA / f"{name}.bpf.o").read_bytes()) for name in names])


def section_of(elf: Elf, index: int) -> str:
    return elf.sections[index].name if index < SHN_LORESERVE else str(index)


def symbols(elf: Elf) -> list[tuple[object, ...]]:
    return sorted(
        (s.name, s.value, s.size, s.bind, s.type, s.visibility, section_of(elf, s.section)) for s in elf.symbols
    )


def relocations(elf: Elf) -> set[tuple[object, ...]]:
    found = set()
    for index, rows in elf.relocations.items():
        for r in rows:
            s = elf.symbols[r.symbol]
            found.add((elf.sections[index].name, r.offset, r.type, s.name, s.value, section_of(elf, s.section)))
    return found


def types(elf: Elf) -> list[str]:
    section = elf.section(".BTF")
    assert section is not None
    rows = list(dump(Btf.parse(section.data)))
    # Data sections come last: their order is free. libbpf leaves a weak variable's old offset where a strong one
    # replaced it (loaders take offsets from symbols), so that of `shared` is not compared.
    shown = [re.sub(r"offset=\d+( size=\d+ \(VAR 'shared'\))", r"offset=?\1", row) for row in rows]
    return [r for r in shown if "DATASEC" not in r] + sorted(r.split(" ", 1)[1] for r in shown if "DATASEC" in r)


CASES = [("link/one",), ("link/two",), ("link/one", "link/two"), ("link/two", "link/one"), ("features",)]


@pytest.mark.debian
@pytest.mark.parametrize("names", CASES, ids="+".join)
def test_like_bpftool(names: tuple[str, ...], tmp_path: Path) -> None:
    if not shutil.which("bpftool"):
        pytest.skip("no bpftool")
    out = tmp_path / "out.o"
    subprocess.run(["bpftool", "gen", "object", out, *(DATA / f"{n}.bpf.o" for n in names)], check=True)
    ours, theirs = read_elf(linked(*names)), read_elf(out.read_bytes())
    assert {s.name for s in ours.sections} == {s.name for s in theirs.sections}
    for section in ours.sections:
        if section.name not in (".symtab", ".strtab", ".BTF", ".BTF.ext") and not section.name.startswith(".rel"):
            other = theirs.section(section.name)
            assert other is not None
            assert (section.data, section.size) == (other.data, other.size), section.name
    assert symbols(ours) == symbols(theirs)
    assert relocations(ours) == relocations(theirs)
    assert types(ours) == types(theirs)


@pytest.mark.parametrize("names", [*CASES, ("arena_ops",)], ids="+".join)
def test_linking_again_changes_nothing(names: tuple[str, ...]) -> None:
    once = linked(*names)
    assert symbols(read_elf(link([("once", once)]))) == symbols(read_elf(once))
    assert types(read_elf(link([("once", once)]))) == types(read_elf(once))


def test_definitions_meet_externs() -> None:
    elf = read_elf(linked("link/one", "link/two"))
    assert not [s.name for s in elf.symbols[1:] if not s.section]
    found = read_object(linked("link/one", "link/two"))
    assert {p.name for p in found.programs} == {"first", "second"}
    assert {m.name.split(".", 1)[-1] for m in found.maps} >= {"counts", "data", "bss", "rodata"}
    assert found.license == "GPL"


@pytest.mark.parametrize(
    ("other", "section", "symbol"),
    [("twice_defined", "", "total"), ("other_type", "", "total"), ("other_map", "", "counts"),
     ("other_license", "license", "")],
)  # fmt: skip
def test_errors_name_the_place(other: str, section: str, symbol: str) -> None:
    with pytest.raises(LinkError) as caught:
        linked("link/one", f"link/{other}")
    assert str(caught.value).startswith(f"link/{other}: ")
    assert caught.value.symbol == symbol
    assert not section or caught.value.section == section


def test_loads() -> None:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.loader import load

    load(read_object(linked("link/one", "link/two")), UserKernel())
