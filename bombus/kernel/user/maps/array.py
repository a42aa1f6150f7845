"""Arrays and per-CPU arrays. Linux 6.12 kernel/bpf/arraymap.c."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bombus.bits import align_up
from bombus.errors import KernelError
from bombus.kernel.user.maps.base import (
    E2BIG,
    EEXIST,
    EINVAL,
    ENOENT,
    NOTSUPP,
    Map,
    MapAttr,
    bad_update_flags,
    checked_flags,
    map_type,
)
from bombus.spec.maptypes import (
    BPF_EXIST,
    BPF_F_INNER_MAP,
    BPF_F_LOCK,
    BPF_F_MMAPABLE,
    BPF_F_PRESERVE_ELEMS,
    BPF_NOEXIST,
    INT_MAX,
    PAGE_SIZE,
    PCPU_MIN_UNIT_SIZE,
)
from bombus.vm.env import ArrayPlace

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.native import NativeArray
    from bombus.vm.env import MapCode
    from bombus.vm.memory import Region

_FLAGS = 0x1C | 0x180 | BPF_F_MMAPABLE | BPF_F_PRESERVE_ELEMS | BPF_F_INNER_MAP  # NUMA, access and these


def check_array(attr: MapAttr, *, per_cpu: bool = False, plain: bool = False, perf: bool = False) -> int:
    """array_map_alloc_check, shared by everything that is an array inside."""
    if attr.max_entries == 0 or attr.key_size != 4 or attr.value_size == 0 or not checked_flags(attr, _FLAGS):
        return EINVAL
    if per_cpu and attr.on_node:
        return EINVAL
    if not plain and attr.map_flags & (BPF_F_MMAPABLE | BPF_F_INNER_MAP):
        return EINVAL
    if not perf and attr.map_flags & BPF_F_PRESERVE_ELEMS:
        return EINVAL
    if attr.value_size > INT_MAX:
        return E2BIG
    if per_cpu and align_up(attr.value_size, 8) > PCPU_MIN_UNIT_SIZE:
        return E2BIG
    return 0


def next_index(key: bytes | None, entries: int) -> bytes | int:
    """array_map_get_next_key: an index out of range starts again at 0."""
    index = entries if key is None else int.from_bytes(key, "little")
    if index >= entries:
        return bytes(4)
    if index == entries - 1:
        return ENOENT
    return (index + 1).to_bytes(4, "little")


class _Array(Map):
    """Values in one region: element i begins at i * elem_size, CPU c's copy c * stride further."""

    btf_rule = "array"

    __slots__ = ("elem_size", "native", "region", "stride")
    region: Region
    native: NativeArray | None

    def _allocate(self, copies: int) -> None:
        self.native = None
        self.stride = align_up(self.value_size, 8)
        self.elem_size = self.stride * copies
        size = self.elem_size * self.max_entries
        if self.map_flags & BPF_F_MMAPABLE:
            size = align_up(size, PAGE_SIZE)
        self.region = self.kernel.allocate(
            size, name=f"map {self.type.short}", stride=self.stride, limit=self.value_size
        )

    def settle(self, attr: MapAttr) -> Map:
        from bombus.kernel.user.maps.native import array_of

        self.native = array_of(self, self.region, self.type.per_cpu)
        return self

    def fast(self) -> Mapping[str, Callable[..., Any]]:
        return {} if self.native is None else self.native.calls

    def code(self) -> MapCode | None:
        return None if self.native is None else self.native.code()

    def next_key(self, key: bytes | None) -> bytes | int:
        return next_index(key, self.max_entries)

    def delete(self, key: bytes) -> int:
        return EINVAL

    def elements(self, cpu: int = 0) -> list[tuple[bytes, int]]:
        start = self.region.start + cpu * self.stride if self.elem_size != self.stride else self.region.start
        return [(i.to_bytes(4, "little"), start + i * self.elem_size) for i in range(self.max_entries)]

    def each(self, cpu: int) -> Iterator[tuple[bytes | int, int]]:
        start = self.region.start + cpu * self.stride if self.elem_size != self.stride else self.region.start
        for index in range(self.max_entries):
            yield index.to_bytes(4, "little"), start + index * self.elem_size

    def free(self) -> None:
        self.kernel.memory.remove(self.region)


