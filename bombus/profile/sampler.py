"""Sampling of a process, a command or all CPUs: perf events with the BPF program of `program`.

Stacks are read at the end.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from bombus.btf.parse import Btf
from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Link, Map, Program
from bombus.kernel.sites import PerfEvent
from bombus.profile.command import Command
from bombus.profile.filter import Filter
from bombus.profile.model import Profile, Stack
from bombus.profile.program import CAST, KEY_SIZE, MORE, TOTALS_SIZE, SampleData, assembled, program_text
from bombus.profile.tracking import Tracker
from bombus.symbols import Frame, Symbols

# include/uapi/linux/perf_event.h: enum perf_hw_id, perf_sw_ids
EVENTS: dict[str, tuple[int, int]] = {
    "cycles": (0, 0), "instructions": (0, 1), "cache-references": (0, 2), "cache-misses": (0, 3), "branches": (0, 4),
    "branch-misses": (0, 5), "bus-cycles": (0, 6), "ref-cycles": (0, 9),
    "cpu-clock": (1, 0), "task-clock": (1, 1), "page-faults": (1, 2), "context-switches": (1, 3),
    "cpu-migrations": (1, 4), "minor-faults": (1, 5), "major-faults": (1, 6), "alignment-faults": (1, 7),
}  # fmt: skip
_CLOCKS = ("cycles", "cpu-clock")  # what is tried when no event is chosen: without a PMU only the second works
_KEY = struct.Struct("=IIii16s")
_U64 = struct.Struct("=Q")
_DEPTH = 127  # PERF_MAX_STACK_DEPTH
_NO_PMU = (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL)
_MOST_THREADS = 4096
_LOOK = 0.5  # seconds between two looks at which processes have samples


class Sampler:
    """Samples a process with all its threads and the processes that it starts, a command, or (everything) whatever
    runs on any CPU but the idle tasks.

    frequency: samples a second of each thread that runs; period: one sample in so many events instead. event: a name of
    EVENTS, None for CPU cycles or, without a PMU, the CPU clock. entries: of different stacks at most. A context
    manager; nothing stays attached. KernelError, NotSupported, UsageError.
    """

    def __init__(
        self, kernel: Kernel, *, pid: int | None = None, command: Sequence[str] = (), everything: bool = False,
        frequency: int = 99, period: int = 0, event: str | None = None, filter: Filter | None = None,
        entries: int = 16384, symbols: Symbols | None = None,
    ) -> None:  # fmt: skip
        if (pid is not None) + bool(command) + everything != 1:
            raise UsageError("give a process or a command to sample, or sample everything")
        if event is not None and event not in EVENTS:
            raise UsageError(f"no event {event!r}; there are {', '.join(EVENTS)}")
        if frequency < 1 or period < 0 or not 1 <= entries <= MORE:
            raise UsageError(f"the frequency is 1 or more, the period 0 or more, the number of stacks 1 to {MORE}")
        if kernel.name != "linux":
            raise NotSupported("sampling on the user kernel", "its programs run in no process of their own")
        self.kernel = kernel
        self.symbols = symbols if symbols is not None else Symbols()
        self.command: Command | None = None
        self.event = event or ""
        self._frequency = 0 if period else frequency
        self._period = period
        self._filter = filter
        self._pid = pid
        self._seen: set[int] = set()
        self._next_look = 0.0
        self._stack = ExitStack()
        self._links: list[Link] = []
        self._events: list[int] = []
        self._tracker: Tracker | None = None
        self._start = self._seconds = 0.0
        try:
            self._load(entries)
            if command:
                self.command = Command(command)
                self._stack.callback(self.command.end)
                self._pid = self.command.pid
                self._tracker = Tracker(kernel, self._pid, self.symbols)
                self._stack.callback(self._tracker.close)
                self._open([(self._pid, -1)], on_exec=True)
            elif everything:
                self._open([(-1, cpu) for cpu in kernel.online_cpus], on_exec=False)
            else:
                assert pid is not None
                if not self.symbols.read_process(pid) and not os.path.isdir(f"/proc/{pid}"):
                    raise UsageError(f"there is no process {pid}")
                self._open([(thread, -1) for thread in _threads(pid)], on_exec=False)
        except BaseException:
            self.close()
            raise

    def _load(self, entries: int) -> None:
        kernel = self.kernel
        data = None
        paths = {term.path for term in self._filter.terms() if term.source == "data"} if self._filter else set()
        if paths:
            data = SampleData.of(_running_btf(kernel), paths)
        enter = self._stack.enter_context
        self.counts = enter(Map.create(kernel, "hash", KEY_SIZE, 8, entries, name="counts"))
        self.stacks = enter(Map.create(kernel, "stack_trace", 4, 8 * _DEPTH, _power(entries), name="stacks"))
        more = _power(entries // 4 + 1)
        self.more_stacks = enter(Map.create(kernel, "stack_trace", 4, 8 * _DEPTH, more, name="more_stacks"))
        self.totals = enter(Map.create(kernel, "array", 4, TOTALS_SIZE, 1, name="totals"))
        maps = {
            "counts": (self.counts.fd, False), "stacks": (self.stacks.fd, False),
            "more_stacks": (self.more_stacks.fd, False), "totals": (self.totals.fd, True),
        }  # fmt: skip
        insns = assembled(program_text(self._filter, data), maps, {CAST: data.cast} if data is not None else None)
        self.program = enter(
            Program.load(kernel, "perf_event", insns, license="Dual BSD/GPL", name="bombus_profile")
        )

    def _open(self, places: list[tuple[int, int]], *, on_exec: bool) -> None:
        """places: (thread, CPU), -1 for any."""
        names = [self.event] if self.event else list(_CLOCKS)
        for name in names:
            try:
                self._open_all(name, places, on_exec=on_exec)
            except KernelError as error:
                if error.errno == errno.EINVAL and self._filter is not None and self._filter.sample_type:
                    terms = ", ".join(term.name for term in self._filter.terms() if term.sample)
                    error.add_note(f"the event {name} may not have what the filter asks for ({terms})")
                if name == names[-1] or error.errno not in _NO_PMU:
                    raise
                continue
            self.event = name
            return

    def _open_all(self, name: str, places: list[tuple[int, int]], *, on_exec: bool) -> None:
        kind, config = EVENTS[name]
        tasks = places[0][0] > 0
        event = PerfEvent(
            kind, config, period=self._frequency or self._period, frequency=bool(self._frequency), inherit=tasks,
            sample_type=self._filter.sample_type if self._filter is not None else 0, on_exec=on_exec,
            exclude=frozenset() if tasks else frozenset({"idle"}),
        )  # fmt: skip
        for thread, cpu in places:
            try:
                fd = self.kernel.sites.perf_open(event, pid=thread, cpu=cpu)
            except KernelError as error:
                if error.errno in (errno.ESRCH, errno.ENODEV) and len(places) > 1:
                    continue  # the thread ended, or the CPU went, meanwhile
                raise
            self._events.append(fd)
            self._links.append(Link.create(self.kernel, self.program, "BPF_PERF_EVENT", target_fd=fd))
        if not self._events:
            raise UsageError(f"process {self._pid} has no thread any more")

    def start(self) -> None:
        """Begin to sample; a command begins to run. UsageError when the command cannot be started."""
        self._start = time.time()
        self._clock = time.monotonic()
        if self.command is not None:
            self.command.release()
        else:
            for fd in self._events:
                self.kernel.sites.perf_start(fd)

    def running(self) -> bool:
        """Whether there is anything left to sample."""
        if self.command is not None:
            return self.command.running()
        return self._pid is None or os.path.isdir(f"/proc/{self._pid}")

    def look(self) -> None:
        """What must be read while processes live: mappings of those that had samples. Call it now and then."""
        if self._tracker is not None:
            self._tracker.drain()
            return
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK
        for key, _ in self.counts.raw.pairs():
            pid = _KEY.unpack(key)[0]
            if pid not in self._seen:
                self._seen.add(pid)
                self.symbols.read_process(pid)

    def stop(self) -> None:
        """Sample no more."""
        if not self._seconds:
            self._seconds = time.monotonic() - self._clock
        for link in self._links:
            link.close()
        for fd in self._events:
            self.kernel.close(fd)
        self._links.clear()
        self._events.clear()

    def accounts(self) -> tuple[int, int, int]:
        """(samples, those of them that found no room, those that the filter refused) so far."""
        samples, lost, filtered = struct.unpack("=QQQ", self.totals.raw[bytes(4)])
        return samples, lost, filtered

    def result(self) -> Profile:
        """The stacks so far, with names."""
        self.look()
        counted = list(self.counts.raw.pairs())
        if self._tracker is None:
            for pid in {_KEY.unpack(key)[0] for key, _ in counted}:
                self.symbols.read_process(pid)  # libraries that it loaded since
        _, lost, filtered = self.accounts()
        found = Profile(
            event=self.event, frequency=self._frequency, period=self._period, start=self._start,
            seconds=self._seconds or time.monotonic() - self._clock, lost=lost, filtered=filtered,
        )  # fmt: skip
        known: dict[int, list[int]] = {}
        for key, value in counted:
            pid, tid, user, kernel, comm = _KEY.unpack(key)
            (count,) = _U64.unpack(value)
            if -errno.EEXIST in (user, kernel):
                found.collisions += count
            inner = self._frames(kernel, known, 0, user=False)
            outer = self._frames(user, known, pid, user=True)
            text = comm.partition(b"\0")[0].decode(errors="replace")
            found.stacks.append(Stack(pid, tid, text, (*inner, *outer), len(inner), count))
        found.stacks.sort(key=lambda stack: -stack.count)
        return found

    def _frames(self, number: int, known: dict[int, list[int]], pid: int, *, user: bool) -> list[Frame]:
        """Frames of a stack id, innermost first. Return addresses are looked up one byte before, in the call."""
        if number < 0:
            return [Frame("[stack lost]")] if number == -errno.EEXIST else []
        if number not in known:
            holder, place = (self.more_stacks, number - MORE) if number >= MORE else (self.stacks, number)
            raw = holder.raw.get(place.to_bytes(4, "little"), b"")
            words = [word for (word,) in _U64.iter_unpack(raw)]
            known[number] = words[: words.index(0)] if 0 in words else words
        named = self.symbols.user if user else None
        frames: list[Frame] = []
        for index, address in enumerate(known[number]):
            at = address - 1 if index else address
            frames.append(named(pid, at) if named is not None else self.symbols.kernel(at))
        return frames

    def close(self) -> None:
        """Stop, end the command, give maps and program back."""
        for link in self._links:
            link.close()
        for fd in self._events:
            self.kernel.close(fd)
        self._links.clear()
        self._events.clear()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_btfs: list[Btf] = []  # of the running kernel, once


def _running_btf(kernel: Kernel) -> Btf:
    if not _btfs:
        _btfs.append(Btf.parse(kernel.vmlinux_btf()))
    return _btfs[0]


def _threads(pid: int) -> list[int]:
    try:
        found = sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
    except (OSError, ValueError):
        raise UsageError(f"there is no process {pid}") from None
    if len(found) > _MOST_THREADS:
        raise NotSupported(f"sampling a process of {len(found)} threads", f"{_MOST_THREADS} at most")
    return found


def _power(number: int) -> int:
    return 1 << (number - 1).bit_length()
