"""Helpers: timers."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        169, "timer_init", "5.15", "timer", "long", "struct bpf_timer *timer, struct bpf_map *map, u64 flags",
        ("ARG_PTR_TO_TIMER", "ARG_CONST_MAP_PTR", "ARG_ANYTHING"), "RET_INTEGER",
        "Prepares the timer inside a map value.",
        gpl_only=True,
    ),
    row(
        170, "timer_set_callback", "5.15", "timer", "long", "struct bpf_timer *timer, void *callback_fn",
        ("ARG_PTR_TO_TIMER", "ARG_PTR_TO_FUNC"), "RET_INTEGER",
        "Chooses the function that a timer calls.",
        gpl_only=True,
    ),
    row(
        171, "timer_start", "5.15", "timer", "long", "struct bpf_timer *timer, u64 nsecs, u64 flags",
        ("ARG_PTR_TO_TIMER", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Starts a timer.",
        gpl_only=True,
    ),
    row(
        172, "timer_cancel", "5.15", "timer", "long", "struct bpf_timer *timer",
        ("ARG_PTR_TO_TIMER",), "RET_INTEGER",
        "Stops a timer and waits for its function to end.",
        gpl_only=True,
    ),
)  # fmt: skip
