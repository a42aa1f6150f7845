"""Readers of events from programs: ring buffers and perf buffers; and the producer of user ring buffers.

They work on memory that `Kernel.mmap` maps, so they are the same on both kernels. Positions are u64 that the other
side reads meanwhile; they are loaded and stored as one machine word (memoryview of format "Q"). CPUs that order memory
weakly would need barriers that Python has none of; between a load of the position and one of the data lie thousands
of instructions and a lock (the GIL's), which is a barrier in practice.
"""

from __future__ import annotations

import errno
import mmap
import struct
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from bombus.bits import align_up
from bombus.errors import BombusError, FormatError, UsageError
from bombus.errors import KernelError as _KernelError

if TYPE_CHECKING:
    from types import TracebackType

    from bombus.btf.layouts import Layout
    from bombus.kernel.handles.maps import Map

# include/uapi/linux/bpf.h
_BUSY = 1 << 31
_DISCARD = 1 << 30
_HEADER = 8
_LENGTH = struct.Struct("=I")
# include/uapi/linux/perf_event.h: struct perf_event_mmap_page, u64 index of each member
_DATA_HEAD, _DATA_TAIL, _DATA_OFFSET, _DATA_SIZE = 1024 // 8, 1032 // 8, 1040 // 8, 1048 // 8
_PERF_HEADER = struct.Struct("=IHH")
_PERF_LOST = 2
_PERF_SAMPLE = 9


