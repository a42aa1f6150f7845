"""Maps of generated skeletons: the kinds of access that a map type has, with typed keys and values.

Before `load` a map has a name and a size that can be set; after it the methods work. UsageError otherwise.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bombus.errors import KernelError, UsageError
from bombus.skeleton.values import ArrayCodec, Codec, IntCodec, S

if TYPE_CHECKING:
    import os

    from bombus.kernel.handles import Map, PerfBuffer, RingBuffer, UserRing
    from bombus.object.model import MapSpec
    from bombus.skeleton.core import Core
    from bombus.skeleton.programs import Program

K = TypeVar("K")
V = TypeVar("V")
M = TypeVar("M", bound="TypedMap")


class TypedMap:
    """What all maps have. `handle` is the map of `bombus.kernel.handles`, with every operation of bpf(2)."""

    def __init__(self, core: Core | None, name: str) -> None:
        self.name = name
        self._core = core
        self._handle: Map | None = None
        if core is not None:
            core.add_map(self)

    @property
    def handle(self) -> Map:
        if self._handle is None:
            raise UsageError(f"the map {self.name!r} is there after load()")
        return self._handle

    def use(self, handle: Map | None) -> None:
        """Work on this map of the kernel."""
        self._handle = handle

    @property
    def _spec(self) -> MapSpec:
        assert self._core is not None
        return self._core.map_spec(self.name)

    @property
    def max_entries(self) -> int:
        """Settable before load."""
        if self._handle is not None:
            return self._handle.max_entries
        assert self._core is not None
        return self._core.max_entries.get(self.name, self._spec.max_entries)

    @max_entries.setter
    def max_entries(self, count: int) -> None:
        if self._core is None or self._handle is not None:
            raise UsageError(f"the map {self.name!r} has its size: set max_entries before load()")
        self._core.max_entries[self.name] = count

    def reuse(self, handle: Map) -> None:
        """Take an existing map instead of making one; it stays the caller's. Before load."""
        if self._core is None or self._handle is not None:
            raise UsageError(f"the map {self.name!r} is made: call reuse() before load()")
        self._core.reuse[self.name] = handle

    def pin(self, path: str | os.PathLike[str]) -> None:
        self.handle.pin(path)

    def __bool__(self) -> bool:
        """A map is true, also an empty one: counting would walk it."""
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}{'' if self._handle is not None else ', not loaded'}>"


class _PerCpu(Codec[list[V]]):
    """One value for each possible CPU. UsageError for another number of them."""

    def __init__(self, element: Codec[V], count: int) -> None:
        self.element = element
        self.count = count
        self.slot = (element.size + 7) // 8 * 8
        self.size = self.slot * count

    def get(self, data: Any, at: int) -> list[V]:
        return [self.element.get(data, at + cpu * self.slot) for cpu in range(self.count)]

    def put(self, data: Any, at: int, value: list[V]) -> None:
        if len(value) != self.count:
            raise UsageError(f"{len(value)} values for {self.count} CPUs")
        for cpu, item in enumerate(value):
            self.element.put(data, at + cpu * self.slot, item)


class KeyedMap(TypedMap, Generic[K, V]):
    """Look-up and storing by key: what all maps with keys have."""

    def __init__(self, core: Core | None, name: str, key: Codec[K], value: Codec[V]) -> None:
        super().__init__(core, name)
        self._key = key
        self._value = value

    def _encode(self, value: V) -> bytes:
        # arrays take any sequence
        if isinstance(self._value, ArrayCodec):
            out = bytearray(self._value.size)
            self._value.fill(out, 0, value)  # type: ignore[arg-type]
            return bytes(out)
        return self._value.encode(value)

    def __getitem__(self, key: K) -> V:
        try:
            return self._value.decode(self.handle.raw.lookup(self._key.encode(key)))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(key) from None
            raise

    def __setitem__(self, key: K, value: V) -> None:
        self.handle.raw.update(self._key.encode(key), self._encode(value))

    def __iter__(self) -> Iterator[K]:
        return map(self._key.decode, self.handle.raw)

    def __len__(self) -> int:
        return len(self.handle.raw)

    def store(self, key: K, value: V, *, flags: int = 0) -> None:
        """As `map[key] = value` with flags: BPF_NOEXIST (1), BPF_EXIST (2), BPF_F_LOCK (4). KernelError."""
        self.handle.raw.update(self._key.encode(key), self._encode(value), flags=flags)

    def pairs(self) -> Iterator[tuple[K, V]]:
        """Every key with its value, many with each call where the kernel can."""
        for key, value in self.handle.raw.pairs():
            yield self._key.decode(key), self._value.decode(value)

    def store_all(self, pairs: Mapping[K, V] | Iterable[tuple[K, V]], *, flags: int = 0) -> int:
        """Store many. Returns how many."""
        rows = pairs.items() if isinstance(pairs, Mapping) else pairs
        return self.handle.raw.update_batch(
            ((self._key.encode(key), self._encode(value)) for key, value in rows), flags=flags
        )


