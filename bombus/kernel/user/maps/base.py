"""What a map of the user kernel is. Helper bodies and commands talk to maps through these methods only.

Result convention, for everything that a program can call: an int, 0 or more on success, a negative errno
otherwise (so that a helper returns it as it is). Methods that yield bytes return `bytes | int` likewise.

For programs (`cpu` is the CPU the program runs on; keys and values are exactly key_size/value_size bytes):

    kernel.map_by_address(address) -> Map | None        the map behind a register
    map.handle                                          the address that a register holds for it
    map.lookup(key, cpu=0) -> address or 0              map_lookup_elem (inner map's handle for maps of maps)
    map.lookup_percpu(key, cpu) -> address or 0         map_lookup_percpu_elem
    map.update(key, value, flags, cpu=0) -> int         map_update_elem
    map.delete(key) -> int                              map_delete_elem
    map.push(value, flags) / pop() / peek()             map_push_elem ...; pop, peek -> bytes | int
    map.contains(value) -> int                          bloom filter's peek: 0 or -ENOENT
    map.each(cpu) -> iterator of (key, address)         for_each_map_elem; the key is bytes, or an address as well
    map.elements(cpu=0) -> list[(key bytes, address)]   all that is there now
    map.value_address(offset) -> address or -errno      BPF_PSEUDO_MAP_VALUE
    ringbuf: reserve(size, flags) -> address | 0, submit(address, flags), discard(address, flags),
             output(data, flags) -> int, query(what) -> int
    user ringbuf: drain(callback, flags) -> int         callback(bytes) -> int: 0 go on, 1 stop
    prog array, devmap, cpumap, xskmap, cgroup array, perf event array, sockets: target(index or key)
             -> the object stored (program, ...) or None
    stack trace: store(frames, flags) -> id or -errno   bpf_get_stackid
    local storage: get(owner, value | None, create) -> address or 0, remove(owner) -> int

For bpf(2) (user space's view: per-CPU values are all CPUs' copies, each rounded up to 8 bytes):

    map.user_value_size, map.read(key, flags), map.write(key, value, flags, file), map.delete(key),
    map.next_key(key | None), map.take(key, flags) (lookup and delete)

Special fields (bpf_spin_lock, bpf_timer, ...) of values are listed in `map.fields`; user space never sees nor
sets them. When an element that has some goes away, `kernel.fields_freed(map, address)` is called.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from bombus.bits import U32
from bombus.errors import KernelError
from bombus.kernel.api import MapCalls, long_way
from bombus.kernel.user.commands import ENOTSUPP
from bombus.kernel.user.objects import KernelObject
from bombus.spec.maptypes import (
    BPF_EXIST,
    BPF_F_ACCESS_MASK,
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_RDONLY_PROG,
    BPF_F_WRONLY,
    BPF_F_WRONLY_PROG,
    BPF_NOEXIST,
    MAP_TYPE,
    MapType,
)

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel
    from bombus.vm.env import ArrayPlace, MapCode

E2BIG = -errno.E2BIG
EBADF = -errno.EBADF
EBUSY = -errno.EBUSY
EEXIST = -errno.EEXIST
EINVAL = -errno.EINVAL
ENOENT = -errno.ENOENT
ENOMEM = -errno.ENOMEM
EOPNOTSUPP = -errno.EOPNOTSUPP
EPERM = -errno.EPERM
NOTSUPP = -ENOTSUPP

INT_SIZES = frozenset({1, 2, 4, 8})  # bytes of keys and values that Python may give as ints


@dataclass(frozen=True, slots=True)
class MapAttr:
    """BPF_MAP_CREATE as numbers. `btf` fields are ids inside the BTF of `btf_fd`."""

    map_type: int
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int = 0
    inner_map_fd: int = 0
    numa_node: int = 0
    map_name: bytes = b""
    map_ifindex: int = 0
    btf_fd: int = 0
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    btf_vmlinux_value_type_id: int = 0
    map_extra: int = 0
    value_type_btf_obj_fd: int = 0
    map_token_fd: int = 0
    excl_prog_hash: int = 0
    excl_prog_hash_size: int = 0

    @property
    def on_node(self) -> bool:
        """Is a NUMA node named? 0xFFFFFFFF (NUMA_NO_NODE) names none."""
        return bool(self.map_flags & BPF_F_NUMA_NODE) and self.numa_node != U32


@dataclass(frozen=True, slots=True)
class SpecialField:
    """A member of a value that only the kernel may touch. kind: "bpf_spin_lock", "bpf_timer", "kptr", ..."""

    kind: str
    offset: int
    size: int


class Map(KernelObject):
    """A map of any type. Subclasses fill in what their type can do; the rest answers as the kernel does."""

    kind: ClassVar[str] = "map"
    btf_rule: ClassVar[str] = ""
    """What key and value BTF the type takes (kernel.user.btf.KEY_RULES); "" none that leaves the key out."""
    type: ClassVar[MapType]

    late_check: ClassVar[bool] = False  # the kernel checks attributes in map_alloc, not in map_alloc_check

    __slots__ = (
        "btf", "btf_ids", "excl_prog_hash", "fields", "frozen", "granted", "handle", "kernel", "key_size", "map_extra",
        "map_flags", "max_entries", "name", "numa_node", "user_value_size", "value_size",
    )  # fmt: skip

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__()
        self.kernel = kernel
        self.key_size = attr.key_size
        self.value_size = attr.value_size
        self.user_value_size = attr.value_size
        self.max_entries = attr.max_entries
        self.map_flags = attr.map_flags & ~(BPF_F_RDONLY | BPF_F_WRONLY)
        self.map_extra = attr.map_extra
        self.numa_node = attr.numa_node
        self.name = b""
        self.btf: KernelObject | None = None
        self.btf_ids = (0, 0, 0)  # key, value, vmlinux value type id
        self.fields: tuple[SpecialField, ...] = ()
        self.excl_prog_hash = b""  # the only program (by SHA-256 of its instructions) that may use the map
        self.frozen = False
        self.granted: dict[File, MapCalls] = {}
        self.handle = 0

    # Creation

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        """The type's rules for BPF_MAP_CREATE (map_alloc_check): 0 or a negative errno."""
        raise NotImplementedError

    # bpf(2)

    @classmethod
    def check_early(cls, kernel: UserKernel, attr: MapAttr) -> int:
        """The part of the rules that comes before the token is looked at."""
        return 0 if cls.late_check else cls.check(kernel, attr)

    def read(self, key: bytes, flags: int) -> bytes | int:
        return NOTSUPP

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        return self.update(key, value, flags)

    def next_key(self, key: bytes | None) -> bytes | int:
        return NOTSUPP

    def skip_empty(self, previous: bytes | None) -> bytes | None:
        """The last of the keys behind `previous` that have no value one after the other; `previous` when there is none.
        For walks over maps whose keys are all there, and few values."""
        return previous

    def take(self, key: bytes, flags: int) -> bytes | int:
        return NOTSUPP

    # Programs

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        """Address of the value, 0 when there is none."""
        return 0

    def place(self) -> ArrayPlace | None:
        """Where the values lie, for who computes their addresses alone; None when that takes more than arithmetic."""
        return None

    def code(self) -> MapCode | None:
        """The operations as code for native programs; None where there is none."""
        return None

    def fast(self) -> Mapping[str, Callable[..., Any]]:
        """Functions on bytes and ints that do what commands on elements do; empty where there are none."""
        return {}

    def grant(self, file: File) -> MapCalls | None:
        """The functions that a descriptor allows; they end with it."""
        fast = self.fast()
        if not fast:
            return None
        calls = self.granted.setdefault(file, MapCalls())
        is_int = self.key_size in INT_SIZES and self.value_size in INT_SIZES and not self.type.per_cpu
        if file.readable:
            calls.lookup = fast.get("read", long_way)
            calls.next_key = fast.get("next", long_way)
            if is_int:
                calls.get = fast["get"]
        if file.writable and not self.frozen:
            calls.update, calls.delete = fast["write"], fast.get("delete", long_way)
            if is_int:
                calls.set = fast["set"]
            if file.readable:
                calls.take = fast.get("take", long_way)
        return calls

    def closed(self, file: File) -> None:
        calls = self.granted.pop(file, None)
        if calls is not None:
            calls.revoke()

    def settle(self, attr: MapAttr) -> Map:
        """The map in the form that serves best, once its special fields are known and before it has an id."""
        return self

    def lookup_percpu(self, key: bytes, cpu: int) -> int:
        return 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        return NOTSUPP

    def delete(self, key: bytes) -> int:
        return NOTSUPP

    def elements(self, cpu: int = 0) -> list[tuple[bytes, int]]:
        return []

    def each(self, cpu: int) -> Iterator[tuple[bytes | int, int]]:
        return iter(())

    def push(self, value: bytes, flags: int) -> int:
        return NOTSUPP

    def pop(self) -> bytes | int:
        return NOTSUPP

    def peek(self) -> bytes | int:
        return NOTSUPP

    def value_address(self, offset: int) -> int:
        """Address of byte `offset` of the only value, for BPF_PSEUDO_MAP_VALUE."""
        return NOTSUPP

    # Memory

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        """The map's memory. KernelError as mmap(2)."""
        raise KernelError(errno.ENODEV, "mmap", f"a {self.type.short} map has no memory to map")

    def ready(self) -> bool:
        """Is there something to read for epoll?"""
        return False

    # Special fields

    @property
    def has_lock(self) -> bool:
        return any(f.kind in ("bpf_spin_lock", "bpf_res_spin_lock") for f in self.fields)

    def copy_in(self, target: memoryview, value: bytes) -> None:
        """Store a value but for its special fields (copy_map_value)."""
        if not self.fields:
            target[: len(value)] = value
            return
        at = 0
        for f in self.fields:
            target[at : f.offset] = value[at : f.offset]
            at = f.offset + f.size
        target[at : len(value)] = value[at:]

    def copy_out(self, source: memoryview) -> bytes:
        """A value with zeros for its special fields."""
        if not self.fields:
            return bytes(source)
        data = bytearray(source)
        for f in self.fields:
            data[f.offset : f.offset + f.size] = bytes(f.size)
        return bytes(data)

    def free_fields(self, source: memoryview, address: int) -> None:
        """An element goes away: tell who holds timers and pointers in it, and clear them."""
        self.kernel.fields_freed(self, address)
        for f in self.fields:
            if f.kind not in ("bpf_spin_lock", "bpf_res_spin_lock"):
                source[f.offset : f.offset + f.size] = bytes(f.size)

    # Life

    def release(self) -> None:
        self.kernel.forget_map(self)
        if self.btf is not None:
            self.btf.put()
        self.free()

    def free(self) -> None:
        """Give back the type's own memory and references."""

    def shape(self) -> tuple[object, ...]:
        """What inner maps of one outer map must have in common (bpf_map_meta_equal)."""
        return (self.type.id, self.key_size, self.value_size, self.map_flags, self.fields)


