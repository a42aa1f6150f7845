"""Helpers: clocks."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        5, "ktime_get_ns", "4.1", "time", "u64", "",
        (), "RET_INTEGER",
        "Nanoseconds since boot, not counting suspend.",
    ),
    row(
        118, "jiffies64", "5.6", "time", "u64", "",
        (), "RET_INTEGER",
        "The kernel's tick counter.",
    ),
    row(
        125, "ktime_get_boot_ns", "5.8", "time", "u64", "",
        (), "RET_INTEGER",
        "Nanoseconds since boot, counting suspend.",
    ),
    row(
        160, "ktime_get_coarse_ns", "5.11", "time", "u64", "",
        (), "RET_INTEGER",
        "Nanoseconds since boot as of the last tick; cheap.",
    ),
    row(
        208, "ktime_get_tai_ns", "6.1", "time", "u64", "",
        (), "RET_INTEGER",
        "Nanoseconds of international atomic time.",
    ),
)  # fmt: skip