class ArrayMap(KeyedMap[K, V], Mapping[K, V]):
    """Maps whose keys are always there: arrays, and maps of sockets, devices and CPUs by index."""


class HashMap(KeyedMap[K, V], MutableMapping[K, V]):
    """Maps whose elements come and go: hash tables, tries, storage (by descriptor)."""

    def __delitem__(self, key: K) -> None:
        try:
            self.handle.raw.delete(self._key.encode(key))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(key) from None
            raise

    def take(self, key: K) -> V:
        """Look up and delete in one step. KeyError when the key is missing."""
        try:
            return self._value.decode(self.handle.raw.take(self._key.encode(key)))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(key) from None
            raise

    def clear(self) -> None:
        self.handle.raw.clear()


class PerCpuArrayMap(ArrayMap[K, list[V]]):
    """Values are lists, one value for each possible CPU."""

    def __init__(self, core: Core | None, name: str, key: Codec[K], value: Codec[V]) -> None:
        super().__init__(core, name, key, _PerCpu(value, core.kernel.possible_cpus if core is not None else 1))


class PerCpuHashMap(HashMap[K, list[V]]):
    """Values are lists, one value for each possible CPU."""

    def __init__(self, core: Core | None, name: str, key: Codec[K], value: Codec[V]) -> None:
        super().__init__(core, name, key, _PerCpu(value, core.kernel.possible_cpus if core is not None else 1))


class QueueMap(TypedMap, Generic[V]):
    """Queues and stacks."""

    def __init__(self, core: Core | None, name: str, value: Codec[V]) -> None:
        super().__init__(core, name)
        self._value = value

    def push(self, value: V, *, flags: int = 0) -> None:
        """KernelError(E2BIG) when it is full; flags BPF_EXIST (2) then drops the oldest."""
        self.handle.raw.push(self._value.encode(value), flags=flags)

    def pop(self) -> V:
        """IndexError when it is empty."""
        return self._front(take=True)

    def peek(self) -> V:
        return self._front(take=False)

    def _front(self, take: bool) -> V:
        raw = self.handle.raw
        try:
            return self._value.decode(raw.pop_value() if take else raw.peek())
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise IndexError(f"{self.name} is empty") from None
            raise


class BloomMap(TypedMap, Generic[V]):
    """Bloom filters."""

    def __init__(self, core: Core | None, name: str, value: Codec[V]) -> None:
        super().__init__(core, name)
        self._value = value

    def add(self, value: V) -> None:
        self.handle.raw.push(self._value.encode(value))

    def __contains__(self, value: V) -> bool:
        """Whether the filter may have seen a value."""
        return self.handle.raw.contains_value(self._value.encode(value))


class RingBufMap(TypedMap):
    """A ring buffer. One reader at a time."""

    def __init__(self, core: Core | None, name: str) -> None:
        super().__init__(core, name)
        self._reader: RingBuffer | None = None

    def reader(self) -> RingBuffer:
        """Events as bytes."""
        from bombus.kernel.handles import RingBuffer

        if self._reader is None:
            self._reader = RingBuffer(self.handle)
        return self._reader

    def read(self, kind: type[S], timeout: float | None = 0) -> list[S]:
        """Events as structs; waits up to `timeout` seconds (None: for ever) for the first. UsageError for events
        that are too short for the struct."""
        return [kind.from_bytes(data) for data in self.reader().poll(timeout)]

    def stream(self, kind: type[S]) -> Iterator[S]:
        """Events as structs for ever, waiting when there are none."""
        while True:
            yield from self.read(kind, None)

    def use(self, handle: Map | None) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        super().use(handle)


