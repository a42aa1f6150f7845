"""Probes through tracefs, as kernels before 4.17 have them: they work, and go, also those of killed processes."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from sandbox import Refused, in_namespace
from test_attach_kinds import hits, loaded

from bombus.errors import KernelError, NotSupported
from bombus.kernel.linux import perf, tracefs

pytestmark = pytest.mark.linux


def libc() -> Any:
    return ctypes.CDLL("libc.so.6")


def probes(kind: str, pid: int = 0) -> list[str]:
    """Names of the probes in tracefs that a process (0: this one) made."""
    text = (tracefs.root() / f"{kind}_events").read_text()
    return re.findall(rf"^[pr]\d*:(bombus_{pid or os.getpid()}_\d+/\w+) ", text, re.MULTILINE)


def needs(kind: str) -> None:
    if not (tracefs.root() / f"{kind}_events").exists():
        raise Refused(f"no {kind}s through tracefs")


def test_functions_of_a_library() -> None:
    def body() -> None:
        needs("uprobe")
        with loaded("up", "upret") as item:
            with item.programs["up"].attach("libc.so.6", "getppid", legacy=True, cookie=9) as link:
                assert len(probes("uprobe")) == 1 and link.type == "perf_event"
                libc().getppid()
            libc().getppid()
            assert hits(item, 34) == 1 and not probes("uprobe") and item.maps[".bss"][0].cookie == 9
            with item.programs["upret"].attach_uprobe("libc.so.6", "getppid", pid=0, legacy=True):
                libc().getppid()
            assert hits(item, 35) == 1 and not probes("uprobe")
            with pytest.raises(KernelError) as caught:
                item.programs["up"].attach_uprobe("/nowhere", offset=16, legacy=True)
            assert "Failed to find the given file" in str(caught.value)

    in_namespace(body, net=False)


@pytest.mark.parametrize("program, number", [("kp", 40), ("kret", 41)])
def test_functions_of_the_kernel(program: str, number: int) -> None:
    def body() -> None:
        needs("kprobe")
        with loaded(program) as item:
            with item.programs[program].attach(legacy=True):
                assert len(probes("kprobe")) == 1
                os.getppid()
            before = hits(item, number)
            os.getppid()
            assert before >= 1 and hits(item, number) == before and not probes("kprobe")
            with pytest.raises(KernelError) as caught:
                item.programs[program].attach_kprobe("no_such_function", legacy=True)
            assert "Invalid probed address or symbol" in str(caught.value) and not probes("kprobe")
            if program == "kp":
                with item.programs["kp"].attach_kprobe("__x64_sys_getppid", offset=0, cookie=3, legacy=True):
                    os.getppid()
                with pytest.raises(KernelError):  # in the middle of an instruction
                    item.programs["kp"].attach_kprobe("do_unlinkat", offset=1, legacy=True)

    in_namespace(body, net=False)


def test_kernels_without_the_perf_events_of_probes() -> None:
    def body() -> None:
        needs("uprobe")
        perf._pmu = lambda kind: None  # type: ignore[assignment]
        with loaded("up") as item, item.programs["up"].attach("libc.so.6", "getppid"):
            assert len(probes("uprobe")) == 1
            libc().getppid()
            assert hits(item, 34) == 1

    in_namespace(body, net=False)


def test_what_goes_without_being_closed() -> None:
    def body() -> None:
        needs("uprobe")
        with loaded("up") as item:
            item.programs["up"].attach("libc.so.6", "getppid", legacy=True)
            gc.collect()
            assert not probes("uprobe")

    in_namespace(body, net=False)


def child(left: socket.socket) -> None:
    """Makes a probe that nobody guards, says so, and waits to be killed."""
    os.environ["BOMBUS_GUARD"] = "off"
    try:
        with loaded("up") as item, item.programs["up"].attach("libc.so.6", "getppid", legacy=True):
            left.send(b"x")
            signal.pause()
    finally:
        left.send(b"failed")
        os._exit(1)


def test_what_killed_processes_leave_goes_with_the_next_probe() -> None:
    def body() -> None:
        needs("uprobe")
        children = []
        for _ in range(2):
            left, right = socket.socketpair()
            pid = os.fork()
            if pid == 0:
                child(left)
            assert right.recv(10) == b"x"
            children.append(pid)
        killed, living = children
        os.kill(killed, signal.SIGKILL)
        os.waitpid(killed, 0)
        assert len(probes("uprobe", killed)) == 1 == len(probes("uprobe", living))
        with loaded("up") as item, item.programs["up"].attach("libc.so.6", "getppid", legacy=True):
            assert not probes("uprobe", killed) and len(probes("uprobe", living)) == 1
        os.kill(living, signal.SIGKILL)
        os.waitpid(living, 0)
        tracefs.sweep("uprobe")
        assert not probes("uprobe", living)

    in_namespace(body, net=False)


@pytest.mark.parametrize("kind", ["uprobe", "kprobe"])
def test_probes_of_killed_processes_go_by_themselves(kind: str) -> None:
    """What the process's guard does: nobody makes another probe. The probe may still be in use for a moment."""

    def body() -> None:
        needs(kind)
        left, right = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            name, place = ("up", ("libc.so.6", "getppid")) if kind == "uprobe" else ("kp", ("do_unlinkat",))
            with loaded(name) as item, getattr(item.programs[name], f"attach_{kind}")(*place, legacy=True):
                left.send(b"x")
                signal.pause()
            os._exit(1)
        assert right.recv(10) == b"x" and len(probes(kind, pid)) == 1
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        end = time.monotonic() + 60
        while probes(kind, pid) and time.monotonic() < end:
            time.sleep(0.02)
        assert not probes(kind, pid)

    in_namespace(body, net=False)


def test_a_kernel_without_such_probes_says_so() -> None:
    if (tracefs.root() / "kprobe_events").exists():
        pytest.skip("this kernel has kprobes")
    with pytest.raises(NotSupported, match="CONFIG_KPROBES"):
        perf.kprobe("do_unlinkat", 0, ret=False, legacy=True)
    assert not Path("/sys/bus/event_source/devices/kprobe").exists()
