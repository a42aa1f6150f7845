"""Values that hang on sockets, inodes, tasks and cgroups.

Linux 6.12 kernel/bpf/bpf_local_storage.c, bpf_task_storage.c, local_storage.c.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

from bombus.bits import align_up
from bombus.kernel.user.maps.base import (
    E2BIG,
    EBADF,
    EINVAL,
    ENOENT,
    Map,
    MapAttr,
    access_ok,
    conflict,
    map_type,
)
from bombus.kernel.user.maps.slab import Slab, Slot
from bombus.spec.maptypes import (
    BPF_EXIST,
    BPF_F_ACCESS_MASK,
    BPF_F_CLONE,
    BPF_F_LOCK,
    BPF_F_NO_PREALLOC,
    BPF_F_NUMA_NODE,
    LOCAL_STORAGE_MAX_VALUE_SIZE,
    PCPU_MIN_UNIT_SIZE,
    U32_MAX,
)

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog

TEST_RUN: Final = object()
"""The owner of the storage of a test run, which is gone after it. Linux 6.12 net/bpf/test_run.c: bpf_test_run."""

_OWNERS = {
    "BPF_MAP_TYPE_SK_STORAGE": "socket", "BPF_MAP_TYPE_INODE_STORAGE": "inode",
    "BPF_MAP_TYPE_TASK_STORAGE": "pidfd", "BPF_MAP_TYPE_CGRP_STORAGE": "cgroup",
}  # fmt: skip


class _Owned(Map):
    """One value per owner. For programs an owner is anything hashable that stands for the object."""

    __slots__ = ("slab", "stride", "values")

    def _allocate(self, copies: int) -> None:
        self.stride = align_up(self.value_size, 8)
        self.slab = Slab(
            self.kernel, f"map {self.type.short}", self.stride * copies, U32_MAX, self.stride, self.value_size
        )
        self.values: dict[Hashable, Slot] = {}

    def get_value(self, owner: Hashable, initial: bytes | None = None, *, create: bool = False) -> int:
        """Address of an owner's value, 0 when there is none and `create` is false. New ones start as `initial`."""
        slot = self.values.get(owner)
        if slot is None:
            if not create:
                return 0
            slot = self.slab.take()
            slot[1][:] = bytes(len(slot[1]))
            if initial is not None:
                self.copy_in(slot[1][: self.value_size], initial)
            self.values[owner] = slot
        return slot[0]

    def remove(self, owner: Hashable) -> int:
        """0, or -ENOENT."""
        slot = self.values.pop(owner, None)
        if slot is None:
            return ENOENT
        if self.fields:
            self.free_fields(slot[1], slot[0])
        self.slab.give(slot)
        return 0

    def free(self) -> None:
        for owner in list(self.values):
            self.remove(owner)
        self.slab.free()


@map_type(*_OWNERS)
class LocalStorageMap(_Owned):
    """From user space the key is a descriptor of the owner."""

    btf_rule = "int"

    __slots__ = ()

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self._allocate(1)

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        flags = attr.map_flags
        if (
            flags & ~(BPF_F_NO_PREALLOC | BPF_F_CLONE) or not flags & BPF_F_NO_PREALLOC or attr.max_entries
            or attr.key_size != 4 or not attr.value_size or not attr.btf_key_type_id or not attr.btf_value_type_id
        ):  # fmt: skip
            return EINVAL
        return E2BIG if attr.value_size > LOCAL_STORAGE_MAX_VALUE_SIZE else 0

    def _owner(self, key: bytes) -> tuple[Hashable, int]:
        """(owner, 0) or (None, negative errno)."""
        file = self.kernel.fds.find(int.from_bytes(key, "little"))
        wanted = _OWNERS[self.type.name]
        if file is None:
            return None, EBADF
        if file.obj.kind != wanted:
            return None, -errno.ENOTSOCK if wanted == "socket" else EBADF
        return file.obj, 0

    def read(self, key: bytes, flags: int) -> bytes | int:
        owner, problem = self._owner(key)
        if problem:
            return problem
        slot = self.values.get(owner)
        return ENOENT if slot is None else self.copy_out(slot[1][: self.value_size])

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        owner, problem = self._owner(key)
        if problem:
            return problem
        if flags & ~BPF_F_LOCK > BPF_EXIST:
            return EINVAL
        refused = conflict(owner in self.values, flags & ~BPF_F_LOCK)
        if refused:
            return refused
        self.get_value(owner, create=True)
        self.copy_in(self.values[owner][1][: self.value_size], value)
        return 0

    def delete(self, key: bytes) -> int:
        owner, problem = self._owner(key)
        return problem or self.remove(owner)


@map_type("BPF_MAP_TYPE_CGROUP_STORAGE", "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE")
class CgroupStorageMap(_Owned):
    """Keys are a cgroup id, or that and an attach type; values exist as long as a program is attached there."""

    btf_rule = "cgroup"
    late_check = True

    __slots__ = ()

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self._allocate(kernel.possible_cpus if self.type.per_cpu else 1)
        if self.type.per_cpu:
            self.user_value_size = self.stride * kernel.possible_cpus

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        limit = PCPU_MIN_UNIT_SIZE if cls.type.per_cpu else LOCAL_STORAGE_MAX_VALUE_SIZE
        if attr.key_size not in (8, 16) or not attr.value_size:
            return EINVAL
        if attr.value_size > limit:
            return E2BIG
        flags = attr.map_flags
        if flags & ~(BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK) or not access_ok(flags) or attr.max_entries:
            return EINVAL
        return 0

    def key_of(self, cgroup: int, attach_type: int) -> bytes:
        """The key of a cgroup's value: for one attach type, or (keys of 8 bytes) for all (struct
        bpf_cgroup_storage_key)."""
        return struct.pack("<QI4x", cgroup, attach_type)[: self.key_size]

    def forget(self, cgroup: int) -> None:
        """The cgroup is gone, and its values with it."""
        start = cgroup.to_bytes(8, "little")
        for owner in list(self.values):
            if isinstance(owner, bytes) and owner.startswith(start):
                self.remove(owner)

    def read(self, key: bytes, flags: int) -> bytes | int:
        slot = self.values.get(key)
        if slot is None:
            return ENOENT
        return bytes(slot[1]) if self.type.per_cpu else self.copy_out(slot[1][: self.value_size])

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        if self.type.per_cpu:
            if flags not in (0, BPF_EXIST):
                return EINVAL
        elif flags & ~(BPF_F_LOCK | BPF_EXIST) or (flags & BPF_F_LOCK and not self.has_lock):
            return EINVAL
        slot = self.values.get(key)
        if slot is None:
            return ENOENT
        self.copy_in(slot[1][: len(value)], value)
        return 0

    def delete(self, key: bytes) -> int:
        return EINVAL

    def next_key(self, key: bytes | None) -> bytes | int:
        keys = [k for k in self.values if isinstance(k, bytes)]
        if key is None:
            return keys[0] if keys else ENOENT
        if key not in self.values:
            return ENOENT
        at = keys.index(key) + 1
        return keys[at] if at < len(keys) else ENOENT




def storages(prog: Prog) -> list[CgroupStorageMap]:
    """The maps of a program that bpf_get_local_storage works on."""
    return [item for item in prog.maps if isinstance(item, CgroupStorageMap)]


def drop_test_run(prog: Prog) -> None:
    """A test run is over: the storage that it had is gone."""
    for item in storages(prog):
        item.remove(TEST_RUN)
