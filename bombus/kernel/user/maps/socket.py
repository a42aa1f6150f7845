"""Maps of sockets. Linux 6.12 net/core/sock_map.c, kernel/bpf/reuseport_array.c.

A socket of the user kernel is a KernelObject of kind "socket" behind one of its descriptors.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from bombus.kernel.user.maps.array import check_array, next_index
from bombus.kernel.user.maps.base import (
    E2BIG,
    EBADF,
    EINVAL,
    ENOENT,
    Map,
    MapAttr,
    conflict,
    map_type,
)
from bombus.kernel.user.maps.table import Table
from bombus.kernel.user.objects import KernelObject
from bombus.spec.maptypes import (
    BPF_EXIST,
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_WRONLY,
    INT_MAX,
    U32_MAX,
)

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel

_FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY
_KEY_MAX = 512  # MAX_BPF_STACK
ENOSPC = -errno.ENOSPC
ENOTSOCK = -errno.ENOTSOCK


class _Sockets(Map):
    """Sockets under keys. A value of 8 bytes reads as the socket's cookie, one of 4 cannot be read."""

    __slots__ = ("sockets", "verdict", "verdict_link")

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.sockets: dict[bytes, KernelObject] = {}
        self.verdict: Any = None  # the sk_msg program, and who holds it there
        self.verdict_link: Any = None

    def socket_of(self, value: bytes) -> KernelObject | int:
        number = int.from_bytes(value, "little")
        if number > INT_MAX:
            return EINVAL if len(value) == 8 or self.type.id != 20 else EBADF
        file = self.kernel.fds.find(number)
        if file is None:
            return EBADF
        return file.obj if file.obj.kind == "socket" else ENOTSOCK

    def target(self, key: bytes) -> KernelObject | None:
        return self.sockets.get(key)

    def read(self, key: bytes, flags: int) -> bytes | int:
        if self.value_size != 8:
            return ENOSPC
        found = self.sockets.get(key)
        return ENOENT if found is None else found.id.to_bytes(8, "little")

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        """What a program gets: the address of the socket's struct bpf_sock."""
        found: Any = self.sockets.get(key)
        if found is None or not hasattr(found, "region"):
            return 0
        found.fill()
        address: int = found.region.start
        return address

    def put_socket(self, key: bytes, item: KernelObject) -> None:
        _enter(self, item)
        old = self.sockets.get(key)
        self.sockets[key] = item
        if old is not None:
            _leave(self, old)

    def remove(self, key: bytes) -> bool:
        old = self.sockets.pop(key, None)
        if old is None:
            return False
        _leave(self, old)
        return True

    def drop(self, item: KernelObject) -> None:
        """A socket is closed: it is in no map any more."""
        for key in [key for key, other in self.sockets.items() if other is item]:
            self.delete(key)

    def free(self) -> None:
        for key in list(self.sockets):
            self.remove(key)
        if self.verdict is not None:
            self.verdict.put()
            self.verdict = None


def _enter(where: _Sockets, item: KernelObject) -> None:
    """Maps do not keep a socket open, which leaves them when it is closed; other objects they hold."""
    maps: list[_Sockets] | None = getattr(item, "maps", None)
    if maps is None:
        item.get()
        return
    maps.append(where)
    item.choose_verdict()  # type: ignore[attr-defined]


def _leave(where: _Sockets, item: KernelObject) -> None:
    maps: list[_Sockets] | None = getattr(item, "maps", None)
    if maps is None:
        item.put()
    elif where in maps:
        maps.remove(where)
        if where not in maps:
            item.choose_verdict()  # type: ignore[attr-defined]


def _state_allowed(item: KernelObject) -> bool:
    """sock_map_sk_state_allowed, which user space is asked: TCP that listens or is connected, UDP that is bound."""
    allowed: bool = getattr(item, "may_be_mapped", True)
    return allowed


