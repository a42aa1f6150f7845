"""Where XDP frames can be redirected to: devices, CPUs, AF_XDP sockets.

Linux 6.12 kernel/bpf/devmap.c, kernel/bpf/cpumap.c, net/xdp/xskmap.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bombus.kernel.user.maps.array import next_index
from bombus.kernel.user.maps.base import (
    E2BIG,
    EBADF,
    EEXIST,
    EINVAL,
    ENOENT,
    ENOMEM,
    EOPNOTSUPP,
    Map,
    MapAttr,
    map_type,
)
from bombus.kernel.user.maps.slab import Slab, Slot
from bombus.kernel.user.maps.table import Table
from bombus.kernel.user.objects import KernelObject
from bombus.spec.maptypes import (
    BPF_EXIST,
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_RDONLY_PROG,
    BPF_F_WRONLY,
    BPF_NOEXIST,
)

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel

NR_CPUS = 8192  # CONFIG_NR_CPUS of Debian's kernels
_MAX_QUEUE = 16384  # packets; cpu_map_update_elem
_DEVMAP = "BPF_XDP_DEVMAP"
_CPUMAP = "BPF_XDP_CPUMAP"


class Target:
    """One element: the number (ifindex, queue size) and the program that runs there, if any."""

    __slots__ = ("number", "program", "slot")

    def __init__(self, number: int, program: KernelObject | None, slot: Slot) -> None:
        self.number = number
        self.program = program
        self.slot = slot


class _Targets(Map):
    """Values of 4 bytes (a number) or 8 (a number and a program's descriptor, read back as its id)."""

    attach_type = ""
    btf_rule = "never"

    __slots__ = ("_slab", "targets")

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self._slab = Slab(kernel, f"map {self.type.short}", 8, self.max_entries + 1, 8, self.value_size)
        self.targets: dict[int, Target] = {}

    def target(self, index: int) -> Target | None:
        return self.targets.get(index)

    def lookup(self, key: bytes, cpu: int = 0) -> int:
        found = self.targets.get(int.from_bytes(key, "little"))
        return 0 if found is None else found.slot[0]

    def read(self, key: bytes, flags: int) -> bytes | int:
        found = self.targets.get(int.from_bytes(key, "little"))
        return ENOENT if found is None else bytes(found.slot[1][: self.value_size])

    def next_key(self, key: bytes | None) -> bytes | int:
        return next_index(key, self.max_entries)

    def make(self, value: bytes) -> Target | int:
        """A target for a value of user space, holding its program; or a negative errno."""
        number = int.from_bytes(value[:4], "little")
        fd = int.from_bytes(value[4:8], "little", signed=True)
        program: KernelObject | None = None
        if fd > 0:
            file = self.kernel.fds.find(fd)
            wanted = getattr(file.obj, "expected_attach_type", None) if file is not None else None
            # Every reason is EINVAL: not open, not XDP, not of this attach type.
            if file is None or file.obj.kind != "prog" or not self.kernel.attach_type_is(wanted, self.attach_type):
                return EINVAL
            program = file.obj
            program.get()
        slot = self._slab.take()
        slot[1][:4] = number.to_bytes(4, "little")
        slot[1][4:8] = (program.id if program is not None else 0).to_bytes(4, "little")
        return Target(number, program, slot)

    def store(self, index: int, target: Target | None) -> None:
        old = self.targets.pop(index, None)
        if target is not None:
            self.targets[index] = target
        if old is not None:
            self._slab.give(old.slot)
            if old.program is not None:
                old.program.put()

    def free(self) -> None:
        for index in list(self.targets):
            self.store(index, None)
        self._slab.free()


def _check_devmap(attr: MapAttr) -> int:
    allowed = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY
    if not attr.max_entries or attr.key_size != 4 or attr.value_size not in (4, 8) or attr.map_flags & ~allowed:
        return EINVAL
    return 0


class _Devices(_Targets):
    attach_type = _DEVMAP

    __slots__ = ()

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.map_flags |= BPF_F_RDONLY_PROG

    def device(self, value: bytes) -> Target | int:
        if int.from_bytes(value[:4], "little") not in self.kernel.netdevs:
            return EINVAL
        return self.make(value)


@map_type("BPF_MAP_TYPE_DEVMAP")
class DevMap(_Devices):
    __slots__ = ()

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        return _check_devmap(attr)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        index = int.from_bytes(key, "little")
        if flags > BPF_EXIST:
            return EINVAL
        if index >= self.max_entries:
            return E2BIG
        if flags == BPF_NOEXIST:
            return EEXIST
        target: Target | None = None
        if any(value[:4]):
            made = self.device(value)
            if isinstance(made, int):
                return made
            target = made
        elif int.from_bytes(value[4:8], "little", signed=True) > 0:
            return EINVAL
        self.store(index, target)
        return 0

    def delete(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return EINVAL
        self.store(index, None)
        return 0


@map_type("BPF_MAP_TYPE_DEVMAP_HASH")
class DevMapHash(_Devices):
    __slots__ = ("table",)

    def __init__(self, kernel: UserKernel, attr: MapAttr) -> None:
        super().__init__(kernel, attr)
        self.table = Table()

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        return _check_devmap(attr) or (EINVAL if attr.max_entries > 1 << 31 else 0)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        index = int.from_bytes(key, "little")
        if flags > BPF_EXIST or not any(value[:4]):
            return EINVAL
        exists = index in self.targets
        if exists and flags & BPF_NOEXIST:
            return EEXIST
        target = self.device(value)
        if isinstance(target, int):
            return target
        if not exists:
            if len(self.targets) >= self.max_entries:
                self._slab.give(target.slot)
                if target.program is not None:
                    target.program.put()
                return E2BIG
            self.table.add(key, target.slot)
        self.store(index, target)
        return 0

    def delete(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        if index not in self.targets:
            return ENOENT
        self.table.remove(self.table.elements[key])
        self.store(index, None)
        return 0

    def next_key(self, key: bytes | None) -> bytes | int:
        element = self.table.following(key)
        return ENOENT if element is None else element.key


@map_type("BPF_MAP_TYPE_CPUMAP")
class CpuMap(_Targets):
    attach_type = _CPUMAP
    late_check = True

    __slots__ = ()

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        if (
            not attr.max_entries or attr.key_size != 4 or attr.value_size not in (4, 8)
            or attr.map_flags & ~BPF_F_NUMA_NODE
        ):  # fmt: skip
            return EINVAL
        return E2BIG if attr.max_entries > kernel.nr_cpus else 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        index = int.from_bytes(key, "little")
        if flags > BPF_EXIST:
            return EINVAL
        if index >= self.max_entries:
            return E2BIG
        if flags == BPF_NOEXIST:
            return EEXIST
        size = int.from_bytes(value[:4], "little")
        if size > _MAX_QUEUE:
            return -75  # EOVERFLOW
        if index >= self.kernel.possible_cpus:
            return -19  # ENODEV
        target: Target | None = None
        if size:
            made = self.make(value)
            if isinstance(made, int):
                return ENOMEM  # the kernel drops the reason
            target = made
        self.store(index, target)
        return 0

    def delete(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return EINVAL
        self.store(index, None)
        return 0


@map_type("BPF_MAP_TYPE_XSKMAP")
class XskMap(Map):
    """AF_XDP sockets: the user kernel has none, so that every descriptor is refused and the map stays empty."""

    btf_rule = "never"
    late_check = True

    __slots__ = ()

    @classmethod
    def check(cls, kernel: UserKernel, attr: MapAttr) -> int:
        allowed = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY
        if not attr.max_entries or attr.key_size != 4 or attr.value_size != 4 or attr.map_flags & ~allowed:
            return EINVAL
        return 0

    def read(self, key: bytes, flags: int) -> bytes | int:
        return EOPNOTSUPP

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> int:
        if flags > BPF_EXIST:
            return EINVAL
        if int.from_bytes(key, "little") >= self.max_entries:
            return E2BIG
        return EBADF if self.kernel.fds.find(int.from_bytes(value, "little")) is None else -88  # ENOTSOCK

    def delete(self, key: bytes) -> int:
        return EINVAL if int.from_bytes(key, "little") >= self.max_entries else 0

    def next_key(self, key: bytes | None) -> bytes | int:
        return next_index(key, self.max_entries)

    def target(self, index: int) -> Target | None:
        return None

    def shape(self) -> tuple[object, ...]:
        return (*super().shape(), self.max_entries)
