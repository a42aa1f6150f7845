"""Reader of perf buffers: a perf event array with one perf event, and its ring, for each CPU.

Facts: include/uapi/linux/perf_event.h (struct perf_event_mmap_page, struct perf_event_header).
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from typing import TYPE_CHECKING, Any

from bombus.errors import BombusError, FormatError, KernelError, UsageError
from bombus.kernel.handles.reader import Reader, check_type

if TYPE_CHECKING:
    import numpy as np

    from bombus.btf.columns import Columns
    from bombus.btf.layouts import Layout
    from bombus.kernel.handles.maps import Map

# struct perf_event_mmap_page: u64 index of each member
_DATA_HEAD, _DATA_TAIL, _DATA_OFFSET, _DATA_SIZE = 1024 // 8, 1032 // 8, 1040 // 8, 1048 // 8
_HEADER = struct.Struct("=IHH")  # type, misc, size
_U32 = struct.Struct("=I")
_LOST = 2
_SAMPLE = 9


class PerfError(FormatError):
    what = "perf ring"


class PerfRing:
    """The ring of one perf event: records as (type, body); `misc` bits of the header above bit 32 of the type."""

    __slots__ = ("_data", "_header", "_seen", "fd")

    def __init__(self, fd: int, view: memoryview, pages: int) -> None:
        self.fd = fd
        self._header = view[: mmap.PAGESIZE].cast("Q")
        # Kernels before 4.1 leave offset and size 0.
        offset = self._header[_DATA_OFFSET] or mmap.PAGESIZE
        size = self._header[_DATA_SIZE] or pages * mmap.PAGESIZE
        if size & (size - 1) or offset + size > len(view):
            raise PerfError(f"{size} bytes of data at {offset} of {len(view)} mapped")
        self._data = view[offset : offset + size]
        self._seen = self._header[_DATA_HEAD]

    def chunk(self) -> tuple[bytes, int]:
        """What is there now in one piece, and its position. `consume` gives the room back."""
        data = self._data
        size = len(data)
        tail, head = self._header[_DATA_TAIL], self._header[_DATA_HEAD]
        if head < tail or head < self._seen:
            raise PerfError(f"the kernel's position {head} is before {max(tail, self._seen)}, where it was")
        if head - tail > size or tail % 8:
            raise PerfError(f"positions {tail} and {head} in a ring of {size} bytes")
        self._seen = head
        # A copy in one piece is cheaper than looking for the wrap at each record.
        start, count = tail & (size - 1), head - tail
        chunk = bytes(data[start : start + count])
        if len(chunk) < count:
            chunk += bytes(data[: count - len(chunk)])
        return chunk, tail

    def consume(self, position: int) -> None:
        self._header[_DATA_TAIL] = position

    def records(self, limit: int | None = None) -> list[tuple[int, bytes]]:
        """Records that are there now, at most `limit`. PerfError when they make no sense."""
        chunk, tail = self.chunk()
        size, count = len(self._data), len(chunk)
        found: list[tuple[int, bytes]] = []
        at = 0
        try:
            while at < count and (limit is None or len(found) < limit):
                if count - at < 8:
                    raise PerfError(f"{count - at} bytes are no record", offset=(tail + at) & (size - 1))
                kind, misc, length = _HEADER.unpack_from(chunk, at)
                if length < 8 or at + length > count:
                    raise PerfError(f"a record of {length} bytes in a ring of {size}", offset=(tail + at) & (size - 1))
                found.append((misc << 32 | kind, chunk[at + 8 : at + length]))
                at += length
        finally:
            self.consume(tail + at)
        return found


class PerfBuffer(Reader):
    """Reader of a BPF_MAP_TYPE_PERF_EVENT_ARRAY. It opens an event on each online CPU and enters it into the map.

    pages: size of each CPU's ring, a power of two. wakeup: events that must have come before waiting ends. The map
    must outlive the reader; `close` takes the events out of it. received: events so far; short: events that `array`
    left out. The kernel pads each event so that its size and 4 bytes are a multiple of 8.
    """

    def __init__(self, item: Map, layout: Layout | None = None, *, pages: int = 8, wakeup: int = 1) -> None:
        check_type(item, "BPF_MAP_TYPE_PERF_EVENT_ARRAY")
        if pages < 1 or pages & (pages - 1):
            raise UsageError(f"{pages} pages: the size of a perf ring is a power of two")
        if wakeup < 1:
            raise UsageError(f"wakeup {wakeup}: one event is the least")
        super().__init__(item, layout)
        self.received = self.short = 0
        self._reported = 0  # lost ones by the ring's own records
        self._before: dict[int, int] = {}  # lost ones when the event was opened; also whether the kernel counts them
        self._final: int | None = None
        self._rings: dict[int, PerfRing] = {}
        try:
            for cpu in self.kernel.online_cpus:
                if cpu < item.max_entries:
                    self._open(cpu, pages, wakeup)
        except BombusError:
            self.close()
            raise

    def _open(self, cpu: int, pages: int, wakeup: int) -> None:
        try:
            fd = self.kernel.perf_event(cpu, wakeup=wakeup)
        except KernelError as error:
            if error.errno in (errno.ENODEV, errno.ENXIO) and cpu:
                return  # the CPU went offline meanwhile
            raise
        try:
            ring = PerfRing(fd, self.kernel.mmap(fd, (1 + pages) * mmap.PAGESIZE), pages)
            self.map.raw.update(_U32.pack(cpu), _U32.pack(fd))
        except BombusError:
            self.kernel.close(fd)
            raise
        self._rings[cpu] = ring

    @property
    def cpus(self) -> list[int]:
        """CPUs whose events are read."""
        return list(self._rings)

    @property
    def lost(self) -> int:
        """Events that found their ring full, exactly where the kernel counts them (Linux 6.0); before, those that a
        later event of the same CPU reported."""
        if self._final is not None:
            return self._final
        counts = [self.kernel.perf_lost(ring.fd) for ring in self._rings.values()]
        if any(count is None for count in counts):
            return self._reported
        return sum(count for count in counts if count is not None)

    def fds(self) -> list[int]:
        return [ring.fd for ring in self._rings.values()]

    def read(self, limit: int | None = None) -> list[bytes]:
        return [data for _, data in self.read_cpus(limit)]

    def read_cpus(self, limit: int | None = None) -> list[tuple[int, bytes]]:
        """As `read`, with the CPU that each event comes from."""
        self._check()
        found: list[tuple[int, bytes]] = []
        for cpu, ring in self._rings.items():
            left = None if limit is None else limit - len(found)
            if left is not None and left <= 0:
                break
            for kind, body in ring.records(left):
                kind &= 0xFFFF_FFFF
                if kind == _SAMPLE and len(body) >= 4:
                    (count,) = _U32.unpack_from(body)
                    if count > len(body) - 4:
                        raise PerfError(f"a sample of {count} bytes in a record of {len(body)}")
                    found.append((cpu, body[4 : 4 + count]))
                elif kind == _LOST and len(body) >= 16:
                    self._reported += int.from_bytes(body[8:16], "little")
        self.received += len(found)
        return found

    def array(self, limit: int | None = None) -> np.ndarray[Any, Any]:
        import numpy as np

        self._check()
        columns = self.columns()
        parts: list[np.ndarray[Any, Any]] = []
        for ring in self._rings.values():
            # Whole rings of records of one size, without a Python object for each.
            alike = self._alike(ring, columns) if limit is None else None
            if alike is not None:
                parts.append(alike)
        found = self.read(limit)
        fit = [data for data in found if len(data) >= columns.size]
        self.short += len(found) - len(fit)
        size = columns.size
        if len({len(data) for data in fit}) == 1:
            rows = np.frombuffer(b"".join(fit), np.uint8).reshape(len(fit), -1)[:, :size]
        else:
            rows = np.frombuffer(b"".join(data[:size] for data in fit), np.uint8).reshape(len(fit), size)
        parts.append(columns.take_rows(rows))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _alike(self, ring: PerfRing, columns: Columns) -> np.ndarray[Any, Any] | None:
        """The samples of a ring whose records are all of one size and long enough; None for other rings."""
        import numpy as np

        chunk, tail = ring.chunk()
        if len(chunk) < 16:
            return None
        kind, _, step = _HEADER.unpack_from(chunk)
        (size,) = _U32.unpack_from(chunk, 8)
        if kind != _SAMPLE or step < 16 or len(chunk) % step or size > step - 12 or size < columns.size:
            return None
        count = len(chunk) // step
        heads = np.ndarray((count, 12), np.uint8, buffer=chunk, strides=(step, 1))
        if not (heads == heads[0]).all():
            return None
        self.received += count
        ring.consume(tail + len(chunk))
        return columns.take(chunk, 12, count, step)

    def close(self) -> None:
        if self._closed:
            return
        ours = self._pid == os.getpid()
        self._final = self.lost if ours and self._rings else self._reported
        super().close()
        for cpu, ring in self._rings.items():
            if ours and not self.map.closed:  # a forked child must not take its parent's events away
                try:
                    self.map.raw.delete(_U32.pack(cpu))
                except KernelError as error:
                    if error.errno != errno.ENOENT:
                        raise
            self.kernel.close(ring.fd)
        self._rings.clear()
