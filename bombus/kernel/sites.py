"""Places where programs are attached: what attaching needs of a kernel beside bpf(2).

Both kernels have a `Sites`. Calls that a kernel does not have raise NotSupported; refused ones KernelError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

from bombus.errors import NotSupported


class PerfEvent(NamedTuple):
    """What perf_event_open(2) is asked for. include/uapi/linux/perf_event.h: struct perf_event_attr.

    period: sample_period, or samples a second when `frequency` is set. exclude: bits of "user", "kernel", "hv", "idle".
    sample_type: what the kernel fills in for BPF programs and rings. on_exec: begin to count when the task executes a
    program. track: tell of forks, program starts and executable mappings in the ring, each record with its time.
    """

    type: int
    config: int
    config1: int = 0
    config2: int = 0
    period: int = 0
    frequency: bool = False
    inherit: bool = False
    exclude: frozenset[str] = frozenset()
    sample_type: int = 0
    on_exec: bool = False
    track: bool = False


class Probe(NamedTuple):
    """An open perf event of a kprobe, uprobe or tracepoint. remove: undoes what opening left behind (tracefs)."""

    fd: int
    remove: Callable[[], None] | None = None


class TcFilter(NamedTuple):
    """A BPF classifier at a clsact qdisc: where it is, and its program's id."""

    ifindex: int
    parent: int
    handle: int
    priority: int
    prog_id: int = 0
    name: str = ""


class XdpState(NamedTuple):
    """Programs of an interface by mode ("skb", "native", "offload"): ids. mode: the mode word of the kernel."""

    mode: str
    ids: dict[str, int]


class Watch(Protocol):
    """What is undone when this process dies without doing so itself. Calls raise KernelError when nobody watches."""

    def set(self, **facts: Any) -> None:
        """Say more, or something else, of what is attached."""

    def forget(self) -> None:
        """It is detached, or is to stay. Once is enough."""


class NoWatch:
    """Where nothing stays, or nothing is to be undone."""

    def set(self, **facts: Any) -> None:
        pass

    def forget(self) -> None:
        pass


class DispatcherPins(Protocol):
    """The directory where the XDP dispatchers of all interfaces are pinned; no other bombus changes it until `close`.

    A mark says that the pins of a dispatcher are left over unless that dispatcher is on its interface: it is set before
    something is begun that a killed process leaves half done. Calls raise KernelError.
    """

    folder: str

    def close(self) -> None: ...

    def __enter__(self) -> DispatcherPins: ...

    def __exit__(self, *_: object) -> None: ...

    def lock(self) -> AbstractContextManager[None]:
        """Keep libxdp away from the pins, for as short as can be."""

    def path(self, ifindex: int, number: int) -> str:
        """Where the programs of the dispatcher with an id are pinned."""

    def make(self, ifindex: int, number: int) -> str:
        """Make that directory."""

    def remove(self, ifindex: int, number: int) -> None:
        """Remove it with all pins, if it is there."""

    def mark(self, ifindex: int, number: int) -> None: ...

    def unmark(self, ifindex: int, number: int) -> None: ...

    def marked(self, ifindex: int) -> list[int]:
        """Ids of the marked dispatchers of an interface."""

    def watch(self, sites: Sites, **facts: Any) -> Watch:
        """`Sites.watch` of a program in a dispatcher that is pinned here."""


@runtime_checkable
class Sites(Protocol):
    """Targets by name, and hooks that have no bpf(2) command."""

    def ifindex(self, name: str) -> int:
        """The number of a network interface. KernelError(ENODEV)."""

    def open(self, kind: str, path: str) -> int:
        """A descriptor of a "cgroup" directory, a "netns" file, a "file", a "device" to read and write; closed with
        Kernel.close."""

    def bound(self) -> Sites:
        """The same, fixed to the network namespace of this thread: for what must later be undone where it was done."""

    def close(self) -> None:
        """Give back what `bound` holds."""

    def watch(self, kind: str, fds: Sequence[int] = (), **facts: Any) -> Watch:
        """Before something without a link is attached: let it be undone when this process is killed.

        kind: "xdp", "tc", "lwt", "dispatcher" (of a `bound` one), "place" (fds: a cgroup or device), "sockmap",
        "struct_ops". facts: what it is known by (kernel/linux/undo.py). KernelError when nobody can watch.
        """

    def dup(self, fd: int) -> int:
        """Another descriptor of the same target, closed with Kernel.close."""

    def unpin(self, path: str) -> None:
        """Remove a pin from a bpf file system. KernelError(ENOENT)."""

    def online_cpus(self) -> list[int]:
        """Numbers of the CPUs that are on; there may be gaps."""

    def perf_open(self, event: PerfEvent, *, pid: int = -1, cpu: int = -1) -> int:
        """perf_event_open(2); the event does not count yet."""

    def perf_start(self, fd: int, prog_fd: int | None = None) -> None:
        """Let an event count; prog_fd: set the program first, for kernels without links (before 5.15)."""

    def tracepoint(self, category: str, name: str) -> Probe:
        """The event of a tracepoint. KernelError(ENOENT)."""

    def kprobe(self, function: str, offset: int, *, ret: bool, legacy: bool | None = None) -> Probe:
        """A probe in the kernel. legacy: through tracefs (None: where there is no perf PMU for it)."""

    def uprobe(
        self, path: str, offset: int, *, ret: bool, pid: int = -1, ref_ctr: int = 0, legacy: bool | None = None
    ) -> Probe:
        """A probe in a file. offset: in the file; ref_ctr: file offset of a semaphore."""

    def functions(self) -> list[str]:
        """Kernel functions that kprobe.multi can be attached to."""

    def xdp_set(self, ifindex: int, prog_fd: int, flags: int, expected_fd: int | None = None) -> None:
        """Set (-1: remove) the XDP program of an interface. expected_fd: only if this one is there now."""

    def xdp_query(self, ifindex: int) -> XdpState:
        """Which XDP programs an interface has."""

    def dispatchers(self) -> DispatcherPins:
        """The pins of XDP dispatchers. UsageError without a bpf file system."""

    def tc_qdisc(self, ifindex: int, *, add: bool) -> bool:
        """Add or remove the clsact qdisc. False when it was there already (not there)."""

    def tc_attach(self, place: TcFilter, prog_fd: int, *, replace: bool) -> TcFilter:
        """Add a classifier in direct-action mode; handle and priority 0 are chosen by the kernel."""

    def tc_detach(self, place: TcFilter) -> None: ...

    def tc_filters(self, ifindex: int, parent: int) -> list[TcFilter]: ...

    def socket_attach(self, socket_fd: int, prog_fd: int, *, reuseport: bool) -> None: ...

    def socket_detach(self, socket_fd: int, *, reuseport: bool) -> None: ...

    def route_encap(
        self, destination: str, ifindex: int, programs: dict[str, int], *, headroom: int = 0, remove: bool = False,
        name: str = "bombus",
    ) -> None:  # fmt: skip
        """A route through LWT programs. programs: descriptors by "in", "out", "xmit"; destination: "10.0.0.0/8";
        name: by which they are known."""


class NoSites:
    """A kernel without any of it: every call raises NotSupported. Kernels override what they have."""

    kernel = "this kernel"

    def watch(self, kind: str, fds: Sequence[int] = (), **facts: Any) -> Watch:
        return NoWatch()  # all of it ends with this process

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in Sites.__dict__:
            raise AttributeError(name)

        def refuse(*args: object, **options: object) -> Any:
            raise NotSupported(f"{name} on {self.kernel}", "it has no such place to attach to")

        return refuse
