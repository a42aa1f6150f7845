"""Maps and helpers inside of executables and libraries: the bodies of `runtime.maps` over memory of their own.

There is one CPU. The memory is zeros at first, but for the lists of LRU maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from bombus.jit.walks import FOR_EACH
from bombus.kernel.user.maps.base import Map
from bombus.kernel.user.maps.bloom import BloomFilterMap
from bombus.kernel.user.maps.mapcode import specialised, write
from bombus.kernel.user.maps.native import first_lists, lock_of, table_shape, trie_shape
from bombus.kernel.user.maps.queue import QueueStack
from bombus.native.arch import Arch
from bombus.runtime.maps.kinds import HELPERS, KINDS, OF_PACKETS
from bombus.runtime.maps.shape import CONSTANTS, ArrayShape, HashShape, PlainShape
from bombus.vm.env import MapCode

# Helpers without a map that need nothing from outside; those that read the words behind a packet's context are for
# contexts that have them. On wasm32 there is no clock, and no seed.
FREE: Final = (5, 7, 8, 28, 93, 94, 125, 160, 197, 201, 202, 203, 208, *OF_PACKETS)
TIMELESS: Final = (8, 28, 93, 94, 197, 201, 202, 203, *OF_PACKETS)
_RANDOM: Final = 7
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

    def of_helpers(self, words: int = 0) -> MapCode:
        """Of the helpers in FREE; the world is as it is. words: where those of a packet lie behind the context; 0:
        nowhere."""
        code = self.of(HELPERS, dict.fromkeys(CONSTANTS, 0) | {"version": VERSION, "words": words})
        calls = {number: (name, params.replace("w", "y")) for number, (name, params) in code.calls.items()}
        calls[_RANDOM] = (calls[_RANDOM][0].replace("random", "seeded"), "")
        known = [number for number in FREE if words or number not in OF_PACKETS]
        return replace(code, calls={number: calls[number] for number in known})


# C functions of a library for its maps: helper -> what follows the map's name, result and parameters.
_ACCESS: Final = {
    1: ("lookup", "ptr", ("ptr",)), 2: ("update", "i32", ("ptr", "ptr", "i64")), 3: ("delete", "i32", ("ptr",)),
    87: ("push", "i32", ("ptr", "i64")), 88: ("pop", "i32", ("ptr",)), 89: ("peek", "i32", ("ptr",)),
    FOR_EACH: ("next", "ptr", ("ptr",)),
}  # fmt: skip


def access(name: str, memory: str, code: MapCode) -> list[str]:
    """Definitions of those functions. memory: the symbol of the map's memory."""
    lines = []
    for helper, (suffix, result, kinds) in _ACCESS.items():
        if helper not in code.calls:
            continue
        function, params = code.calls[helper]
        given = ", ".join(f"{kind} %a{n}" for n, kind in enumerate(kinds))
        body = [f"  %m = ptrtoint ptr {memory} to i64"]
        args = ["i64 %m"]
        for number, kind in enumerate(kinds):
            body += [f"  %n{number} = ptrtoint ptr %a{number} to i64"] if kind == "ptr" else []
            args.append(f"i64 %{'n' if kind == 'ptr' else 'a'}{number}")
        if "c" in params or helper == FOR_EACH:
            args.append("i64 0")  # the only CPU
        change = "inttoptr i64 %r to ptr" if result == "ptr" else "trunc i64 %r to i32"
        body += [f"  %r = call i64 @{function}({', '.join(args)})", f"  %v = {change}", f"  ret {result} %v"]
        lines.append(f"define {result} @bpf_map_{name}_{suffix}({given}) nounwind {{\n" + "\n".join(body) + "\n}")
    return lines
