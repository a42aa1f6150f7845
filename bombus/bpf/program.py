"""Programs: functions with a place in the kernel.

`@xdp` and the other decorators turn a function into a `Program`, which can be called as before: that runs it as plain
Python on a context that a machine made (`run`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from bombus.bpf.contexts import BpfPerfEventData, BpfSkLookup, BpfSockOps, Skb, XdpMd
from bombus.bpf.ints import Int
from bombus.bpf.machine import machine
from bombus.errors import UsageError

C = TypeVar("C")
R = TypeVar("R")


class Program(Generic[C, R]):
    """A function and the section it goes to."""

    SECTION: ClassVar[str] = ""

    def __init__(self, function: Callable[[C], R]) -> None:
        if not callable(function) or not hasattr(function, "__code__"):
            raise UsageError(f"@{type(self).__name__} stands above a function")
        self.function = function
        self.section = self.SECTION
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __call__(self, ctx: C) -> R:
        return self.function(ctx)

    def run(self, data: bytes | None = None, *, ctx: Any = None) -> Any:
        """Run as plain Python over one packet (or a given context): returns the verdict and the packet afterwards."""
        return machine().run(self, data, ctx)

    def __repr__(self) -> str:
        return f"<program {self.__name__} in {self.section}>"


class XdpAction(Int, bits=32, signed=True):
    """What becomes of a frame."""

    __slots__ = ()
    SHOWN: ClassVar[str] = "xdp.Action"


class xdp(Program[XdpMd, XdpAction]):
    """Runs on a frame in the driver."""

    SECTION = "xdp"
    Context: TypeAlias = XdpMd
    Action: TypeAlias = XdpAction
    ABORTED: ClassVar[XdpAction] = XdpAction(0)
    DROP: ClassVar[XdpAction] = XdpAction(1)
    PASS: ClassVar[XdpAction] = XdpAction(2)
    TX: ClassVar[XdpAction] = XdpAction(3)
    REDIRECT: ClassVar[XdpAction] = XdpAction(4)


class TcAction(Int, bits=32, signed=True):
    """What becomes of a packet in traffic control."""

    __slots__ = ()
    SHOWN: ClassVar[str] = "tc.Action"


class tc(Program[Skb, TcAction]):
    """Runs on packets at the ingress or egress of a device."""

    SECTION = "tc"
    Context: TypeAlias = Skb
    Action: TypeAlias = TcAction
    UNSPEC: ClassVar[TcAction] = TcAction(-1)
    OK: ClassVar[TcAction] = TcAction(0)
    RECLASSIFY: ClassVar[TcAction] = TcAction(1)
    SHOT: ClassVar[TcAction] = TcAction(2)
    PIPE: ClassVar[TcAction] = TcAction(3)
    STOLEN: ClassVar[TcAction] = TcAction(4)
    REDIRECT: ClassVar[TcAction] = TcAction(7)


class section:
    """A program for any section that libbpf knows: `@section("cgroup/connect4")`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, function: Callable[[C], R]) -> Program[C, R]:
        made = Program(function)
        made.section = self.name
        return made


class socket_filter(Program[Skb, R]):
    """Decides how many bytes of a packet a socket sees."""

    SECTION = "socket"


class sock_ops(Program[BpfSockOps, R]):
    """Sees and tunes the TCP connections of a cgroup."""

    SECTION = "sockops"


class sk_lookup(Program[BpfSkLookup, R]):
    """Picks the socket that takes a new connection."""

    SECTION = "sk_lookup"


class perf_event(Program[BpfPerfEventData, R]):
    """Runs when a performance counter overflows."""

    SECTION = "perf_event"


class _Place:
    """A decorator that wants to know where the program goes."""

    PREFIX: ClassVar[str] = ""

    def __init__(self, target: str) -> None:
        if not isinstance(target, str) or not target:
            raise UsageError(f'say where it goes: @{type(self).__name__}("...")')
        self.name = f"{self.PREFIX}/{target}"

    def __call__(self, function: Callable[[C], R]) -> Program[C, R]:
        made = Program(function)
        made.section = self.name
        return made


class tracepoint(_Place):
    """Runs at a tracepoint: `@tracepoint("syscalls/sys_enter_openat")`. The context is its record, a Struct."""

    PREFIX = "tracepoint"


class raw_tracepoint(_Place):
    """Runs at a tracepoint with its raw arguments: `@raw_tracepoint("sched_switch")`."""

    PREFIX = "raw_tracepoint"


class tp_btf(_Place):
    """Runs at a tracepoint; arguments are known by BTF: a Struct with a member for each."""

    PREFIX = "tp_btf"


class kprobe(_Place):
    """Runs where a kernel function begins: `@kprobe("do_unlinkat")`."""

    PREFIX = "kprobe"


class kretprobe(_Place):
    """Runs where a kernel function returns."""

    PREFIX = "kretprobe"


class uprobe(_Place):
    """Runs in a user program: `@uprobe("/bin/bash:readline")`."""

    PREFIX = "uprobe"


class uretprobe(_Place):
    """Runs where a function of a user program returns."""

    PREFIX = "uretprobe"


class fentry(_Place):
    """Runs where a kernel function begins; arguments are known by BTF."""

    PREFIX = "fentry"


class fexit(_Place):
    """Runs where a kernel function returns; arguments and result are known by BTF."""

    PREFIX = "fexit"


class fmod_ret(_Place):
    """Runs before a kernel function and may answer in its place."""

    PREFIX = "fmod_ret"


class lsm(_Place):
    """Runs at a security hook: `@lsm("file_open")`."""

    PREFIX = "lsm"


class iterator(_Place):
    """Runs for every object of a kind: `@iterator("task")`."""

    PREFIX = "iter"
