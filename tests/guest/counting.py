"""In the guest: events counted while a program runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bombus.errors import NotSupported
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object
from bombus.profile.counters import MOST, Counters
from bombus.spec.metrics import METRIC, METRICS

DATA = Path("/tests/data")
SOFT = [METRIC["cpu_clock"], METRIC["page_faults"]]


def test_runs_and_their_time_are_counted() -> None:
    with load(open_object(DATA / "attach.bpf.o"), LinuxKernel(), programs=["asks"], data={"pid": 0}) as item:
        program = item.programs["asks"]
        with Counters(program, SOFT) as counters:
            assert counters.runs() == 0 and [r.counter for r in counters.readings()] == [0, 0]
            before = time.monotonic_ns()
            for _ in range(20):
                program.test_run(bytes(64))
            passed = time.monotonic_ns() - before
            assert counters.runs() == 20 and not counters.skipped
            clock, faults = counters.readings()
            # Each run took some time of its CPU, all of them no more than passed here.
            assert 0 < clock.counter < passed and 0 < clock.running <= clock.enabled < passed
            assert faults.counter == 0 < faults.enabled
            program.test_run(bytes(64), repeat=1000)
            assert counters.runs() == 1020
        program.test_run(bytes(64))  # nothing is attached any more
        with Counters(program, [METRIC["cpu_clock"]] * MOST) as counters:
            program.test_run(bytes(64))
            assert all(reading.counter > 0 for reading in counters.readings())


def test_what_the_machine_cannot_count() -> None:
    with load(open_object(DATA / "attach.bpf.o"), LinuxKernel(), programs=["asks"], data={"pid": 0}) as item:
        for metric in METRICS:
            if metric.hardware:
                with pytest.raises(NotSupported) as caught:
                    Counters(item.programs["asks"], [metric])
                assert metric.name in str(caught.value)
