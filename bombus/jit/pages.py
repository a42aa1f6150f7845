"""Memory for code: many programs share pages, and no page can ever be written and executed through one mapping.

Code lies in anonymous files that are mapped for execution. To place code, the pages that it goes to are mapped for
writing elsewhere for that moment. (Linux' bpf_prog_pack and text_poke do the like.)

A debugger writes breakpoints through ptrace, which Linux does for private mappings alone (mm/gup.c:
check_vma_flags): the page that is written is the mapping's own from then on, and sees nothing of what is placed in the
file. So the mapping is private when $BOMBUS_GDB is set, and pages of its own are dropped where code was placed.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from bisect import bisect_left
from threading import Lock
from typing import Final

CHUNK: Final = 1 << 21
_ALIGN: Final = 64
_PAGE: Final = mmap.PAGESIZE
_MFD_CLOEXEC, _MFD_EXEC = 1, 0x10  # include/uapi/linux/memfd.h
_TRAP = b"\xcc"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def _map(fd: int, size: int, offset: int, protection: int, kind: int = mmap.MAP_SHARED) -> int:
    address: int | None = _libc.mmap(None, size, protection, kind, fd, offset)
    if address is None or address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return address


def _memfd() -> int:
    try:
        return os.memfd_create("bombus-code", _MFD_CLOEXEC | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # Linux before 6.3 does not know MFD_EXEC
            raise
        return os.memfd_create("bombus-code", _MFD_CLOEXEC)


class Chunk:
    """A run of executable pages. `free`: offset and length of each gap, by offset."""

    __slots__ = ("address", "debugged", "fd", "free", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.debugged = bool(os.environ.get("BOMBUS_GDB"))
        self.fd = _memfd()
        try:
            os.ftruncate(self.fd, size)
            kind = mmap.MAP_PRIVATE if self.debugged else mmap.MAP_SHARED
            self.address = _map(self.fd, size, 0, mmap.PROT_READ | mmap.PROT_EXEC, kind)
        except OSError:
            os.close(self.fd)
            raise
        self.free: list[tuple[int, int]] = [(0, size)]

    def take(self, size: int) -> int:
        """The offset of a fresh range; -1 when no gap is large enough."""
        for number, (offset, length) in enumerate(self.free):
            if length >= size:
                if length == size:
                    del self.free[number]
                else:
                    self.free[number] = offset + size, length - size
                return offset
        return -1

    def give(self, offset: int, size: int) -> None:
        at = bisect_left(self.free, (offset, 0))
        if at < len(self.free) and self.free[at][0] == offset + size:
            size += self.free.pop(at)[1]
        if at and sum(self.free[at - 1]) == offset:
            offset, before = self.free[at - 1]
            size += before
            at -= 1
            del self.free[at]
        self.free.insert(at, (offset, size))

    def write(self, offset: int, data: bytes) -> None:
        first = offset // _PAGE * _PAGE
        length = offset + len(data) - first
        window = _map(self.fd, length, first, mmap.PROT_READ | mmap.PROT_WRITE)
        ctypes.memmove(window + offset - first, data, len(data))
        _libc.munmap(window, length)
        if self.debugged and ctypes.string_at(self.address + offset, len(data)) != data:
            _libc.madvise(self.address + first, length, mmap.MADV_DONTNEED)

    def close(self) -> None:
        _libc.munmap(self.address, self.size)
        os.close(self.fd)


class Code:
    """A placed range. It is given back when nobody refers to it any more."""

    __slots__ = ("__weakref__", "_chunk", "_offset", "_pages", "_room", "address", "size")

    def __init__(self, pages: CodePages, chunk: Chunk, offset: int, room: int, size: int) -> None:
        self._pages, self._chunk, self._offset, self._room = pages, chunk, offset, room
        self.address = chunk.address + offset
        self.size = size

    def fill(self, data: bytes) -> None:
        """Put the bytes in place, once."""
        assert len(data) == self.size
        self._chunk.write(self._offset, data)

    def bytes(self) -> bytes:
        return ctypes.string_at(self.address, self.size)

    def __del__(self) -> None:
        self._pages.free(self._chunk, self._offset, self._room)


class CodePages:
    """All executable memory of this process."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self._lock = Lock()
        self._returned: list[tuple[Chunk, int, int]] = []  # `__del__` may run while the lock is held

    def allocate(self, size: int) -> Code:
        """A range of at least that many bytes. OSError when there is no memory."""
        room = (max(size, 1) + _ALIGN - 1) // _ALIGN * _ALIGN
        with self._lock:
            self._collect()
            for chunk in self.chunks:
                offset = chunk.take(room)
                if offset >= 0:
                    return Code(self, chunk, offset, room, size)
            chunk = Chunk(max(CHUNK, (room + _PAGE - 1) // _PAGE * _PAGE))
            self.chunks.append(chunk)
            return Code(self, chunk, chunk.take(room), room, size)

    def free(self, chunk: Chunk, offset: int, room: int) -> None:
        self._returned.append((chunk, offset, room))
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self._lock.release()

    def _collect(self) -> None:
        while self._returned:
            chunk, offset, room = self._returned.pop()
            chunk.write(offset, _TRAP * room)
            chunk.give(offset, room)
            if chunk.free == [(0, chunk.size)] and len(self.chunks) > 1:
                self.chunks.remove(chunk)
                chunk.close()


PAGES = CodePages()
