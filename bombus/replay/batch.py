"""Whole stretches of a capture through native code in one call, with the same outcome as one packet after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bombus.capture import CaptureReader
from bombus.capture.pcap import PcapReader
from bombus.capture.pcapng import PcapngReader
from bombus.errors import VmFault
from bombus.replay.index import Index, can_index, is_plain

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

        data, size = self._capture.whole, self._capture.size
        start = 0 if data.readonly else address_of(data)
        with Frames(self._kernel, self._prog, _CHUNK) as frames:
            if start and start + size <= 1 << 32:
                with frames.region(self._kernel, start, data):
                    while self._stretch(frames, start, start + size, _WINDOW, progress):
                        pass
                return
            room = frames.room
            while True:
                at = self._capture.position
                part = min(_CHUNK, size - at)
                room.view[:part] = data[at : at + part]
                if not self._stretch(frames, room.start - at, room.start + part, _CHUNK, progress):
                    return

    def _stretch(
        self, frames: Frames, base: int, end: int, most: int, progress: Callable[[int, int], None] | None
    ) -> bool:
        """Run what begins at the capture's position and lies whole before the address `end`, `most` bytes of it; its
        bytes are in memory from `base` on. False when the capture is at its end."""
        from bombus.jit.batch import Batch

        capture, session = self._capture, self._session
        before = capture.position
        stop = min(base + before + most, end)
        if is_plain(capture):
            index = self._index
            if index is None:
                index = self._index = Index(capture, most)
            batch = Batch(**frames.members, base=base, wire=index.wire, also=self._also & 0xFFFF_FFFF_FFFF_FFFF)
            try:
                for records, count in index.stretch(base, end, stop):
                    self._records(frames.tally, batch, index, records, count)
            finally:
                self._count(batch)
            capture.position = index.position
        if capture.position < stop - base or capture.position == before:
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
