"""Maps whose memory is native: programs of the native engine have their code inlined, Python calls the same code.

A map becomes one when it is made (`settle`), where its type has bodies (bombus.runtime.maps), its values no special
fields, and code is at hand (`UserKernel(maps=...)`). Otherwise the Python bodies serve; no map ever has both.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from bombus.bits import U64
from bombus.kernel.api import address_of
from bombus.kernel.user.maps.base import ENOENT, Map, MapAttr
from bombus.kernel.user.maps.hash import HashMap, PerCpuHashMap, TableMap
from bombus.kernel.user.maps.lpm import LpmTrieMap
from bombus.kernel.user.maps.lru import LruHashMap, LruPerCpuHashMap
from bombus.kernel.user.maps.lrulist import local_target, shares
from bombus.runtime.maps.shape import CONTROL, CONTROL_BYTES, ArrayShape, HashShape, PlainShape
from bombus.spec.maptypes import BPF_F_NO_COMMON_LRU, BPF_F_ZERO_SEED, MAP_TYPE
from bombus.vm.memory import Region

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.mapcode import Api
    from bombus.kernel.user.maps.ringbuf import RingBufMap, UserRingBufMap
    from bombus.vm.env import MapCode

_MOST: Final = 1 << 42  # bytes of address space for one map; larger ones are Python's
HEAD: Final = 24  # bytes of an element before its key
LRU_HEAD: Final = 48
LISTS_BYTES: Final = 80  # of a CPU's lists
UNBORN_AT: Final = 64  # in them: how many elements were never used, and whom to rob
_LATE: Final = 64
_WALK_WORDS: Final = 5  # runtime.maps.table.Walk, and where in it the address of a key is
_WALK_KEY: Final = 3
_MAP_NORESERVE: Final = 0x4000  # Linux include/uapi/asm-generic/mman-common.h


class Memory:
    """A map's block: zeros that cost nothing until they are touched."""

    __slots__ = ("__weakref__", "address", "keep", "view")

    def __init__(self, size: int, block: memoryview | None = None) -> None:
        """block: memory that is there already."""
        if block is None:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
            block = memoryview(mmap.mmap(-1, size, flags=flags))
        self.view = block
        self.keep: object = None  # what the control struct points to
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(block))

    def begin(self, kernel: UserKernel, numbers: Mapping[str, int]) -> None:
        """Fill the control struct in."""
        for name, value in numbers.items():
            self.set(name, value)
        self.set("none", id(None))
        self.set("other", id(NotImplemented))
        self.set("cpu", kernel.cpu_word.buffer_info()[0])
        self.keep = kernel.cpu_word

    def get(self, name: str) -> int:
        offset, size = CONTROL[name]
        return int.from_bytes(self.view[offset : offset + size], "little", signed=name == "error")

    def set(self, name: str, value: int) -> None:
        offset, size = CONTROL[name]
        self.view[offset : offset + size] = value.to_bytes(size, "little")


def memory_for(kernel: UserKernel, attr: MapAttr, shape: HashShape | PlainShape) -> Memory | None:
    """A block with its control struct filled in. None when there is no room for one."""
    if shape.size > _MOST:
        return None
    try:
        memory = Memory(shape.size)
    except (OSError, OverflowError, ValueError, MemoryError):
        return None
    memory.begin(kernel, shape.constants())
    if not attr.map_flags & BPF_F_ZERO_SEED:
        memory.set("seed", int.from_bytes(os.urandom(4), "little"))
    return memory


def api_for(kernel: UserKernel, kind: str) -> Api | None:
    if kernel.maps == "python":
        return None
    from bombus.kernel.user.maps import mapcode  # LLVM's driver and all that belongs to it

    return mapcode.api(kind)


def _program_code(kind: str, numbers: Mapping[str, int], address: int, keep: object) -> MapCode:
    from bombus.kernel.user.maps import mapcode

    return mapcode.program_code(kind, numbers, address, keep)


