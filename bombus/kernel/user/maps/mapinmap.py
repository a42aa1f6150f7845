"""Maps of maps. Linux 6.12 kernel/bpf/map_in_map.c, arraymap.c and hashtab.c."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

from bombus.errors import KernelError
from bombus.kernel.user.commands import ENOTSUPP
from bombus.kernel.user.maps.base import E2BIG, EINVAL, ENOENT, NOTSUPP, Map, MapAttr, conflict, map_type
from bombus.kernel.user.maps.fdarray import FdArray
from bombus.kernel.user.maps.hash import check_buckets, check_htab
from bombus.kernel.user.maps.table import Table
from bombus.kernel.user.objects import KernelObject
from bombus.kernel.user.progverify import map_info
from bombus.spec.maptypes import BPF_EXIST, BPF_F_LOCK

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.outer import Handles, HandleTable
    from bombus.vm.env import MapCode


class Template:
    """What later inner maps must look like: the map that inner_map_fd named, as it was then (bpf_map_meta_alloc).

    Raises KernelError when the map cannot be an inner map.
    """

    __slots__ = ("info", "shape")

    def __init__(self, kernel: UserKernel, fd: int) -> None:
        call = "BPF_MAP_CREATE"
        inner = kernel.map_by_fd(call, fd)
        if isinstance(inner, ArrayOfMapsMap | HashOfMapsMap):
            raise KernelError(errno.EINVAL, call, "maps of maps of maps do not exist")
        if not inner.type.inner:
            raise KernelError(ENOTSUPP, call, f"a {inner.type.short} map cannot be an inner map")
        self.shape = inner.shape()
        self.info = replace(map_info(inner), name="", contents=None, id=0)  # it is no map, only like one

    def fits(self, item: Map) -> bool:
        return self.shape == item.shape()


def _inner(kernel: UserKernel, template: Template, fd: int) -> KernelObject | int:
    """The map behind a descriptor, with a reference, when it fits."""
    file = kernel.fds.find(fd)
    if file is None:
        return -errno.EBADF
    if not isinstance(file.obj, Map) or not template.fits(file.obj):
        return EINVAL
    file.obj.get()
    return file.obj


@map_type("BPF_MAP_TYPE_ARRAY_OF_MAPS")
class ArrayOfMapsMap(FdArray):
    btf_rule = "never"

    __slots__ = ("handles", "template")

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.template = Template(kernel, attr.inner_map_fd)
        self.handles: Handles | None = None

    def settle(self, attr: MapAttr) -> Map:
        from bombus.kernel.user.maps.outer import handles_of

        self.handles = handles_of(self.kernel, self.max_entries)
        return self

    def code(self) -> MapCode | None:
        return None if self.handles is None else self.handles.code()

    def changed(self, index: int, item: KernelObject | None) -> None:
        if self.handles is not None:
            self.handles.set(index, item.handle if isinstance(item, Map) else 0)

    def accept(self, fd: int, file: File | None) -> KernelObject | int:
        return _inner(self.kernel, self.template, fd)

    def read(self, key: bytes, flags: int) -> bytes | int:
        return self.read_id(key)

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        inner = self.slots.get(int.from_bytes(key, "little"))
        return inner.handle if isinstance(inner, Map) else 0


@map_type("BPF_MAP_TYPE_HASH_OF_MAPS")
class HashOfMapsMap(Map):
    btf_rule = "never"

    __slots__ = ("handles", "inner", "table", "template")

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.user_value_size = 4
        self.template = Template(kernel, attr.inner_map_fd)
        self.table = Table()
        self.inner: dict[bytes, Map] = {}
        self.handles: HandleTable | None = None

    def settle(self, attr: MapAttr) -> Map:
        from bombus.kernel.user.maps.outer import handle_table_of

        self.handles = handle_table_of(self, attr)
        return self

    def code(self) -> MapCode | None:
        return None if self.handles is None else self.handles.code()

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        if attr.value_size != 4:
            return EINVAL
        return check_htab(attr) or check_buckets(attr.max_entries)

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        item = _inner(self.kernel, self.template, int.from_bytes(value, "little"))
        if not isinstance(item, Map):
            assert isinstance(item, int)
            return item
        result = self._store(key, item, flags)
        if result:
            item.put()
        return result

    def _store(self, key: bytes, item: Map, flags: int) -> int:
        how = flags & ~BPF_F_LOCK
        if how > BPF_EXIST or flags & BPF_F_LOCK:
            return EINVAL
        old = self.inner.get(key)
        refused = conflict(old is not None, how)
        if refused:
            return refused
        if old is None:
            if len(self.inner) >= self.max_entries:
                return E2BIG
            self.table.add(key, (0, memoryview(b"")))
        self.inner[key] = item
        if self.handles is not None:
            self.handles.set(key, item.handle)
        if old is not None:
            old.put()
        return 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        return EINVAL

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        inner = self.inner.get(key)
        return 0 if inner is None else inner.handle

    def target(self, key: bytes) -> Map | None:
        return self.inner.get(key)

    def read(self, key: bytes, flags: int) -> bytes | int:
        inner = self.inner.get(key)
        return ENOENT if inner is None else inner.id.to_bytes(4, "little")

    def delete(self, key: bytes) -> int:
        inner = self.inner.pop(key, None)
        if inner is None:
            return ENOENT
        self.table.remove(self.table.elements[key])
        if self.handles is not None:
            self.handles.set(key, 0)
        inner.put()
        return 0

    def next_key(self, key: bytes | None) -> bytes | int:
        element = self.table.following(key)
        return ENOENT if element is None else element.key

    def take(self, key: bytes, flags: int) -> bytes | int:
        return NOTSUPP

    def free(self) -> None:
        inner, self.inner = self.inner, {}
        for item in inner.values():
            item.put()

