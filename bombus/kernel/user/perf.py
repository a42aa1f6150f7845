"""Perf events for BPF output: one ring for one CPU. Linux 6.12 kernel/events/ring_buffer.c, __bpf_perf_event_output."""

from __future__ import annotations

import errno
import mmap
import struct
from typing import TYPE_CHECKING, ClassVar

from bombus.bits import align_up
from bombus.errors import KernelError
from bombus.kernel.user.objects import KernelObject

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel

# include/uapi/linux/perf_event.h: byte offsets in struct perf_event_mmap_page; record types
DATA_HEAD, DATA_TAIL, DATA_OFFSET, DATA_SIZE = 1024, 1032, 1040, 1048
_SAMPLE, _LOST = 9, 2
_HEADER = struct.Struct("=IHH")
_LOST_BODY = struct.Struct("=QQ")
_MAX_PAGES = 1 << 15


class PerfEvent(KernelObject):
    """What `UserKernel.perf_event` makes. The first `mmap` gives it its ring; before, output finds none (ENOENT)."""

    kind: ClassVar[str] = "perf_event"

    __slots__ = ("_data", "_kernel", "_lost", "_page", "_samples", "_wakeup", "_woken", "_words", "cpu", "lost")

    def __init__(self, kernel: UserKernel, cpu: int, wakeup: int = 1) -> None:
        super().__init__()
        self.cpu = cpu
        self._kernel = kernel
        self._page: mmap.mmap | None = None
        self._words: memoryview = memoryview(b"")
        self._data: memoryview = memoryview(b"")
        self._lost = 0  # since the last record that told
        self.lost = 0  # in all
        self._wakeup = wakeup
        self._samples = 0  # since the last wake-up
        self._woken = 0  # where the head was then

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        """The header page and 2**n pages of data; later calls give the same memory."""
        pages = length // mmap.PAGESIZE - 1
        if offset or length % mmap.PAGESIZE or pages < 1 or pages & (pages - 1) or pages > _MAX_PAGES:
            raise KernelError(errno.EINVAL, "mmap", f"{length} bytes at {offset}: not 1 + 2**n pages")
        if self._page is None:
            self._page = mmap.mmap(-1, length)
            view = memoryview(self._page)
            self._words = view[: mmap.PAGESIZE].cast("Q")
            self._data = view[mmap.PAGESIZE :]
            self._words[DATA_OFFSET // 8] = mmap.PAGESIZE
            self._words[DATA_SIZE // 8] = len(self._data)
        elif len(self._page) != length:
            raise KernelError(errno.EINVAL, "mmap", "the event is mapped with another size already")
        view = memoryview(self._page)
        return view if writable else view.toreadonly()

    def ready(self) -> bool:
        return len(self._data) > 0 and self._words[DATA_TAIL // 8] < self._woken

    def output(self, record: bytes, cpu: int) -> int:
        """One sample from a program on `cpu`. 0, or -EOPNOTSUPP, -ENOENT (no ring), -ENOSPC (full: counted as lost)."""
        if cpu != self.cpu:
            return -errno.EOPNOTSUPP
        if not len(self._data):
            return -errno.ENOENT
        # The raw data with its u32 size is padded to 8 bytes, and the size counts the padding.
        size = align_up(len(record) + 4, 8) - 4
        body = size.to_bytes(4, "little") + record.ljust(size, b"\0")
        out = _HEADER.pack(_SAMPLE, 0, 8 + len(body)) + body
        if self._lost:
            out = _HEADER.pack(_LOST, 0, 24) + _LOST_BODY.pack(0, self._lost) + out
        head, tail = self._words[DATA_HEAD // 8], self._words[DATA_TAIL // 8]
        total = len(self._data)
        if len(body) + 8 > 0xFFFF or (tail - head - 1) & (total - 1) < len(out):
            self._lost += 1
            self.lost += 1
            return -errno.ENOSPC
        self._lost = 0
        start = head & (total - 1)
        first = min(len(out), total - start)
        self._data[start : start + first] = out[:first]
        self._data[: len(out) - first] = out[first:]
        self._words[DATA_HEAD // 8] = head + len(out)
        self._samples += 1
        if self._samples >= self._wakeup:
            self._samples, self._woken = 0, head + len(out)
            self._kernel.notify()
        return 0
