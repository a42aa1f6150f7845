"""What the user kernel's programs see beside their context: clock, CPUs, the current task, devices.

Everything is plain state that a test may set. `World.fixed()` is the same on every run.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(slots=True)
class Task:
    """A thread. Stacks: return addresses, innermost first; start_time: nanoseconds of the monotonic clock."""

    pid: int  # thread id, the kernel's task->pid
    tgid: int
    uid: int
    gid: int
    comm: bytes
    cgroup_id: int = 1
    parent: Task | None = None  # None: the first process
    start_time: int = 0
    exit_code: int = 0  # as wait(2) gives it: code << 8 | signal
    kernel_stack: tuple[int, ...] = ()
    user_stack: tuple[int, ...] = ()

    @classmethod
    def current(cls) -> Task:
        return cls(os.getpid(), os.getpid(), os.getuid(), os.getgid(), b"python3")


@dataclass(slots=True)
class NetDevice:
    ifindex: int
    name: str
    address: bytes = bytes(6)
    rx_queues: int = 1
    mtu: int = 65536
    peer: int = 0  # the other end of a veth pair: ifindex; the loopback is its own
    hooks: dict[str, Any] = field(default_factory=dict)  # what is attached: see kernel.user.devices


@dataclass(slots=True)
class Redirect:
    """What the last redirect helper asked for; the hook acts on it. Linux: struct bpf_redirect_info."""

    ifindex: int = 0
    flags: int = 0
    target: Any = None  # the entry of a devmap, cpumap or xskmap
    kind: str = ""  # "", "egress", "ingress", "peer", "neigh", "map"
    map: Any = None  # which one, for "map"


@dataclass(slots=True)
class World:
    """clock, random, task: see their types. task: the current one; tasks: others, beside those above it. cpu: the CPU
    that runs now. devices by ifindex (1 is the loopback).

    contexts: live contexts of programs by address. spare: buffers
    of finished runs, by kind of hook.
    """

    clock: Clock = field(default_factory=Clock)
    random: random.Random = field(default_factory=random.SystemRandom)
    task: Task = field(default_factory=Task.current)
    tasks: list[Task] = field(default_factory=list)
    cpu: int = 0
    devices: dict[int, NetDevice] = field(default_factory=lambda: {1: NetDevice(1, "lo")})
    contexts: dict[int, Any] = field(default_factory=dict)
    attached_to: tuple[int, int] | None = None  # (cgroup, attach type) of the running program; None in a test run
    redirect: Redirect = field(default_factory=Redirect)
    cookies_of: dict[int, int] = field(default_factory=dict)  # socket's address -> cookie
    sent: list[tuple[int, bool, bytes]] = field(default_factory=list)  # (ifindex, ingress, packet) of clones
    timers: dict[int, Any] = field(default_factory=dict)  # address of the bpf_timer -> helpers.timers.Timer
    cookie: int = 0  # of the link whose program runs: bpf_get_attach_cookie
    retval: int = 0  # of cgroup hooks: bpf_get_retval, bpf_set_retval
    spare: dict[str, list[Any]] = field(default_factory=dict)
    net: Any = None  # kernel.user.devices.Network
    cgroups: Any = None  # world.cgroups.CgroupTree
    sockets: Any = None  # kernel.user.sockets.Sockets

    @classmethod
    def fixed(cls, seed: int = 0, now: int = 1_000_000_000) -> World:
        """A world that answers the same on every run."""
        task = Task(1000, 1000, 1000, 1000, b"bombus")
        return cls(Clock(now), random.Random(seed), task)