class Native:
    """What a map with native memory keeps: its block, the regions of its values and keys, its functions."""

    __slots__ = ("calls", "keys", "kind", "memory", "numbers", "region")

    def __init__(self, kind: str, memory: Memory, shape: HashShape, api: Api, name: str) -> None:
        self.kind = kind
        self.memory = memory
        self.numbers = shape.constants()
        self.calls: dict[str, Callable[..., Any]] = api.of(memory.address, memory)
        self.region = Region(
            memory.address + shape.values, shape.slots * shape.slot_bytes, memory.view[shape.values :], name,
            "map_value", stride=shape.stride, limit=shape.value_size, keep=memory,
        )  # fmt: skip
        # What callbacks get: read, and given to helpers.
        first = shape.elements + shape.head
        size = shape.slots * shape.element_bytes - shape.head
        self.keys = Region(
            memory.address + first, size, memory.view[first : first + size], f"keys of {name}", "mem", writable=False,
            stride=shape.element_bytes, limit=shape.key_size, keep=memory,
        )  # fmt: skip

    def code(self) -> MapCode:
        return _program_code(self.kind, self.numbers, self.memory.address, self.memory)


class NativeArray:
    """The functions of an array, whose values lie where they always did."""

    __slots__ = ("_address", "_keep", "_numbers", "calls", "memory")

    def __init__(self, memory: Memory, api: Api, address: int, numbers: dict[str, int], keep: object) -> None:
        self.memory = memory
        self.calls: dict[str, Callable[..., Any]] = api.of(memory.address, (memory, keep))
        self._address, self._numbers, self._keep = address, numbers, keep

    def code(self) -> MapCode:
        return _program_code("array", self._numbers, self._address, self._keep)


def array_of(item: Map, region: Region, per_cpu: bool) -> NativeArray | None:
    """Native functions for an array whose values lie in `region`; None where there is no code at hand."""
    kernel = item.kernel
    api, lock = api_for(kernel, "array"), lock_of(item)
    if api is None or lock is None:
        return None
    shape = ArrayShape(item.value_size, item.max_entries, per_cpu, kernel.possible_cpus, lock_at=lock)
    memory = Memory(CONTROL_BYTES)
    memory.begin(kernel, replace(shape, values=(region.start - memory.address) & U64).constants())
    return NativeArray(memory, api, region.start, shape.constants(), region.keep)


def adopt(new: Map, old: Map) -> None:
    """What a map was given since it was made, before it has an id."""
    new.name, new.btf, new.btf_ids = old.name, old.btf, old.btf_ids
    new.fields, new.excl_prog_hash = old.fields, old.excl_prog_hash


def lock_of(item: Map) -> int | None:
    """Where values have a bpf_spin_lock, + 1; 0 when they have no special fields; None for other fields."""
    if not item.fields:
        return 0
    if [field.kind for field in item.fields] != ["bpf_spin_lock"]:
        return None
    return item.fields[0].offset + 1


class NativeTable(TableMap):
    """What tables do over native code."""

    __slots__ = ()

    def begin(self, kernel: UserKernel, attr: MapAttr, native: Native, old: TableMap) -> None:
        Map.__init__(self, kernel, attr)
        adopt(self, old)
        self.max_entries, self.user_value_size, self.stride = old.max_entries, old.user_value_size, old.stride
        self.native = native
        kernel.memory.add(native.region)
        kernel.memory.add(native.keys)

    def code(self) -> MapCode | None:
        return self.native.code()

    def fast(self) -> Mapping[str, Callable[..., Any]]:
        return self.native.calls

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        address: int = self.native.calls["lookup"](key, cpu)
        return address

    def lookup_percpu(self, key: bytes, cpu: int) -> int:
        return self.lookup(key, cpu) if self.type.per_cpu and cpu < self.kernel.possible_cpus else 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        result: int = self.native.calls["update"](key, value, flags, cpu)
        return result

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        result: int = self.native.calls["write"](key, value, flags)
        return result

    def read(self, key: bytes, flags: int) -> bytes | int:
        value: bytes | None = self.native.calls["read"](key, flags)
        return ENOENT if value is None else value

    def delete(self, key: bytes) -> int:
        result: int = self.native.calls["delete"](key)
        return result

    def take(self, key: bytes, flags: int) -> bytes | int:
        value: bytes | None = self.native.calls["take"](key)
        return ENOENT if value is None else value

    def next_key(self, key: bytes | None) -> bytes | int:
        following: bytes | None = self.native.calls["next"](key)
        return ENOENT if following is None else following

    def elements(self, cpu: int = 0) -> list[tuple[bytes, int]]:
        size = self.key_size
        room = self.native.memory.get("count") + _LATE  # others may add some meanwhile
        keys, places = bytearray(room * size), bytearray(room * 8)
        found: int = self.native.calls["walk"](0, address_of(keys), 0, address_of(places), room, 0, 0)
        own = cpu * self.stride if self.type.per_cpu else 0
        return [
            (bytes(keys[i * size : i * size + size]), place + own)
            for i, place in enumerate(memoryview(places).cast("Q")[:found])
        ]

    def each(self, cpu: int) -> Iterator[tuple[bytes | int, int]]:
        state = (ctypes.c_uint64 * _WALK_WORDS)()
        at, step = ctypes.addressof(state), self.native.calls["each"]
        while place := step(at, cpu):
            yield state[_WALK_KEY], place

    def free(self) -> None:
        self.kernel.memory.remove(self.native.region)
        self.kernel.memory.remove(self.native.keys)


