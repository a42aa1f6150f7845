"""What iterator programs go over beside tasks: the user kernel's maps, programs, links, and the elements of one map.

Linux 6.12 kernel/bpf/map_iter.c, prog_iter.c, link_iter.c, hashtab.c and arraymap.c (their bpf_seq_*).
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from bombus.bits import align_up
from bombus.errors import KernelError
from bombus.kernel.user.maps.base import Map
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.userlink import UserLink
from bombus.kernel.user.world.objects import KernelStruct, objects_of
from bombus.spec.maptypes import MAP_TYPE

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.objects import KernelObject
    from bombus.vm.memory import Region

CALL: Final = "BPF_LINK_CREATE"
_ELEMENTS: Final = frozenset(
    MAP_TYPE[f"BPF_MAP_TYPE_{name}"].id
    for name in ("HASH", "LRU_HASH", "PERCPU_HASH", "LRU_PERCPU_HASH", "ARRAY", "PERCPU_ARRAY")
)

Found = tuple[int, tuple[int, ...]]


class _Structs:
    """Kernel structs that programs see one of at a time."""

    def __init__(self, kernel: UserKernel) -> None:
        self._objects = objects_of(kernel)
        self._made: dict[str, KernelStruct] = {}

    def fill(self, name: str, values: dict[str, int | bytes]) -> int:
        """The address of the struct with these members, as far as this kernel's types have them."""
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._objects.new(name)
        for path, value in values.items():
            if made.has(path):
                made.set(path, value)
        return made.address

    def map(self, item: Map) -> int:
        return self.fill("bpf_map", {
            "id": item.id, "map_type": item.type.id, "key_size": item.key_size, "value_size": item.value_size,
            "max_entries": item.max_entries, "map_flags": item.map_flags, "map_extra": item.map_extra,
            "name": item.name,
        })  # fmt: skip

    def prog(self, item: Prog) -> int:
        aux = self.fill("bpf_prog_aux", {
            "id": item.id, "name": item.name, "used_map_cnt": len(item.maps), "attach_btf_id": item.attach_btf_id,
            "load_time": item.load_time, "verified_insns": item.verified_insns,
        })  # fmt: skip
        return self.fill("bpf_prog", {
            "type": item.type.id, "expected_attach_type": item.expected_attach_type, "len": len(item.insns),
            "tag": item.tag, "aux": aux,
        })  # fmt: skip

    def link(self, item: UserLink) -> int:
        return self.fill("bpf_link", {"id": item.id, "type": item.row.id, "prog": self.prog(item.prog)})

    def close(self) -> None:
        for made in self._made.values():
            made.close()
        self._made.clear()


class ById:
    """A source of all objects of a kind, by rising id."""

    stop: tuple[int, ...] = (0,)

    def __init__(self, kernel: UserKernel, kind: str) -> None:
        self._ids = kernel.ids[kind]
        self._structs = _Structs(kernel)

    def __call__(self, position: int) -> Found | None:
        number = self._ids.after(max(position - 1, 0))
        item = self._ids.find(number) if number is not None else None
        if number is None or item is None:
            return None
        if isinstance(item, Map):
            address = self._structs.map(item)
        elif isinstance(item, Prog):
            address = self._structs.prog(item)
        else:
            assert isinstance(item, UserLink)
            address = self._structs.link(item)
        return number, (address,)

    def close(self) -> None:
        self._structs.close()


class Elements:
    """A source of a map's elements as they were when it was opened; those that are gone by then are left out.

    The key is a copy; the value the map's own memory, or of per-CPU maps a copy of all CPUs' values.
    """

    def __init__(self, kernel: UserKernel, item: Map) -> None:
        self._kernel = kernel
        self._map = item
        self._structs = _Structs(kernel)
        address = self._structs.map(item)
        self.stop: tuple[int, ...] = (address, 0, 0)
        self._keys = [key for key, _ in item.elements()]
        self._key = kernel.memory.allocate(max(item.key_size, 1), name="the key", kind="buffer")
        self._value: Region | None = None
        if item.type.per_cpu:
            size = align_up(item.value_size, 8) * kernel.possible_cpus
            self._value = kernel.memory.allocate(size, name="the values", kind="buffer")

    def __call__(self, position: int) -> Found | None:
        while position < len(self._keys):
            key = self._keys[position]
            value = self._of(key)
            if value:
                self._key.view[: len(key)] = key
                return position, (self.stop[0], self._key.start, value)
            position += 1
        return None

    def _of(self, key: bytes) -> int:
        if self._value is None:
            return self._map.lookup(key)
        data = self._map.read(key, 0)
        if isinstance(data, int):
            return 0
        self._value.view[:] = data
        return self._value.start

    def close(self) -> None:
        self._structs.close()
        self._kernel.memory.remove(self._key)
        if self._value is not None:
            self._kernel.memory.remove(self._value)


def map_of(kernel: UserKernel, info: bytes) -> tuple[dict[str, int], KernelObject]:
    """The map of union bpf_iter_link_info. Linux: bpf_iter_attach_map."""
    (fd,) = struct.unpack_from("<I", info)
    if not fd:
        raise KernelError(errno.EBADF, CALL, "iter_info names no map")
    item = kernel.map_by_fd(CALL, fd)
    if item.type.id not in _ELEMENTS:
        raise KernelError(errno.EINVAL, CALL, f"there is no iterator over the elements of a {item.type.short} map")
    return {"iter_map_map_id": item.id}, item
