"""Ring buffers, to and from user space. Linux 6.12 kernel/bpf/ringbuf.c.

Memory: a page of the kernel's own, then as user space maps it: a page with consumer_pos, a page with producer_pos, then
the data twice in a row. A record is a u32 length (bit 31 busy, bit 30 discarded), a u32 (the kernel's page offset) and
the sample, padded to 8 bytes.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from bombus.bits import U32, U64, align_up
from bombus.errors import KernelError
from bombus.kernel.user.maps.base import E2BIG, EBUSY, EINVAL, Map, MapAttr, map_type
from bombus.kernel.user.maps.pages import doubled
from bombus.spec.maptypes import BPF_F_NUMA_NODE, PAGE_SIZE
from bombus.vm.memory import Region

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.native import Keyless
    from bombus.vm.env import MapCode

BUSY_BIT = 1 << 31
DISCARD_BIT = 1 << 30
HEADER_SIZE = 8
NO_WAKEUP = 1  # BPF_RB_NO_WAKEUP
FORCE_WAKEUP = 2
AVAIL_DATA, RING_SIZE, CONS_POS, PROD_POS = range(4)  # what bpf_ringbuf_query asks

_MAX_RECORD = U32 // 4  # RINGBUF_MAX_RECORD_SZ
_MAX_SAMPLES = 128 * 1024  # BPF_MAX_USER_RINGBUF_SAMPLES
_DYNPTR_MAX = (1 << 24) - 1
_HEAD = 2 * PAGE_SIZE
EAGAIN = -errno.EAGAIN
_ENODATA = -errno.ENODATA


class _Ring(Map):
    """What both directions share: the memory and the two positions."""

    late_check = True

    __slots__ = (
        "_busy", "_consumer", "_data", "_mask", "_producer", "_words", "block", "region", "start", "view",
    )  # fmt: skip

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.start, self.block = doubled(PAGE_SIZE + _HEAD, attr.max_entries)
        start, self.view = self.start + PAGE_SIZE, self.block[PAGE_SIZE:]
        self._mask = attr.max_entries - 1
        self._consumer = self.view[:8].cast("Q")
        self._producer = self.view[PAGE_SIZE : PAGE_SIZE + 8].cast("Q")
        self._words = self.view[_HEAD:].cast("I")
        self._data = start + _HEAD
        self._busy = False
        # Programs get addresses of samples only, so the positions are no memory of theirs.
        name = f"map {self.type.short}"
        self.region = Region(self._data, 2 * attr.max_entries, self.view[_HEAD:], name, "mem", keep=self.view)
        kernel.memory.add(self.region)

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        entries = attr.max_entries
        if attr.map_flags & ~BPF_F_NUMA_NODE:
            return EINVAL
        if attr.key_size or attr.value_size or entries == 0 or entries & (entries - 1) or entries % PAGE_SIZE:
            return EINVAL
        return 0

    def free(self) -> None:
        self.kernel.memory.remove(self.region)

    def available(self) -> int:
        """Bytes between consumer and producer."""
        return (self._producer[0] - self._consumer[0]) & U64

    def _map(self, length: int, offset: int) -> memoryview:
        if offset % PAGE_SIZE or length <= 0 or offset + align_up(length, PAGE_SIZE) > len(self.view):
            raise KernelError(errno.EINVAL, "mmap", f"the ring buffer has {len(self.view)} bytes to map")
        return self.view[offset : offset + length]


@map_type("BPF_MAP_TYPE_RINGBUF")
class RingBufMap(_Ring):
    """Programs produce, user space consumes."""

    __slots__ = ("_pending", "native")

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self._pending = 0  # the oldest record that may be busy
        self.native: Keyless | None = None

    def settle(self, attr: MapAttr) -> Map:
        from bombus.kernel.user.maps.native import ring_of

        self.native = ring_of(self)
        return self

    def code(self) -> MapCode | None:
        return None if self.native is None else self.native.code()

    def reserve(self, size: int, flags: int = 0) -> int:
        """Address of `size` bytes of a new record, 0 when there is no room."""
        if self.native is not None:
            place: int = self.native.calls["reserve"](size & U64, flags & U64)
            return place
        if flags or size > _MAX_RECORD:
            return 0
        length = align_up(size + HEADER_SIZE, 8)
        if length > self._mask + 1:
            return 0
        mask, words = self._mask, self._words
        position = self._producer[0]
        end = position + length
        pending = self._pending
        while pending < position:
            header = words[(pending & mask) >> 2]
            if header & BUSY_BIT:
                break
            pending += align_up((header & ~DISCARD_BIT) + HEADER_SIZE, 8)
        self._pending = pending
        if (end - self._consumer[0]) & U64 > mask or end - pending > mask:
            return 0
        at = position & mask
        words[at >> 2] = size | BUSY_BIT
        words[(at >> 2) + 1] = (at + _HEAD + PAGE_SIZE) >> 12  # pages since struct bpf_ringbuf
        self._producer[0] = end
        return self._data + at + HEADER_SIZE

    def submit(self, address: int, flags: int = 0) -> int:
        return self._commit(address, flags, 0)

    def discard(self, address: int, flags: int = 0) -> int:
        return self._commit(address, flags, DISCARD_BIT)

    def _commit(self, address: int, flags: int, extra: int) -> int:
        if self.native is not None:
            if self.native.calls["commit"](address, flags & U64, extra):
                self.kernel.notify()
            return 0
        at = (address - HEADER_SIZE - self._data) & self._mask
        words = self._words
        words[at >> 2] = words[at >> 2] ^ BUSY_BIT | extra
        if flags & FORCE_WAKEUP or (self._consumer[0] & self._mask == at and not flags & NO_WAKEUP):
            self.kernel.notify()
        return 0

    def output(self, data: bytes, flags: int = 0) -> int:
        """Copy a whole record in: 0, -EINVAL or -EAGAIN."""
        if flags & ~(NO_WAKEUP | FORCE_WAKEUP):
            return EINVAL
        address = self.reserve(len(data))
        if not address:
            return EAGAIN
        at = address - self._data + _HEAD
        self.view[at : at + len(data)] = data
        return self.submit(address, flags)

    def query(self, what: int) -> int:
        if what == AVAIL_DATA:
            return self.available()
        if what == RING_SIZE:
            return self._mask + 1
        if what == CONS_POS:
            return self._consumer[0]
        if what == PROD_POS:
            return self._producer[0]
        return 0

    def owns(self, address: int) -> bool:
        """Is this the address of one of this buffer's samples?"""
        return self._data <= address - HEADER_SIZE <= self._data + self._mask

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        if writable and (offset or align_up(length, PAGE_SIZE) != PAGE_SIZE):
            raise KernelError(errno.EPERM, "mmap", "only the consumer page of a ring buffer can be written")
        view = self._map(length, offset)
        return view if writable else view.toreadonly()

    def ready(self) -> bool:
        return self.available() != 0