class PerfEventMap(TypedMap):
    """A perf event array as a buffer of events."""

    def __init__(self, core: Core | None, name: str) -> None:
        super().__init__(core, name)
        self._reader: PerfBuffer | None = None

    def reader(self) -> PerfBuffer:
        """Events as bytes."""
        from bombus.kernel.handles import PerfBuffer

        if self._reader is None:
            self._reader = PerfBuffer(self.handle)
        return self._reader

    def read(self, kind: type[S], timeout: float | None = 0) -> list[S]:
        """As `RingBufMap.read`. The kernel pads events behind their struct."""
        return [kind.from_bytes(data) for data in self.reader().poll(timeout)]

    def stream(self, kind: type[S]) -> Iterator[S]:
        """As `RingBufMap.stream`."""
        while True:
            yield from self.read(kind, None)

    def use(self, handle: Map | None) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        super().use(handle)


class UserRingMap(TypedMap):
    """A ring buffer that user space fills."""

    def producer(self) -> UserRing:
        from bombus.kernel.handles import UserRing

        return UserRing(self.handle)


class ProgramArray(TypedMap):
    """Slots for tail calls."""

    def __setitem__(self, index: int, program: Program | None) -> None:
        """None empties the slot."""
        if program is None:
            self.handle.raw.delete(index.to_bytes(4, "little"))
        else:
            self.handle[index] = program.handle

    def __delitem__(self, index: int) -> None:
        self.handle.raw.delete(index.to_bytes(4, "little"))

    def __len__(self) -> int:
        return self.max_entries


class MapOfMaps(TypedMap, Generic[K, M]):
    """Values are maps: `skel.maps.outer[key]` is a typed map with a descriptor of its own, to be closed by
    `.handle.close()` (or by the garbage collector)."""

    def __init__(self, core: Core | None, name: str, key: Codec[K], inner: Inner[M]) -> None:
        super().__init__(core, name)
        self._key = key
        self._inner = inner

    def __getitem__(self, key: K) -> M:
        from bombus.kernel.handles import Map

        try:
            raw = self.handle.raw.lookup(self._key.encode(key))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(key) from None
            raise
        return self._inner.open(Map.from_id(self.handle.kernel, int.from_bytes(raw, "little")))

    def __setitem__(self, key: K, value: M | Map) -> None:
        handle = value.handle if isinstance(value, TypedMap) else value
        self.handle.raw.update(self._key.encode(key), handle.fd.to_bytes(4, "little"))

    def __delitem__(self, key: K) -> None:
        self.handle.raw.delete(self._key.encode(key))

    def __iter__(self) -> Iterator[K]:
        return map(self._key.decode, self.handle.raw)

    def __len__(self) -> int:
        return len(self.handle.raw)

    def create(self, max_entries: int = 0) -> M:
        """A new inner map like the template of the declaration."""
        from bombus.kernel.handles import Map

        spec = self._spec.inner
        if spec is None:
            raise UsageError(f"{self.name}: the object does not say what its inner maps are like")
        made = Map.create(
            self.handle.kernel, spec.type, spec.key_size, spec.value_size, max_entries or spec.max_entries,
            flags=spec.flags,
        )  # fmt: skip
        return self._inner.open(made)


class Inner(Generic[M]):
    """How the inner maps of a map of maps are typed."""

    def __init__(self, kind: type[M], *codecs: Codec[Any]) -> None:
        self._kind = kind
        self._codecs = codecs

    def open(self, handle: Map) -> M:
        make: Any = self._kind
        made: M = make(None, handle.name or "inner map", *self._codecs)
        made.use(handle)
        return made


class StackTraceMap(TypedMap, Mapping[int, tuple[int, ...]]):
    """Stacks by id: addresses, innermost first."""

    def __getitem__(self, stack_id: int) -> tuple[int, ...]:
        try:
            raw = self.handle.raw.lookup(stack_id.to_bytes(4, "little"))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(stack_id) from None
            raise
        words = memoryview(raw).cast("Q").tolist()
        return tuple(words[: words.index(0)] if 0 in words else words)

    def __iter__(self) -> Iterator[int]:
        return (int.from_bytes(key, "little") for key in self.handle.raw)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class ArenaMap(TypedMap):
    """Memory shared with programs."""

    @property
    def memory(self) -> memoryview:
        """Not to be used after the skeleton is closed."""
        assert self._core is not None
        return self._core.arena(self.name)


U32_KEY = IntCodec(4)
