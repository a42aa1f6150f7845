"""The user kernel: bpf(2) in process, as the chosen Linux version answers it."""

from __future__ import annotations

import errno
import os
import threading
import time
from array import array
from typing import TYPE_CHECKING, Any

from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.api import Attr, MapCalls
from bombus.kernel.user.commands import check_attr
from bombus.kernel.user.fds import FdTable, File
from bombus.kernel.user.objects import Ids, KernelObject
from bombus.kernel.user.progverify import check_mode
from bombus.spec.version import KernelVersion
from bombus.vm.env import HANDLE_BASE, HANDLE_STRIDE
from bombus.vm.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bombus.btf.parse import Btf
    from bombus.kernel.printk import PrintkRow
    from bombus.kernel.sites import Sites
    from bombus.kernel.user.devices import Network
    from bombus.kernel.user.maps.base import Map
    from bombus.kernel.user.maps.outer import InnerMaps
    from bombus.kernel.user.pins import BpfFs
    from bombus.kernel.user.sockets import UserSocket
    from bombus.kernel.user.sysctls import SysctlFile
    from bombus.kernel.user.unixsocket import UnixSocket
    from bombus.kernel.user.world.cgroups import CgroupTree
    from bombus.kernel.user.world.objects import TypedObject
    from bombus.verifier.program import Program
    from bombus.vm.memory import Region

MAX_CPUS = 4096
MAP_MODES = ("auto", "native", "python")
# How long `wait` sleeps when nobody wakes it; native programs never do.
_POLL_SECONDS = 0.05
_POLL_NATIVE = 0.002


