"""Queue and stack. Linux 6.12 kernel/bpf/queue_stack_maps.c."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from bombus.kernel.user.maps.base import E2BIG, EINVAL, ENOENT, Map, MapAttr, access_ok, map_type
from bombus.runtime.maps.shape import PlainShape
from bombus.spec.maptypes import (
    BPF_EXIST,
    BPF_F_ACCESS_MASK,
    BPF_F_NUMA_NODE,
    BPF_NOEXIST,
    KMALLOC_MAX_SIZE,
    U32_MAX,
)

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.native import Keyless
    from bombus.vm.env import MapCode

_FLAGS = BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK


class QueueStack(Map):
    """Values go in and out by copy, so they need no address. The left end is the oldest. _END: where they leave."""

    _END: ClassVar[int]

    __slots__ = ("items", "native")

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.items: deque[bytes] = deque()
        self.native: Keyless | None = None

    def settle(self, attr: MapAttr) -> Map:
        from bombus.kernel.user.maps.native import keyless_of

        self.native = keyless_of(self, attr, "queue", self.native_shape())
        return self

    def native_shape(self) -> PlainShape:
        room = self.max_entries * self.value_size
        return PlainShape(self.value_size, self.max_entries, room, own_lists=self.type.short == "stack")

    def fast(self) -> Mapping[str, Callable[..., Any]]:
        return {} if self.native is None else self.native.calls

    def code(self) -> MapCode | None:
        return None if self.native is None else self.native.code()

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        flags = attr.map_flags
        if not attr.max_entries or attr.key_size or not attr.value_size or flags & ~_FLAGS or not access_ok(flags):
            return EINVAL
        if attr.value_size > KMALLOC_MAX_SIZE or attr.max_entries >= U32_MAX // attr.value_size:
            return E2BIG
        return 0

    def push(self, value: bytes, flags: int) -> int:
        if flags & BPF_NOEXIST or flags > BPF_EXIST:
            return EINVAL
        if self.native is not None:
            result: int = self.native.calls["push"](value, flags)
            return result
        if len(self.items) >= self.max_entries:
            if not flags & BPF_EXIST:
                return E2BIG
            self.items.popleft()
        self.items.append(value)
        return 0

    def pop(self) -> bytes | int:
        if self.native is not None:
            value: bytes | None = self.native.calls["pop"]()
            return ENOENT if value is None else value
        if not self.items:
            return ENOENT
        value = self.items[self._END]
        del self.items[self._END]
        return value

    def peek(self) -> bytes | int:
        if self.native is not None:
            value: bytes | None = self.native.calls["peek"]()
            return ENOENT if value is None else value
        return self.items[self._END] if self.items else ENOENT

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        return self.push(value, flags)

    def read(self, key: bytes, flags: int) -> bytes | int:
        return self.peek()

    def take(self, key: bytes, flags: int) -> bytes | int:
        return self.pop()

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        return EINVAL

    def delete(self, key: bytes) -> int:
        return EINVAL

    def next_key(self, key: bytes | None) -> bytes | int:
        return EINVAL


@map_type("BPF_MAP_TYPE_QUEUE")
class QueueMap(QueueStack):
    __slots__ = ()

    _END = 0


@map_type("BPF_MAP_TYPE_STACK")
class StackMap(QueueStack):
    __slots__ = ()

    _END = -1
