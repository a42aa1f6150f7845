"""bpf_timer. Linux 6.12 kernel/bpf/helpers.c bpf_timer_*. Timers run when the kernel is told so: `run_timers`."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv
from bombus.kernel.user.world import world_of

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.base import Map

_CLOCKS: Final = (0, 1, 7)  # CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME
_ABS, _CPU_PIN = 1, 2


@dataclass(slots=True)
class Timer:
    """address: of the bpf_timer in the map's value; due: monotonic ns, None while not started."""

    address: int
    item: Map
    env: ProgEnv | None = None
    function: int = 0
    due: int | None = None


def _find(env: ProgEnv, address: int) -> Timer | None:
    env.memory.load(address, 8)
    timer: Timer | None = env.world.timers.get(address)
    return timer


@helper("timer_init")
def timer_init(env: ProgEnv, address: int, handle: int, flags: int) -> int:
    item = env.map(handle)
    if flags & ~0xF or flags & 0xF not in _CLOCKS:
        return -errno.EINVAL
    if _find(env, address) is not None:
        return -errno.EBUSY
    if not item.user_refs:
        return -errno.EPERM
    env.world.timers[address] = Timer(address, item)
    if env.kernel.on_fields_freed is None:
        env.kernel.on_fields_freed = _forget
    return 0


def _forget(item: Map, address: int) -> None:
    """An element goes away: its timer is cancelled and may be set up anew in the next one."""
    timers = world_of(item.kernel).timers
    for at in [at for at in timers if address <= at < address + item.value_size]:
        del timers[at]


@helper("timer_set_callback")
def timer_set_callback(env: ProgEnv, address: int, function: int) -> int:
    timer = _find(env, address)
    if timer is None:
        return -errno.EINVAL
    if not timer.item.user_refs:
        return -errno.EPERM
    timer.env, timer.function = env, function
    return 0


@helper("timer_start")
def timer_start(env: ProgEnv, address: int, nanoseconds: int, flags: int) -> int:
    if flags & ~(_ABS | _CPU_PIN):
        return -errno.EINVAL
    timer = _find(env, address)
    if timer is None or timer.env is None:
        return -errno.EINVAL
    timer.due = nanoseconds if flags & _ABS else env.world.clock.monotonic() + nanoseconds
    return 0


@helper("timer_cancel")
def timer_cancel(env: ProgEnv, address: int) -> int:
    """1 when the timer was waiting, 0 when not."""
    timer = _find(env, address)
    if timer is None:
        return -errno.EINVAL
    was = timer.due is not None
    timer.due = None
    timer.env = None
    return int(was)


def run_timers(kernel: UserKernel, now: int | None = None) -> int:
    """Run the callbacks that are due (at `now`, monotonic ns; None: by the world's clock). Returns how many ran."""
    world = world_of(kernel)
    moment = world.clock.monotonic() if now is None else now
    due = sorted((t for t in world.timers.values() if t.due is not None and t.due <= moment), key=lambda t: t.due or 0)
    for timer in due:
        timer.due = None
        if timer.env is not None:
            _fire(kernel, timer)
    return len(due)


def _fire(kernel: UserKernel, timer: Timer) -> None:
    """The callback gets (map, address of the key, address of the value)."""
    env = timer.env
    assert env is not None
    for name, address in timer.item.elements(env.world.cpu):
        if address <= timer.address < address + timer.item.value_size:
            key = kernel.memory.allocate(max(len(name), 1), name="the key", kind="mem", writable=False)
            key.view[: len(name)] = name
            try:
                env.call(timer.function, timer.item.handle, key.start, address)
            finally:
                kernel.memory.remove(key)
            return
