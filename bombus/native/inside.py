"""Maps and helpers inside of executables and libraries: the bodies of `runtime.maps` over memory of their own.

There is one CPU. The memory is zeros at first, but for the lists of LRU maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from bombus.kernel.user.maps.base import Map
from bombus.kernel.user.maps.bloom import BloomFilterMap
from bombus.kernel.user.maps.mapcode import specialised, write
from bombus.kernel.user.maps.native import first_lists, lock_of, table_shape, trie_shape
from bombus.kernel.user.maps.queue import QueueStack
from bombus.native.arch import Arch
from bombus.runtime.maps.kinds import HELPERS, KINDS
from bombus.runtime.maps.shape import CONSTANTS, ArrayShape, HashShape, PlainShape
from bombus.vm.env import MapCode

# Helpers without a map that need nothing from outside. bpf_get_prandom_u32 is none: nothing here is random.
FREE: Final = (5, 8, 28, 93, 94, 125, 160, 208)
TIMELESS: Final = (8, 28, 93, 94)  # without clocks
VERSION: Final = 0x612  # of the kernel whose helpers these are: 6.18
_TABLES: Final = ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash")


@dataclass(frozen=True, slots=True)
class Inside:
    """A map's code and memory. numbers: see `runtime.maps.shape`. lists: bytes that are no zeros at first, at
    `lists_at`, by byte order."""

    kind: str
    numbers: Mapping[str, int]
    size: int
    lists_at: int = 0
    lists: Mapping[str, bytes] | None = None

    def memory(self, name: str, byteorder: str) -> str:
        """Its definition."""
        if not self.lists or not (data := self.lists[byteorder]):
            return f"@{name} = internal global [{self.size} x i8] zeroinitializer, align 64"
        rest = self.size - self.lists_at - len(data)
        text = "".join(f"\\{byte:02X}" for byte in data)
        parts = (f"[{self.lists_at} x i8]", f"[{len(data)} x i8]", f"[{rest} x i8]")
        values = f'{parts[0]} zeroinitializer, {parts[1]} c"{text}", {parts[2]} zeroinitializer'
        return f"@{name} = internal global <{{ {', '.join(parts)} }}> <{{ {values} }}>, align 64"


def inside(item: Map) -> Inside | None:
    """What becomes of a map; None where it has no such bodies."""
    lock, kind = lock_of(item), item.type.short
    shape: HashShape | PlainShape
    if kind in ("array", "percpu_array") and lock is not None:
        array = ArrayShape(item.value_size, item.max_entries, kind == "percpu_array", 1, lock_at=lock)
        numbers = array.constants()
        return Inside("array", numbers, numbers["slot_bytes"] * item.max_entries)
    if kind in _TABLES and lock is not None:
        shape = table_shape(item, 1, lock)
        lists = {"little": first_lists(shape, "<"), "big": first_lists(shape, ">")}
        return Inside("lru" if shape.lists else "hash", shape.constants(), shape.size, shape.lists_at, lists)
    if lock != 0:
        return None
    if kind == "lpm_trie":
        shape = trie_shape(item, 1)
        return Inside("lpm", shape.constants(), shape.size)
    if isinstance(item, QueueStack | BloomFilterMap):
        shape = item.native_shape()
        return Inside("queue" if isinstance(item, QueueStack) else "bloom", shape.constants(), shape.size)
    return None


def helpers_of(one: Inside) -> frozenset[int]:
    """Numbers of the helpers that work on it."""
    return frozenset(KINDS[one.kind].helpers)


class Codes:
    """Texts for one architecture, each written once."""

    def __init__(self, arch: Arch, layout: str) -> None:
        self._arch, self._layout = arch, layout
        self._texts = cache(self._text)

    def _text(self, kind: str) -> object:
        row = KINDS[kind]
        return write(row.module, row.bodies, self._layout, self._arch.static.triple)

    def of(self, kind: str, numbers: Mapping[str, int]) -> MapCode:
        return specialised(kind, self._texts(kind), numbers)  # type: ignore[arg-type]

    def of_helpers(self) -> MapCode:
        """Of the helpers in FREE; the world is as it is."""
        code = self.of(HELPERS, dict.fromkeys(CONSTANTS, 0) | {"version": VERSION})
        calls = {number: (name, params.replace("w", "y")) for number, (name, params) in code.calls.items()}
        return replace(code, calls={number: calls[number] for number in FREE})
