"""What maps are: classes of declarations, with their operations. `bombus.bpf.map` declares them."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from bombus.bpf.ints import Scalar, s64, u32, u64
from bombus.bpf.layout import ArrayType, is_member_type, name_of, size_of
from bombus.bpf.machine import call, machine, own, pointed
from bombus.bpf.struct import Ref, Struct
from bombus.errors import UsageError

if TYPE_CHECKING:
    from bombus.vm.memory import Region

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")
M = TypeVar("M", bound="Map")
I = TypeVar("I", bound=Scalar)
S = TypeVar("S", bound=Struct)

ANY = 0
NOEXIST = 1
EXIST = 2
FRAMES: Any = ArrayType(u64, 127)  # a stack of PERF_MAX_STACK_DEPTH


class Map:
    """What every declaration has. `key`, `value`: types or None; pinned: by name in the BPF file system."""

    MAP_TYPE: ClassVar[str] = ""
    _register: int = 0  # what a register holds for a map that was looked up

    def __init__(
        self, key: Any, value: Any, max_entries: int, flags: int = 0, *, pinned: bool = False, extra: int = 0,
        inner: Map | None = None,
    ) -> None:  # fmt: skip
        for what, kind in (("key", key), ("value", value)):
            if kind is not None and not is_member_type(kind):
                shown = kind.__name__ if isinstance(kind, type) else repr(kind)
                raise UsageError(
                    f"a map's {what} is an integer type or a Struct class, not {shown}; "
                    "write u8 to u64, s8 to s64, or class Key(Struct): ..."
                )
            if isinstance(kind, type) and issubclass(kind, Struct) and not kind.LAYOUT.members:
                raise UsageError(f"a map's {what} has members, and {kind.__name__} has none")
        for name, number in (("max_entries", max_entries), ("flags", flags), ("extra", extra)):
            if type(number) is not int or not 0 <= number < 1 << 32:
                raise UsageError(f"a map's {name} is an int from 0 to 2**32 - 1, not {number!r}")
        self.key = key
        self.value = value
        self.max_entries = max_entries
        self.flags = flags
        self.pinned = pinned
        self.extra = extra
        self.inner = inner

    def __repr__(self) -> str:
        kinds = ", ".join(name_of(kind) for kind in (self.key, self.value) if kind is not None)
        return f"<{type(self).__name__} of {kinds or 'nothing'}, {self.max_entries} entries>"


class Table(Map, Generic[K, V, R]):
    """Maps with keys and values. R: what a look-up gives, the struct itself or a `Ref` to an integer."""

    def lookup(self, key: K | int) -> R | None:
        """The value of a key, to read and write; None when there is none. (bpf_map_lookup_elem)"""
        return cast("R | None", pointed(self.value, int(call(u64, 1, self, own(self.key, key)))))

    def update(self, key: K | int, value: V | int, flags: u64 | int = ANY) -> s64:
        """Store a value. flags: ANY, NOEXIST, EXIST. (bpf_map_update_elem)"""
        return call(s64, 2, self, own(self.key, key), own(self.value, value), flags)

    def delete(self, key: K | int) -> s64:
        """Remove a key. (bpf_map_delete_elem)"""
        return call(s64, 3, self, own(self.key, key))

    def lookup_percpu(self, key: K | int, cpu: u32 | int) -> R | None:
        """The value that a key has on another CPU. (bpf_map_lookup_percpu_elem)"""
        return cast("R | None", pointed(self.value, int(call(u64, 195, self, own(self.key, key), cpu))))

    def for_each(self, function: Callable[..., Any], ctx: Any = None, flags: u64 | int = 0) -> s64:
        """Call function(map, key, value, ctx) for every element until it returns other than 0; returns how many were
        seen. The first parameter is annotated as u64. (bpf_for_each_map_elem)"""
        return call(s64, 164, self, function, ctx, flags)


class Queue(Map, Generic[V]):
    """Queues, stacks and bloom filters."""

    def push(self, value: V | int, flags: u64 | int = ANY) -> s64:
        """Add a value. (bpf_map_push_elem)"""
        return call(s64, 87, self, own(self.value, value), flags)

    def pop(self, into: V | Ref[Any]) -> s64:
        """Take the next value out. (bpf_map_pop_elem)"""
        return call(s64, 88, self, into)

    def peek(self, into: V | Ref[Any]) -> s64:
        """Copy the next value. (bpf_map_peek_elem)"""
        return call(s64, 89, self, into)


class MapOfMaps(Map, Generic[K, M]):
    """Maps whose values are maps. `inner` is a declared map that says what they are like."""

    def __init__(self, key: Any, inner: M, max_entries: int, *, pinned: bool = False) -> None:
        if not isinstance(inner, Map) or isinstance(inner, MapOfMaps):
            raise UsageError("the inner map is a declared map that holds no maps itself")
        super().__init__(key, u32, max_entries, pinned=pinned, inner=inner)

    def lookup(self, key: K | int) -> M | None:
        """The map of a key, or None. (bpf_map_lookup_elem)"""
        handle = int(call(u64, 1, self, own(self.key, key)))
        if not handle:
            return None
        found = copy(self.inner)
        found._register = handle  # type: ignore[union-attr]
        return cast("M", found)


class Storage(Map, Generic[V, R]):
    """Values that belong to sockets, tasks, inodes or cgroups and go with them."""

    GET: ClassVar[int] = 0
    DELETE: ClassVar[int] = 0
    CREATE: ClassVar[int] = 1

    def get(self, owner: Any, flags: u64 | int = CREATE) -> R | None:
        """The value of an owner, made (zeroed) when it has none unless flags is 0."""
        return cast("R | None", pointed(self.value, int(call(u64, self.GET, self, owner, None, flags))))

    def delete(self, owner: Any) -> s64:
        """Remove the value of an owner."""
        return call(s64, self.DELETE, self, owner)


class SkStorage(Storage[V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_SK_STORAGE"
    GET, DELETE = 107, 108


class InodeStorage(Storage[V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_INODE_STORAGE"
    GET, DELETE = 145, 146


class TaskStorage(Storage[V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_TASK_STORAGE"
    GET, DELETE = 156, 157


class CgroupStorage(Storage[V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_CGRP_STORAGE"
    GET, DELETE = 210, 211


class LocalStorage(Map, Generic[V, R]):
    """The value of the cgroup (and hook) that a program is attached to. Kernels from 4.19; `CgroupStorage` came after
    it (6.2), for programs of all kinds."""

    MAP_TYPE = "BPF_MAP_TYPE_CGROUP_STORAGE"

    def get(self) -> R:
        """The value, which is always there. (bpf_get_local_storage)"""
        return cast("R", pointed(self.value, int(call(u64, 81, self, 0))))


class PercpuLocalStorage(LocalStorage[V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE"


class CgroupArray(Map):
    """For helpers.current_task_under_cgroup and skb_under_cgroup."""

    MAP_TYPE = "BPF_MAP_TYPE_CGROUP_ARRAY"


class SockMap(Table[K, u64, Ref[u64]]):
    """For helpers.sock_map_update, sk_redirect_map, msg_redirect_map."""

    MAP_TYPE = "BPF_MAP_TYPE_SOCKMAP"


class SockHash(Table[K, u64, Ref[u64]]):
    """For helpers.sock_hash_update, sk_redirect_hash, msg_redirect_hash."""

    MAP_TYPE = "BPF_MAP_TYPE_SOCKHASH"


class ReuseportArray(Table[K, u64, Ref[u64]]):
    """For helpers.sk_select_reuseport."""

    MAP_TYPE = "BPF_MAP_TYPE_REUSEPORT_SOCKARRAY"


class Arena(Map):
    """Memory that programs and user space share at the same addresses. Structs in it are declared with arena=True."""

    MAP_TYPE = "BPF_MAP_TYPE_ARENA"

    def __init__(self, pages: int, *, pinned: bool = False) -> None:
        super().__init__(None, None, pages, 1 << 10, pinned=pinned)  # BPF_F_MMAPABLE is demanded
        self._regions: dict[int, Any] = {}

    def alloc(self, kind: type[S], pages: u32 | int = 0) -> S | None:
        """Zeroed pages, as many as `kind` needs unless said; None when there are no more. For programs that may sleep.
        (bpf_arena_alloc_pages, Linux 6.9)"""
        if not kind.ARENA:
            raise UsageError(f"{kind.__name__} does not lie in arenas: class {kind.__name__}(Struct, arena=True)")
        count = int(pages) or -(-size_of(kind) // PAGE)
        if size_of(kind) > count * PAGE:
            raise UsageError(f"{kind.__name__} has {size_of(kind)} bytes, {count} pages have {count * PAGE}")
        if sum(region.size for region in self._regions.values()) + count * PAGE > self.max_entries * PAGE:
            return None
        region = own_pages(count * PAGE)
        machine().memory.add(region)
        self._regions[region.start] = region
        return kind._at(region.view[: size_of(kind)], region.start)

    def free(self, place: Struct, pages: u32 | int = 0) -> None:
        """Give pages back, as many as the struct needs unless said. (bpf_arena_free_pages)"""
        region = self._regions.pop(place._address, None)
        if region is None:
            raise UsageError("only what alloc(...) gave is given back")
        machine().memory.remove(region)


PAGE = 4096


def own_pages(size: int) -> Region:
    """Memory of the machine at its real address, as pages are."""
    import ctypes  # building a program needs neither

    from bombus.vm.memory import Region

    view = memoryview(bytearray(size))
    start = ctypes.addressof(ctypes.c_char.from_buffer(view))
    return Region(start, size, view, "an arena", "map", True, keep=view)


class UserRingBuf(Map):
    """For helpers.user_ringbuf_drain."""

    MAP_TYPE = "BPF_MAP_TYPE_USER_RINGBUF"


class ArrayOfMaps(MapOfMaps[u32, M]):
    MAP_TYPE = "BPF_MAP_TYPE_ARRAY_OF_MAPS"


class HashOfMaps(MapOfMaps[K, M]):
    MAP_TYPE = "BPF_MAP_TYPE_HASH_OF_MAPS"


class ProgArray(Map):
    MAP_TYPE = "BPF_MAP_TYPE_PROG_ARRAY"

    def tail_call(self, ctx: Any, index: u32 | int) -> None:
        """Go on in the program of a slot; comes back only when there is none. (bpf_tail_call)"""
        machine().tail_call(ctx, self, int(index))


class Redirect(Map, Generic[K, V]):
    """Maps of devices, CPUs and sockets that packets are sent to."""

    def redirect(self, key: u32 | int, flags: u64 | int = 0) -> s64:
        """Send the packet to an entry: returns the verdict. (bpf_redirect_map)"""
        return call(s64, 51, self, key, flags)


class PerfEventArray(Map):
    MAP_TYPE = "BPF_MAP_TYPE_PERF_EVENT_ARRAY"

    def output(self, ctx: Any, data: Struct, flags: u64 | int = 0xFFFF_FFFF) -> s64:
        """Send a record to user space, by default through this CPU's buffer. (bpf_perf_event_output)"""
        return call(s64, 25, ctx, self, flags, data, size_of(type(data)))


