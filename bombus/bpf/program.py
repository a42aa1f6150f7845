"""Programs: functions with a place in the kernel.

`@xdp` and the other decorators turn a function into a `Program`, which can be called as before: that runs it as plain
Python on a context that a machine made (`run`). This module has what they share and the kinds that see packets; tracing
is in `tracing`, cgroups in `cgroup`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from bombus.bpf.contexts import BpfNfCtx, BpfSkLookup, BpfSockOps, LircSample, Skb, SkMsgMd, SkReuseportMd, XdpMd
from bombus.bpf.ints import Int
from bombus.bpf.machine import machine
from bombus.bpf.struct import Struct
from bombus.errors import UsageError

C = TypeVar("C")
R = TypeVar("R")


CREATED: list[Program[Any, Any]] = []  # since the last import of a program file: to find those that got lost


class Program(Generic[C, R]):
    """A function and the section it goes to."""

    SECTION: ClassVar[str] = ""

    def __init__(self, function: Callable[..., R]) -> None:
        if not callable(function) or not hasattr(function, "__code__"):
            raise UsageError(f"@{type(self).__name__} stands above a function, without ( )")
        CREATED.append(self)
        self.function = function
        self.section = self.SECTION
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __call__(self, *arguments: Any) -> R:
        """Run the function. arguments: the context, or the arguments of a function that names them."""
        return self.function(*arguments)

    def run(self, data: bytes | None = None, *, ctx: Any = None) -> Any:
        """Run as plain Python over one packet, or on a given context (a tuple of arguments for a program that names
        them): returns the verdict and the packet afterwards."""
        return machine().run(self, data, ctx)

    def iterate(self) -> bytes:
        """Run an iterator program as plain Python over what its section names: what it wrote."""
        written: bytes = machine().iterate(self)
        return written

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


class xdp_frags(xdp):
    """As xdp, also for frames of several buffers."""

    SECTION = "xdp.frags"


class xdp_devmap(xdp):
    """Runs on frames that a device map sends out."""

    SECTION = "xdp/devmap"


class xdp_cpumap(xdp):
    """Runs on frames that a CPU map sends to another CPU."""

    SECTION = "xdp/cpumap"


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


class tcx_ingress(tc):
    """Runs on what a device takes in, attached by a link."""

    SECTION = "tcx/ingress"


class tcx_egress(tc):
    """Runs on what a device sends out, attached by a link."""

    SECTION = "tcx/egress"


class tc_action(tc):
    """An action of a traffic control filter."""

    SECTION = "action"


class netkit_primary(tc):
    """Runs on what the primary device of a netkit pair sends."""

    SECTION = "netkit/primary"


class netkit_peer(tc):
    """Runs on what the peer of a netkit pair sends."""

    SECTION = "netkit/peer"


class section:
    """A program for any section that libbpf knows: `@section("cgroup/connect4")`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, function: Callable[[C], R]) -> Program[C, R]:
        made: Program[C, R] = Program(function)
        made.section = self.name
        return made


class socket_filter(Program[Skb, R]):
    """Decides how many bytes of a packet a socket sees."""

    SECTION = "socket"


class sock_ops(Program[BpfSockOps, R]):
    """Sees and tunes the TCP connections of a cgroup."""

    SECTION = "sockops"


class sk_lookup(Program[BpfSkLookup, R]):
    """Picks the socket that takes a new connection: PASS or DROP."""

    SECTION = "sk_lookup"
    DROP: ClassVar[int] = 0
    PASS: ClassVar[int] = 1


class sk_reuseport(Program[SkReuseportMd, R]):
    """Picks a socket of a reuseport group: PASS or DROP."""

    SECTION = "sk_reuseport"
    DROP: ClassVar[int] = 0
    PASS: ClassVar[int] = 1


class sk_reuseport_migrate(sk_reuseport[R]):
    """As sk_reuseport, also when a listener closes and its connections go to another one."""

    SECTION = "sk_reuseport/migrate"


class sk_msg(Program[SkMsgMd, R]):
    """Decides about what a socket of a socket map sends: PASS or DROP."""

    SECTION = "sk_msg"
    DROP: ClassVar[int] = 0
    PASS: ClassVar[int] = 1


class sk_skb_parser(Program[Skb, R]):
    """Says how long the next message of a stream is."""

    SECTION = "sk_skb/stream_parser"


class sk_skb_verdict(Program[Skb, R]):
    """Decides about what a socket of a socket map receives: PASS or DROP."""

    SECTION = "sk_skb/verdict"
    DROP: ClassVar[int] = 0
    PASS: ClassVar[int] = 1


class sk_skb_stream_verdict(sk_skb_verdict[R]):
    """As sk_skb_verdict, for the messages that a parser found."""

    SECTION = "sk_skb/stream_verdict"


class flow_dissector(Program[Skb, R]):
    """Takes the headers of a packet apart for flow hashes: OK or DROP."""

    SECTION = "flow_dissector"
    OK: ClassVar[int] = 0
    DROP: ClassVar[int] = 2


class lwt_in(Program[Skb, R]):
    """Runs on packets that a route takes in: OK, DROP."""

    SECTION = "lwt_in"
    OK: ClassVar[int] = 0
    DROP: ClassVar[int] = 2


class lwt_out(lwt_in[R]):
    """Runs on packets that a route sends out."""

    SECTION = "lwt_out"


class lwt_xmit(lwt_in[R]):
    """Runs where a route transmits; may redirect."""

    SECTION = "lwt_xmit"
    REDIRECT: ClassVar[int] = 7


class lwt_seg6local(lwt_in[R]):
    """An action of IPv6 segment routing."""

    SECTION = "lwt_seg6local"


class netfilter(Program[BpfNfCtx, R]):
    """A netfilter hook: DROP or ACCEPT."""

    SECTION = "netfilter"
    DROP: ClassVar[int] = 0
    ACCEPT: ClassVar[int] = 1


class lirc_mode2(Program[LircSample, R]):
    """Decodes samples of an infrared receiver."""

    SECTION = "lirc_mode2"


class syscall(Program[Struct, R]):
    """Runs when user space says so (BPF_PROG_RUN), with a struct of its own as context. May sleep."""

    SECTION = "syscall"
