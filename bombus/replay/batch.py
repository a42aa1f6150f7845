"""Whole stretches of a capture through native code in one call, with the same outcome as one packet after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bombus.capture import CaptureReader
from bombus.capture.pcap import PcapReader
from bombus.capture.pcapng import PcapngReader
from bombus.errors import VmFault
from bombus.jit.index import LONGEST
from bombus.replay.index import Index, can_index, is_plain
from bombus.replay.stream import Stream

if TYPE_CHECKING:
    from bombus.jit.batch import Batch
    from bombus.jit.engine import NativeProgram
    from bombus.kernel.handles import Program
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.runbatch import Frames
    from bombus.loader.load import Loaded
    from bombus.replay.session import Session

_CHUNK: Final = 1 << 20  # bytes that are copied at a time, where the capture itself lies too high for 32-bit pointers
_ANY_LENGTH: Final = 1 << 16  # a verdict of this or more says the same of a packet of any length
_WINDOW: Final = 32 << 20  # bytes between two reports of progress
_STREAMED: Final = 1 << 21  # bytes that are read at a time
_ROOMS: Final = 4
_LEAST: Final = LONGEST + 64  # bytes that a record of usual length has at most
_MARGIN: Final = _LEAST + 4096 - _LEAST % 4096  # bytes before a chunk, for the record that began in the one before


def batch_of(loaded: Loaded, program: Program, capture: CaptureReader, session: Session) -> CaptureBatch | None:
    """The batch that can take the place of single runs; None where something has to happen between two packets, the
    engine has no native code, or the capture is none of Ethernet frames in this machine's byte order."""
    if program.kernel.name != "user" or session.write is not None or session.observer.looks:
        return None
    if not can_index(capture):
        return None
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.runbatch import batch_kind, native_program, runs_alone

    kernel = program.kernel
    assert isinstance(kernel, UserKernel)
    progs = [kernel.object("BPF_PROG_TEST_RUN", one.fd, "prog") for one in loaded.programs.values()]
    if not all(isinstance(one, Prog) and runs_alone(one) for one in progs):
        return None
    prog = kernel.object("BPF_PROG_TEST_RUN", program.fd, "prog")
    assert isinstance(prog, Prog) and isinstance(capture, (PcapReader, PcapngReader))
    if batch_kind(prog) is None:
        return None
    native = native_program(prog)
    return None if native is None else CaptureBatch(kernel, prog, native, capture, session)


