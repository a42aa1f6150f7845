"""Programs on perf events: the link, or on kernels before 5.15 the ioctl, that ties them to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.errors import NeedsKernel, UsageError
from bombus.kernel.handles.attachment import Attachment, Group
from bombus.kernel.handles.features import features
from bombus.kernel.handles.links import Link
from bombus.kernel.sites import PerfEvent, Probe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bombus.kernel.handles.programs import Program

# include/uapi/linux/perf_event.h: enum perf_type_id, perf_hw_id, perf_sw_ids
_EVENTS: dict[str, tuple[int, int]] = {
    "cycles": (0, 0), "instructions": (0, 1), "cache_references": (0, 2), "cache_misses": (0, 3), "branches": (0, 4),
    "branch_misses": (0, 5), "bus_cycles": (0, 6), "ref_cycles": (0, 9),
    "cpu_clock": (1, 0), "task_clock": (1, 1), "page_faults": (1, 2), "context_switches": (1, 3),
    "cpu_migrations": (1, 4), "minor_faults": (1, 5), "major_faults": (1, 6), "dummy": (1, 9),
}  # fmt: skip


class PerfLink(Link):
    """A link on a perf event, which it owns, and the tracefs probe behind it, if there is one."""

    _event = -1
    _remove: Callable[[], None] | None = None

    def own(self, probe: Probe) -> PerfLink:
        self._event, self._remove = probe.fd, probe.remove
        return self

    def close(self) -> None:
        super().close()
        event, self._event = self._event, -1
        if event >= 0:
            self.kernel.close(event)
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()


def link_event(
    program: Program, probe: Probe, cookie: int, *, type: str, where: dict[str, Any]
) -> PerfLink | Attachment:
    """Tie a program to an event, which belongs to the result from now on."""
    kernel = program.kernel
    owned = False
    try:
        if features(kernel).has("perf_link"):
            more = {"perf_event_bpf_cookie": cookie} if cookie else {}
            link = PerfLink.create(kernel, program, "BPF_PERF_EVENT", target_fd=probe.fd, **more).own(probe)
            owned = True
            try:
                kernel.sites.perf_start(probe.fd)
            except BaseException:
                link.close()
                raise
            return link
        if cookie:
            raise NeedsKernel(22, "PERF_EVENT_IOC_SET_BPF", feature="an attach cookie", since="5.15",
                              version=str(kernel.version))  # fmt: skip
        kernel.sites.perf_start(probe.fd, program.fd)
    except BaseException:
        if not owned:
            _give_back(program, probe)
        raise
    return Attachment(type, lambda: _give_back(program, probe), facts={**where, "prog_id": program.id})


def _give_back(program: Program, probe: Probe) -> None:
    program.kernel.close(probe.fd)
    if probe.remove is not None:
        probe.remove()


def attach_tracepoint(program: Program, category: str, name: str, *, cookie: int = 0) -> PerfLink | Attachment:
    """A program to a tracepoint of tracefs ("sched", "sched_switch"). KernelError(ENOENT)."""
    probe = program.kernel.sites.tracepoint(category, name)
    return link_event(program, probe, cookie, type="tracepoint", where={"tracepoint": f"{category}/{name}"})


def attach_perf_event(
    program: Program, event: str | PerfEvent | int = "cpu_clock", *, frequency: int = 0, period: int = 0, pid: int = -1,
    cpus: Sequence[int] | None = None, inherit: bool = False, exclude: Sequence[str] = (), cookie: int = 0,
) -> Group:  # fmt: skip
    """A program to samples of an event, on each online CPU (or `cpus`).

    event: "cpu_clock", "cycles", "page_faults", ...; a PerfEvent; or a descriptor that perf_event_open(2) made, which
    stays the caller's. frequency: samples a second; period: or one in so many events. pid: only that process, wherever
    it runs (cpus is then only honoured when given). exclude: of "user", "kernel", "hv", "idle".
    """
    kernel = program.kernel
    if isinstance(event, int):
        link = Link.create(kernel, program, "BPF_PERF_EVENT", target_fd=event)
        kernel.sites.perf_start(event)
        return Group([link], "perf_event")
    if isinstance(event, str):
        if event not in _EVENTS:
            raise UsageError(f"event {event!r}: it is one of {', '.join(_EVENTS)}, or a PerfEvent")
        if not (frequency or period):
            raise UsageError("a sampled event needs a frequency (a second) or a period (events)")
        if frequency and period:
            raise UsageError("give frequency or period, not both")
        type_, config = _EVENTS[event]
        event = PerfEvent(
            type_, config, period=frequency or period, frequency=bool(frequency), inherit=inherit,
            exclude=frozenset(exclude),
        )  # fmt: skip
    places = list(cpus) if cpus is not None else ([-1] if pid > 0 else kernel.sites.online_cpus())
    links: list[Any] = []
    try:
        for cpu in places:
            fd = kernel.sites.perf_open(event, pid=pid, cpu=cpu)
            links.append(link_event(program, Probe(fd), cookie, type="perf_event", where={"cpu": cpu, "pid": pid}))
    except BaseException:
        Group(links).close()
        raise
    return Group(links, "perf_event")

