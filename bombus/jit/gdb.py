"""Native code for debuggers: GDB's JIT interface, when $BOMBUS_GDB is set.

GDB (and LLDB) stop where a process calls `__jit_debug_register_code` and look at `__jit_debug_descriptor`: a list of
ELF files in memory, one for each program, whose symbols they read. They look for these names in the shared libraries of
the process, so a library that holds nothing else is written and loaded.

Format: GDB's manual, chapter "JIT Compilation Interface"; System V gABI for the library.
"""

from __future__ import annotations

import ctypes
import os
import struct
import tempfile
import weakref
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Final

from bombus.elf.model import SHF_ALLOC, SHF_EXECINSTR, STB_GLOBAL, STT_FUNC
from bombus.elf.write import ElfWriter
from bombus.jit import perfmap
from bombus.jit.link import EM_X86_64, Linked

REGISTER: Final = "__jit_debug_register_code"
DESCRIPTOR: Final = "__jit_debug_descriptor"
_REGISTER, _UNREGISTER = 1, 2
_PAGE: Final = 0x1000


class _Entry(ctypes.Structure):
    """struct jit_code_entry"""


_Entry._fields_ = (
    ("next", ctypes.POINTER(_Entry)), ("previous", ctypes.POINTER(_Entry)), ("file", ctypes.c_void_p),
    ("size", ctypes.c_uint64),
)  # fmt: skip


class _Descriptor(ctypes.Structure):
    """struct jit_descriptor"""

    _fields_ = (
        ("version", ctypes.c_uint32), ("action", ctypes.c_uint32), ("relevant", ctypes.POINTER(_Entry)),
        ("first", ctypes.POINTER(_Entry)),
    )  # fmt: skip


_lock = Lock()
_files: dict[int, tuple[_Entry, ctypes.Array[ctypes.c_char]]] = {}  # by address of the entry


def library() -> bytes:
    """An x86-64 shared library with the two symbols, and nothing else."""
    names = b"\0" + REGISTER.encode() + b"\0" + DESCRIPTOR.encode() + b"\0"
    sections = b"\0.dynsym\0.dynstr\0.hash\0.text\0.dynamic\0.data\0.shstrtab\0"
    descriptor = struct.pack("<IIQQ", 1, 0, 0, 0)
    symbols_at = 64 + 5 * 56
    symbols = bytes(24) + struct.pack("<IBBHQQ", 1, STB_GLOBAL << 4 | STT_FUNC, 0, 4, _PAGE, 1)
    symbols += struct.pack("<IBBHQQ", 2 + len(REGISTER), STB_GLOBAL << 4 | 1, 0, 6, 2 * _PAGE + 0x80, len(descriptor))
    names_at = symbols_at + len(symbols)
    hash_at = names_at + len(names) + 7 & ~7
    table = struct.pack("<6I", 1, 3, 1, 0, 2, 0)  # one bucket: symbols 1 and 2
    tags = ((4, hash_at), (5, names_at), (6, symbols_at), (10, len(names)), (11, 24), (0, 0))
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    data = bytearray(2 * _PAGE + 0x100)
    for at, part in ((symbols_at, symbols), (names_at, names), (hash_at, table), (_PAGE, b"\xc3"),
                     (2 * _PAGE, dynamic), (2 * _PAGE + 0x80, descriptor)):  # fmt: skip
        data[at : at + len(part)] = part
    sections_at = len(data) + len(sections) + 7 & ~7
    rows = (  # type, flags, offset, size, align
        (1, 4, 0, hash_at + len(table), _PAGE), (1, 5, _PAGE, 1, _PAGE), (1, 6, 2 * _PAGE, 0x100, _PAGE),
        (2, 6, 2 * _PAGE, len(dynamic), 8), (0x6474E551, 6, 0, 0, 16),
    )  # fmt: skip
    for number, (kind, flags, offset, size, align) in enumerate(rows):
        struct.pack_into("<IIQQQQQQ", data, 64 + 56 * number, kind, flags, offset, offset, offset, size, size, align)
    struct.pack_into(
        "<16sHHIQQQIHHHHHH", data, 0, b"\x7fELF\2\1\1", 3, EM_X86_64, 1, 0, 64, sections_at, 0, 64, 56, len(rows), 64,
        8, 7,
    )  # fmt: skip
    headers = bytes(64)
    for name, kind, flags, offset, size, link, info, entry in (
        (".dynsym", 11, 2, symbols_at, len(symbols), 2, 1, 24), (".dynstr", 3, 2, names_at, len(names), 0, 0, 0),
        (".hash", 5, 2, hash_at, len(table), 1, 0, 4), (".text", 1, 6, _PAGE, 1, 0, 0, 0),
        (".dynamic", 6, 3, 2 * _PAGE, len(dynamic), 2, 0, 16),
        (".data", 1, 3, 2 * _PAGE + 0x80, len(descriptor), 0, 0, 0),
        (".shstrtab", 3, 0, len(data), len(sections), 0, 0, 0),
    ):  # fmt: skip
        at = sections.index(name.encode() + b"\0")
        address = offset if flags else 0
        headers += struct.pack("<IIQQQQIIQQ", at, kind, flags, address, offset, size, link, info, 8, entry)
    data += sections
    return bytes(data) + bytes(sections_at - len(data)) + headers