MapClass = TypeVar("MapClass", bound=type[Map])

CLASSES: dict[int, type[Map]] = {}

# Modules that bind map types when imported, and which: a type's module is imported when the first map of it is made.
MODULES = {
    "array": "array percpu_array",
    "hash": "hash percpu_hash",
    "lru": "lru_hash lru_percpu_hash",
    "lpm": "lpm_trie",
    "queue": "queue stack",
    "bloom": "bloom_filter",
    "fdarray": "prog_array perf_event_array cgroup_array",
    "mapinmap": "array_of_maps hash_of_maps",
    "ringbuf": "ringbuf user_ringbuf",
    "redirect": "devmap devmap_hash cpumap xskmap",
    "stacktrace": "stack_trace",
    "storage": "sk_storage inode_storage task_storage cgrp_storage cgroup_storage percpu_cgroup_storage",
    "socket": "sockmap sockhash reuseport_sockarray",
    "arena": "arena",
    "structops": "struct_ops",
}
_MODULE_OF = {short: module for module, types in MODULES.items() for short in types.split()}


def map_type(*names: str) -> Callable[[MapClass], MapClass]:
    """Bind a class to map types of spec.maptypes; for several names, a subclass each.

    Raises KeyError at import for a name that is none.
    """

    def bind(cls: MapClass) -> MapClass:
        for name in names:
            row = MAP_TYPE[name]
            if row.id in CLASSES:
                raise ValueError(f"{name} has two classes")
            bound = type(cls.__name__, (cls,), {"type": row, "__slots__": (), "__module__": cls.__module__})
            CLASSES[row.id] = bound
        return cls

    return bind


