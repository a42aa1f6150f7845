"""Executables and shared libraries: symbols and where they lie in the file, read no further than needed.

`read_elf` reads whole relocatable objects; files here may be hundreds of megabytes, so they are mapped.
Facts: System V gABI chapters 4 and 5; Linux 6.12 tools/lib/bpf/elf.c (elf_find_func_offset).
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from bombus.elf.model import SHN_LORESERVE, SHT_NOBITS, SHT_SYMTAB, STB_WEAK, STT_FUNC
from bombus.errors import ElfError, UsageError

SHT_DYNSYM = 11
SHT_GNU_VERSYM = 0x6FFFFFFF
SHT_GNU_VERDEF = 0x6FFFFFFD
PT_LOAD = 1
PF_X = 1
_STT_GNU_IFUNC = 10
_MAX_TABLE = 1 << 16


@dataclass(frozen=True, slots=True)
class Segment:
    """A PT_LOAD program header."""

    offset: int
    address: int
    file_size: int
    size: int
    executable: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A section's place."""

    index: int
    name: str
    type: int
    address: int
    offset: int
    size: int
    link: int
    entsize: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function symbol; offset: of its first byte in the file."""

    name: str
    offset: int
    size: int
    weak: bool
    version: str = ""


class Image:
    """An ELF64 or ELF32 file, mapped. A context manager. ElfError for what is none, OSError when it cannot be read."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        with open(path, "rb") as file:
            try:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:
                raise ElfError("the file is empty", offset=0, path=self.path) from None
        self._data = memoryview(self._map)
        try:
            self._read_headers()
        except (struct.error, OverflowError):
            self.close()
            raise ElfError("the headers are cut off", path=self.path) from None
        except ElfError:
            self.close()
            raise

    def close(self) -> None:
        self._data.release()
        self._map.close()

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_headers(self) -> None:
        data = self._data
        if len(data) < 52 or bytes(data[:4]) != b"\x7fELF":
            raise ElfError("no ELF magic", offset=0, path=self.path)
        if data[4] not in (1, 2) or data[5] not in (1, 2):
            raise ElfError("unknown class or byte order", offset=4, path=self.path)
        self.bits = 64 if data[4] == 2 else 32
        self.mark = "<" if data[5] == 1 else ">"
        layout = "HHIQQQIHHHHHH" if self.bits == 64 else "HHIIIIIHHHHHH"
        (self.type, self.machine, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, names
         ) = struct.unpack_from(self.mark + layout, data, 16)  # fmt: skip
        self.segments = self._segments(phoff, phentsize, phnum)
        self.parts = self._parts(shoff, shentsize, shnum, names)

    def _segments(self, phoff: int, entsize: int, count: int) -> tuple[Segment, ...]:
        found = []
        for i in range(min(count, _MAX_TABLE) if phoff else 0):
            at = phoff + i * entsize
            if self.bits == 64:
                kind, flags, offset, address, _, file_size, size, _ = struct.unpack_from(
                    self.mark + "IIQQQQQQ", self._data, at
                )
            else:
                kind, offset, address, _, file_size, size, flags, _ = struct.unpack_from(
                    self.mark + "8I", self._data, at
                )
            if kind == PT_LOAD:
                found.append(Segment(offset, address, file_size, size, bool(flags & PF_X)))
        return tuple(found)

    def _parts(self, shoff: int, entsize: int, count: int, names: int) -> tuple[Part, ...]:
        layout = struct.Struct(self.mark + ("IIQQQQIIQQ" if self.bits == 64 else "10I"))
        rows = []
        for i in range(min(count, _MAX_TABLE) if shoff else 0):
            rows.append(layout.unpack_from(self._data, shoff + i * entsize))
        table = b""
        if names < len(rows):
            table = bytes(self._data[rows[names][4] : rows[names][4] + rows[names][5]])
        found = []
        for i, row in enumerate(rows):
            end = table.find(b"\0", row[0])
            text = table[row[0] : end].decode(errors="replace") if end >= 0 else ""
            found.append(Part(i, text, row[1], row[3], row[4], row[5], row[6], row[9]))
        return tuple(found)

    def part(self, name: str) -> Part | None:
        return next((p for p in self.parts if p.name == name), None)

    def content(self, part: Part) -> bytes:
        """A section's bytes. ElfError when it reaches behind the end."""
        if part.type == SHT_NOBITS:
            return b""
        if part.offset + part.size > len(self._data):
            raise ElfError(f"section {part.name!r} reaches behind the end", offset=part.offset, path=self.path)
        return bytes(self._data[part.offset : part.offset + part.size])

    def offset_of(self, address: int, *, executable: bool | None = None) -> int | None:
        """The file offset of a virtual address; None when no segment has it. executable: only such segments."""
        for segment in self.segments:
            if executable is not None and segment.executable != executable:
                continue
            if segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        return None

    def functions(self, name: str | None = None) -> Iterator[Function]:
        """Function symbols of .dynsym, then of .symtab, defined in this file. name: only these, found fast."""
        layout = struct.Struct(self.mark + ("IBBHQQ" if self.bits == 64 else "IIIBBH"))
        for kind in (SHT_DYNSYM, SHT_SYMTAB):
            for table in (p for p in self.parts if p.type == kind):
                if table.entsize != layout.size or table.link >= len(self.parts):
                    raise ElfError(f"symbol table {table.name!r} is damaged", offset=table.offset, path=self.path)
                names = self.content(self.parts[table.link])
                wanted = _places(names, name.encode()) if name is not None else None
                if wanted is not None and not wanted:
                    continue
                rows = self.content(table)
                rows = rows[: len(rows) - len(rows) % layout.size]
                versions = self._versions(table) if kind == SHT_DYNSYM else None
                for index, row in enumerate(layout.iter_unpack(rows)):
                    if self.bits == 64:
                        at, info, _, section, value, size = row
                    else:
                        at, value, size, info, _, section = row
                    if wanted is not None and at not in wanted:
                        continue
                    if info & 15 not in (STT_FUNC, _STT_GNU_IFUNC) or not 0 < section < SHN_LORESERVE:
                        continue
                    if section >= len(self.parts):
                        continue
                    home = self.parts[section]
                    end = names.find(b"\0", at)
                    yield Function(
                        names[at:end].decode(errors="replace"), value - home.address + home.offset, size,
                        info >> 4 == STB_WEAK, versions(index) if versions else "",
                    )  # fmt: skip

    def _versions(self, table: Part) -> _Versions | None:
        versym = next((p for p in self.parts if p.type == SHT_GNU_VERSYM and p.link == table.index), None)
        verdef = next((p for p in self.parts if p.type == SHT_GNU_VERDEF), None)
        if versym is None or verdef is None or verdef.link >= len(self.parts):
            return None
        return _Versions(self, versym, verdef)


