"""Element storage of hash-like maps: slots whose addresses never change and never dangle.

A freed slot stays inside its live region and is handed out again first, as the kernel's free lists do, so a
program that keeps a pointer to a deleted element reads old or newer element bytes, never foreign memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.vm.memory import Region

_FIRST_CHUNK = 16  # slots
_CHUNK_BYTES = 16 << 20

Slot = tuple[int, memoryview]
"""Address of a slot, and its bytes."""


class Slab:
    """Up to `capacity` slots of `size` bytes; regions are made as they are needed.

    stride, limit: the region's checks (a per-CPU slot holds several strides).
    """

    __slots__ = (
        "_bump", "_free", "_kernel", "_left", "_made", "_name", "capacity", "limit", "regions", "size", "stride",
    )  # fmt: skip

    def __init__(self, kernel: UserKernel, name: str, size: int, capacity: int, stride: int, limit: int) -> None:
        self._kernel = kernel
        self._name = name
        self.size = size
        self.capacity = capacity
        self.stride = stride
        self.limit = limit
        self.regions: list[Region] = []
        self._free: list[Slot] = []
        self._made = 0
        self._left = 0  # slots of the newest region that were never handed out
        self._bump = 0

    def take(self) -> Slot:
        """A free slot, its bytes as they were left. The caller keeps below `capacity`."""
        if self._free:
            return self._free.pop()
        if not self._left:
            self._grow()
        region = self.regions[-1]
        at = self._bump
        self._bump += self.size
        self._left -= 1
        return region.start + at, region.view[at : at + self.size]

    def give(self, slot: Slot) -> None:
        self._free.append(slot)

    def _grow(self) -> None:
        count = max(min(self._made or _FIRST_CHUNK, self.capacity - self._made, _CHUNK_BYTES // self.size), 1)
        region = self._kernel.allocate(count * self.size, name=self._name, stride=self.stride, limit=self.limit)
        self.regions.append(region)
        self._made += count
        self._left = count
        self._bump = 0

    def free(self) -> None:
        """End all slots."""
        for region in self.regions:
            self._kernel.memory.remove(region)
        self.regions.clear()
        self._free.clear()
        self._left = 0
