"""Sysctls read and written by a process of a cgroup: the same programs and the same calls on both kernels."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from test_parity import LinuxSockets, UserSockets, attempt, both_sockets, linux_sockets

from bombus.errors import KernelError
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object

pytestmark = pytest.mark.linux
OBJECT = open_object(Path(__file__).parent / "data" / "sysctls.bpf.o")
CLONE_NEWUTS = 0x0400_0000
Side = LinuxSockets | UserSockets


class File:
    """A file below /proc/sys, as the user kernel's."""

    def __init__(self, name: str) -> None:
        self.fd = os.open(f"/proc/sys/{name}", os.O_RDWR)

    @property
    def pos(self) -> int:
        return os.lseek(self.fd, 0, os.SEEK_CUR)

    @pos.setter
    def pos(self, to: int) -> None:
        os.lseek(self.fd, to, os.SEEK_SET)

    def read(self, size: int = 4096) -> bytes:
        return os.read(self.fd, size)

    def write(self, data: bytes) -> int:
        return os.write(self.fd, data)


def opened(side: Side, name: str) -> Any:
    if isinstance(side, UserSockets):
        return side.kernel.sysctl(name, cgroup=side.path)
    return File(name)


def own_names(side: Side) -> None:
    """Host names of our own, which are the same on both sides."""
    if isinstance(side, LinuxSockets):
        assert ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUTS) == 0
    opened(side, "kernel/hostname").write(b"bombus\n")
    opened(side, "net/ipv4/ip_forward").write(b"0")
    opened(side, "net/ipv4/tcp_rmem").write(b"4096 131072 6291456")


def rows(item: Loaded) -> list[str]:
    raw = item.maps["rows"].raw
    return [(raw.lookup(at.to_bytes(4, "little")) or b"").hex() for at in range(int(item.bss.used))]


NAMES = ["net/ipv4/ip_forward", "net/ipv4/ip_default_ttl", "net/ipv4/tcp_rmem", "net/core/somaxconn", "kernel/hostname"]
WRITES = [
    b"1", b"1\n", b" 7 \n", b"", b"\n", b"x", b"5x", b"5 x", b"-3", b"0x10", b"010", b"300", b"4097 200000 7000000\n",
    b"1\t2", b"99999999999", b"9" * 30, b"name.example\n", b"a\0b", b"1\n2\n", b"n" * 80, b"09", b"-", b"0x",
]  # fmt: skip


def steps(log: list[Any], side: Side, name: str) -> None:
    """Reads and writes of one sysctl, whole and in parts."""
    file = opened(side, name)
    before = file.read()
    log.append([f"{name} begins", before.hex()])
    for data in WRITES:
        file.pos = 0
        attempt(log, f"{name} write {data!r}", lambda d=data: file.write(d))
        log.append(["pos", file.pos])
        file.pos = 0
        attempt(log, "read", lambda: file.read().hex())
    file.pos = 0
    attempt(log, "restore", lambda: file.write(before))
    for size in (1, 3, 4096, 4096):
        attempt(log, f"read {size}", lambda n=size: file.read(n).hex())
        log.append(["pos", file.pos])
    for pos in (0, 1, 3, 70):
        file.pos = pos
        attempt(log, f"read at {pos}", lambda: file.read().hex())
        file.pos = pos
        attempt(log, f"write at {pos}", lambda: file.write(b"12"))
        log.append(["pos", file.pos])
    file.pos = 0
    attempt(log, "restore", lambda: file.write(before))


@pytest.mark.parametrize("name", NAMES)
def test_sysctls_as_such(linux_kernel: LinuxKernel, name: str) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        own_names(side)
        steps(log, side, name)
        return log

    both_sockets(scenario)


# What a program does (1: sets a value, 2: denies), the value, where it moves the position, the result that it sets.
CASES = (
    (1, b"3", -1, 0), (1, b"12\n", -1, 0), (1, b"other", -1, 0), (1, b"5000 6000 7000", -1, 0), (2, b"", -1, 0),
    (2, b"", -1, -17), (0, b"", 0, 0), (0, b"", 2, 0), (0, b"", 100, 0), (0, b"", -1, -22), (1, b"4", 0, 0),
)  # fmt: skip
POSITIVE = ((0, b"", -1, 5),)


def with_programs(name: str, cases: Sequence[tuple[int, bytes, int, int]]) -> Callable[[Any], list[Any]]:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        own_names(side)
        with load(OBJECT, side.kernel) as item, ExitStack() as stack:
            for program in ("watch", "second"):
                stack.enter_context(item.programs[program].attach_cgroup(side.path))
            bss, data = item.bss, item.data
            steps(log, side, name)
            for action, text, move, retval in cases:
                bss.action, bss.length, bss.retval, data.move = action, len(text), retval, move
                bss.text = text.ljust(16, b"\0")
                file = opened(side, name)
                what = f"{action} {text!r} {move} {retval}"
                for pos in (0, 3):
                    file.pos = pos
                    attempt(log, f"{what} write at {pos}", lambda f=file: f.write(b"9\n"))
                    log.append(["pos", file.pos])
                    if retval > 0:
                        continue  # a read answers so many bytes, which nobody wrote
                    file.pos = pos
                    attempt(log, f"{what} read at {pos}", lambda f=file: f.read().hex())
                    log.append(["pos", file.pos])
                    file.pos = 0
                    attempt(log, f"{what} nothing", lambda f=file: f.write(b""))
            log.append(["rows", rows(item)])
        file = opened(side, name)
        attempt(log, "after", lambda: file.read().hex())
        return log

    return scenario


@pytest.mark.parametrize("name", NAMES)
def test_programs_at_sysctls(linux_kernel: LinuxKernel, name: str) -> None:
    both_sockets(with_programs(name, CASES))


@pytest.mark.parametrize("name", NAMES)
def test_results_above_zero(linux_kernel: LinuxKernel, name: str) -> None:
    scenario = with_programs(name, POSITIVE)
    if any(row[0].startswith("0 b'' -1 5 write") and row[1] == "errno 1" for row in linux_sockets(scenario)):
        pytest.skip("this kernel answers EPERM where a program sets a result above zero")
    both_sockets(scenario)


def test_what_the_user_kernel_has_not() -> None:
    kernel = UserKernel()
    with pytest.raises(KernelError, match="no sysctl kernel/none"):
        kernel.sysctl("kernel/none")
    assert kernel.sysctl("net.ipv4.ip_forward").read() == b"0\n"
