"""Queues and stacks. Linux 6.12 kernel/bpf/queue_stack_maps.c.

A ring of max_entries values. `number` of the control struct is where the oldest lies, `count` how many there are.
"""

from __future__ import annotations

import errno

from bombus import bpf
from bombus.bpf import s64, u8, u32, u64
from bombus.runtime.maps.control import Control, shape_max_entries, shape_own_lists, shape_value_size, shape_values
from bombus.runtime.maps.table import give, take

NOEXIST, EXIST = 1, 2
E2BIG, EINVAL, ENOENT = -errno.E2BIG, -errno.EINVAL, -errno.ENOENT


def place(base: u64, number: u64) -> u64:
    """Of a value, counted from the oldest."""
    at = bpf.at(base, Control).number + number
    if at >= shape_max_entries(base):
        at = at - shape_max_entries(base)
    return base + shape_values(base) + at * shape_value_size(base)


def forget_oldest(base: u64) -> None:
    control = bpf.at(base, Control)
    at = control.number + 1
    control.number = at if at < shape_max_entries(base) else u64(0)
    control.count = control.count - 1


def push(base: u64, value: u64, flags: u64) -> s64:
    if flags & NOEXIST != 0 or flags > EXIST:
        return s64(EINVAL)
    take(base)
    control = bpf.at(base, Control)
    result = s64(0)
    if u64(control.count) >= shape_max_entries(base):
        if flags & EXIST != 0:
            forget_oldest(base)
        else:
            result = s64(E2BIG)
    if result == 0:
        bpf.copy(place(base, u64(control.count)), value, shape_value_size(base))
        control.count = control.count + 1
    give(base)
    return result


def get(base: u64, target: u64, goes: u32) -> s64:
    """The next value; zeros and -ENOENT when there is none."""
    take(base)
    control = bpf.at(base, Control)
    result = s64(0)
    if control.count == 0:
        bpf.fill(target, u8(0), shape_value_size(base))
        result = s64(ENOENT)
    elif shape_own_lists(base) != 0:  # a stack
        bpf.copy(target, place(base, u64(control.count - 1)), shape_value_size(base))
        if goes != 0:
            control.count = control.count - 1
    else:
        bpf.copy(target, place(base, u64(0)), shape_value_size(base))
        if goes != 0:
            forget_oldest(base)
    give(base)
    return result


def pop(base: u64, target: u64) -> s64:
    return get(base, target, u32(1))


def peek(base: u64, target: u64) -> s64:
    return get(base, target, u32(0))
