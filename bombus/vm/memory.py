"""Live memory of programs: real buffers whose address is the BPF address.

Every stack, context, packet and map value lies in a `Region`. The reference engine and the slow paths of the
fast one look every access up here, so a wild pointer is a reported fault, never a crash.
"""

from __future__ import annotations

import ctypes
import mmap
from bisect import bisect_right
from threading import Lock
from typing import Any

from bombus.errors import VmFault

# Linux 6.12 include/uapi/linux/mman.h: a mapping below 2 GiB, so that its address fits the u32
# `data`/`data_end` members of xdp_md and __sk_buff and no context rewrite is needed.
_MAP_32BIT = 0x40

# How far from a region an access is still explained in terms of it.
_NEAR = 4096


class Region:
    """A run of bytes that programs may touch.

    start: address of byte 0; size: bytes; kind: "stack", "ctx", "packet", "map_value", "mem", "btf";
    stride/limit: when stride is not 0, the region is an array of slots of `stride` bytes and an access must
    lie inside the first `limit` bytes of one slot (map values: an access must not run into the next value); keep:
    what owns the bytes.
    """

    __slots__ = ("keep", "kind", "limit", "name", "size", "start", "stride", "view", "writable")

    def __init__(
        self, start: int, size: int, view: memoryview, name: str, kind: str, writable: bool = True, stride: int = 0,
        limit: int = 0, keep: object = None,
    ) -> None:  # fmt: skip
        self.start = start
        self.size = size
        self.view = view
        self.name = name
        self.kind = kind
        self.writable = writable
        self.stride = stride
        self.limit = limit
        self.keep = keep

    def __repr__(self) -> str:
        return f"<Region {self.name}: {self.size} bytes at {self.start:#x}, {self.kind}>"

    @property
    def end(self) -> int:
        return self.start + self.size


class Memory:
    """The table of live regions of one kernel instance."""

    __slots__ = ("_epochs", "_lock", "_regions", "_starts", "epoch", "stacks")

    def __init__(self) -> None:
        self._lock = Lock()  # several threads may make and drop regions
        self._starts: list[int] = []
        self._regions: list[Region] = []
        self.epoch = 0  # grows when a region goes away or changes: whoever remembers regions forgets them then
        self._epochs = ctypes.c_uint64(0)  # the same for native code
        self.stacks: list[Any] = []  # stacks of `vm.run` that no run uses just now

    def allocate(
        self, size: int, *, name: str, kind: str, writable: bool = True, low: bool = False,
        stride: int = 0, limit: int = 0, behind: int = 0,
    ) -> Region:
        """New zeroed bytes as a region; `behind` more lie after it for its owner (`keep` has them, too). `low` asks for
        an address below 4 GiB."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (_MAP_32BIT if low else 0)
        pages = mmap.mmap(-1, max(size + behind, 1), flags=flags)
        start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        region = Region(start, size, memoryview(pages)[:size], name, kind, writable, stride, limit, pages)
        self.add(region)
        return region

    def add(self, region: Region) -> None:
        """Make a region live. Regions never overlap."""
        with self._lock:
            at = bisect_right(self._starts, region.start)
            self._regions.insert(at, region)
            self._starts.insert(at, region.start)

    def remove(self, region: Region) -> None:
        """End a region's life. Its bytes are given back when nothing refers to them any more."""
        with self._lock:
            at = bisect_right(self._starts, region.start) - 1
            if at < 0 or self._regions[at] is not region:
                raise ValueError(f"region {region.name} is not live")
            del self._starts[at]
            del self._regions[at]
            self._count()

    def changed(self) -> None:
        """Say that a live region's bounds or access changed in place (a packet's head was moved): engines
        that remember regions look again."""
        with self._lock:
            self._count()

    def _count(self) -> None:
        self.epoch += 1
        self._epochs.value = self.epoch

    @property
    def epochs(self) -> int:
        """Where `epoch` lies as a u64."""
        return ctypes.addressof(self._epochs)

    def find(self, address: int, size: int) -> Region | None:
        """The region that wholly holds [address, address + size), or None."""
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return None
        region = self._regions[at]
        offset = address - region.start
        if offset + size > region.size:
            return None
        if region.stride and offset % region.stride + size > region.limit:
            return None
        return region

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address. VmFault when they are not all inside one live region."""
        region = self.find(address, size)
        if region is None:
            raise VmFault("load", self.explain(address, size), address=address, size=size)
        offset = address - region.start
        return bytes(region.view[offset : offset + size])

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes. VmFault when outside live regions or in a read-only one."""
        size = len(data)
        region = self.find(address, size)
        if region is None:
            raise VmFault("store", self.explain(address, size), address=address, size=size)
        if not region.writable:
            raise VmFault("readonly", f"{region.name} is read-only", address=address, size=size)
        offset = address - region.start
        region.view[offset : offset + size] = data

    def load(self, address: int, size: int) -> int:
        """The little-endian unsigned number of `size` bytes at an address. VmFault as `read`."""
        region = self.find(address, size)
        if region is None:
            raise VmFault("load", self.explain(address, size), address=address, size=size)
        offset = address - region.start
        return int.from_bytes(region.view[offset : offset + size], "little")

    def probe(self, address: int, size: int) -> int:
        """As `load`, but 0 where there is no memory."""
        region = self.find(address, size)
        if region is None:
            return 0
        offset = address - region.start
        return int.from_bytes(region.view[offset : offset + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Store a number in [0, 256**size), little endian. VmFault as `write`."""
        self.write(address, value.to_bytes(size, "little"))

    def explain(self, address: int, size: int) -> str:
        """Why an access is wrong, in terms of the nearest region."""
        if address < _NEAR and not self.find(address, 1):
            return f"{size} bytes at {address:#x}, a NULL pointer"
        at = bisect_right(self._starts, address) - 1
        if at >= 0:
            region = self._regions[at]
            offset = address - region.start
            if offset < region.size + _NEAR:
                if not region.stride or offset >= region.size:
                    return f"{size} bytes at offset {offset} of {region.name}, which has {region.size}"
                slot, offset = divmod(offset, region.stride)
                return f"{size} bytes at offset {offset} of slot {slot} of {region.name}, which has {region.limit}"
        if at + 1 < len(self._regions):
            region = self._regions[at + 1]
            if region.start - address <= _NEAR:
                return f"{size} bytes, {region.start - address} bytes before {region.name}"
        return f"{size} bytes at {address:#x}, where no memory of this program lies"