@map_type("BPF_MAP_TYPE_USER_RINGBUF")
class UserRingBufMap(_Ring):
    """User space produces, programs drain."""

    __slots__ = ("native",)

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.native: Keyless | None = None

    def settle(self, attr: MapAttr) -> Map:
        from bombus.kernel.user.maps.native import ring_of

        self.native = ring_of(self, "user_ringbuf")
        return self

    def code(self) -> MapCode | None:
        return None if self.native is None else self.native.code()

    def _enter(self) -> bool:
        """Be the one who drains, native programs included."""
        if self.native is not None:
            return bool(self.native.calls["enter"]())
        entered = not self._busy
        self._busy = True
        return entered

    def _leave(self) -> None:
        if self.native is not None:
            self.native.calls["leave"]()
        self._busy = False

    def drain(self, callback: Callable[[int, int], int], flags: int = 0) -> int:
        """bpf_user_ringbuf_drain: callback(address, size) for each sample until it returns not 0.

        Returns the number of samples, or a negative errno.
        """
        if flags & ~(NO_WAKEUP | FORCE_WAKEUP):
            return EINVAL
        if not self._enter():
            return EBUSY
        samples = discarded = stop = 0
        try:
            while samples < _MAX_SAMPLES and not stop:
                found = self._peek()
                if found == _ENODATA:
                    break
                if isinstance(found, int):
                    if found != EAGAIN:
                        return found
                    discarded += 1
                else:
                    stop = callback(*found)
                    self._consumer[0] += align_up(found[1] + HEADER_SIZE, 8)
                samples += 1
        finally:
            self._leave()
            if flags & FORCE_WAKEUP or (samples and not flags & NO_WAKEUP):
                self.kernel.notify()
        return samples - discarded

    def _peek(self) -> tuple[int, int] | int:
        producer, consumer = self._producer[0], self._consumer[0]
        if producer % 8:
            return EINVAL
        if consumer >= producer:
            return _ENODATA
        header = self._words[(consumer & self._mask) >> 2]
        size = header & ~(BUSY_BIT | DISCARD_BIT)
        total = align_up(size + HEADER_SIZE, 8) & U32
        if total > producer - consumer:
            return EINVAL
        if total > self._mask + 1 or size > _DYNPTR_MAX:
            return E2BIG
        if header & DISCARD_BIT:
            self._consumer[0] = consumer + total
            return EAGAIN
        if header & BUSY_BIT:
            return _ENODATA
        return self._data + ((consumer + HEADER_SIZE) & self._mask), size

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        if writable and offset == 0:
            raise KernelError(errno.EPERM, "mmap", "the consumer page of a user ring buffer is read-only")
        view = self._map(length, offset)
        return view if writable else view.toreadonly()

    def ready(self) -> bool:
        """Is there room to write (EPOLLOUT)?"""
        return self.available() < self._mask + 1