class StackTrace(Map):
    MAP_TYPE = "BPF_MAP_TYPE_STACK_TRACE"

    def stack_id(self, ctx: Any, flags: u64 | int = 0) -> s64:
        """Store the current stack; returns its key or a negative errno. (bpf_get_stackid)"""
        return call(s64, 27, ctx, self, flags)


class Reservation(Generic[S]):
    """Room in a ring buffer: a `with` gives the record, or None, and submits it at the end."""

    def __init__(self, ring: RingBuf, kind: type[S], flags: int) -> None:
        self._ring, self._kind, self._flags = ring, kind, flags
        self._record: S | None = None

    def __enter__(self) -> S | None:
        address = int(call(u64, 131, self._ring, size_of(self._kind), 0))
        self._record = pointed(self._kind, address)
        return self._record

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        record = self._record
        if record is not None and not self._ring._take(record):
            call(None, 133 if error is not None else 132, record, self._flags)


class RingBuf(Map):
    MAP_TYPE = "BPF_MAP_TYPE_RINGBUF"

    def __init__(self, max_entries: int, *, pinned: bool = False) -> None:
        super().__init__(None, None, max_entries, pinned=pinned)
        self._discarded: list[Struct] = []

    def reserve(self, kind: type[S], flags: int = 0) -> Reservation[S]:
        """Room for a record: `with events.reserve(Event) as event:`. The record is submitted where the block ends."""
        return Reservation(self, kind, flags)

    def discard(self, record: Struct) -> None:
        """Give a reserved record up; the block that reserved it will not submit it."""
        call(None, 133, record, 0)
        self._discarded.append(record)

    def _take(self, record: Struct) -> bool:
        gone = any(record is one for one in self._discarded)
        self._discarded = [one for one in self._discarded if one is not record]
        return gone

    def output(self, data: Struct, flags: u64 | int = 0) -> s64:
        """Copy a record into the buffer. (bpf_ringbuf_output)"""
        return call(s64, 130, self, data, size_of(type(data)), flags)

    def query(self, what: u64 | int) -> u64:
        """Size, positions or unread bytes. (bpf_ringbuf_query)"""
        return call(u64, 134, self, what)


