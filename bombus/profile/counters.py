"""Events counted while a BPF program runs: one program before it and one after it read perf events.

What a run adds is the difference of the two readings on its CPU. bpftool's `prog profile` counts the same way (Linux
6.12 tools/bpf/bpftool/skeleton/profiler.bpf.c).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from bombus.errors import KernelError, NotSupported
from bombus.kernel.handles import Link, Map, Program
from bombus.kernel.handles.attach.tracing import function_id
from bombus.kernel.sites import PerfEvent
from bombus.profile.program import assembled
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.metrics import Metric

_VALUE = 24  # struct bpf_perf_event_value: u64 counter, enabled, running
_READING = struct.Struct("<QQQ")
MOST = 8  # so many readings fit a program's stack


class Reading(NamedTuple):
    """counter: events of all runs. enabled, running: nanoseconds that the event was wanted, and really counted."""

    metric: Metric
    counter: int
    enabled: int
    running: int


def _read(number: int, cpus: int, into: str) -> list[str]:
    """r0 = bpf_perf_event_read_value(event `number` of this CPU, which r6 is); into: lines that set r3."""
    return [
        "r1 = events ll", "r2 = r6", f"r2 += {number * cpus}", into, f"r4 = {_VALUE}",
        "call bpf_perf_event_read_value",
    ]  # fmt: skip


def _slot(map_: str, number: int, offset: int) -> list[str]:
    """r0 = the value of this CPU in a map, or out."""
    return [
        f"*(u32 *)(r10 - {offset}) = {number}", f"r1 = {map_} ll", "r2 = r10", f"r2 += -{offset}",
        "call bpf_map_lookup_elem", "if r0 == 0 goto out",
    ]  # fmt: skip


_CPU = ["call bpf_get_smp_processor_id", "r6 = r0"]
_OUT = ["out:", "r0 = 0", "exit"]


def entry_text(metrics: int, cpus: int) -> str:
    """Before a run: readings. What cannot be read stays zero (the helper clears it)."""
    lines = ["entry:", *_CPU]
    for number in range(metrics):
        # Look up all places first: the readings are to be near the program.
        lines += [*_slot("before", number, 4), f"*(u64 *)(r10 - {8 * (number + 2)}) = r0"]
    for number in range(metrics):
        lines += _read(number, cpus, f"r3 = *(u64 *)(r10 - {8 * (number + 2)})")
    return "\n".join([*lines, *_OUT])


def exit_text(metrics: int, cpus: int) -> str:
    """After a run: read all, then add up the differences. A reading before the run is used once."""
    lines, base = ["after:", *_CPU], 8 + _VALUE * metrics
    for number in range(metrics):
        at = base - _VALUE * number
        lines += [*_read(number, cpus, f"r3 = r10\nr3 += -{at}"), "if r0 != 0 goto out"]
    lines += [*_slot("counts", 0, 4), "r1 = *(u64 *)(r0 + 0)", "r1 += 1", "*(u64 *)(r0 + 0) = r1"]
    for number in range(metrics):
        at = base - _VALUE * number
        lines += [
            *_slot("before", number, 4), "r7 = r0", "r1 = *(u64 *)(r7 + 8)", f"if r1 == 0 goto next{number}",
            *_slot("sums", number, 4),
        ]  # fmt: skip
        for part in range(0, _VALUE, 8):
            lines += [
                f"r1 = *(u64 *)(r10 - {at - part})", f"r2 = *(u64 *)(r7 + {part})", "r1 -= r2",
                f"r2 = *(u64 *)(r0 + {part})", "r2 += r1", f"*(u64 *)(r0 + {part}) = r2",
            ]  # fmt: skip
        lines += ["r1 = 0", "*(u64 *)(r7 + 8) = r1", f"next{number}:"]
    return "\n".join([*lines, *_OUT])


class Counters:
    """Counts events of each run of a program from when it is made until it is closed. A context manager.

    skipped: CPUs that cannot count (they are off). NotSupported when the machine or the kernel cannot; UsageError for
    programs without BTF.
    """

    def __init__(self, program: Program, metrics: Sequence[Metric]) -> None:
        self.metrics = tuple(metrics)
        kernel = self._kernel = program.kernel
        self.skipped: set[int] = set()
        self._stack = ExitStack()
        try:
            # Hardware first: what the machine lacks is the plainer reason.
            cpus = kernel.possible_cpus
            events = self._map("perf_event_array", 4, len(metrics) * cpus)
            for index, metric in enumerate(metrics):
                for cpu in range(cpus):
                    self._count(events, metric, cpu, index * cpus + cpu)
            before = self._map("percpu_array", _VALUE, len(metrics))
            self._sums = self._map("percpu_array", _VALUE, len(metrics))
            self._counts = self._map("percpu_array", 8, 1)
            named = {"events": events, "before": before, "sums": self._sums, "counts": self._counts}
            maps = {name: (item.fd, False) for name, item in named.items()}
            target = function_id(program, "")
            for kind, text in (("BPF_TRACE_FENTRY", entry_text), ("BPF_TRACE_FEXIT", exit_text)):
                tracer = Program.load(
                    kernel, "tracing", assembled(text(len(metrics), cpus), maps), name="profile",
                    attach_type=ATTACH_TYPE[kind].id, attach_prog_fd=program.fd, attach_btf_id=target,
                )  # fmt: skip
                self._stack.enter_context(tracer)
                self._stack.enter_context(Link.raw_tracepoint(kernel, tracer))
        except BaseException:
            self.close()
            raise

    def _map(self, kind: str, size: int, entries: int) -> Map:
        return self._stack.enter_context(Map.create(self._kernel, kind, 4, size, entries, name="profile"))

    def _count(self, events: Map, metric: Metric, cpu: int, index: int) -> None:
        kernel = self._kernel
        event = PerfEvent(metric.type, metric.config, exclude=frozenset({"user"} if metric.kernel else ()))
        try:
            fd = kernel.sites.perf_open(event, cpu=cpu)
        except KernelError as error:
            if error.errno == errno.ENODEV:
                self.skipped.add(cpu)
                return
            if metric.hardware and error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL):
                raise NotSupported(
                    f"counting {metric.name}", "this machine shows no such counter (as most virtual machines)"
                ) from error
            raise
        self._stack.callback(kernel.close, fd)
        events.raw[index.to_bytes(4, "little")] = fd.to_bytes(4, "little")
        kernel.sites.perf_start(fd)

    def runs(self) -> int:
        """How often the program has run."""
        return sum(struct.unpack("<Q", value)[0] for value in _slots(self._counts, 0, 8))

    def readings(self) -> list[Reading]:
        """Sums over all runs and CPUs."""
        found = []
        for index, metric in enumerate(self.metrics):
            rows = [_READING.unpack(value) for value in _slots(self._sums, index, _VALUE)]
            found.append(Reading(metric, *(sum(column) for column in zip(*rows, strict=True))))
        return found

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Counters:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _slots(item: Map, index: int, size: int) -> list[bytes]:
    """Values of each CPU."""
    data = bytes(item.raw[index.to_bytes(4, "little")])
    return [data[at : at + size] for at in range(0, len(data), size)]
