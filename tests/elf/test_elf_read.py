"""ELF reading: what it must find, and what it must survive."""

from __future__ import annotations

import struct

import pytest

from bombus.elf.model import EM_BPF
from bombus.elf.read import find_embedded, read_elf
from bombus.errors import ElfError


def tiny(mark: str = "<", bits: int = 64) -> bytes:
    """A file with a name table and one section "x" holding b"data"."""
    strings = b"\0x\0.shstrtab\0"
    header = 64 if bits == 64 else 52
    body = strings + b"data"
    body += b"\0" * (-(header + len(body)) % 8)
    shoff = header + len(body)
    row = "IIQQQQIIQQ" if bits == 64 else "10I"
    ident = b"\x7fELF" + bytes((2 if bits == 64 else 1, 1 if mark == "<" else 2, 1)) + b"\0" * 9
    layout = "HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH"
    size = struct.calcsize(mark + row)
    head = ident + struct.pack(mark + layout, 1, EM_BPF, 1, 0, 0, shoff, 0, header, 0, 0, size, 3, 2)
    rows = [
        (0,) * 10,
        (1, 1, 0, 0, header + len(strings), 4, 0, 0, 1, 0),
        (3, 3, 0, 0, header, len(strings), 0, 0, 1, 0),
    ]
    return head + body + b"".join(struct.pack(mark + row, *r) for r in rows)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("mark", ["<", ">"])
def test_reads_both_classes_and_orders(mark: str, bits: int) -> None:
    elf = read_elf(tiny(mark, bits))
    assert (elf.bits, elf.byteorder, elf.machine) == (bits, "little" if mark == "<" else "big", EM_BPF)
    section = elf.section("x")
    assert section is not None and section.data == b"data"


def test_every_truncation_is_an_error() -> None:
    data = tiny()
    for length in range(len(data)):
        with pytest.raises(ElfError):
            read_elf(data[:length])


def test_every_changed_byte_is_survived() -> None:
    data = tiny()
    refused = 0
    for at in range(len(data)):
        for value in (0, 0x7F, 0xFF):
            try:
                read_elf(data[:at] + bytes((value,)) + data[at + 1 :])
            except ElfError:
                refused += 1
    assert refused > 50


def test_embedded_images_are_found() -> None:
    data = b"\x7fELFjunk" * 3 + tiny() + b"between" + tiny(">") + b"\x7fELF"
    assert [at for at, _ in find_embedded(data)] == [24, 24 + len(tiny()) + 7]