class _Reader:
    """What readers share: decoding, waiting, closing."""

    def __init__(self, item: Map, layout: Layout | None) -> None:
        self.map = item
        self.kernel = item.kernel
        self.layout = layout
        self._closed = False

    def _fds(self) -> list[int]:
        raise NotImplementedError

    def read(self, limit: int | None = None) -> list[bytes]:
        """Events that are there now, oldest first (of each CPU), at most `limit`."""
        raise NotImplementedError

    def wait(self, timeout: float | None = None) -> bool:
        """Whether something is to be read, after at most `timeout` seconds (None: wait for ever)."""
        self._check()
        return bool(self.kernel.wait(self._fds(), timeout))

    def poll(self, timeout: float | None = None, limit: int | None = None) -> list[Any]:
        """Wait for events and return them, typed when the reader has a layout; empty after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            found = self.read(limit)
            if found:
                return [self.event(data) for data in found]
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return []
            self.wait(left)

    def event(self, data: bytes) -> Any:
        """One event as its type says; bytes as they are without a layout, or when they are too short for it."""
        if self.layout is None or len(data) < self.layout.size:
            return data
        from bombus.btf.data import value_of

        return value_of(self.layout, data)

    def events(self) -> Iterator[Any]:
        """Typed events that are there now."""
        for data in self.read():
            yield self.event(data)

    def __iter__(self) -> Iterator[Any]:
        """Typed events for ever, waiting when there are none."""
        while True:
            yield from self.poll()

    def _check(self) -> None:
        if self._closed:
            raise UsageError("this reader is closed")

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_type(item: Map, name: str) -> None:
    if item.type.name != name:
        raise UsageError(f"a {item.type.short} map; this needs a {name.removeprefix('BPF_MAP_TYPE_').lower()}")


class RingBuffer(_Reader):
    """Consumer of a BPF_MAP_TYPE_RINGBUF. One consumer at a time may exist for a map.

    layout: the type of the events (`bombus.btf.data.layout_of`), None for bytes. The map must outlive the reader.
    """

    def __init__(self, item: Map, layout: Layout | None = None) -> None:
        _check_type(item, "BPF_MAP_TYPE_RINGBUF")
        super().__init__(item, layout)
        page, self._size = mmap.PAGESIZE, item.max_entries
        # Consumer page: writable. Producer page and the data, mapped twice in a row: read-only.
        self._consumer = self.kernel.mmap(item.fd, page).cast("Q")
        pages = self.kernel.mmap(item.fd, page + 2 * self._size, page, writable=False)
        self._producer = pages[:page].cast("Q")
        self._data = pages[page:]

    def _fds(self) -> list[int]:
        return [self.map.fd]

    @property
    def pending(self) -> int:
        """Bytes between consumer and producer, headers included."""
        self._check()
        return max(0, self._producer[0] - self._consumer[0])

    def read(self, limit: int | None = None) -> list[bytes]:
        self._check()
        found: list[bytes] = []
        data, mask = self._data, self._size - 1
        at = self._consumer[0]
        end = self._producer[0]
        while at < end and (limit is None or len(found) < limit):
            start = at & mask
            (length,) = _LENGTH.unpack_from(data, start)
            if length & _BUSY:
                break  # reserved, not yet submitted; later ones wait for it
            size = length & ~(_BUSY | _DISCARD)
            if size > self._size - _HEADER or at + align_up(size + _HEADER, 8) > end:
                raise FormatError(f"ring buffer record of {size} bytes in a buffer of {self._size}", offset=start)
            if not length & _DISCARD:
                found.append(bytes(data[start + _HEADER : start + _HEADER + size]))
            at += align_up(size + _HEADER, 8)
            self._consumer[0] = at
            if at == end:
                end = self._producer[0]
        return found

    def close(self) -> None:
        if not self._closed:
            super().close()
            del self._consumer, self._producer, self._data


class PerfBuffer(_Reader):
    """Reader of a BPF_MAP_TYPE_PERF_EVENT_ARRAY: one perf event and ring for each CPU, entered into the map.

    pages: size of each CPU's ring, a power of two. `lost` counts events that found a ring full. The map must outlive
    the reader; `close` takes the events out of it.
    """

    def __init__(self, item: Map, layout: Layout | None = None, *, pages: int = 8) -> None:
        _check_type(item, "BPF_MAP_TYPE_PERF_EVENT_ARRAY")
        if pages < 1 or pages & (pages - 1):
            raise UsageError(f"{pages} pages: the size of a perf ring is a power of two")
        super().__init__(item, layout)
        self.lost = 0
        self._rings: dict[int, tuple[int, memoryview, memoryview]] = {}  # CPU: (fd, header of u64, data)
        try:
            for cpu in range(min(self.kernel.possible_cpus, item.max_entries)):
                self._open(cpu, pages)
        except BombusError:
            self.close()
            raise

    def _open(self, cpu: int, pages: int) -> None:
        try:
            fd = self.kernel.perf_event(cpu)
        except _KernelError as error:
            if error.errno in (errno.ENODEV, errno.ENXIO) and cpu:
                return  # a possible CPU that is offline
            raise
        try:
            view = self.kernel.mmap(fd, (1 + pages) * mmap.PAGESIZE)
            self.map.raw.update(_LENGTH.pack(cpu), _LENGTH.pack(fd))
        except BombusError:
            self.kernel.close(fd)
            raise
        header = view[: mmap.PAGESIZE].cast("Q")
        # Kernels before 4.1 leave offset and size 0.
        offset = header[_DATA_OFFSET] or mmap.PAGESIZE
        size = header[_DATA_SIZE] or pages * mmap.PAGESIZE
        self._rings[cpu] = (fd, header, view[offset : offset + size])

    def _fds(self) -> list[int]:
        return [fd for fd, _, _ in self._rings.values()]

    def read(self, limit: int | None = None) -> list[bytes]:
        return [data for _, data in self.read_cpus(limit)]

    def read_cpus(self, limit: int | None = None) -> list[tuple[int, bytes]]:
        """As `read`, with the CPU that each event comes from."""
        self._check()
        found: list[tuple[int, bytes]] = []
        for cpu, (_, header, data) in self._rings.items():
            self._drain(cpu, header, data, found, limit)
        return found

    def _drain(
        self, cpu: int, header: memoryview, data: memoryview, found: list[tuple[int, bytes]], limit: int | None
    ) -> None:
        size = len(data)
        tail, head = header[_DATA_TAIL], header[_DATA_HEAD]
        while tail < head and (limit is None or len(found) < limit):
            kind, _, length = _PERF_HEADER.unpack(_piece(data, tail, 8))
            if length < 8 or length > size or tail + length > head:
                raise FormatError(f"perf record of {length} bytes in a ring of {size}", offset=tail & (size - 1))
            body = _piece(data, tail + 8, length - 8)
            if kind == _PERF_SAMPLE and len(body) >= 4:
                (count,) = _LENGTH.unpack_from(body)
                # The kernel pads the sample so that the record is a multiple of 8; the size includes the padding.
                found.append((cpu, body[4 : 4 + count]))
            elif kind == _PERF_LOST and len(body) >= 16:
                self.lost += int.from_bytes(body[8:16], "little")
            tail += length
            header[_DATA_TAIL] = tail

    def close(self) -> None:
        if self._closed:
            return
        super().close()
        for cpu, (fd, _, _) in self._rings.items():
            if not self.map.closed:
                try:
                    self.map.raw.delete(_LENGTH.pack(cpu))
                except _KernelError as error:
                    if error.errno != errno.ENOENT:
                        raise
            self.kernel.close(fd)
        self._rings.clear()


def _piece(data: memoryview, at: int, length: int) -> bytes:
    """`length` bytes of a ring, which may wrap around its end."""
    start = at & (len(data) - 1)
    end = start + length
    if end <= len(data):
        return bytes(data[start:end])
    return bytes(data[start:]) + bytes(data[: end - len(data)])


class UserRing:
    """Producer of a BPF_MAP_TYPE_USER_RINGBUF: what bpf_user_ringbuf_drain reads."""

    def __init__(self, item: Map) -> None:
        _check_type(item, "BPF_MAP_TYPE_USER_RINGBUF")
        self.map = item
        page, self._size = mmap.PAGESIZE, item.max_entries
        self._consumer = item.kernel.mmap(item.fd, page, writable=False).cast("Q")
        pages = item.kernel.mmap(item.fd, page + 2 * self._size, page)
        self._producer = pages[:page].cast("Q")
        self._data = pages[page:]

    @property
    def room(self) -> int:
        """Bytes that are free, headers included."""
        return int(self._size - (self._producer[0] - self._consumer[0]))

    def send(self, data: bytes) -> None:
        """Submit one sample. KernelError(ENOSPC) when it does not fit now, E2BIG when it never will."""
        need = align_up(len(data) + _HEADER, 8)
        if len(data) >= _DISCARD or need > self._size:
            raise _KernelError(errno.E2BIG, "user_ring_buffer", f"{len(data)} bytes in a buffer of {self._size}")
        if need > self.room:
            raise _KernelError(errno.ENOSPC, "user_ring_buffer", f"{self.room} bytes are free, {need} needed")
        at = self._producer[0]
        start = at & (self._size - 1)
        self._data[start + _HEADER : start + _HEADER + len(data)] = data
        self._data[start : start + _HEADER] = struct.pack("=II", len(data), 0)
        self._producer[0] = at + need

    def wait_room(self, data_size: int, timeout: float, *, sleep: Callable[[float], None] = time.sleep) -> bool:
        """Whether a sample of so many bytes fits within `timeout` seconds."""
        end = time.monotonic() + timeout
        while align_up(data_size + _HEADER, 8) > self.room:
            if time.monotonic() >= end:
                return False
            sleep(0.001)
        return True