def class_of(row: MapType) -> type[Map] | None:
    """The class of a map type; None when the user kernel has none."""
    if row.id not in CLASSES and row.short in _MODULE_OF:
        import_module(f"bombus.kernel.user.maps.{_MODULE_OF[row.short]}")
    return CLASSES.get(row.id)


def load_classes() -> None:
    """Import every module that binds a map type."""
    for name in MODULES:
        import_module(f"bombus.kernel.user.maps.{name}")


def access_ok(flags: int) -> bool:
    """Linux 6.12 include/linux/bpf.h: bpf_map_flags_access_ok."""
    both = BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG
    return flags & both != both


def checked_flags(attr: MapAttr, allowed: int) -> bool:
    return not attr.map_flags & ~allowed and (not attr.map_flags & BPF_F_ACCESS_MASK or access_ok(attr.map_flags))


def bad_update_flags(flags: int, *, lock: int = 0) -> bool:
    """Flags beyond ANY, NOEXIST and EXIST."""
    return flags & ~lock > BPF_EXIST


def conflict(exists: bool, flags: int) -> int:
    """-EEXIST or -ENOENT where BPF_NOEXIST or BPF_EXIST forbid the update, else 0."""
    if exists:
        return EEXIST if flags == BPF_NOEXIST else 0
    return ENOENT if flags == BPF_EXIST else 0
