"""What GNU tools write in another way than loaders read it.

Facts: binutils 2.40 bfd/elf64-bpf.c and gas/config/tc-bpf.c: in the instruction that loads an address the symbol's
value is added to the field, while it stays in the symbol; libbpf (and LLVM, and binutils since 2.41) add it when they
load. Linux 6.12 kernel/bpf/btf.c: btf_int_check_meta takes one flag of an integer's encoding; gcc 12 gives two to char.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from bombus.elf.model import R_BPF_64_64, SHF_EXECINSTR, SHN_LORESERVE, Elf
from bombus.elf.read import read_elf
from bombus.errors import BombusError, CodegenError

_PROBE: Final = ".data\n.quad 0\n.globl y\ny: .quad 0\n.text\nlddw %r0, y\nexit\n"
_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


def repaired(data: bytes, command: tuple[str, ...], timeout: float) -> bytes:
    """An object of this compiler with the addresses of its variables as loaders take them. CodegenError when it is
    none that its own assembler could have made."""
    if not _counts_twice(command, timeout):
        return data
    elf = read_elf(data)
    made = bytearray(data)
    for target, rows in elf.relocations.items():
        section = elf.sections[target]
        if not section.flags & SHF_EXECINSTR:
            continue
        for row in rows:
            symbol = elf.symbols[row.symbol]
            if row.type != R_BPF_64_64 or row.addend is not None or not 0 < symbol.section < SHN_LORESERVE:
                continue
            place = section.offset + row.offset
            if row.offset + 16 > len(section.data):
                raise CodegenError(f"{command[0]} wrote a relocation behind the end of {section.name!r}")
            _store(made, place, _field(made, place, elf) - symbol.value, elf)
    return bytes(made)


def _mark(elf: Elf) -> str:
    return "<I" if elf.byteorder == "little" else ">I"


def _field(data: bytes | bytearray, at: int, elf: Elf) -> int:
    """The 64-bit constant of the instruction there."""
    (low,), (high,) = struct.unpack_from(_mark(elf), data, at + 4), struct.unpack_from(_mark(elf), data, at + 12)
    return int(low | high << 32)


def _store(data: bytearray, at: int, value: int, elf: Elf) -> None:
    value &= _MASK
    struct.pack_into(_mark(elf), data, at + 4, value & 0xFFFF_FFFF)
    struct.pack_into(_mark(elf), data, at + 12, value >> 32)


@cache
def _counts_twice(command: tuple[str, ...], timeout: float) -> bool:
    """Whether the compiler's assembler adds the values of symbols to what it writes: one look at what it makes."""
    with tempfile.TemporaryDirectory(prefix="bombus-c-") as room:
        goal = Path(room, "probe.o")
        line = [*command, "-c", "-x", "assembler", "-", "-o", str(goal)]
        try:
            subprocess.run(line, input=_PROBE.encode(), capture_output=True, check=True, timeout=timeout)
            data = goal.read_bytes()
            elf = read_elf(data)
            text = elf.section(".text")
            if text is None:
                return False
            return _field(data, text.offset, elf) == 8
        except (OSError, subprocess.SubprocessError, BombusError, struct.error):
            return False  # what it cannot assemble it has not made objects with
