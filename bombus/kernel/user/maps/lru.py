"""Hash tables that drop old elements when they are full. Linux 6.12 kernel/bpf/hashtab.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bombus.kernel.user.maps.base import EINVAL, ENOMEM, MapAttr, conflict, map_type
from bombus.kernel.user.maps.hash import TableMap, check_buckets, check_htab
from bombus.kernel.user.maps.lrulist import CommonLru, Node, PerCpuLru
from bombus.spec.maptypes import BPF_EXIST, BPF_F_NO_COMMON_LRU, U32_MAX

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.table import Element


def _entries(kernel: UserKernel, attr: MapAttr) -> int:
    """With a list per CPU every list gets as many nodes: max_entries grows (or shrinks) to a multiple."""
    if not attr.map_flags & BPF_F_NO_COMMON_LRU:
        return attr.max_entries
    cpus = kernel.possible_cpus
    rounded = -(-attr.max_entries // cpus) * cpus
    return rounded if rounded <= U32_MAX else attr.max_entries // cpus * cpus


class _LruBase(TableMap):
    per_cpu_values: ClassVar[bool] = False

    __slots__ = ("lists",)
    lists: CommonLru | PerCpuLru

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr, kernel.possible_cpus if self.per_cpu_values else 1, 0)
        self.max_entries = self.slab.capacity = _entries(kernel, attr)
        kind = PerCpuLru if attr.map_flags & BPF_F_NO_COMMON_LRU else CommonLru
        self.lists = kind(self.max_entries, kernel.possible_cpus, self._make, self._dropped)

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        return check_htab(attr, per_cpu=cls.per_cpu_values, lru=True) or check_buckets(_entries(kernel, attr))

    def _make(self) -> Node:
        return Node(self.slab.take())

    def _dropped(self, node: Node) -> None:
        """The lists chose a victim."""
        self.table.remove(node)
        self.clear_fields(node)

    def clear_fields(self, element: Element) -> None:
        if self.fields:
            for at in range(0, len(element.view), self.stride):
                self.free_fields(element.view[at : at + self.stride], element.address + at)

    def _release(self, node: Node) -> None:
        self.clear_fields(node)
        self.lists.push(node)

    def drop(self, element: Element) -> None:
        assert isinstance(element, Node)
        self.table.remove(element)
        self._release(element)

    def _marked(self, key: bytes) -> Node | None:
        """An element that a program looks up, which keeps it in the map longer."""
        node = self.table.elements.get(key)
        if node is None:
            return None
        assert isinstance(node, Node)
        node.referenced = True
        return node

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        node = self._marked(key)
        return 0 if node is None else node.address


@map_type("BPF_MAP_TYPE_LRU_HASH")
class LruHashMap(_LruBase):
    __slots__ = ()

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        return self.update(key, value, flags, self.kernel.cpu)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        if flags > BPF_EXIST:
            return EINVAL
        node = self.lists.pop(cpu)  # first of all, so this may drop the very key that is stored
        if node is None:
            return ENOMEM
        node.key = key
        self.copy_in(node.view[: self.value_size], value)
        old = self.table.elements.get(key)
        refused = conflict(old is not None, flags)
        if refused:
            self._release(node)
            return refused
        if old is None:
            self.table.insert(node)
        else:
            assert isinstance(old, Node)
            node.referenced = True
            self.table.replace(old, node)
            self._release(old)
        return 0


@map_type("BPF_MAP_TYPE_LRU_PERCPU_HASH")
class LruPerCpuHashMap(_LruBase):
    per_cpu_values: ClassVar[bool] = True

    __slots__ = ()

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.user_value_size = self.stride * kernel.possible_cpus

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        node = self._marked(key)
        return 0 if node is None else node.address + cpu * self.stride

    def lookup_percpu(self, key: bytes, cpu: int) -> int:
        return self.lookup(key, cpu) if cpu < self.kernel.possible_cpus else 0

    def elements(self, cpu: int = 0) -> list[tuple[bytes, int]]:
        return [(key, address + cpu * self.stride) for key, address in super().elements()]

    def value_of(self, element: Element) -> bytes:
        view, stride = element.view, self.stride
        if not self.fields:
            return bytes(view)
        return b"".join(self.copy_out(view[at : at + stride]) for at in range(0, len(view), stride))

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        def store(node: Element, new: bool) -> None:
            for at in range(0, len(value), self.stride):
                self._store(node, at, value[at : at + self.stride], new)

        return self._put(key, flags, self.kernel.cpu, store)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        def store(node: Element, new: bool) -> None:
            if new:
                zeros = bytes(self.stride)
                for at in range(0, len(node.view), self.stride):
                    self.copy_in(node.view[at : at + self.stride], zeros)
            self._store(node, cpu * self.stride, value, new)

        return self._put(key, flags, cpu, store)

    def _store(self, node: Element, at: int, value: bytes, new: bool) -> None:
        self.copy_in(node.view[at : at + self.stride], value)
        if self.fields and not new:
            self.free_fields(node.view[at : at + self.stride], node.address + at)

    def _put(self, key: bytes, flags: int, cpu: int, store: _Store) -> int:
        if flags > BPF_EXIST:
            return EINVAL
        node = None
        if flags != BPF_EXIST:  # this may drop the very key that is stored
            node = self.lists.pop(cpu)
            if node is None:
                return ENOMEM
        old = self.table.elements.get(key)
        refused = conflict(old is not None, flags)
        if not refused:
            if old is not None:
                assert isinstance(old, Node)
                old.referenced = True
                store(old, False)
            elif node is not None:
                node.key = key
                store(node, True)
                self.table.insert(node)
                return 0
        if node is not None:
            self.lists.push(node)
        return refused


if TYPE_CHECKING:
    from collections.abc import Callable

    _Store = Callable[[Element, bool], None]
