"""Functions of executables and libraries by their place in the file, from .symtab, .dynsym and separate debug files.

Files may be large: they are mapped, and only symbol tables are read.
Facts: System V gABI chapters 4 and 5; GDB manual, Separate Debug Files.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from bombus.errors import ElfError
from bombus.symbols.demangle import demangle
from bombus.symbols.model import Table

_SHT_SYMTAB, _SHT_NOTE, _SHT_NOBITS, _SHT_DYNSYM = 2, 7, 8, 11
_PT_LOAD, _PT_NOTE = 1, 4
_FUNC, _IFUNC = 2, 10
_GNU_BUILD_ID = 3
DEBUG_ROOT = "/usr/lib/debug"
_MOST_SYMBOLS = 1 << 23


class _Part(NamedTuple):
    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int


class ElfFile:
    """An ELF file in memory. ElfError for what is none; symbol tables that are damaged are left out."""

    def __init__(self, data: mmap.mmap | bytes, path: str = "") -> None:
        self.path = path
        self._data = data
        try:
            self._read()
        except (struct.error, ValueError, OverflowError) as error:
            raise ElfError(str(error), path=path or None) from None

    def close(self) -> None:
        """Give the file back; `address_of` still works."""
        if isinstance(self._data, mmap.mmap):
            self._data.close()
        self._data = b""

    def _read(self) -> None:
        data = self._data
        if data[:4] != b"\x7fELF" or len(data) < 52 or data[4] not in (1, 2) or data[5] not in (1, 2):
            raise ElfError("no ELF magic", offset=0, path=self.path or None)
        self.wide = data[4] == 2
        self.mark = "<" if data[5] == 1 else ">"
        head = struct.unpack_from(self.mark + ("HHIQQQIHHHHHH" if self.wide else "HHIIIIIHHHHHH"), data, 16)
        phoff, shoff, phentsize, phnum, shentsize, shnum, names = (*head[4:6], *head[8:13])
        self.segments: list[tuple[int, int, int, int]] = []  # (type, file offset, address, size)
        for i in range(phnum):
            row = struct.unpack_from(self.mark + ("IIQQQQQQ" if self.wide else "8I"), data, phoff + i * phentsize)
            if self.wide:
                self.segments.append((row[0], row[2], row[3], max(row[5], row[6])))
            else:
                self.segments.append((row[0], row[1], row[2], max(row[4], row[5])))
        layout = struct.Struct(self.mark + ("IIQQQQIIQQ" if self.wide else "10I"))
        self.parts: list[_Part] = []
        for i in range(shnum if shoff and shentsize >= layout.size else 0):
            at = shoff + i * shentsize
            if at + layout.size > len(data):
                break
            self.parts.append(_Part(*layout.unpack_from(data, at)))
        self._names = self._content(self.parts[names]) if 0 < names < len(self.parts) else b""

    def _content(self, part: _Part) -> bytes:
        if part.type == _SHT_NOBITS or part.offset + part.size > len(self._data):
            return b""
        return bytes(self._data[part.offset : part.offset + part.size])

    def section(self, name: str) -> bytes:
        """A section's bytes; empty when it is not there."""
        wanted = name.encode()
        for part in self.parts:
            if self._names[part.name : part.name + len(wanted) + 1] == wanted + b"\0":
                return self._content(part)
        return b""

    def address_of(self, offset: int) -> int | None:
        """The virtual address of a file offset."""
        for kind, start, address, size in self.segments:
            if kind == _PT_LOAD and start <= offset < start + size:
                return offset - start + address
        return None

    def build_id(self) -> str:
        """Hexadecimal; "" when there is none."""
        for part in self.parts:
            if part.type == _SHT_NOTE and (found := self._note(self._content(part))):
                return found
        for kind, start, _, size in self.segments:
            if kind == _PT_NOTE and (found := self._note(bytes(self._data[start : start + min(size, 1 << 16)]))):
                return found
        return ""

    def _note(self, data: bytes) -> str:
        at = 0
        while at + 12 <= len(data):
            name, size, kind = struct.unpack_from(self.mark + "III", data, at)
            body = at + 12 + (name + 3 & ~3)
            if kind == _GNU_BUILD_ID and data[at + 12 : at + 16] == b"GNU\0" and body + size <= len(data):
                return data[body : body + size].hex()
            at = body + (size + 3 & ~3)
        return ""

    def functions(self) -> Iterator[tuple[int, int, str]]:
        """(address, size, mangled name) of every symbol table."""
        layout = struct.Struct(self.mark + ("IBBHQQ" if self.wide else "IIIBBH"))
        for kind in (_SHT_SYMTAB, _SHT_DYNSYM):
            for part in self.parts:
                if part.type != kind or part.link >= len(self.parts) or part.size // layout.size > _MOST_SYMBOLS:
                    continue
                rows, names = self._content(part), self._content(self.parts[part.link])
                for row in layout.iter_unpack(rows[: len(rows) - len(rows) % layout.size]):
                    if self.wide:
                        at, info, _, section, value, size = row
                    else:
                        at, value, size, info, _, section = row
                    if info & 15 in (_FUNC, _IFUNC) and section:
                        end = names.find(b"\0", at)
                        if not size and section < len(self.parts):  # no further than its section: .plt comes after
                            holder = self.parts[section]
                            size = max(holder.address + holder.size - value, 0)
                        if end > at:
                            yield value, size, names[at:end].decode(errors="replace")


