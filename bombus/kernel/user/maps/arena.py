"""Memory shared between programs and user space. Linux 6.12 kernel/bpf/arena.c.

The user kernel reserves the whole address range at once; pages come with the first touch, so allocation of pages
is book-keeping. Arena pointers are real addresses (see vm.env.PlainEnv.address_cast).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bombus.bits import align_up
from bombus.errors import KernelError
from bombus.kernel.user.maps.base import E2BIG, EINVAL, EOPNOTSUPP, Map, MapAttr, map_type
from bombus.spec.maptypes import BPF_F_MMAPABLE, BPF_F_NO_USER_CONV, BPF_F_SEGV_ON_FAULT, PAGE_SIZE

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel

_FLAGS = BPF_F_SEGV_ON_FAULT | BPF_F_MMAPABLE | BPF_F_NO_USER_CONV
_FOUR_GIB = 1 << 32


@map_type("BPF_MAP_TYPE_ARENA")
class ArenaMap(Map):
    btf_rule = "any"
    late_check = True

    __slots__ = ("_used", "region")

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.region = kernel.allocate(attr.max_entries * PAGE_SIZE, name="map arena", kind="mem")
        self._used: dict[int, int] = {}  # first page of an allocation: its pages

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        flags = attr.map_flags
        if attr.key_size or attr.value_size or not attr.max_entries or not flags & BPF_F_MMAPABLE or flags & ~_FLAGS:
            return EINVAL
        if attr.map_extra % PAGE_SIZE:
            return EINVAL
        size = attr.max_entries * PAGE_SIZE
        if size > _FOUR_GIB:
            return E2BIG
        if attr.map_extra >> 32 != ((attr.map_extra + size - 1) & 0xFFFF_FFFF_FFFF_FFFF) >> 32:
            return -errno.ERANGE
        return 0

    def read(self, key: bytes, flags: int) -> bytes | int:
        return EINVAL

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        return EOPNOTSUPP

    def delete(self, key: bytes) -> int:
        return EOPNOTSUPP

    def next_key(self, key: bytes | None) -> bytes | int:
        return EOPNOTSUPP

    def value_address(self, offset: int) -> int:
        if offset % PAGE_SIZE + 8 > PAGE_SIZE or offset >= self.region.size:
            return -errno.ERANGE
        return self.region.start + offset

    def alloc_pages(self, count: int, address: int = 0) -> int:
        """bpf_arena_alloc_pages: address of `count` new zeroed pages, at `address` if it is given; 0 if none."""
        if count <= 0 or count > self.max_entries:
            return 0
        taken = sorted(self._used.items())
        if address:
            at, misaligned = divmod(address - self.region.start, PAGE_SIZE)
            free = not any(first < at + count and at < first + pages for first, pages in taken)
            if misaligned or at < 0 or at + count > self.max_entries or not free:
                return 0
        else:
            at = 0
            for first, pages in taken:
                if first - at >= count:
                    break
                at = first + pages
            if at + count > self.max_entries:
                return 0
        self._used[at] = count
        return self.region.start + at * PAGE_SIZE

    def free_pages(self, address: int, count: int) -> None:
        """bpf_arena_free_pages; whole pages of whatever allocation."""
        first = (address - self.region.start) // PAGE_SIZE
        end = min(first + count, self.max_entries)
        if first < 0 or count <= 0:
            return
        for start, pages in sorted(self._used.items()):
            stop = start + pages
            if start >= end or stop <= first:
                continue
            del self._used[start]
            if start < first:
                self._used[start] = first - start
            if stop > end:
                self._used[end] = stop - end
            low, high = max(start, first) * PAGE_SIZE, min(stop, end) * PAGE_SIZE
            self.region.view[low:high] = bytes(high - low)

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        if offset:
            raise KernelError(errno.EINVAL, "mmap", "an arena is mapped from its start")
        if length <= 0 or align_up(length, PAGE_SIZE) > self.region.size:
            raise KernelError(errno.E2BIG, "mmap", f"the arena has {self.region.size} bytes")
        view = self.region.view[:length]
        return view if writable else view.toreadonly()

    def free(self) -> None:
        self.kernel.memory.remove(self.region)
