"""Consumer of ring buffers. Linux 6.12 kernel/bpf/ringbuf.c.

Mapped memory: a page with the consumer's position, a page with the producer's, the data twice in a row, so that no
record wraps. A record is a u32 length (bit 31: reserved, not yet submitted; bit 30: discarded), a u32 that is the
kernel's, and the sample, padded to 8 bytes.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

from bombus.errors import FormatError
from bombus.kernel.handles.reader import Reader, check_type

if TYPE_CHECKING:
    import numpy as np

    from bombus.btf.columns import Columns
    from bombus.btf.layouts import Layout
    from bombus.kernel.handles.maps import Map

BUSY = 1 << 31
DISCARD = 1 << 30
HEADER = 8
# Records between two stores of the consumer's position: programs get the room back then.
_CHUNK = 1024
_RUN = 1 << 16  # records that a run of equal ones is looked for at once
_ALIKE = 8  # fewer records of one size in a row are read one by one


class RingError(FormatError):
    what = "ring buffer"


class RingBuffer(Reader):
    """Consumer of a BPF_MAP_TYPE_RINGBUF. One consumer at a time may exist for a map. The map must outlive it.

    received, discarded: records so far that were submitted, and that programs gave up. short: events that `array` left
    out. An event that finds no room never gets into the buffer: only the program knows (bpf_ringbuf_reserve returns
    NULL), and may count it.

    Raises RingError when the buffer's memory makes no sense (lengths beyond the ring, positions that go backwards).
    """

    def __init__(self, item: Map, layout: Layout | None = None) -> None:
        check_type(item, "BPF_MAP_TYPE_RINGBUF")
        super().__init__(item, layout)
        page, self._size = mmap.PAGESIZE, item.max_entries
        # Consumer page: writable. Producer page and the data, mapped twice in a row: read-only.
        self._consumer = self.kernel.mmap(item.fd, page).cast("Q")
        pages = self.kernel.mmap(item.fd, page + 2 * self._size, page, writable=False)
        self._producer = pages[:page].cast("Q")
        self._data = pages[page:]
        self._words = self._data.cast("I")
        self._seen = 0
        self.received = self.discarded = self.short = 0

    def fds(self) -> list[int]:
        return [self.map.fd]

    @property
    def pending(self) -> int:
        """Bytes between consumer and producer, headers included."""
        self._check()
        return max(0, self._producer[0] - self._consumer[0])

    @property
    def positions(self) -> tuple[int, int]:
        """(consumer, producer): bytes ever read and ever reserved, with headers, padding and discarded records."""
        self._check()
        return self._consumer[0], self._producer[0]

    def _bounds(self) -> tuple[int, int]:
        """Positions of the next record and of the end."""
        self._check()
        at, end = self._consumer[0], self._producer[0]
        if end < self._seen or end < at:
            raise RingError(f"the producer's position {end} is before {max(at, self._seen)}, where it was")
        if end - at > self._size or at % 8 or end % 8:
            raise RingError(f"positions {at} and {end} in a ring of {self._size} bytes")
        self._seen = end
        return at, end

    def _bad(self, at: int, size: int) -> RingError:
        return RingError(f"a record of {size} bytes in a ring of {self._size}", offset=at & (self._size - 1))

    def _take(self, limit: int | None, make: Any, least: int) -> list[Any]:
        """Events as make(data, offset); those of fewer than `least` bytes, or all without `make`, as bytes."""
        self._check()
        found: list[Any] = []
        add = found.append
        data, words, mask = self._data, self._words, self._size - 1
        at, end = self._bounds()
        most = self._size if limit is None else limit
        while at < end and len(found) < most:
            before = len(found)
            stop = min(most, before + _CHUNK)
            try:
                while at < end and len(found) < stop:
                    start = at & mask
                    size = words[start >> 2]
                    if size >= DISCARD:
                        if size & BUSY:
                            return found  # later ones wait for it
                        self._skip(at, end, size)
                        at += (size - DISCARD + 15) & ~7
                        continue
                    step = (size + 15) & ~7
                    if at + step > end:
                        raise self._bad(at, size)
                    start += HEADER
                    if make is not None and size >= least:
                        add(make(data, start))
                    else:
                        add(bytes(data[start : start + size]))
                    at += step
            finally:
                self.received += len(found) - before
                self._consumer[0] = at
            if at == end:
                at, end = self._bounds()
        return found

    def _skip(self, at: int, end: int, size: int) -> None:
        """Count a discarded record."""
        if at + ((size - DISCARD + 15) & ~7) > end:
            raise self._bad(at, size - DISCARD)
        self.discarded += 1

    def read(self, limit: int | None = None) -> list[bytes]:
        return self._take(limit, None, 0)

    def records(self, limit: int | None = None) -> list[Any]:
        if self._sized is not None:
            return [self.event(data) for data in self.read(limit)]
        return self._take(limit, self._decode, self._layout.size if self._layout is not None else 0)

    def array(self, limit: int | None = None) -> np.ndarray[Any, Any]:
        import numpy as np

        columns = self.columns()
        at, end = self._bounds()
        parts: list[np.ndarray[Any, Any]] = []
        left = self._size if limit is None else limit
        while at < end and left > 0:
            count = self._run(at, end, left)
            if count >= _ALIKE:
                part, after = self._alike(columns, at, count)
            else:
                part, after, count = self._mixed(columns, at, end, min(left, _CHUNK))
            if after == at:
                break  # not yet submitted
            parts.append(part)
            self.received += count
            self.short += count - len(part)
            left -= count
            self._consumer[0] = at = after
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty(0, columns.dtype)

    def _run(self, at: int, end: int, most: int) -> int:
        """How many records from `at` on have the same size and are submitted."""
        import numpy as np

        start = at & (self._size - 1)
        size = self._words[start >> 2]
        step = (size + 15) & ~7
        count = min((end - at) // step, most, _RUN) if size < DISCARD else 0
        if count < _ALIKE:
            return 0
        same = np.ndarray((count,), np.uint32, buffer=self._data, offset=start, strides=(step,)) == size
        return count if same.all() else int(same.argmin())

    def _alike(self, columns: Columns, at: int, count: int) -> tuple[np.ndarray[Any, Any], int]:
        """(array, position after) of a run."""
        start = at & (self._size - 1)
        size = self._words[start >> 2]
        step = (size + 15) & ~7
        fits = count if size >= columns.size else 0
        return columns.take(self._data, start + HEADER, fits, step), at + count * step

    def _mixed(self, columns: Columns, at: int, end: int, most: int) -> tuple[np.ndarray[Any, Any], int, int]:
        """(array, position after, records read) where sizes differ: headers one by one, contents at once."""
        import numpy as np

        words, mask, least = self._words, self._size - 1, columns.size
        places: list[int] = []  # of samples, in units of 8 bytes
        count = 0
        while at < end and count < most:
            start = at & mask
            size = words[start >> 2]
            if size & BUSY:
                break
            step = ((size & ~DISCARD) + 15) & ~7
            if at + step > end:
                raise self._bad(at, size & ~DISCARD)
            at += step
            if size & DISCARD:
                self.discarded += 1
                continue
            count += 1
            if size >= least:
                places.append((start + HEADER) >> 3)
        windows = np.ndarray(((2 * self._size - least) // 8 + 1, least), np.uint8, buffer=self._data, strides=(8, 1))
        return columns.take_rows(windows[np.array(places, np.intp)]), at, count

    def close(self) -> None:
        if not self._closed:
            super().close()
            del self._consumer, self._producer, self._data, self._words


__all__ = ["BUSY", "DISCARD", "HEADER", "RingBuffer", "RingError"]
