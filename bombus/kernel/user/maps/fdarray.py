"""Arrays of other objects: programs, perf events, cgroups. Linux 6.12 kernel/bpf/arraymap.c."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from bombus.kernel.user.maps.array import check_array, next_index
from bombus.kernel.user.maps.base import E2BIG, EBADF, EINVAL, ENOENT, NOTSUPP, Map, MapAttr, map_type
from bombus.kernel.user.objects import KernelObject
from bombus.spec.maptypes import BPF_F_PRESERVE_ELEMS, BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG
from bombus.spec.version import since
from bombus.vm.jumps import MAX_ENTRIES, JumpTable

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel

EBADFD = -errno.EBADFD
EBUSY = -errno.EBUSY
# Since when neither extensions nor what they extend may be in arrays for tail calls (Linux 6.13, late 6.12).
EXTENDED_ALONE: Final = since("6.12")


class FdArray(Map):
    """An array whose values are descriptors when written and ids when read."""

    __slots__ = ("slots",)

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.user_value_size = 4
        self.slots: dict[int, KernelObject] = {}

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        if attr.value_size != 4 or attr.map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG):
            return EINVAL
        return check_array(attr)

    def accept(self, fd: int, file: File | None) -> KernelObject | int:
        """The object behind a descriptor, with a reference for this map; or a negative errno."""
        raise NotImplementedError

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        if flags:
            return EINVAL
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return E2BIG
        item = self.accept(int.from_bytes(value, "little"), file)
        if isinstance(item, int):
            return item
        old = self.slots.get(index)
        self.slots[index] = item
        self.changed(index, item)
        if old is not None:
            old.put()
        return 0

    def changed(self, index: int, item: KernelObject | None) -> None:
        """A slot has another object now, or none."""

    def read(self, key: bytes, flags: int) -> bytes | int:
        return NOTSUPP

    def delete(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return E2BIG
        old = self.slots.pop(index, None)
        if old is None:
            return ENOENT
        self.changed(index, None)
        old.put()
        return 0

    def next_key(self, key: bytes | None) -> bytes | int:
        return next_index(key, self.max_entries)

    def skip_empty(self, previous: bytes | None) -> bytes | None:
        at = -1 if previous is None else int.from_bytes(previous, "little")
        if at + 1 in self.slots or not -1 <= at < self.max_entries:
            return previous
        last = min((index for index in self.slots if index > at), default=self.max_entries) - 1
        return last.to_bytes(4, "little")

    def target(self, index: int) -> KernelObject | None:
        """What a program finds in a slot."""
        return self.slots.get(index)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        return EINVAL

    def clear(self) -> None:
        slots, self.slots = self.slots, {}
        for index, item in slots.items():
            self.changed(index, None)
            item.put()

    def free(self) -> None:
        self.clear()

    def read_id(self, key: bytes) -> bytes | int:
        index = int.from_bytes(key, "little")
        item = self.slots.get(index)
        return ENOENT if item is None else item.id.to_bytes(4, "little")

    def object_of(self, fd: int, kind: str) -> KernelObject | int:
        """An open object of one kind, or -EBADF, -EINVAL; with one more reference."""
        file = self.kernel.fds.find(fd)
        if file is None:
            return EBADF
        if file.obj.kind != kind:
            return EINVAL
        file.obj.get()
        return file.obj


@map_type("BPF_MAP_TYPE_PROG_ARRAY")
class ProgArrayMap(FdArray):
    """Programs for tail calls.

    All programs of one array must be alike: a program's `tail_call_key` (anything hashable; None: no check) has
    to equal that of the array's owner, which is the first program stored here or loaded with this map.
    """

    __slots__ = ("_jumps", "owner_key")

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.owner_key: object = None
        self._jumps: JumpTable | None = None

    def jump_table(self) -> JumpTable | None:
        """The table for native code; None for an array too large to have one."""
        if self._jumps is None and self.max_entries <= MAX_ENTRIES:
            self._jumps = JumpTable(self.max_entries)
        return self._jumps

    def _changed(self) -> None:
        if self._jumps is not None:
            self._jumps.clear()

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        result = super().write(key, value, flags, file)
        self._changed()
        return result

    def delete(self, key: bytes) -> int:
        result = super().delete(key)
        self._changed()
        return result

    def clear(self) -> None:
        super().clear()
        self._changed()

    def compatible(self, program: KernelObject) -> bool:
        """bpf_prog_map_compatible: the first program becomes the owner."""
        key = getattr(program, "tail_call_key", None)
        if key is None:
            return True
        if self.owner_key is None:
            self.owner_key = key
        return bool(self.owner_key == key)

    def forget_code(self) -> None:
        """The code of a program in a slot is another one now."""
        self._changed()

    def accept(self, fd: int, file: File | None) -> KernelObject | int:
        item = self.object_of(fd, "prog")
        if not isinstance(item, KernelObject):
            return item
        prog: Any = item
        error = 0
        alone = self.kernel.version >= EXTENDED_ALONE
        if (alone and prog.type.name == "BPF_PROG_TYPE_EXT") or not self.compatible(item):
            error = EINVAL
        elif alone and prog.watched is not None and prog.watched.is_extended:
            error = EBUSY
        if error:
            item.put()
            return error
        return item

    def read(self, key: bytes, flags: int) -> bytes | int:
        return self.read_id(key)

    def release_user(self) -> None:
        # Nobody could fill the array again; and programs that hold it and are held by it would never go.
        self.clear()


@map_type("BPF_MAP_TYPE_PERF_EVENT_ARRAY")
class PerfEventArrayMap(FdArray):
    btf_rule = "never"

    __slots__ = ("writers",)

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.writers: dict[int, File | None] = {}

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        if attr.value_size != 4 or attr.map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG):
            return EINVAL
        return check_array(attr, perf=True)

    def accept(self, fd: int, file: File | None) -> KernelObject | int:
        return self.object_of(fd, "perf_event")

    def write(self, key: bytes, value: bytes, flags: int, file: File | None) -> int:
        result = super().write(key, value, flags, file)
        if result == 0:
            self.writers[int.from_bytes(key, "little")] = file
        return result

    def closed(self, file: File) -> None:
        """A descriptor of this map closes: the events it stored leave, unless BPF_F_PRESERVE_ELEMS."""
        super().closed(file)
        if self.map_flags & BPF_F_PRESERVE_ELEMS:
            return
        for index in [i for i, writer in self.writers.items() if writer is file]:
            self.delete(index.to_bytes(4, "little"))
            del self.writers[index]


@map_type("BPF_MAP_TYPE_CGROUP_ARRAY")
class CgroupArrayMap(FdArray):
    btf_rule = "never"

    __slots__ = ()

    def accept(self, fd: int, file: File | None) -> KernelObject | int:
        found = self.kernel.fds.find(fd)
        if found is None:
            return EBADF
        if found.obj.kind != "cgroup":
            return EBADF
        found.obj.get()
        return found.obj
