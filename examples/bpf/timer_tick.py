"""A timer that counts by itself."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Ref, Struct, Timer, helpers, map, s64, u32, u64, xdp

LICENSE = bpf.license("GPL")


class Clock(Struct):
    timer: Timer
    ticks: u64
    started: u64


CLOCK_MONOTONIC = 1
clocks = map.array(u32, Clock, max_entries=1)


def tick(_map: u64, key: Ref[u32], clock: Clock) -> s64:
    clock.ticks += 1
    return s64(0)


@xdp
def start(ctx: xdp.Context) -> xdp.Action:
    clock = clocks.lookup(0)
    if clock is None:
        return xdp.ABORTED
    if clock.started == 0:
        clock.started = u64(1)
        helpers.timer_init(clock.timer, clocks, CLOCK_MONOTONIC)
        helpers.timer_set_callback(clock.timer, tick)
        helpers.timer_start(clock.timer, 1 << 40, 0)
    return xdp.PASS
