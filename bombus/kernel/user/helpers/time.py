"""Helpers that read clocks."""

from __future__ import annotations

from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv


@helper("ktime_get_ns")
def ktime_get_ns(env: ProgEnv) -> int:
    return env.world.clock.monotonic()


@helper("ktime_get_boot_ns")
def ktime_get_boot_ns(env: ProgEnv) -> int:
    return env.world.clock.boottime()


@helper("ktime_get_coarse_ns")
def ktime_get_coarse_ns(env: ProgEnv) -> int:
    return env.world.clock.coarse()


@helper("ktime_get_tai_ns")
def ktime_get_tai_ns(env: ProgEnv) -> int:
    return env.world.clock.tai()


@helper("jiffies64")
def jiffies64(env: ProgEnv) -> int:
    return env.world.clock.jiffies()