class Array(Table[u32, V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_ARRAY"


class PercpuArray(Table[u32, V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_PERCPU_ARRAY"


class Hash(Table[K, V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_HASH"


class PercpuHash(Table[K, V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_PERCPU_HASH"


class LruHash(Table[K, V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_LRU_HASH"


class LruPercpuHash(Table[K, V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_LRU_PERCPU_HASH"


class LpmTrie(Table[K, V, R]):
    MAP_TYPE = "BPF_MAP_TYPE_LPM_TRIE"


class Fifo(Queue[V]):
    MAP_TYPE = "BPF_MAP_TYPE_QUEUE"


class Stack(Queue[V]):
    MAP_TYPE = "BPF_MAP_TYPE_STACK"


class Bloom(Queue[V]):
    MAP_TYPE = "BPF_MAP_TYPE_BLOOM_FILTER"

    def has(self, value: V | int) -> bool:
        """Whether a value may have been added. (bpf_map_peek_elem)"""
        return int(call(s64, 89, self, own(self.value, value))) == 0


class DevMap(Redirect[K, V]):
    MAP_TYPE = "BPF_MAP_TYPE_DEVMAP"


class DevMapHash(Redirect[K, V]):
    MAP_TYPE = "BPF_MAP_TYPE_DEVMAP_HASH"


class CpuMap(Redirect[K, V]):
    MAP_TYPE = "BPF_MAP_TYPE_CPUMAP"


class XskMap(Redirect[K, V]):
    MAP_TYPE = "BPF_MAP_TYPE_XSKMAP"
