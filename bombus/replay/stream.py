"""A file's bytes in order, a chunk at a time: threads read the next chunks while one is worked on.

For what is read once, this costs less than a mapping, which takes a page table's entry for every 4 KiB and gives it
back in the end (measured for 443 MB: 60 to 75 ms of CPU time, 45 to read them); and what has just been read is in the
cache. Reading takes longer than what programs do with the bytes; two threads share it, so that two CPUs are busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from bombus.errors import CaptureError

_READERS: Final = 2


class Stream:
    """file: its descriptor. start, size: the first byte that is wanted, and bytes of the file. rooms: two or more
    buffers of the same size, which are filled in turn. A context manager: its end ends the threads."""

    def __init__(self, file: int, start: int, size: int, rooms: Sequence[memoryview]) -> None:
        self._file = file
        self._start = start
        self._size = size
        self._rooms = rooms
        self._chunk = len(rooms[0])
        self._taken = 0
        self._error: BaseException | None = None
        self._ended = False
        self._empty = [threading.Lock() for _ in rooms]
        self._full = [threading.Lock() for _ in rooms]
        for lock in self._full:
            lock.acquire()
        # One CPU gains nothing by threads.
        count = _READERS if len(os.sched_getaffinity(0)) > 1 else 0
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(count)]

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._ended = True
        for lock in self._empty:
            if self._threads and lock.locked():
                lock.release()
        for thread in self._threads:
            thread.join()

    def take(self) -> tuple[int, int, int] | None:
        """The next chunk: number of its room, where it begins in the file, its bytes. None at the end.

        CaptureError for a file that has become shorter, OSError.
        """
        first = self._start + self._taken * self._chunk
        if first >= self._size:
            return None
        room = self._taken % len(self._rooms)
        if self._threads:
            self._full[room].acquire()
            if self._error is not None:
                raise self._error
        else:
            self._read(room, first)
        self._taken += 1
        return room, first, min(self._chunk, self._size - first)

    def give_back(self, room: int) -> None:
        """The room may be filled again."""
        if self._threads:
            self._empty[room].release()

    def _work(self, number: int) -> None:
        """Read each _READERS-th chunk, from that number on."""
        first = self._start + number * self._chunk
        while first < self._size:
            room = number % len(self._rooms)
            self._empty[room].acquire()
            if self._ended:
                return
            try:
                self._read(room, first)
            except BaseException as error:
                self._error = error
            self._full[room].release()
            if self._error is not None:
                return
            number += _READERS
            first += _READERS * self._chunk

    def _read(self, room: int, first: int) -> None:
        view = self._rooms[room][: min(self._chunk, self._size - first)]
        while view:
            count = os.preadv(self._file, [view], first)
            if not count:
                raise CaptureError("the file has become shorter while it was read", offset=first)
            first += count
            view = view[count:]
