"""Programs at functions, tracepoints and security hooks: the same order, arguments and results on both kernels.

Linux is asked where it has trampolines (the guest's test runs this there, too).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sandbox import in_namespace, with_trampolines

from bombus.errors import KernelError, NotSupported
from bombus.kernel.handles import Map, Program
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.world import world_of
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object

pytestmark = pytest.mark.linux
OBJECT = open_object(Path(__file__).parent / "data" / "trampolines.bpf.o")
XDP_PASS = bytes.fromhex("b7000000020000009500000000000000")
Rows = list[list[int]]


def rows(item: Loaded) -> Rows:
    """What programs saw since the last time; addresses are not told."""
    bss = item.bss
    found = []
    for row in list(bss.rows)[: int(bss.count)]:
        args = [value if value < 1 << 40 or index == 6 else -1 for index, value in enumerate(row.args)]
        found.append([int(row.who), *args, int(row.ret)])
    bss.count = 0
    return found


def user(engine: str = "fast") -> UserKernel:
    linux = LinuxKernel()
    made = UserKernel(f"{linux.version.major}.{linux.version.minor}", btf=linux.vmlinux_btf(), engine=engine)
    world_of(made).task.tgid = os.getpid()
    return made


def opened(kernel: Any, *names: str) -> Loaded:
    return load(OBJECT, kernel, programs=list(names), data={"pid": os.getpid()})


def functions(kernel: Any) -> list[Any]:
    log: list[Any] = []
    names = ["fentry_bpf_fentry_test1", "fexit_bpf_fentry_test1", "fentry_bpf_fentry_test6", "fexit_bpf_fentry_test6",
             "again", "nothing"]  # fmt: skip
    with opened(kernel, *names) as item, ExitStack() as stack:
        first = item.programs[names[0]]
        log.append(["nothing attached", first.test_run().retval, rows(item)])
        for number, name in enumerate(names):
            stack.enter_context(item.programs[name].attach_trace(cookie=number))
        for name in (names[0], names[1]):
            log.append(["run", item.programs[name].test_run().retval, rows(item)])
        try:
            first.attach_trace()
        except KernelError as error:
            log.append(["twice", error.errno])
    return log


def results(kernel: Any) -> list[Any]:
    log: list[Any] = []
    names = ["fentry_bpf_modify_return_test", "instead", "fexit_bpf_modify_return_test"]
    with opened(kernel, *names) as item, ExitStack() as stack:
        program = item.programs["instead"]
        log.append(["alone", program.test_run().retval])
        for name in names:
            stack.enter_context(item.programs[name].attach())
        for answer in (0, 1, -22):
            item.bss.answer = answer
            log.append([answer, program.test_run().retval, rows(item)])
        stack.close()
        log.append(["detached", program.test_run().retval, rows(item)])
    return log


def points(kernel: Any) -> list[Any]:
    """Every test run reaches bpf_test_finish."""
    log: list[Any] = []
    with opened(kernel, "raw", "typed") as item, Program.load(kernel, "xdp", XDP_PASS) as xdp:
        with item.programs["raw"].attach(), item.programs["typed"].attach():
            xdp.test_run(bytes(64))
            log.append(rows(item))
            try:
                xdp.test_run(bytes(64), data_out=10)
            except KernelError as error:
                log.append(["short", error.errno])
            log.append(rows(item))
        xdp.test_run(bytes(64))
        log.append(rows(item))
        try:
            item.programs["raw"].attach_raw_tracepoint("no_such_point")
        except KernelError as error:
            log.append(["none", error.errno])
    return log


def security(kernel: Any) -> list[Any]:
    log: list[Any] = []
    with opened(kernel, "guard") as item:
        with item.programs["guard"].attach() as link:
            log.append([link.type, link.info().prog_id == item.programs["guard"].id])
            for denied in (0, 99):  # BPF_MAP_CREATE
                item.data.denied = denied
                try:
                    Map.create(kernel, "array", 4, 4, 1).close()
                    log.append(["made", denied])
                except KernelError as error:
                    log.append(["refused", denied, error.errno])
            log.append(rows(item))
            item.data.denied = 0
        Map.create(kernel, "array", 4, 4, 1).close()
        log.append(rows(item))
    with opened(kernel, "sockets") as item, item.programs["sockets"].attach():
        item.data.denied = socket.SOCK_DGRAM
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            make = kernel.socket if isinstance(kernel, UserKernel) else socket.socket
            try:
                make(socket.AF_INET, kind).close()
                log.append("made")
            except OSError as error:
                log.append(["refused", error.errno])
        log.append(rows(item))
    return log


def addresses(kernel: Any) -> list[Any]:
    log: list[Any] = []
    make = kernel.socket if isinstance(kernel, UserKernel) else socket.socket
    with opened(kernel, "binds", "connects") as item, ExitStack() as stack:
        for name in ("binds", "connects"):
            stack.enter_context(item.programs[name].attach())
        item.data.denied = socket.htons(41234)
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            for call in ("bind", "connect"):
                for port in (41234, 41235):
                    with make(family, socket.SOCK_DGRAM) as one:
                        try:
                            getattr(one, call)((host, port))
                            log.append([call, host, port])
                        except OSError as error:
                            log.append(["refused", call, host, port, error.errno])
        log.append(rows(item))
    return log


SCENARIOS: dict[str, Callable[[Any], list[Any]]] = {
    "functions": functions, "results": results, "points": points, "security": security,
    "addresses": addresses,
}  # fmt: skip


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_both_kernels_see_the_same(name: str) -> None:
    def body() -> dict[str, Any]:
        return {"user": SCENARIOS[name](user()), "linux": with_trampolines(SCENARIOS[name])}

    found = in_namespace(body)
    assert found["user"] == found["linux"], found


@pytest.mark.parametrize("engine", ["fast", "reference", "native"])
def test_what_the_user_kernel_does_by_itself(engine: str) -> None:
    if engine == "native":
        pytest.importorskip("llvmlite", reason="code is made by LLVM")
    kernel = user(engine)
    found = functions(kernel)
    assert found[0] == ["nothing attached", 0, []] and found[-1] == ["twice", 16]
    (_, retval, seen) = found[1]
    assert retval == 0 and [row[0] for row in seen] == [7, 1, 2, 3, 4, 8]
    assert seen[3][1:7] == [16, 17, 18, 19, 20, 21] and seen[4][8] == 111
    # The first function returns 4; the second, which runs each time, 1 + 3 + 3 + 4 + 5 + 6 + 7.
    assert [row[1] for row in results(kernel)] == [2 << 16 | 33, 2 << 16 | 33, 1 << 16 | 30, 1 << 16 | 7, 2 << 16 | 33]
    assert security(kernel)[1] == ["refused", 0, 13]


def test_tracepoints_that_a_test_reaches() -> None:
    kernel = user()
    with opened(kernel, "raw") as item, item.programs["raw"].attach_raw_tracepoint("sched_switch"):
        assert kernel.trace("sched_switch", 1, 2, 3) == 1 and kernel.trace("sys_enter", 1) == 0
        assert [row[0] for row in rows(item)] == [10]


def test_functions_that_are_never_called() -> None:
    kernel = user()
    attach = open_object(Path(__file__).parent / "data" / "attach.bpf.o")
    with load(attach, kernel, programs=["fent"], data={"pid": 1}) as item, pytest.raises(NotSupported) as caught:
        item.programs["fent"].attach()
    assert "the user kernel calls no such function" in str(caught.value)


def test_addresses_that_are_forbidden() -> None:
    found = addresses(user())
    refused = [row[1:4] for row in found[:-1] if row[0] == "refused"]
    assert refused == [[call, host, 41234] for host in ("127.0.0.1", "::1") for call in ("bind", "connect")]
    assert [row[:4] for row in found[-1][:2]] == [[14, 2, socket.htons(41234), 16], [14, 2, socket.htons(41235), 16]]