class NativeHashMap(NativeTable, HashMap):
    type = MAP_TYPE["BPF_MAP_TYPE_HASH"]
    __slots__ = ()


class NativePerCpuHashMap(NativeTable, PerCpuHashMap):
    type = MAP_TYPE["BPF_MAP_TYPE_PERCPU_HASH"]
    __slots__ = ()


class NativeLruHashMap(NativeTable, LruHashMap):
    type = MAP_TYPE["BPF_MAP_TYPE_LRU_HASH"]
    __slots__ = ()


class NativeLruPerCpuHashMap(NativeTable, LruPerCpuHashMap):
    type = MAP_TYPE["BPF_MAP_TYPE_LRU_PERCPU_HASH"]
    __slots__ = ()


_CLASSES: Final[dict[int, tuple[str, type[NativeTable]]]] = {
    row.type.id: (kind, row)
    for kind, row in (
        ("hash", NativeHashMap), ("hash", NativePerCpuHashMap), ("lru", NativeLruHashMap),
        ("lru", NativeLruPerCpuHashMap),
    )
}  # fmt: skip


def settled(old: TableMap, attr: MapAttr) -> TableMap:
    """The map over native code where that is possible, else as it is."""
    kind, cls = _CLASSES.get(old.type.id, ("", None))
    kernel = old.kernel
    lock = lock_of(old)
    if cls is None or lock is None:
        return old
    api = api_for(kernel, kind)
    if api is None:
        return old
    shape = table_shape(old, kernel.possible_cpus, lock)
    memory = memory_for(kernel, attr, shape)
    if memory is None:
        return old
    memory.view[shape.lists_at : shape.lists_at + shape.lists] = first_lists(shape)
    new = cls.__new__(cls)
    new.begin(kernel, attr, Native(kind, memory, shape, api, f"map {old.type.short}"), old)
    return new


def table_shape(item: Map, cpus: int, lock: int) -> HashShape:
    """Of a hash or LRU map."""
    is_lru = item.type.short.startswith("lru")
    return HashShape(
        key_size=item.key_size, value_size=item.value_size, max_entries=item.max_entries,
        head=LRU_HEAD if is_lru else HEAD, slots=item.max_entries + (0 if is_lru else cpus),
        per_cpu=item.type.per_cpu, cpus=cpus, lists=(cpus + 1) * LISTS_BYTES if is_lru else 0,
        own_lists=is_lru and bool(item.map_flags & BPF_F_NO_COMMON_LRU), target=local_target(item.max_entries, cpus),
        lock_at=lock,
    )  # fmt: skip


def first_lists(shape: HashShape, order: str = "<") -> bytes:
    """The lists of an LRU map at first: how many elements each may make, and whom each CPU robs first."""
    if not shape.lists:
        return b""
    counts, out = shares(shape.max_entries, shape.cpus), bytearray(shape.lists)
    for number in range(shape.cpus + 1):
        unborn = counts[number - 1] if number and shape.own_lists else 0
        if not number and not shape.own_lists:
            unborn = shape.max_entries
        struct.pack_into(f"{order}II", out, number * LISTS_BYTES + UNBORN_AT, unborn, max(number - 1, 0))
    return bytes(out)


# ------------------------------------------------------------------------------------------------ other types