class _Versions:
    """Version names of dynamic symbols by their index: "GLIBC_2.2.5", of default ones "@GLIBC_2.2.5"."""

    def __init__(self, image: Image, versym: Part, verdef: Part) -> None:
        data = image.content(versym)
        self._numbers = struct.unpack(f"{image.mark}{len(data) // 2}H", data[: len(data) & ~1])
        self._names: dict[int, str] = {}
        rows, names = image.content(verdef), image.content(image.parts[verdef.link])
        at = 0
        for _ in range(_MAX_TABLE):
            if at + 20 > len(rows):
                break
            _, _, number, _, _, aux, following = struct.unpack_from(image.mark + "HHHHIII", rows, at)
            if at + aux + 4 <= len(rows):
                (name,) = struct.unpack_from(image.mark + "I", rows, at + aux)
                self._names[number & 0x7FFF] = names[name : names.find(b"\0", name)].decode(errors="replace")
            if not following:
                break
            at += following

    def __call__(self, index: int) -> str:
        number = self._numbers[index] if index < len(self._numbers) else 0
        name = self._names.get(number & 0x7FFF, "")
        return name if not name or number & 0x8000 else "@" + name


def _places(names: bytes, name: bytes) -> set[int]:
    """Every offset of a string table that spells a name (also the end of a longer one)."""
    found = set()
    at = names.find(name + b"\0")
    while at >= 0:
        found.add(at)
        at = names.find(name + b"\0", at + 1)
    return found


def function_offset(path: str | os.PathLike[str], name: str) -> int:
    """The file offset of a function, by "name" or "name@VERSION" ("name@@VERSION" for the default one).

    A global symbol wins over weak ones, a default version over others. UsageError when there is none, or several at
    different places.
    """
    plain, at, version = name.partition("@")
    with Image(path) as image:
        found = [f for f in image.functions(plain) if not at or f.version == version
                 or (not version.startswith("@") and f.version.lstrip("@") == version)]  # fmt: skip
    strong = {f.offset for f in found if not f.weak}
    weak = {f.offset for f in found if f.weak}
    places = strong or weak
    if len(places) > 1:
        places = {f.offset for f in found if f.version.startswith("@")} or places
    if not places:
        raise UsageError(f"{os.fspath(path)} has no function {name!r} in its symbol tables")
    if len(places) > 1:
        versions = sorted({f"{plain}@{f.version}" for f in found if f.version})
        more = f": name one of {', '.join(versions)}" if len(versions) > 1 else ""
        raise UsageError(f"{os.fspath(path)} has {len(places)} functions {name!r}{more}")
    return places.pop()


_LIBRARY_DIRS = ("/usr/lib64", "/usr/lib")
_BINARY_DIRS = ("/usr/bin", "/usr/sbin")
_MULTIARCH = {
    "x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu", "riscv64": "riscv64-linux-gnu",
    "s390x": "s390x-linux-gnu", "ppc64le": "powerpc64le-linux-gnu", "armv7l": "arm-linux-gnueabihf",
    "loongarch64": "loongarch64-linux-gnu", "i686": "i386-linux-gnu",
}  # fmt: skip


def find_file(name: str) -> str:
    """The path of a binary or library by its name, as libbpf searches: names with ".so" among libraries.

    Linux 6.12 tools/lib/bpf/libbpf.c: resolve_full_path. A name with a slash is a path. UsageError when not found.
    """
    if "/" in name:
        return name
    if ".so" in name:
        local = _MULTIARCH.get(os.uname().machine)
        more = (f"/usr/lib/{local}", f"/lib/{local}") if local else ()
        places = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), *_LIBRARY_DIRS, *more]
    else:
        places = [*os.environ.get("PATH", "").split(":"), *_BINARY_DIRS]
    mode = os.R_OK if ".so" in name else os.R_OK | os.X_OK
    for place in places:
        path = os.path.join(place, name) if place else ""
        if path and os.path.isfile(path) and os.access(path, mode):
            return path
    raise UsageError(f"no file {name!r} in {':'.join(p for p in places if p)}")
