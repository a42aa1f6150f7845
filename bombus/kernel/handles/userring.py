"""Producer of user ring buffers. Linux 6.12 kernel/bpf/ringbuf.c: __bpf_user_ringbuf_peek."""

from __future__ import annotations

import errno
import mmap
import os
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bombus.bits import align_up
from bombus.errors import KernelError, UsageError
from bombus.kernel.handles.reader import check_type
from bombus.kernel.handles.ringbuf import BUSY, DISCARD, HEADER

if TYPE_CHECKING:
    from bombus.btf.layouts import Layout
    from bombus.kernel.handles.maps import Map

_MOST = (1 << 24) - 1  # bytes of a dynptr, which the program gets


class Sample:
    """Room for one sample, reserved. `data` is writable memory of the ring until `submit` or `discard`.

    As a context manager it is submitted where the block ends, and discarded when the block raises.
    """

    __slots__ = ("_ring", "_word", "data")

    def __init__(self, ring: UserRing, word: int, data: memoryview) -> None:
        self._ring: UserRing | None = ring
        self._word = word
        self.data = data

    def submit(self) -> None:
        """Hand the sample to the program. UsageError when that was done before."""
        self._end(0)

    def discard(self) -> None:
        """Give the room up; the program skips it."""
        self._end(DISCARD)

    def _end(self, flag: int) -> None:
        ring, self._ring = self._ring, None
        if ring is None:
            raise UsageError("this sample was submitted or discarded before")
        ring.finish(self._word, len(self.data) | flag)
        self.data = self.data[:0]

    def __enter__(self) -> Sample:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ring is not None:
            self._end(DISCARD if kind is not None else 0)


class UserRing:
    """Producer of a BPF_MAP_TYPE_USER_RINGBUF: what bpf_user_ringbuf_drain reads. One thread and process at a time.

    layout: the type of samples for `send` of anything but bytes. A sample that is reserved and not yet submitted holds
    back those after it.
    """

    def __init__(self, item: Map, layout: Layout | None = None) -> None:
        check_type(item, "BPF_MAP_TYPE_USER_RINGBUF")
        self.map = item
        self.kernel = item.kernel
        self.layout = layout
        self._pid = os.getpid()
        page, self._size = mmap.PAGESIZE, item.max_entries
        self._consumer = item.kernel.mmap(item.fd, page, writable=False).cast("Q")
        pages = item.kernel.mmap(item.fd, page + 2 * self._size, page)
        self._producer = pages[:page].cast("Q")
        self._data = pages[page:]
        self._words = self._data.cast("I")

    @property
    def room(self) -> int:
        """Bytes that are free, headers included. KernelError(EINVAL) when the positions make no sense."""
        used = self._producer[0] - self._consumer[0]
        if not 0 <= used <= self._size:
            raise KernelError(errno.EINVAL, "user_ring_buffer", f"{used} bytes are used of {self._size}")
        return int(self._size - used)

    def reserve(self, size: int, timeout: float | None = 0) -> Sample:
        """Room for a sample of `size` bytes, waiting for the program to drain for at most `timeout` seconds (None: for
        ever).

        KernelError: ENOSPC when there is no room in time, E2BIG when there never will be.
        """
        if self._pid != os.getpid():
            raise UsageError(f"this ring belongs to process {self._pid}: two processes cannot both produce")
        if size < 0:
            raise UsageError(f"{size} bytes")
        need = align_up(size + HEADER, 8)
        if size > _MOST or need > self._size:
            raise KernelError(errno.E2BIG, "user_ring_buffer", f"{size} bytes in a buffer of {self._size}")
        if need > self.room and not self.wait_room(size, timeout):
            raise KernelError(errno.ENOSPC, "user_ring_buffer", f"{self.room} bytes are free, {need} needed")
        at = self._producer[0]
        start = at & (self._size - 1)
        word = start >> 2
        self._words[word] = size | BUSY
        self._words[word + 1] = 0
        self._producer[0] = at + need
        return Sample(self, word, self._data[start + HEADER : start + HEADER + size])

    def finish(self, word: int, header: int) -> None:
        """Write the final header of a sample."""
        self._words[word] = header

    def send(self, value: Any, timeout: float | None = 0) -> None:
        """Submit one sample: bytes, or what `layout` takes (a dict, a record). As `reserve`."""
        if not isinstance(value, (bytes, bytearray, memoryview)):
            if self.layout is None:
                raise UsageError(f"a sample is bytes, not {value!r}; give the ring a type")
            from bombus.btf.data import to_bytes

            value = to_bytes(self.layout, value)
        sample = self.reserve(len(value), timeout)
        sample.data[:] = value
        sample.submit()

    def wait_room(self, size: int, timeout: float | None) -> bool:
        """Whether a sample of so many bytes fits within `timeout` seconds."""
        need = align_up(size + HEADER, 8)
        end = None if timeout is None else time.monotonic() + timeout
        while need > self.room:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            # The kernel wakes after a drain; but it says "writable" whenever there is any room at all.
            slice_ = 0.05 if left is None else min(left, 0.05)
            if self.kernel.wait([self.map.fd], slice_, write=True) and need > self.room:
                time.sleep(min(slice_, 0.0005))
        return True