@cache
def _loaded() -> ctypes.CDLL:
    """The library, in a file of its own: debuggers read it by its name."""
    folder = tempfile.mkdtemp(prefix="bombus-gdb-")
    path = Path(folder, "libbombus-gdb.so")
    path.write_bytes(library())
    found = ctypes.CDLL(str(path))

    def remove(owner: int = os.getpid()) -> None:
        if owner == os.getpid():
            path.unlink(missing_ok=True)
            os.rmdir(folder)

    weakref.finalize(found, remove)
    return found


def _file(label: str, linked: Linked) -> bytes:
    """The symbols of a program as an ELF file."""
    writer = ElfWriter(machine=EM_X86_64)
    code = linked.code
    section = writer.add_section(".text", code.bytes(), flags=SHF_ALLOC | SHF_EXECINSTR, align=16)
    for name, address, size in perfmap.names(label, linked):
        writer.add_symbol(
            name, value=address - code.address, size=size, bind=STB_GLOBAL, type=STT_FUNC, section=section
        )
    places = {section: code.address}
    at, size = linked.frames
    if size:
        places[writer.add_section(".eh_frame", ctypes.string_at(at, size), flags=SHF_ALLOC, align=8)] = at
    data = bytearray(writer.to_bytes())
    (headers,) = struct.unpack_from("<Q", data, 40)
    for index, address in places.items():
        struct.pack_into("<Q", data, headers + 64 * index + 16, address)
    return bytes(data)


def note(label: str, linked: Linked) -> None:
    """Tell debuggers of a program's functions, under the kernel's names, if that is wanted; and when they are gone."""
    if not os.environ.get("BOMBUS_GDB"):
        return
    file = ctypes.create_string_buffer(_file(label, linked))
    entry = _Entry(None, None, ctypes.addressof(file), len(file) - 1)
    with _lock:
        descriptor = _descriptor()
        if descriptor.first:
            entry.next = descriptor.first
            descriptor.first.contents.previous = ctypes.pointer(entry)
        descriptor.first = ctypes.pointer(entry)
        _files[ctypes.addressof(entry)] = entry, file
        _tell(_REGISTER, entry)
    weakref.finalize(linked.code, _forget, ctypes.addressof(entry)).atexit = False


def _forget(address: int) -> None:
    with _lock:
        entry, _file = _files.pop(address)
        descriptor = _descriptor()
        if entry.next:
            entry.next.contents.previous = entry.previous
        if entry.previous:
            entry.previous.contents.next = entry.next
        else:
            descriptor.first = entry.next
        _tell(_UNREGISTER, entry)


def _descriptor() -> _Descriptor:
    return _Descriptor.in_dll(_loaded(), DESCRIPTOR)


def _tell(action: int, entry: _Entry) -> None:
    descriptor = _descriptor()
    descriptor.action = action
    descriptor.relevant = ctypes.pointer(entry)
    _loaded()[REGISTER]()
    descriptor.action = 0
