"""What native code needs of maps of maps: the handles in them, and the memory behind a handle."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from bombus.kernel.user.maps.base import Map, MapAttr
from bombus.kernel.user.maps.native import HEAD, Memory, api_for, memory_for
from bombus.runtime.maps.kinds import INNER
from bombus.runtime.maps.shape import ArrayShape, HashShape
from bombus.vm import jumps
from bombus.vm.env import HANDLE_BASE, HANDLE_STRIDE, HANDLES

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.vm.env import MapCode

_MAP_NORESERVE: Final = 0x4000


class InnerMaps:
    """By id: the address of a map's control struct; 0 for maps that are Python's. What goes stays in memory as long as
    native code runs."""

    def __init__(self, items: Iterable[Map]) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._block = memoryview(mmap.mmap(-1, 8 * HANDLES, flags=flags))
        self._words = self._block.cast("Q")
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._block))
        for item in items:
            self.add(item)

    def add(self, item: Map) -> None:
        native: Any = getattr(item, "native", None)
        number = (item.handle - HANDLE_BASE) // HANDLE_STRIDE
        if native is not None and number < HANDLES:
            self._words[number] = native.memory.address

    def remove(self, item: Map) -> None:
        native: Any = getattr(item, "native", None)
        number = (item.handle - HANDLE_BASE) // HANDLE_STRIDE
        if native is not None and 0 <= number < HANDLES:
            self._words[number] = 0
            jumps.retire(native)

    def code(self, map_type: int) -> MapCode | None:
        """The operations of all maps of a type."""
        from bombus.kernel.user.maps.mapcode import any_code

        kind = INNER.get(map_type)
        return None if kind is None else any_code(kind, self.address, self)


class Handles:
    """The handles in an array of maps."""

    def __init__(self, entries: int) -> None:
        self.memory = Memory(max(8 * entries, 8))
        self._words = self.memory.view.cast("Q")
        self._numbers = ArrayShape(8, entries, per_cpu=False, cpus=1).constants()

    def set(self, index: int, handle: int) -> None:
        self._words[index] = handle

    def code(self) -> MapCode:
        from bombus.kernel.user.maps.mapcode import program_code

        return program_code("outer_array", self._numbers, self.memory.address, self.memory)


class HandleTable:
    """The handles in a hash table of maps."""

    def __init__(self, memory: Memory, numbers: dict[str, int], calls: dict[str, Any]) -> None:
        self.memory, self._numbers, self._calls = memory, numbers, calls

    def set(self, key: bytes, handle: int) -> None:
        if handle:
            self._calls["write"](key, handle.to_bytes(8, "little"), 0)
        else:
            self._calls["delete"](key)

    def code(self) -> MapCode:
        from bombus.kernel.user.maps.mapcode import program_code

        return program_code("outer_hash", self._numbers, self.memory.address, self.memory)


def handles_of(kernel: UserKernel, entries: int) -> Handles | None:
    """For a new array of maps; None where there is no native code."""
    return None if api_for(kernel, "hash") is None else Handles(entries)


def handle_table_of(item: Map, attr: MapAttr) -> HandleTable | None:
    """For a new hash table of maps; None where there is no native code."""
    kernel = item.kernel
    api = api_for(kernel, "hash")
    cpus = kernel.possible_cpus
    shape = HashShape(
        key_size=item.key_size, value_size=8, max_entries=item.max_entries, head=HEAD, slots=item.max_entries + cpus,
        cpus=cpus,
    )  # fmt: skip
    memory = None if api is None else memory_for(kernel, attr, shape)
    if api is None or memory is None:
        return None
    return HandleTable(memory, shape.constants(), api.of(memory.address, memory))
