"""Readers, tracing sessions and sampling on the kernel of a guest (tests/guest); no numpy and no commands there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from emitters import Emitter, event_bytes, event_layout

from bombus.kernel.handles import Map, PerfBuffer, RingBuffer, UserRing
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object
from bombus.profile import Filter, Sampler
from bombus.profile.folded import write_folded
from bombus.profile.pprof import write_pprof
from bombus.symbols import Symbols
from bombus.trace import Session
from bombus.trace.report import all_histograms
from bombus.trace.session import pid_settings
from bombus.trace.stacks import stacks_of

HERE = Path(__file__).parent


def data_file(name: str) -> str:
    for place in (HERE / "data" / name, HERE / "events" / name, HERE / name):
        if place.exists():
            return str(place)
    raise AssertionError(f"no {name} beside {HERE}")


def test_ring_in_guest(linux_kernel: LinuxKernel) -> None:
    with Map.create(linux_kernel, "ringbuf", 0, 0, 4096) as item:
        emitter = Emitter(linux_kernel, item)
        with RingBuffer(item, event_layout()) as reader:
            emitter.send(event_bytes(3), 200)
            got = reader.records()
            assert [event.number for event in got] == [3] * 127 and emitter.failed == 73


def test_perf_buffer_in_guest(linux_kernel: LinuxKernel) -> None:
    with Map.create(linux_kernel, "perf_event_array", 4, 4, 64) as item:
        emitter = Emitter(linux_kernel, item)
        with PerfBuffer(item, event_layout(), pages=1) as reader:
            emitter.send(event_bytes(4), 300)
            got = len(reader.records())
            assert 0 < got < 300 and reader.lost == 300 - got == emitter.failed


def test_user_ring_in_guest(linux_kernel: LinuxKernel) -> None:
    with Map.create(linux_kernel, "user_ringbuf", 0, 0, 4096) as item:
        ring = UserRing(item)
        for _ in range(10):
            ring.send(b"x" * 8)
        assert ring.room == 4096 - 160


def child_that_calls() -> int:
    pid = os.fork()
    if pid == 0:
        end = time.monotonic() + 600
        while time.monotonic() < end:
            os.getppid()
            os.stat("/")
        os._exit(0)
    return pid


def test_session_in_guest(linux_kernel: LinuxKernel) -> None:
    obj = open_object(data_file("calls.bpf.o"))
    pid = child_that_calls()
    try:
        with load(obj, linux_kernel, data=pid_settings(obj, [pid])) as loaded, Session(loaded) as session:
            links = loaded.attach()
            time.sleep(1)
            events = session.events()
            for link in links.values():
                link.close()
            assert events and all(event.type is not None and event.type.name == "struct event" for event in events)
            assert sum(loaded.maps["calls"].values()) > 0 and all_histograms(loaded)
            stacks = stacks_of(loaded)
            assert any(frame.module == "[kernel]" and frame.known for stack in stacks for frame in stack.frames)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_sampling_in_guest(linux_kernel: LinuxKernel) -> None:
    pid = child_that_calls()
    symbols = Symbols()  # reading them takes most of the time here
    try:
        cases = (("", True), ("ip > 0, period >= 1, mem_op == 0 || mem_op == na", True), ("time == 0", False))
        for text, some in cases:
            made = Filter.parse(text) if text else None
            with Sampler(
                linux_kernel, pid=pid, frequency=200, filter=made, event="cpu-clock", symbols=symbols
            ) as sampler:
                sampler.start()
                time.sleep(0.7)
                sampler.stop()
                profile = sampler.result()
            assert bool(profile.samples) == some and profile.samples + profile.filtered > 5, text
            if some:
                assert any(stack.kernel for stack in profile.stacks) and write_folded(profile.paths())
                assert write_pprof(profile)[:2] == b"\x1f\x8b"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_printk_rows_in_guest(linux_kernel: LinuxKernel) -> None:
    obj = open_object(data_file("calls.bpf.o"))
    with load(obj, linux_kernel, data=pid_settings(obj, [os.getpid()])) as loaded:
        linux_kernel.printk_rows()
        with loaded.attach()["enter"]:
            os.getpid()
        rows = linux_kernel.printk_rows()
        if not rows:
            pytest.skip("Python keeps its process id: no call")
        assert rows[0].text == f"getpid by {os.getpid()}" and rows[0].pid == os.getpid() and rows[0].time > 0
