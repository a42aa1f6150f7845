"""A capture through a program: verdicts, times, prints, events."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bombus.capture import CaptureReader, CaptureWriter, Packet
from bombus.capture.link import ETHERNET, to_ethernet
from bombus.errors import CaptureError, KernelError, NotSupported, UsageError, VmFault
from bombus.isa import opcodes as op
from bombus.kernel.handles import PerfBuffer, RingBuffer
from bombus.replay.runner import Runner, runner
from bombus.spec.verdicts import PACKET_TYPES, Verdict, verdict_of

if TYPE_CHECKING:
    from bombus.loader.load import Loaded

_ETH_HLEN = 14
_LINEAR_ROOM = 3000  # bytes of a page that packets of every type may fill; Linux 6.12 net/bpf/test_run.c
_SAMPLES = 1 << 20  # times that are kept for percentiles
_PRINTS = frozenset({6, 177})  # bpf_trace_printk, bpf_trace_vprintk: include/uapi/linux/bpf.h
_PROGRESS = 256  # packets between two reports


@dataclass(slots=True)
class Tally:
    packets: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.packets += 1
        self.bytes += size


class Event(NamedTuple):
    """One record of a ring or perf buffer. packet: number of the packet that made it, from 1 (0: none)."""

    map: str
    packet: int
    data: bytes


class Outcome:
    """What a capture did. Sizes are of packets as the capture has them; ns: total time of one run of each packet.

    skipped: packets that were not run, by reason. cut: packets that the capture holds only the beginning of.
    times: of single packets; empty when many were run in one go.
    events, printk: the last `keep` of all; event_counts, printk_count: how many there were. lost: events that found
    their perf buffer full. truncated: what is missing at the end of the capture file.
    """

    __slots__ = (
        "cut", "event_counts", "events", "lost", "ns", "printk", "printk_count", "skipped", "times", "total",
        "truncated", "verdicts", "written",
    )  # fmt: skip

    def __init__(self) -> None:
        self.total = Tally()
        self.verdicts: dict[Verdict, Tally] = {}
        self.skipped: dict[str, Tally] = {}
        self.cut = 0
        self.written = 0
        self.ns = 0
        self.times: list[int] = []
        self.events: deque[Event] = deque()
        self.event_counts: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self.printk: deque[str] = deque()
        self.printk_count = 0
        self.truncated: str | None = None

    @property
    def ran(self) -> int:
        return sum(tally.packets for tally in self.verdicts.values())

    def by_verdict(self) -> list[tuple[Verdict, Tally]]:
        """Most packets first; the same order whatever the engine met first."""
        return sorted(self.verdicts.items(), key=lambda item: (-item[1].packets, item[0].value))

    @property
    def mean_ns(self) -> float:
        """Nanoseconds of one run; 0 when nothing ran."""
        return self.ns / self.ran if self.ran else 0.0


class Observer:
    """Collects what programs tell: events from buffers and bpf_printk lines."""

    def __init__(self, loaded: Loaded, outcome: Outcome, keep: int | None) -> None:
        self._kernel = loaded.kernel
        self._outcome = outcome
        outcome.events = deque(maxlen=keep)
        outcome.printk = deque(maxlen=keep)
        self._readers: dict[str, RingBuffer | PerfBuffer] = {}
        for name, item in loaded.maps.items():
            if item.type.short == "ringbuf":
                self._readers[name] = RingBuffer(item)
            elif item.type.short == "perf_event_array":
                self._readers[name] = PerfBuffer(item, pages=64)
        self._prints = not _PRINTS.isdisjoint(helpers_of(loaded))
        if self._prints:
            self._kernel.printk()  # what came before is not ours

    @property
    def looks(self) -> bool:
        """Is there anything to look at after each packet?"""
        return bool(self._readers) or self._prints

    def after(self, packet: int) -> None:
        """Take what the run of a packet left: a full buffer would make the program lose events."""
        outcome = self._outcome
        for name, reader in self._readers.items():
            for data in reader.read():
                outcome.events.append(Event(name, packet, data))
                outcome.event_counts[name] = outcome.event_counts.get(name, 0) + 1
        if self._prints:
            for line in self._kernel.printk():
                outcome.printk.append(line)
                outcome.printk_count += 1

    def close(self) -> None:
        for name, reader in self._readers.items():
            if isinstance(reader, PerfBuffer) and reader.lost:
                self._outcome.lost[name] = reader.lost
            reader.close()


def helpers_of(loaded: Loaded) -> set[int]:
    """Numbers of the helpers that the loaded programs call."""
    return {
        insn.imm
        for name in loaded.programs
        for insn in loaded.flat(name).insns
        if insn.opcode == op.CALL and not insn.src
    }


def replay(
    loaded: Loaded, name: str, capture: CaptureReader, *, repeat: int = 1, write: CaptureWriter | None = None,
    keep: int | None = None, progress: Callable[[int, int], None] | None = None,
) -> Outcome:  # fmt: skip
    """Run every packet of a capture through the program `name`.

    repeat: runs of each packet, for timing; the last one's result counts, effects on maps happen as often. write:
    gets the packets that live on, as the program left them. keep: how many events and lines to hold at most.
    progress: called with bytes read and bytes of the file. Raises UsageError for a program type without packets,
    VmFault naming the packet.
    """
    program = loaded.programs[name]
    if program.type.name not in PACKET_TYPES:
        raise UsageError(f"{program.type.short} programs do not run on packets; give --ctx-in or --data-in")
    if repeat < 1:
        raise UsageError(f"repeat {repeat} is not 1 or more")
    from bombus.replay.batch import batch_of

    outcome = Outcome()
    observer = Observer(loaded, outcome, keep)
    try:
        run = runner(program, helpers_of(loaded), repeat)
        session = Session(run, program.type.name, write, outcome, observer)
        batch = batch_of(loaded, program, capture, session) if repeat == 1 else None
        if batch is not None:
            batch.run(progress)
        else:
            _run_all(session, capture, progress)
    finally:
        observer.close()
    outcome.truncated = capture.truncated
    return outcome


class Session:
    """The packets of one capture, one after the other."""

    def __init__(
        self, run: Runner, prog_type: str, write: CaptureWriter | None, outcome: Outcome, observer: Observer
    ) -> None:
        self.run = run
        self.prog_type = prog_type
        self.write = write
        self.outcome = outcome
        self.observer = observer
        self._frames: dict[int, Callable[[bytes], bytes]] = {}

    def packet(self, number: int, packet: Packet) -> None:
        """Run one packet, the `number`-th of the capture, and note what came of it."""
        outcome = self.outcome
        size = len(packet.data)
        outcome.total.add(size)
        if packet.length > size:
            outcome.cut += 1
        try:
            frame = self._frames.get(packet.linktype)
            if frame is None:
                frame = self._frames[packet.linktype] = to_ethernet(packet.linktype)
            data = frame(packet.data)
            if len(data) < _ETH_HLEN:
                raise CaptureError("shorter than an Ethernet header")
            done = self.run(data)
        except (CaptureError, NotSupported, KernelError) as error:
            outcome.skipped.setdefault(_reason(error, size), Tally()).add(size)
            return
        except VmFault as fault:
            raise named(fault, number) from fault
        verdict = self.verdict(done.retval, len(data), size)
        outcome.ns += done.ns
        if len(outcome.times) < _SAMPLES:
            outcome.times.append(done.ns)
        self.observer.after(number)
        if self.write is not None and verdict.goes_on:
            left = done.data
            if verdict.name == "keep the beginning":
                left = left[: done.retval]
            # What the snap length cut off stays unknown, but still counts.
            length = len(left) + max(packet.length - size, 0)
            self.write.write(Packet(packet.time_ns, left, length, ETHERNET))
            outcome.written += 1

    def verdict(self, retval: int, length: int, size: int, count: int = 1) -> Verdict:
        """Count packets of `size` bytes in all that the program answered with `retval`."""
        verdict = verdict_of(self.prog_type, retval, length)
        tally = self.outcome.verdicts.setdefault(verdict, Tally())
        tally.packets += count
        tally.bytes += size
        return verdict


def named(fault: VmFault, number: int) -> VmFault:
    """The fault with the number of its packet."""
    return VmFault(
        fault.kind, f"packet {number}: {fault.message}", insn=fault.insn, address=fault.address, size=fault.size,
        place=fault.place,
    )  # fmt: skip


def _run_all(session: Session, capture: CaptureReader, progress: Callable[[int, int], None] | None) -> None:
    for number, packet in enumerate(capture, 1):
        session.packet(number, packet)
        if progress is not None and not number % _PROGRESS:
            progress(capture.position, capture.size)


def _reason(error: Exception, size: int) -> str:
    """Why a packet did not run, in words that group."""
    if isinstance(error, KernelError):
        if error.errno == errno.EINVAL and size > _LINEAR_ROOM:
            return "longer than BPF_PROG_TEST_RUN takes"
        return error.message or os.strerror(error.errno or 0)
    if isinstance(error, CaptureError):
        return error.message
    return str(error)