class UserKernel:
    """One kernel instance with its own descriptors, ids, maps and memory.

    version: the Linux that it answers as. cpus: possible CPUs, which decides the size of per-CPU values.
    engine: "fast", "reference" or "native" (vm.engines). btf: raw BTF of the pretended vmlinux. kconfig, kallsyms,
    modules: what `kconfig()`, `kallsyms()` and `module_btf()` answer. verify: "strict" verifies every program, and one
    that the verifier cannot judge (it needs kernel BTF types, kfuncs, ...) raises NotSupported; "lenient" loads such
    programs, "off" all, without verification: the engines check every access, so they are safe to run. Versions
    before 6.1 verify as 6.1 does. maps: "native" is code that native programs have inlined and Python calls, compiled
    once when a map type is first used (NotSupported where there is none); "python" are Python's bodies; "auto" is
    native where that is possible; "" is what $BOMBUS_MAPS says, else "auto".
    """

    name = "user"

    def __init__(
        self, version: str | KernelVersion = "6.12", *, cpus: int = 2, engine: str = "fast", btf: bytes | None = None,
        modules: Mapping[str, bytes] | None = None, kconfig: Mapping[str, str] | None = None,
        kallsyms: Mapping[str, int] | None = None, verify: str = "strict", maps: str = "",
    ) -> None:  # fmt: skip
        if not 1 <= cpus <= MAX_CPUS:
            raise UsageError(f"{cpus} CPUs: the user kernel has 1 to {MAX_CPUS}")
        self._version = KernelVersion.parse(version) if isinstance(version, str) else version
        self._cpus = cpus
        self.engine = engine
        self.verify = check_mode(verify)
        self.memory = Memory()
        self.fds = FdTable()
        self.ids: dict[str, Ids] = {kind: Ids() for kind in ("map", "prog", "btf", "link")}
        self.netdevs: dict[int, str] = {1: "lo"}  # ifindex to name, for devmaps
        self.nr_cpus = 8192  # CONFIG_NR_CPUS, a limit of cpumaps
        self.cpu_word = array("I", [0])  # native maps look at it
        self.maps = _maps_mode(maps)
        self.stats_users = 0  # descriptors of BPF_ENABLE_STATS that are open
        self.on_bpf: Callable[[UserKernel, Attr], None] | None = None  # a security hook of every call
        self.on_verify: Callable[[Program], None] | None = None  # sees what the verifier is about to judge
        self.on_fields_freed: Callable[[Map, int], None] | None = None
        self._btf = btf
        self._types: Btf | None = None
        self._modules = dict(modules or {})
        self._kconfig = dict(kconfig or {})
        self._kallsyms = dict(kallsyms or {})
        self._maps: dict[int, Map] = {}
        self.inner_maps: InnerMaps | None = None
        self._printk: list[str] = []
        self._bpffs: BpfFs | None = None
        self.wakeup = threading.Condition()
        if self._modules and btf is not None:
            from bombus.kernel.user.btf import add_modules

            add_modules(self, self._modules)

    @property
    def cpu(self) -> int:
        """Where callers of bpf(2) run."""
        return self.cpu_word[0]

    @cpu.setter
    def cpu(self, number: int) -> None:
        if not 0 <= number < self._cpus:
            raise UsageError(f"CPU {number} of {self._cpus}")
        self.cpu_word[0] = number

    # The Kernel protocol

    @property
    def version(self) -> KernelVersion:
        return self._version

    @property
    def possible_cpus(self) -> int:
        return self._cpus

    @property
    def online_cpus(self) -> tuple[int, ...]:
        return tuple(range(self._cpus))

    def bpf(self, attr: Attr) -> int:
        body = check_attr(self._version, attr)
        if self.on_bpf is not None:
            self.on_bpf(self, attr)
        return body(self, attr)

    def close(self, fd: int) -> None:
        self.fds.close(fd)

    def mmap(self, fd: int, length: int, offset: int = 0, *, writable: bool = True) -> memoryview:
        file = self.file("mmap", fd)
        obj = file.obj
        if obj.kind == "perf_event":
            return obj.mmap(length, offset, writable=writable)  # type: ignore[attr-defined, no-any-return]
        if obj.kind != "map":
            raise KernelError(errno.ENODEV, "mmap", f"a {obj.kind} has no memory to map")
        if not file.readable or (writable and not file.writable):
            raise KernelError(errno.EACCES, "mmap", "the descriptor does not allow this access")
        if writable and obj.frozen:  # type: ignore[attr-defined]
            raise KernelError(errno.EPERM, "mmap", "the map is frozen")
        return obj.mmap(length, offset, writable=writable)  # type: ignore[attr-defined, no-any-return]

    def perf_event(self, cpu: int, *, wakeup: int = 1) -> int:
        from bombus.kernel.user.perf import PerfEvent

        if not 0 <= cpu < self._cpus:
            raise KernelError(errno.EINVAL, "perf_event_open", f"CPU {cpu} of {self._cpus}")
        return self.install(PerfEvent(self, cpu, wakeup), "perf_event_open")

    def perf_lost(self, fd: int) -> int | None:
        event: Any = self.object("read", fd, "perf_event")
        lost: int = event.lost
        return lost

    def read(self, fd: int, size: int) -> bytes:
        obj: Any = self.object("read", fd, "iter")
        data: bytes = obj.read(size)
        return data

    def wait(self, fds: list[int], timeout: float | None, *, write: bool = False) -> list[int]:
        end = None if timeout is None else time.monotonic() + timeout
        files = [(fd, self.file("epoll_wait", fd)) for fd in fds]
        while True:
            found = [fd for fd, file in files if getattr(file.obj, "ready", bool)()]
            if found:
                return found
            most = _POLL_NATIVE if any(getattr(file.obj, "native", None) for _fd, file in files) else _POLL_SECONDS
            left = most if end is None else end - time.monotonic()
            if left <= 0:
                return []
            with self.wakeup:
                self.wakeup.wait(min(left, most))

    def vmlinux_btf(self) -> bytes:
        if self._btf is None:
            raise NotSupported("vmlinux BTF", "this user kernel was made without it; give UserKernel(btf=...)")
        return self._btf

    def types(self) -> Btf | None:
        """The types of the pretended vmlinux, parsed once; None without."""
        if self._types is None and self._btf is not None:
            from bombus.btf.parse import Btf

            self._types = Btf.parse(self._btf)
        return self._types

    def function_name(self, type_id: int) -> str:
        """The name of a function by its BTF id, "" for what is none."""
        from bombus.btf.types import Func
        from bombus.errors import BtfError

        types = self.types()
        try:
            found = types.type(type_id) if types is not None else None
        except BtfError:
            return ""
        return found.name if isinstance(found, Func) else ""

    def new_object(self, struct: str, **members: int | bytes) -> TypedObject:
        """A kernel object that programs can be given: its memory is laid out by this kernel's BTF.

        members: by name, with "__" for "."; see `TypedObject.set`.
        """
        from bombus.kernel.user.world.objects import TypedObject

        made = TypedObject(self, struct)
        for name, value in members.items():
            made.set(name.replace("__", "."), value)
        return made

    def btf_key(self) -> str:
        return ""

    def module_btf(self) -> dict[str, bytes]:
        return dict(self._modules)

    def kconfig(self) -> dict[str, str]:
        return dict(self._kconfig)

    def kallsyms(self, names: set[str]) -> dict[str, int]:
        return {name: self._kallsyms[name] for name in names if name in self._kallsyms}

    def printk(self) -> list[str]:
        lines, self._printk = self._printk, []
        return lines

    @property
    def sites(self) -> Sites:
        from bombus.kernel.user.sites import sites_of

        return sites_of(self)

    def printk_rows(self) -> list[PrintkRow]:
        from bombus.kernel.printk import PrintkRow

        return [PrintkRow("", 0, self.cpu, 0.0, line) for line in self.printk()]

    # What programs attach to, for those who drive it

    @property
    def net(self) -> Network:
        """The network devices: add some, attach programs to them, send and receive frames."""
        from bombus.kernel.user.devices import network_of

        return network_of(self)

    @property
    def cgroups(self) -> CgroupTree:
        """The tree of control groups."""
        from bombus.kernel.user.sockets import cgroups_of

        return cgroups_of(self)

    def socket(self, family: int, type: int, *, cgroup: str = "/") -> UserSocket:
        """An inet socket of a process in a cgroup: see `kernel.user.sockets`. KernelError(EPERM) as programs say."""
        from bombus.kernel.user.socktable import sockets_of

        return sockets_of(self).make(family, type, cgroup)

    def idle(self) -> None:
        """Time passes: TCP connections acknowledge what they held back."""
        from bombus.kernel.user.socktable import sockets_of

        sockets_of(self).idle()

    def unix_socket(self, type: int, *, cgroup: str = "/") -> UnixSocket:
        """A UNIX socket (SOCK_STREAM, SOCK_DGRAM) of a process in a cgroup: see `kernel.user.unixsocket`."""
        from bombus.kernel.user.unixsocket import make

        return make(self, type, self.cgroups.find(cgroup))

    def trace(self, name: str, *args: int) -> int:
        """Reach a tracepoint ("sched_switch"): programs of raw_tp/NAME and tp_btf/NAME run with the arguments. Returns
        how many."""
        from bombus.kernel.user.trampoline import reached

        return reached(self, name, args)

    def check_device(self, kind: str, major: int, minor: int, access: str, *, cgroup: str = "/") -> None:
        """A process of a cgroup opens ("r", "w") or makes ("m") a device ("c" or "b"). KernelError(EPERM) as programs
        say."""
        from bombus.kernel.user.options import check_device

        check_device(self, self.cgroups.find(cgroup), kind, major, minor, access)

    def sysctl(self, name: str, *, cgroup: str = "/") -> SysctlFile:
        """Open "net/ipv4/ip_forward" as a process of a cgroup: `read` and `write` it. KernelError(ENOENT) for one that
        the user kernel has not."""
        from bombus.kernel.user.sysctls import SysctlFile

        return SysctlFile(self, name, self.cgroups.find(cgroup))

    # For commands, helpers and hooks

    def add_printk(self, line: str) -> None:
        """A line of bpf_printk."""
        self._printk.append(line)

    def file(self, call: str, fd: int) -> File:
        """What a descriptor refers to. KernelError(EBADF)."""
        file = self.fds.find(fd)
        if file is None:
            raise KernelError(errno.EBADF, call, f"{_signed(fd)} is not a descriptor of this kernel")
        return file

    def object(self, call: str, fd: int, kind: str) -> KernelObject:
        """The object of one kind behind a descriptor: EBADF when not open, EINVAL when of another kind."""
        obj = self.file(call, fd).obj
        if obj.kind != kind:
            raise KernelError(errno.EINVAL, call, f"descriptor {fd} is a {obj.kind}, not a {kind}")
        return obj

    def map_file(self, call: str, fd: int) -> tuple[Map, File]:
        from bombus.kernel.user.maps.base import Map

        file = self.file(call, fd)
        if not isinstance(file.obj, Map):
            raise KernelError(errno.EINVAL, call, f"descriptor {fd} is a {file.obj.kind}, not a map")
        return file.obj, file

    def map_calls(self, fd: int) -> MapCalls | None:
        """Functions that do a descriptor's commands on elements; None where there are none."""
        item, file = self.map_file("BPF_MAP_LOOKUP_ELEM", fd)
        return item.grant(file)

    def map_by_fd(self, call: str, fd: int) -> Map:
        return self.map_file(call, fd)[0]

    def map_by_address(self, address: int) -> Map | None:
        """The map whose handle a register holds."""
        return self._maps.get(address)

    def install(self, obj: KernelObject, call: str, *, readable: bool = True, writable: bool = True) -> int:
        """Give a new object its id and a descriptor, which takes over the maker's reference."""
        if obj.kind in self.ids and not obj.id:
            self.ids[obj.kind].add(obj)
        try:
            return self.fds.open(call, obj, readable=readable, writable=writable)
        finally:
            obj.put()

    def adopt_map(self, item: Map) -> None:
        """Give a new map id and handle."""
        number = self.ids["map"].add(item)
        item.handle = HANDLE_BASE + number * HANDLE_STRIDE
        self._maps[item.handle] = item
        if self.inner_maps is not None:
            self.inner_maps.add(item)

    def forget_map(self, item: Map) -> None:
        self.ids["map"].remove(item)
        self._maps.pop(item.handle, None)
        if self.inner_maps is not None:
            self.inner_maps.remove(item)

    def native_inner_maps(self) -> InnerMaps:
        """The table that native code finds the maps in maps of maps by."""
        if self.inner_maps is None:
            from bombus.kernel.user.maps.outer import InnerMaps

            self.inner_maps = InnerMaps(self._maps.values())
        return self.inner_maps

    def allocate(self, size: int, *, name: str, stride: int = 0, limit: int = 0, kind: str = "map_value") -> Region:
        """Zeroed memory for values. KernelError(ENOMEM) when the machine has not that much."""
        try:
            return self.memory.allocate(size, name=name, kind=kind, stride=stride, limit=limit)
        except (OSError, OverflowError, ValueError, MemoryError):
            raise KernelError(errno.ENOMEM, "BPF_MAP_CREATE", f"{size} bytes for {name}") from None

    def fields_freed(self, item: Map, address: int) -> None:
        """A map element with special fields (timers, kptrs) goes away."""
        if self.on_fields_freed is not None:
            self.on_fields_freed(item, address)

    def attach_type_is(self, value: Any, name: str) -> bool:
        """Is a program's expected attach type (its number) the one with this name?"""
        from bombus.spec.attachtypes import ATTACH_TYPE

        return bool(value == ATTACH_TYPE[name].id)

    def notify(self) -> None:
        """Wake who waits for events."""
        with self.wakeup:
            self.wakeup.notify_all()

    @property
    def bpffs(self) -> BpfFs:
        if self._bpffs is None:
            from bombus.kernel.user.pins import BpfFs

            self._bpffs = BpfFs()
        return self._bpffs


def _maps_mode(given: str) -> str:
    mode = given or os.environ.get("BOMBUS_MAPS", "") or "auto"
    if mode not in MAP_MODES:
        raise UsageError(f"maps={mode!r}: there are {', '.join(MAP_MODES)}")
    if mode == "native":
        from bombus.kernel.user.maps.mapcode import problem

        if problem():
            raise NotSupported("native maps", problem())
    return mode


def _signed(fd: int) -> int:
    return fd - (1 << 32) if fd >= 1 << 31 else fd
