"""Plain Python is plain: breakpoints, coverage and exceptions work in programs."""

from __future__ import annotations

import bdb
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from packets import packets
from readings import declared

from bombus.bpf import Struct, map, u32, u64, use, xdp
from bombus.compiler.importing import import_file
from bombus.errors import UsageError, VmFault
from bombus.plain import PlainMachine

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "bpf"
counts = map.array(u32, u64, max_entries=2)


class Word(Struct):
    value: u32


@xdp
def divide(ctx: xdp.Context) -> xdp.Action:
    word = ctx.parse(Word)
    if word is None:
        return xdp.DROP
    slot = counts.lookup(word.value)
    if slot is not None:
        slot.value += 1
    return xdp.PASS


@xdp
def breaks(ctx: xdp.Context) -> xdp.Action:
    raise RuntimeError("a bug in a program")


def test_lines_are_seen() -> None:
    seen: set[int] = set()
    code = divide.function.__code__

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code is code:
            seen.add(frame.f_lineno - code.co_firstlineno)
        return trace

    with use(PlainMachine()):
        old = sys.gettrace()
        sys.settrace(trace)
        try:
            divide.run(bytes(20))
        finally:
            sys.settrace(old)
    assert {2, 3, 5, 6, 7, 8} <= seen
    assert 4 not in seen  # return xdp.DROP


def test_breakpoints_stop_with_typed_values() -> None:
    found: list[Any] = []
    code = divide.function.__code__

    class Debugger(bdb.Bdb):
        def user_line(self, frame: FrameType) -> None:
            if frame.f_code is code and "word" in frame.f_locals and not found:
                found.append(frame.f_locals["word"].value)

    debugger = Debugger()
    debugger.set_break(__file__, code.co_firstlineno + 5)
    old = sys.gettrace()
    with use(PlainMachine()):
        try:
            debugger.runcall(divide.run, b"\x07\0\0\0" + bytes(16))
        finally:
            sys.settrace(old)
    assert found == [7]
    assert isinstance(found[0], u32)


def test_exceptions_come_through() -> None:
    with use(PlainMachine()), pytest.raises(RuntimeError, match="a bug in a program"):
        breaks.run(bytes(20))


def test_outcome_has_the_programs_type() -> None:
    with use(PlainMachine()):
        outcome = divide.run(bytes(20))
    assert outcome.verdict == xdp.PASS
    assert isinstance(outcome.verdict, xdp.Action)
    assert outcome.data == bytes(20)


def test_maps_of_a_machine() -> None:
    machine = PlainMachine()
    with use(machine):
        for _ in range(3):
            divide.run(b"\x01\0\0\0" + bytes(16))
    assert dict(machine.map(counts)) == {0: 0, 1: 3}
    assert PlainMachine().map(counts)[1] == 0  # each machine has its own


def test_helpers_want_a_program() -> None:
    with use(PlainMachine()), pytest.raises(UsageError, match="inside of a program"):
        counts.lookup(0)


def test_wild_views_are_faults() -> None:
    machine = PlainMachine()
    from bombus.bpf.machine import pointed

    with use(machine), pytest.raises(VmFault):
        pointed(Word, 0x1234)


def test_too_short_frames_and_wrong_arguments() -> None:
    with use(PlainMachine()):
        with pytest.raises(UsageError, match="a frame has at least 14 bytes"):
            divide.run(bytes(5))
        with pytest.raises(UsageError, match="runs on a packet or on a context"):
            divide.run()


def test_contexts_of_tracing_programs() -> None:
    module = import_file(str(EXAMPLES / "syscount.py"))
    machine = PlainMachine()
    with use(machine):
        for number in (1, 2, 1):
            assert module.enter.run(ctx=module.Enter(number=number)).verdict == 0
    calls = machine.map(declared(module)["calls"])
    totals = sorted((key >> 32, sum(values)) for key, values in calls.items())
    assert totals == [(1, 2), (2, 1)]


def test_ring_buffer_records() -> None:
    module = import_file(str(EXAMPLES / "xdp_sampler.py"))
    machine = PlainMachine()
    records: list[bytes] = []
    with use(machine):
        for packet in packets()[:9]:
            module.sample.run(packet)
    from bombus.kernel.handles import RingBuffer

    with RingBuffer(machine.map(module.samples)) as ring:
        records = list(ring.poll(0))
    assert len(records) == 2
    numbers = [module.Sample._at(memoryview(bytearray(record))).number for record in records]
    assert numbers == [4, 8]