class Functions:
    """Functions of one file, read when they are first asked for."""

    def __init__(self, file: ElfFile, debug: ElfFile | None = None) -> None:
        self._file = file
        rows = list(debug.functions()) if debug is not None else []
        rows += file.functions()
        self._table = Table(rows)
        for one in (file, debug):
            if one is not None:
                one.close()

    def find(self, offset: int) -> tuple[str, int] | None:
        """(demangled name, offset in the function) of a file offset."""
        address = self._file.address_of(offset)
        found = self._table.find(address) if address is not None else None
        return (demangle(found[0]), found[1]) if found is not None else None

    def __len__(self) -> int:
        return len(self._table)


def open_elf(path: str) -> ElfFile:
    """An ELF file by its path. OSError, ElfError."""
    with open(path, "rb") as file:
        try:
            return ElfFile(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), path)
        except ValueError:
            raise ElfError("the file is empty", offset=0, path=path) from None


def open_functions(path: str, *, shown: str = "", debug_root: str = DEBUG_ROOT) -> Functions:
    """The functions of a file, with its debug file when there is one. shown: its path in the process's view."""
    file = open_elf(path)
    return Functions(file, _debug_file(file, shown or path, debug_root))


def _debug_file(file: ElfFile, path: str, root: str) -> ElfFile | None:
    """The separate debug file: by build id, then by .gnu_debuglink and its checksum."""
    build_id = file.build_id()
    if len(build_id) > 2:
        found = _same(f"{root}/.build-id/{build_id[:2]}/{build_id[2:]}.debug", build_id)
        if found is not None:
            return found
    link = file.section(".gnu_debuglink")
    name, _, rest = link.partition(b"\0")
    if not name or b"/" in name or len(rest) < 4:
        return None
    crc = int.from_bytes(link[-4:], "little" if file.mark == "<" else "big")
    folder = os.path.dirname(path)
    text = name.decode(errors="surrogateescape")
    for place in (f"{folder}/{text}", f"{folder}/.debug/{text}", f"{root}{folder}/{text}"):
        try:
            if not os.path.samefile(place, path) and _crc(place) == crc:
                return open_elf(place)
        except (OSError, ElfError):
            continue
    return None


def _same(path: str, build_id: str) -> ElfFile | None:
    try:
        found = open_elf(path)
    except (OSError, ElfError):
        return None
    return found if found.build_id() == build_id else None


def _crc(path: str) -> int:
    crc = 0
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
    return crc
