"""What the user kernel's programs see beside their context: clock, CPUs, the current task, devices.

Everything is plain state that a test may set. `World.fixed()` is the same on every run.
"""

from __future__ import annotations

import os
import time
from typing import Any, Protocol

_MONOTONIC_COARSE = 6  # Linux include/uapi/linux/time.h
HZ = 250  # Debian's CONFIG_HZ


class Clock:
    """Nanoseconds. `fixed`: the monotonic time that a stopped clock shows; None for the machine's clocks."""

    __slots__ = ("fixed", "step")

    def __init__(self, fixed: int | None = None, step: int = 0) -> None:
        self.fixed = fixed
        self.step = step  # how far a stopped clock moves at each reading

    def _read(self, real: int) -> int:
        if self.fixed is None:
            return time.clock_gettime_ns(real)
        self.fixed += self.step
        return self.fixed

    def monotonic(self) -> int:
        return self._read(time.CLOCK_MONOTONIC)

    def boottime(self) -> int:
        return self._read(time.CLOCK_BOOTTIME)

    def tai(self) -> int:
        return self._read(time.CLOCK_TAI)

    def coarse(self) -> int:
        return self._read(_MONOTONIC_COARSE)

    def jiffies(self) -> int:
        return self.monotonic() * HZ // 1_000_000_000


class Task:
    """A thread. pid: thread id, the kernel's task->pid. parent: None of the first process. start_time: nanoseconds of
    the monotonic clock. exit_code: as wait(2) gives it, code << 8 | signal. Stacks: return addresses, innermost first.
    """

    __slots__ = (
        "cgroup_id", "comm", "exit_code", "gid", "kernel_stack", "parent", "pid", "start_time", "tgid", "uid",
        "user_stack",
    )  # fmt: skip

    def __init__(
        self, pid: int, tgid: int, uid: int, gid: int, comm: bytes, cgroup_id: int = 1, parent: Task | None = None,
        start_time: int = 0, exit_code: int = 0, kernel_stack: tuple[int, ...] = (), user_stack: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        self.pid = pid
        self.tgid = tgid
        self.uid = uid
        self.gid = gid
        self.comm = comm
        self.cgroup_id = cgroup_id
        self.parent = parent
        self.start_time = start_time
        self.exit_code = exit_code
        self.kernel_stack = kernel_stack
        self.user_stack = user_stack

    @classmethod
    def current(cls) -> Task:
        return cls(os.getpid(), os.getpid(), os.getuid(), os.getgid(), b"python3")


class NetDevice:
    """peer: the other end of a veth pair, by ifindex; the loopback is its own. hooks: what is attached, see
    `kernel.user.devices`."""

    __slots__ = ("address", "hooks", "ifindex", "mtu", "name", "peer", "rx_queues")

    def __init__(
        self, ifindex: int, name: str, address: bytes = bytes(6), rx_queues: int = 1, mtu: int = 65536, peer: int = 0
    ) -> None:
        self.ifindex = ifindex
        self.name = name
        self.address = address
        self.rx_queues = rx_queues
        self.mtu = mtu
        self.peer = peer
        self.hooks: dict[str, Any] = {}


class Redirect:
    """What the last redirect helper asked for; the hook acts on it. Linux: struct bpf_redirect_info.

    target: the entry of a devmap, cpumap or xskmap. kind: "", "egress", "ingress", "peer", "neigh", "map" (`map` says
    which one).
    """

    __slots__ = ("flags", "ifindex", "kind", "map", "target")

    def __init__(self, ifindex: int = 0, flags: int = 0, target: Any = None, kind: str = "", map: Any = None) -> None:
        self.ifindex = ifindex
        self.flags = flags
        self.target = target
        self.kind = kind
        self.map = map


class World:
    """clock, random, task: see their types. task: the current one; tasks: others, beside those above it. cpu: the CPU
    that runs now. devices by ifindex (1 is the loopback).

    contexts: live contexts of programs by address. attached_to: (cgroup, attach type) of the running program, None in a
    test run. spare: buffers of finished runs, by kind of hook. cookies_of: by the socket's address. cookie: of the link
    whose program runs, for bpf_get_attach_cookie. sent: (ifindex, ingress, packet) of clones. timers:
    helpers.timers.Timer by the bpf_timer's address. retval: of cgroup hooks, for bpf_get_retval and bpf_set_retval.
    net: kernel.user.devices.Network. cgroups: world.cgroups.CgroupTree. sockets: kernel.user.sockets.Sockets.
    netns: kernel.user.steering.Netns. unix_names: UNIX sockets by name; abstract names with the type of socket.
    """

    __slots__ = (
        "attached_to", "cgroups", "clock", "contexts", "cookie", "cookies_of", "cpu", "devices", "net", "netns",
        "random", "redirect", "retval", "sent", "sockets", "spare", "task", "tasks", "timers", "unix_names",
    )  # fmt: skip

    def __init__(self, clock: Clock | None = None, random: Random | None = None, task: Task | None = None) -> None:
        self.clock = clock or Clock()
        self.random = random or SystemRandom()
        self.task = task or Task.current()
        self.tasks: list[Task] = []
        self.cpu = 0
        self.devices: dict[int, NetDevice] = {1: NetDevice(1, "lo")}
        self.contexts: dict[int, Any] = {}
        self.attached_to: tuple[int, int] | None = None
        self.redirect = Redirect()
        self.cookies_of: dict[int, int] = {}
        self.sent: list[tuple[int, bool, bytes]] = []
        self.timers: dict[int, Any] = {}
        self.cookie = 0
        self.retval = 0
        self.spare: dict[str, list[Any]] = {}
        self.net: Any = None
        self.cgroups: Any = None
        self.sockets: Any = None
        self.netns: Any = None
        self.unix_names: dict[tuple[int, bytes], Any] = {}

    @classmethod
    def fixed(cls, seed: int = 0, now: int = 1_000_000_000) -> World:
        """A world that answers the same on every run."""
        import random

        task = Task(1000, 1000, 1000, 1000, b"bombus")
        return cls(Clock(now), random.Random(seed), task)


class Random(Protocol):
    """What programs' random numbers come from: a `random.Random`, or the system's."""

    def getrandbits(self, bits: int, /) -> int: ...


class SystemRandom:
    """The system's random numbers, without the module for all other kinds of them."""

    def getrandbits(self, bits: int, /) -> int:
        return int.from_bytes(os.urandom((bits + 7) // 8), "little") & ((1 << bits) - 1)
