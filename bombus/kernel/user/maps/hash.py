"""Hash tables, plain and per CPU. Linux 6.12 kernel/bpf/hashtab.c."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bombus.bits import align_up
from bombus.kernel.user.maps.base import (
    E2BIG,
    EEXIST,
    EINVAL,
    ENOENT,
    NOTSUPP,
    Map,
    MapAttr,
    access_ok,
    conflict,
    map_type,
)
from bombus.kernel.user.maps.slab import Slab, Slot
from bombus.kernel.user.maps.table import Element, Table
from bombus.spec.maptypes import (
    BPF_EXIST,
    BPF_F_ACCESS_MASK,
    BPF_F_LOCK,
    BPF_F_NO_COMMON_LRU,
    BPF_F_NO_PREALLOC,
    BPF_F_NUMA_NODE,
    BPF_F_ZERO_SEED,
    BPF_NOEXIST,
    HTAB_ELEM_SIZE,
    KMALLOC_MAX_SIZE,
    PCPU_MIN_UNIT_SIZE,
    U32_MAX,
)

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.native import Native

HTAB_FLAGS = BPF_F_NO_PREALLOC | BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK | BPF_F_ZERO_SEED
_BUCKET_SIZE = 16  # sizeof(struct bucket)


def check_htab(attr: MapAttr, *, per_cpu: bool = False, lru: bool = False) -> int:
    """htab_map_alloc_check, and the size limits of htab_map_alloc."""
    flags = attr.map_flags
    per_cpu_lru = bool(flags & BPF_F_NO_COMMON_LRU)
    if flags & ~HTAB_FLAGS or not access_ok(flags):
        return EINVAL
    if per_cpu_lru and not lru:
        return EINVAL
    if lru and flags & BPF_F_NO_PREALLOC:
        return NOTSUPP
    if attr.on_node and (per_cpu or per_cpu_lru):
        return EINVAL
    if not attr.max_entries or not attr.key_size or not attr.value_size:
        return EINVAL
    if attr.key_size + attr.value_size >= KMALLOC_MAX_SIZE - HTAB_ELEM_SIZE:
        return E2BIG
    if per_cpu and align_up(attr.value_size, 8) > PCPU_MIN_UNIT_SIZE:
        return E2BIG
    return 0


def check_buckets(entries: int) -> int:
    """What htab_map_alloc says of max_entries once everything else is right."""
    if entries > 1 << 31:
        return E2BIG
    buckets = 1 << (entries - 1).bit_length()
    return E2BIG if buckets > U32_MAX // _BUCKET_SIZE else 0


class TableMap(Map):
    """What all hash tables share: the table, its walk, deletion."""

    __slots__ = ("native", "slab", "stride", "table")
    native: Native  # of those that have native memory instead of a table

    def __init__(self, kernel: UserKernel, attr: MapAttr, copies: int, spare: int) -> None:
        super().__init__(kernel, attr)
        self.stride = align_up(self.value_size, 8)
        self.table = Table()
        name, size = f"map {self.type.short}", self.stride * copies
        self.slab = Slab(kernel, name, size, self.max_entries + spare, self.stride, self.value_size)

    def settle(self, attr: MapAttr) -> Map:
        from bombus.kernel.user.maps.native import settled

        return settled(self, attr)

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        element = self.table.elements.get(key)
        return element.address if element is not None else 0

    def read(self, key: bytes, flags: int) -> bytes | int:
        element = self.table.elements.get(key)
        return ENOENT if element is None else self.value_of(element)

    def value_of(self, element: Element) -> bytes:
        """The value as user space sees it."""
        return self.copy_out(element.view[: self.value_size])

    def next_key(self, key: bytes | None) -> bytes | int:
        element = self.table.following(key)
        return ENOENT if element is None else element.key

    def delete(self, key: bytes) -> int:
        element = self.table.elements.get(key)
        if element is None:
            return ENOENT
        self.drop(element)
        return 0

    def take(self, key: bytes, flags: int) -> bytes | int:
        element = self.table.elements.get(key)
        if element is None:
            return ENOENT
        value = self.value_of(element)
        self.drop(element)
        return value

    def drop(self, element: Element) -> None:
        self.table.remove(element)
        self.retire((element.address, element.view))

    def retire(self, slot: Slot) -> None:
        if self.fields:
            for at in range(0, len(slot[1]), self.stride):
                self.free_fields(slot[1][at : at + self.stride], slot[0] + at)
        self.slab.give(slot)

    def elements(self, cpu: int = 0) -> list[tuple[bytes, int]]:
        found = []
        element = self.table.head.after
        while element is not self.table.head:
            found.append((element.key, element.address))
            element = element.after
        return found

    def each(self, cpu: int) -> Iterator[tuple[bytes | int, int]]:
        # runtime.maps.table.each says how.
        table, own = self.table, cpu * self.stride if self.type.per_cpu else 0
        end = table.end
        element: Element | None = table.from_number(0)
        while element is not None and element.number < end:
            following = element.after
            number = following.number
            yield element.key, element.address + own
            if following is table.head:
                return
            stays = following.number == number and table.elements.get(following.key) is following
            element = following if stays else table.from_number(number)  # LRU maps use elements again, for other keys

    def free(self) -> None:
        if self.fields:
            for key in list(self.table.elements):
                self.delete(key)
        self.slab.free()


@map_type("BPF_MAP_TYPE_HASH")
class HashMap(TableMap):
    __slots__ = ()

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr, 1, kernel.possible_cpus)

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        return check_htab(attr) or check_buckets(attr.max_entries)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        how = flags & ~BPF_F_LOCK
        if how > BPF_EXIST:
            return EINVAL
        if flags & BPF_F_LOCK and not self.has_lock:
            return EINVAL
        element = self.table.elements.get(key)
        if element is not None:
            if how == BPF_NOEXIST:
                return EEXIST
            if flags & BPF_F_LOCK:  # the only update in place
                self.copy_in(element.view[: self.value_size], value)
                return 0
            # The new value gets a new slot: who holds the old one goes on seeing the old value.
            old = (element.address, element.view)
            element.address, element.view = self.slab.take()
            self.store(element, value)
            self.retire(old)
            return 0
        if how == BPF_EXIST:
            return ENOENT
        if len(self.table) >= self.max_entries:
            return E2BIG
        self.store(self.table.add(key, self.slab.take()), value)
        return 0

    def store(self, element: Element, value: bytes) -> None:
        if self.fields:
            self.copy_in(element.view[: self.value_size], value)
        else:
            element.view[: self.value_size] = value


@map_type("BPF_MAP_TYPE_PERCPU_HASH")
class PerCpuHashMap(TableMap):
    __slots__ = ()

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr, kernel.possible_cpus, kernel.possible_cpus)
        self.user_value_size = self.stride * kernel.possible_cpus

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        return check_htab(attr, per_cpu=True) or check_buckets(attr.max_entries)

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        element = self.table.elements.get(key)
        return element.address + cpu * self.stride if element is not None else 0

    def lookup_percpu(self, key: bytes, cpu: int) -> int:
        return self.lookup(key, cpu) if cpu < self.kernel.possible_cpus else 0

    def elements(self, cpu: int = 0) -> list[tuple[bytes, int]]:
        return [(key, address + cpu * self.stride) for key, address in super().elements()]

    def value_of(self, element: Element) -> bytes:
        view, stride = element.view, self.stride
        if not self.fields:
            return bytes(view)
        return b"".join(self.copy_out(view[at : at + stride]) for at in range(0, len(view), stride))

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        if flags > BPF_EXIST:
            return EINVAL
        element = self.table.elements.get(key)
        refused = conflict(element is not None, flags)
        if refused:
            return refused
        start = cpu * self.stride
        if element is None:
            if len(self.table) >= self.max_entries:
                return E2BIG
            element = self.table.add(key, self.slab.take())
            self.zero_values(element)
        self.copy_in(element.view[start : start + self.value_size], value)
        if self.fields:
            self.free_fields(element.view[start : start + self.stride], element.address + start)
        return 0

    def zero_values(self, element: Element) -> None:
        """pcpu_init_value: the other CPUs of an element that a program makes start with zeros."""
        zeros = bytes(self.stride)
        for at in range(0, len(element.view), self.stride):
            self.copy_in(element.view[at : at + self.stride], zeros)

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        if flags > BPF_EXIST:
            return EINVAL
        element = self.table.elements.get(key)
        refused = conflict(element is not None, flags)
        if refused:
            return refused
        if element is None:
            if len(self.table) >= self.max_entries:
                return E2BIG
            element = self.table.add(key, self.slab.take())
        self.store_all(element, value)
        return 0

    def store_all(self, element: Element, value: bytes) -> None:
        if not self.fields:
            element.view[:] = value
            return
        for at in range(0, len(value), self.stride):
            target = element.view[at : at + self.stride]
            self.copy_in(target, value[at : at + self.stride])
            self.free_fields(target, element.address + at)