def _refused(item: KernelObject, where: _Sockets) -> int:
    """EBUSY of sockets that are in an array of a reuseport group, or have a program of another map when this one has
    one."""
    busy = any(isinstance(one, ReuseportSockArray) for one in getattr(item, "maps", ()))
    other = where.verdict is not None and getattr(item, "verdict", None) is not None
    return -errno.EBUSY if busy or other else 0


class _Indexed(_Sockets):
    __slots__ = ()

    def next_key(self, key: bytes | None) -> bytes | int:
        return next_index(key, self.max_entries)


@map_type("BPF_MAP_TYPE_SOCKMAP")
class SockMap(_Indexed):
    btf_rule = "never"
    late_check = True

    __slots__ = ()

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        sizes = attr.key_size == 4 and attr.value_size in (4, 8)
        return 0 if 0 < attr.max_entries <= INT_MAX and sizes and not attr.map_flags & ~_FLAGS else EINVAL

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        item = self.socket_of(value)
        if isinstance(item, int):
            return item
        return self.enter(key, item, flags) if _state_allowed(item) else -errno.EOPNOTSUPP

    def enter(self, key: bytes, item: KernelObject, flags: int) -> int:
        """Take a socket. A negative errno when it, the key or flags are wrong."""
        if refused := _refused(item, self):
            return refused
        if flags > BPF_EXIST:
            return EINVAL
        if int.from_bytes(key, "little") >= self.max_entries:
            return E2BIG
        refused = conflict(key in self.sockets, flags)
        if not refused:
            self.put_socket(key, item)
        return refused

    def delete(self, key: bytes) -> int:
        return 0 if self.remove(key) else EINVAL


@map_type("BPF_MAP_TYPE_SOCKHASH")
class SockHash(_Sockets):
    btf_rule = "never"
    late_check = True

    __slots__ = ("table",)

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.table = Table()

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        if not attr.max_entries or not attr.key_size or attr.value_size not in (4, 8) or attr.map_flags & ~_FLAGS:
            return EINVAL
        if attr.key_size > _KEY_MAX:
            return E2BIG
        buckets = 1 << (attr.max_entries - 1).bit_length()
        return EINVAL if buckets > U32_MAX // 16 else 0

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        item = self.socket_of(value)
        if isinstance(item, int):
            return item
        return self.enter(key, item, flags) if _state_allowed(item) else -errno.EOPNOTSUPP

    def enter(self, key: bytes, item: KernelObject, flags: int) -> int:
        """Take a socket. A negative errno when it or flags are wrong."""
        if refused := _refused(item, self):
            return refused
        if flags > BPF_EXIST:
            return EINVAL
        refused = conflict(key in self.sockets, flags)
        if refused:
            return refused
        if key not in self.sockets:
            if len(self.sockets) >= self.max_entries:
                return E2BIG
            self.table.add(key, (0, memoryview(b"")))
        self.put_socket(key, item)
        return 0

    def delete(self, key: bytes) -> int:
        if key not in self.sockets:
            return ENOENT
        self.table.remove(self.table.elements[key])
        self.remove(key)
        return 0

    def next_key(self, key: bytes | None) -> bytes | int:
        element = self.table.following(key)
        return ENOENT if element is None else element.key


@map_type("BPF_MAP_TYPE_REUSEPORT_SOCKARRAY")
class ReuseportSockArray(_Indexed):
    __slots__ = ()

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        return check_array(attr) if attr.value_size in (4, 8) else EINVAL

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        if flags > BPF_EXIST:
            return EINVAL
        if int.from_bytes(key, "little") >= self.max_entries:
            return E2BIG
        item = self.socket_of(value)
        if isinstance(item, int):
            return item
        group: Any = getattr(item, "group", True)
        if group is None or (group is not True and item not in group.sockets):
            return EINVAL  # it is in no reuseport group, or not bound
        if getattr(item, "maps", None):
            return -errno.EBUSY  # it is in this map or another
        refused = conflict(key in self.sockets, flags)
        if not refused:
            self.put_socket(key, item)
        return refused

    def delete(self, key: bytes) -> int:
        if int.from_bytes(key, "little") >= self.max_entries:
            return E2BIG
        return 0 if self.remove(key) else ENOENT