@map_type("BPF_MAP_TYPE_ARRAY")
class ArrayMap(_Array):
    __slots__ = ()

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self._allocate(1)

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        return check_array(attr, plain=True)

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        index = int.from_bytes(key, "little")
        return self.region.start + index * self.elem_size if index < self.max_entries else 0

    def place(self) -> ArrayPlace:
        return ArrayPlace(self.region.start, self.elem_size, self.max_entries)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        if self.native is not None:
            result: int = self.native.calls["update"](key, value, flags, cpu)
            return result
        if bad_update_flags(flags, lock=BPF_F_LOCK):
            return EINVAL
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return E2BIG
        if flags & BPF_NOEXIST:
            return EEXIST
        if flags & BPF_F_LOCK and not self.has_lock:
            return EINVAL
        start = index * self.elem_size
        target = self.region.view[start : start + self.value_size]
        if self.fields:
            self.copy_in(target, value)
            self.free_fields(target, self.region.start + start)
        else:
            target[:] = value
        return 0

    def read(self, key: bytes, flags: int) -> bytes | int:
        if self.native is not None:
            found: bytes | None = self.native.calls["read"](key, flags)
            return ENOENT if found is None else found
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return ENOENT
        start = index * self.elem_size
        return self.copy_out(self.region.view[start : start + self.value_size])

    def value_address(self, offset: int) -> int:
        if self.max_entries != 1:
            return NOTSUPP
        return self.region.start + offset if offset < self.value_size else EINVAL

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        if not self.map_flags & BPF_F_MMAPABLE:
            raise KernelError(errno.EINVAL, "mmap", "the map was not made with BPF_F_MMAPABLE")
        if offset % PAGE_SIZE or offset + align_up(length, PAGE_SIZE) > self.region.size or length <= 0:
            raise KernelError(errno.EINVAL, "mmap", f"the map has {self.region.size} bytes to map")
        view = self.region.view[offset : offset + length]
        return view if writable else view.toreadonly()

    def shape(self) -> tuple[object, ...]:
        free = bool(self.map_flags & BPF_F_INNER_MAP)  # then max_entries may differ
        return (*super().shape(), None if free else self.max_entries)


@map_type("BPF_MAP_TYPE_PERCPU_ARRAY")
class PerCpuArrayMap(_Array):
    __slots__ = ()

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self._allocate(kernel.possible_cpus)
        self.user_value_size = self.elem_size

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        return check_array(attr, per_cpu=True)

    def place(self) -> ArrayPlace:
        return ArrayPlace(self.region.start, self.elem_size, self.max_entries, self.stride)

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        index = int.from_bytes(key, "little")
        return self.region.start + index * self.elem_size + cpu * self.stride if index < self.max_entries else 0

    def lookup_percpu(self, key: bytes, cpu: int) -> int:
        return self.lookup(key, cpu) if cpu < self.kernel.possible_cpus else 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        if bad_update_flags(flags, lock=BPF_F_LOCK):
            return EINVAL
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return E2BIG
        if flags & BPF_NOEXIST:
            return EEXIST
        if flags & BPF_F_LOCK:
            return EINVAL
        start = index * self.elem_size + cpu * self.stride
        self._store(start, value)
        return 0

    def _store(self, start: int, value: bytes) -> None:
        target = self.region.view[start : start + len(value)]
        if self.fields:
            self.copy_in(target, value)
            self.free_fields(target, self.region.start + start)
        else:
            target[:] = value

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        if flags > BPF_EXIST:
            return EINVAL
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return E2BIG
        if flags == BPF_NOEXIST:
            return EEXIST
        start = index * self.elem_size
        for at in range(0, self.elem_size, self.stride):
            self._store(start + at, value[at : at + self.stride])
        return 0

    def read(self, key: bytes, flags: int) -> bytes | int:
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return ENOENT
        start = index * self.elem_size
        if not self.fields:
            return bytes(self.region.view[start : start + self.elem_size])
        end = start + self.elem_size
        return b"".join(self.copy_out(self.region.view[at : at + self.stride]) for at in range(start, end, self.stride))
