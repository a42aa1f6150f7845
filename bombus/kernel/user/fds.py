"""File descriptors of the user kernel."""

from __future__ import annotations

import errno
import heapq

from bombus.errors import KernelError
from bombus.kernel.user.objects import KernelObject

FIRST_FD = 1 << 24
"""The lowest descriptor. No process can have a real one that high (fs.nr_open is at most 2**20 by default), so a
number of the user kernel that reaches a system call is EBADF, never somebody's file; and it still fits the s32
immediate of a map load."""

MAX_FDS = 1 << 16  # then EMFILE, so that a leak is noticed


class File:
    """One open description: an object and what may be done through it."""

    __slots__ = ("obj", "readable", "writable")

    def __init__(self, obj: KernelObject, *, readable: bool = True, writable: bool = True) -> None:
        self.obj = obj
        self.readable = readable
        self.writable = writable


class FdTable:
    """Descriptor numbers to files. The lowest free number is given out first, as POSIX says."""

    __slots__ = ("_files", "_free", "_next")

    def __init__(self) -> None:
        self._files: dict[int, File] = {}
        self._free: list[int] = []
        self._next = FIRST_FD

    def open(self, call: str, obj: KernelObject, *, readable: bool = True, writable: bool = True) -> int:
        """A new descriptor, which holds its own user reference to `obj`. KernelError(EMFILE) when too many."""
        if len(self._files) >= MAX_FDS:
            raise KernelError(errno.EMFILE, call, f"{MAX_FDS} descriptors are open")
        if self._free:
            number = heapq.heappop(self._free)
        else:
            number = self._next
            self._next += 1
        self._files[number] = File(obj, readable=readable, writable=writable)
        obj.get_user()
        return number

    def find(self, number: int) -> File | None:
        return self._files.get(number)

    def close(self, number: int) -> None:
        """Raises KernelError(EBADF) for a number that is not open."""
        file = self._files.pop(number, None)
        if file is None:
            raise KernelError(errno.EBADF, "close", f"{number} is not a descriptor of this kernel")
        heapq.heappush(self._free, number)
        file.obj.closed(file)
        file.obj.put_user()

    def __len__(self) -> int:
        return len(self._files)

    def numbers(self) -> list[int]:
        return sorted(self._files)
