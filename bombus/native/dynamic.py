"""What the run-time linker reads of a shared library: symbols, a hash table, relocations, the table of tables.

Facts: System V gABI chapter 5; the s390x supplement (words of DT_HASH have 64 bits).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bombus.bits import align_up
from bombus.elf.model import STB_GLOBAL

ALIGN: Final = 8
_S390: Final = 22
_HASH, _STRTAB, _SYMTAB, _RELA, _RELASZ, _RELAENT, _STRSZ, _SYMENT, _SONAME = 4, 5, 6, 7, 8, 9, 10, 11, 14
_REL, _RELSZ, _RELENT = 17, 18, 19


@dataclass(frozen=True, slots=True)
class Export:
    """other: st_other."""

    name: str
    address: int
    size: int
    type: int
    other: int


@dataclass(frozen=True, slots=True)
class Library:
    """name: DT_SONAME. relative: (place, value) of words to which the library's address is added. addends: they lie in
    the table (RELA), not in place. tags: rows of the machine's own."""

    machine: int
    bits: int
    byteorder: str
    name: str
    exports: Sequence[Export]
    relative: Sequence[tuple[int, int]]
    relative_type: int
    addends: bool
    tags: Sequence[tuple[int, int]] = ()


def tables(library: Library, start: int) -> tuple[bytes, int, int]:
    """All of it for address `start`, a multiple of ALIGN; where in it PT_DYNAMIC begins, and its size."""
    mark = "<" if library.byteorder == "little" else ">"
    wide = library.bits == 64
    names = bytearray(b"\0" + library.name.encode() + b"\0")
    symbols = bytearray(24 if wide else 16)
    for one in library.exports:
        info = STB_GLOBAL << 4 | one.type
        if wide:
            symbols += struct.pack(mark + "IBBHQQ", len(names), info, one.other, 1, one.address, one.size)
        else:
            symbols += struct.pack(mark + "IIIBBH", len(names), one.address, one.size, info, one.other, 1)
        names += one.name.encode() + b"\0"
    word = "Q" if wide else "I"
    parts: list[tuple[int, bytes]] = [(_SYMTAB, bytes(symbols)), (_HASH, _hash(library, mark)), (_STRTAB, bytes(names))]
    sizes = [(_STRSZ, len(names)), (_SYMENT, 24 if wide else 16), (_SONAME, 1)]
    if library.relative:
        rows = [
            (place, library.relative_type, value) if library.addends else (place, library.relative_type)
            for place, value in library.relative
        ]
        data = b"".join(struct.pack(f"{mark}{len(row)}{word}", *row) for row in rows)
        parts.append((_RELA if library.addends else _REL, data))
        size, entry = (_RELASZ, _RELAENT) if library.addends else (_RELSZ, _RELENT)
        sizes += [(size, len(data)), (entry, len(data) // len(rows))]
    image, places = bytearray(), []
    for tag, part in parts:
        image += bytes(align_up(len(image), ALIGN) - len(image))
        places.append((tag, start + len(image)))
        image += part
    image += bytes(align_up(len(image), ALIGN) - len(image))
    dynamic = b"".join(struct.pack(mark + 2 * word, *row) for row in (*places, *sizes, *library.tags, (0, 0)))
    return bytes(image) + dynamic, len(image), len(dynamic)


def _hash(library: Library, mark: str) -> bytes:
    """One bucket: a chain through all symbols."""
    count = len(library.exports) + 1
    chain = [0, *range(2, count), 0][:count]
    word = "Q" if library.machine == _S390 and library.bits == 64 else "I"
    return struct.pack(f"{mark}{3 + count}{word}", 1, count, 1 if library.exports else 0, *chain)
