"""Programs: functions with a place in the kernel.

`@xdp` and the other decorators turn a function into a `Program`, which can be called as before: that runs it as plain
Python on a context that a machine made (`run`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from bombus.bpf.contexts import Skb, XdpMd
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
    """A program for any section that libbpf knows: `@section("cgroup_skb/egress")`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, function: Callable[[C], R]) -> Program[C, R]:
        made = Program(function)
        made.section = self.name
        return made