class CaptureBatch:
    def __init__(
        self, kernel: UserKernel, prog: Prog, native: NativeProgram, capture: PcapReader | PcapngReader,
        session: Session,
    ) -> None:  # fmt: skip
        self._kernel = kernel
        self._prog = prog
        self._native = native
        self._capture = capture
        self._session = session
        self._index: Index | None = None
        self._also = -1  # a verdict that has no tally of its own and came up

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        """Run all packets. Raises as `session.replay`."""
        from bombus.kernel.user.runbatch import Frames, address_of

        capture = self._capture
        if capture.file is not None:
            with Frames(self._kernel, self._prog, _ROOMS * (_MARGIN + _STREAMED)) as frames:
                self._stream(frames, capture.file.number, progress)
            return
        data, size = capture.whole, capture.size
        start = 0 if data.readonly else address_of(data)
        with Frames(self._kernel, self._prog, _CHUNK) as frames:
            if start and start + size <= 1 << 32:
                with frames.region(self._kernel, start, data):
                    while self._stretch(frames, start, start, start + size, _WINDOW, progress):
                        pass
                return
            room = frames.room
            while True:
                at = capture.position
                part = min(_CHUNK, size - at)
                room.view[:part] = data[at : at + part]
                if not self._stretch(frames, room.start - at, room.start, room.start + part, _CHUNK, progress):
                    return

    def _stream(self, frames: Frames, file: int, progress: Callable[[int, int], None] | None) -> None:
        """A file that is read once. A record that goes over the end of a chunk is put before the next one."""
        capture, room = self._capture, frames.room
        starts = [which * (_MARGIN + _STREAMED) + _MARGIN for which in range(_ROOMS)]
        views = [room.view[start : start + _STREAMED] for start in starts]
        before: tuple[int, int, int] | None = None  # the chunk before: its room, its end there and in the capture
        with Stream(file, capture.position, capture.size, views) as stream:
            while (chunk := stream.take()) is not None:
                which, first, count = chunk
                if before is not None:
                    rest = before[2] - capture.position
                    if rest > 0:
                        room.view[starts[which] - rest : starts[which]] = room.view[before[1] - rest : before[1]]
                    stream.give_back(before[0])
                before = which, starts[which] + count, first + count
                self._chunk(frames, room.start + starts[which] - first, first + count)
                if progress is not None:
                    progress(capture.position, capture.size)

    def _chunk(self, frames: Frames, shift: int, end: int) -> None:
        """Run what begins at the capture's position and lies whole before `end`, a place of the capture. What may go
        on behind it is left there unless it is too long for a chunk's beginning."""
        capture, session = self._capture, self._session
        last = end == capture.size
        while last or capture.position + _LEAST <= end:
            self._plain(frames, shift, frames.room.start, shift + end, shift + end, _MARGIN + _STREAMED)
            if not last and capture.position + _LEAST > end:
                return
            packet = next(iter(capture), None)
            if packet is None:
                return
            session.packet(session.outcome.total.packets + 1, packet)

    def _plain(self, frames: Frames, shift: int, origin: int, end: int, stop: int, most: int) -> None:
        """Run what a batch takes. Arguments as of `Index.stretch`; most: bytes between two calls' positions."""
        from bombus.jit.batch import Batch

        capture = self._capture
        if not is_plain(capture):
            return
        index = self._index
        if index is None:
            index = self._index = Index(capture, most)
        batch = Batch(**frames.members, base=origin, wire=index.wire, also=self._also & 0xFFFF_FFFF_FFFF_FFFF)
        try:
            for records, count in index.stretch(shift, origin, end, stop):
                self._records(frames.tally, batch, index, records, count)
        finally:
            self._count(batch)
        capture.position = index.position

    def _stretch(
        self, frames: Frames, shift: int, origin: int, end: int, most: int,
        progress: Callable[[int, int], None] | None,
    ) -> bool:  # fmt: skip
        """Run what begins at the capture's position and lies whole before the address `end`, `most` bytes of it.
        Arguments as of `Index.stretch`. False when the capture is at its end."""
        capture, session = self._capture, self._session
        before = capture.position
        stop = min(shift + before + most, end)
        self._plain(frames, shift, origin, end, stop, most)
        if capture.position < stop - shift or capture.position == before:
            # One that a batch does not take, or the end.
            packet = next(iter(capture), None)
            if packet is None:
                return False
            session.packet(session.outcome.total.packets + 1, packet)
        if progress is not None:
            progress(capture.position, capture.size)
        return True

    def _records(self, loop: str, batch: Batch, index: Index, records: int, count: int) -> None:
        from bombus.jit.loops import ALL, ODD_PACKET
        from bombus.replay.session import named

        session, capture = self._session, self._capture
        outcome = session.outcome
        batch["records"], batch["count"], batch["done"] = records, count, 0
        while True:
            start = time.perf_counter_ns()
            try:
                result = self._native.batch(loop, batch)
            except VmFault as fault:
                ran = sum(number for number, _bytes in batch.tallies())
                raise named(fault, outcome.total.packets + ran + 1) from fault
            finally:
                outcome.ns += time.perf_counter_ns() - start
            if result == ALL:
                return
            if result == ODD_PACKET:
                self._count(batch)
                capture.position = index.packet_of(records, batch["done"]) - index.head
                packet = next(iter(capture))
                session.packet(outcome.total.packets + 1, packet)
                batch["done"] += 1
            else:
                self._count(batch)
                length, verdict = batch["length"], batch["verdict"]
                outcome.total.add(length)
                session.verdict(verdict, length, length)
                if self._also < 0 and verdict >= _ANY_LENGTH:
                    self._also = batch["also"] = verdict

    def _count(self, batch: Batch) -> None:
        """What was tallied so far goes to the outcome."""
        from bombus.jit.loops import TALLIES
        from bombus.kernel.user.hooks.xdp import ETH_HLEN

        session = self._session
        outcome = session.outcome
        for number, (count, length) in enumerate(batch.tallies()):
            if count:
                outcome.total.packets += count
                outcome.total.bytes += length
                verdict = number if number < TALLIES - 1 else batch["also"]
                session.verdict(verdict, ETH_HLEN, length, count)
        outcome.cut += batch["cut"]
        batch.clear()