class NativeLpmTrieMap(LpmTrieMap):
    """Longest prefix match. The walk in the order of the trie is Python's: it sorts what the map holds, and goes on
    with that as long as no prefix was added."""

    type = MAP_TYPE["BPF_MAP_TYPE_LPM_TRIE"]
    __slots__ = ("_sorted", "_sorted_at", "native")

    def begin(self, kernel: UserKernel, attr: MapAttr, native: Native, old: Map) -> None:
        super().__init__(kernel, attr)
        adopt(self, old)
        self.native = native
        self._sorted: list[tuple[tuple[int, int], bytes]] = []
        self._sorted_at = -1
        kernel.memory.add(native.region)

    def settle(self, attr: MapAttr) -> Map:
        return self

    def code(self) -> MapCode | None:
        return self.native.code()

    def fast(self) -> Mapping[str, Callable[..., Any]]:
        return self.native.calls

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        address: int = self.native.calls["lookup"](key, cpu)
        return address

    def read(self, key: bytes, flags: int) -> bytes | int:
        value: bytes | None = self.native.calls["read"](key)
        return ENOENT if value is None else value

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        result: int = self.native.calls["update"](key, value, flags, cpu)
        return result

    def delete(self, key: bytes) -> int:
        result: int = self.native.calls["delete"](key)
        return result

    def next_key(self, key: bytes | None) -> bytes | int:
        memory, stored = self.native.memory, self.native.calls["stored"]
        if self._sorted_at != memory.get("number"):
            self._sort()
        at = 0
        if key is not None and stored(key) is not None:
            prefix = self._parse(key)
            assert prefix is not None
            at = bisect_right(self._sorted, self._rank(prefix), key=itemgetter(0))
        for _rank, name in islice(self._sorted, at, None):
            found: bytes | None = stored(name)
            if found is not None:
                return found
        return ENOENT

    def _sort(self) -> None:
        memory, size = self.native.memory, self.key_size
        self._sorted_at = memory.get("number")
        room = memory.get("count") + _LATE
        keys = bytearray(room * size)
        found: int = self.native.calls["walk"](0, address_of(keys), 0, 0, room, 0, 0)
        rows = []
        for at in range(0, found * size, size):
            name = bytes(keys[at : at + size])
            prefix = self._parse(name)
            assert prefix is not None
            rows.append((self._rank(prefix), name))
        self._sorted = sorted(rows)

    def free(self) -> None:
        self.kernel.memory.remove(self.native.region)


def lpm_of(old: LpmTrieMap, attr: MapAttr) -> Map:
    kernel = old.kernel
    api = None if old.fields else api_for(kernel, "lpm")
    if api is None:
        return old
    shape = trie_shape(old, kernel.possible_cpus)
    memory = memory_for(kernel, attr, shape)
    if memory is None:
        return old
    new = NativeLpmTrieMap.__new__(NativeLpmTrieMap)
    new.begin(kernel, attr, Native("lpm", memory, shape, api, "map lpm_trie"), old)
    return new


def trie_shape(item: Map, cpus: int) -> HashShape:
    lengths = (item.key_size - 4) * 8 + 1
    return HashShape(
        key_size=item.key_size, value_size=item.value_size, max_entries=item.max_entries, head=HEAD,
        slots=item.max_entries + 1, lists=8 * (lengths + 1), cpus=cpus,
    )  # fmt: skip


class Keyless:
    """Native code and memory of a queue, a stack or a bloom filter."""

    __slots__ = ("calls", "kind", "memory", "numbers")

    def __init__(self, kind: str, memory: Memory, numbers: dict[str, int], api: Api) -> None:
        self.kind, self.memory, self.numbers = kind, memory, numbers
        self.calls: dict[str, Callable[..., Any]] = api.of(memory.address, memory)

    def code(self) -> MapCode:
        return _program_code(self.kind, self.numbers, self.memory.address, self.memory)


def keyless_of(item: Map, attr: MapAttr, kind: str, shape: PlainShape) -> Keyless | None:
    """Native code and memory for a map without keys; None where there is no code at hand."""
    api = api_for(item.kernel, kind)
    memory = None if api is None else memory_for(item.kernel, attr, shape)
    if api is None or memory is None:
        return None
    return Keyless(kind, memory, shape.constants(), api)


def ring_of(ring: RingBufMap | UserRingBufMap, kind: str = "ringbuf") -> Keyless | None:
    """Native code over the memory of a ring buffer."""
    api = api_for(ring.kernel, kind)
    if api is None:
        return None
    memory = Memory(0, ring.block)
    numbers = PlainShape(0, ring.max_entries, 0, mask=ring.max_entries - 1).constants()
    memory.begin(ring.kernel, numbers)
    return Keyless(kind, memory, numbers, api)
