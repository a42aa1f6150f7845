"""Whole stretches of a capture through native code in one call, with the same outcome as one packet after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bombus.capture import CaptureReader
from bombus.capture.link import ETHERNET
from bombus.capture.pcap import PcapReader
from bombus.errors import VmFault

if TYPE_CHECKING:
    from bombus.jit.engine import NativeProgram
    from bombus.kernel.handles import Program
    from bombus.kernel.user.kernel import UserKernel
    from bombus.loader.load import Loaded
    from bombus.replay.session import Session

_CHUNK: Final = 1 << 20  # bytes that are copied at a time, where the capture itself lies too high for xdp_md
_WINDOW: Final = 64 << 20  # bytes between two reports of progress


def batch_of(loaded: Loaded, program: Program, capture: CaptureReader, session: Session) -> PcapBatch | None:
    """The batch that can take the place of single runs; None where something has to happen between two packets, the
    engine has no native code, or the capture is no plain pcap file of Ethernet frames in this machine's byte order."""
    if program.kernel.name != "user" or program.type.short != "xdp" or session.write is not None:
        return None
    if not isinstance(capture, PcapReader) or capture.linktype != ETHERNET or capture.byteorder != "little":
        return None
    if session.observer.looks:
        return None
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.runbatch import native_program, runs_alone

    kernel = program.kernel
    assert isinstance(kernel, UserKernel)
    progs = [kernel.object("BPF_PROG_TEST_RUN", one.fd, "prog") for one in loaded.programs.values()]
    if not all(isinstance(one, Prog) and runs_alone(one) for one in progs):
        return None
    prog = kernel.object("BPF_PROG_TEST_RUN", program.fd, "prog")
    assert isinstance(prog, Prog)
    native = native_program(prog)
    return None if native is None else PcapBatch(kernel, native, capture, session)


class PcapBatch:
    def __init__(self, kernel: UserKernel, native: NativeProgram, capture: PcapReader, session: Session) -> None:
        self._kernel = kernel
        self._native = native
        self._capture = capture
        self._session = session

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        """Run all packets. Raises as `session.replay`."""
        from bombus.kernel.user.runbatch import Frames, address_of

        data, size = self._capture.bytes, self._capture.size
        start = 0 if data.readonly else address_of(data)
        with Frames(self._kernel, _CHUNK) as frames:
            if start and start + size <= 1 << 32:
                with frames.region(self._kernel, start, data):
                    while self._stretch(frames.ctx.start, start, size, _WINDOW, progress):
                        pass
                return
            room = frames.room
            while True:
                at = self._capture.position
                part = min(_CHUNK, size - at)
                room.view[:part] = data[at : at + part]
                if not self._stretch(frames.ctx.start, room.start - at, at + part, _CHUNK, progress):
                    return

    def _stretch(self, ctx: int, base: int, end: int, most: int, progress: Callable[[int, int], None] | None) -> bool:
        """Run what begins at the capture's position and lies whole before `end`, `most` bytes of it; its bytes are in
        memory from `base` on. False when the capture is at its end."""
        from bombus.jit.batch import ALL, ODD_VERDICT, TALLIES, Batch
        from bombus.kernel.user.hooks.xdp import ETH_HLEN
        from bombus.kernel.user.runbatch import LONGEST
        from bombus.replay.session import named

        capture, session = self._capture, self._session
        total, outcome = session.outcome.total, session.outcome
        batch = Batch(
            ctx=ctx, at=base + capture.position, end=base + min(capture.position + most, end), header=capture.header,
            shortest=ETH_HLEN, longest=LONGEST, ifindex=1,
        )  # fmt: skip
        start = time.perf_counter_ns()
        try:
            # After an odd verdict there is more to run.
            while (result := self._native.batch("xdp_pcap", batch)) == ODD_VERDICT:
                total.add(batch["length"])
                session.verdict(batch["verdict"], batch["length"], batch["length"])
        except VmFault as fault:
            ran = sum(count for count, _bytes in batch.tallies())
            raise named(fault, total.packets + ran + 1) from fault
        outcome.ns += time.perf_counter_ns() - start
        tallies = batch.tallies()
        for verdict in range(TALLIES):
            count, length = tallies[verdict]
            if count:
                total.packets += count
                total.bytes += length
                session.verdict(verdict, 0, length, count)
        outcome.cut += batch["cut"]
        before, capture.position = capture.position, batch["at"] - base
        if result != ALL or capture.position == before:
            # One that a batch does not take, or the end.
            packet = next(iter(capture), None)
            if packet is None:
                return False
            session.packet(total.packets + 1, packet)
        if progress is not None:
            progress(capture.position, capture.size)
        return True
