"""Arrays and per-CPU arrays. Linux 6.12 kernel/bpf/arraymap.c."""

from __future__ import annotations

import errno

from bombus import bpf
from bombus.bpf import s64, u32, u64
from bombus.runtime.maps.control import (
    shape_lock_at,
    shape_max_entries,
    shape_per_cpu,
    shape_slot_bytes,
    shape_stride,
    shape_user_size,
    shape_values,
)
from bombus.runtime.maps.table import F_LOCK, Walk, Word4, put_value

NOEXIST, EXIST = 1, 2
E2BIG, EEXIST, EINVAL = -errno.E2BIG, -errno.EEXIST, -errno.EINVAL


def index_of(key: u64) -> u64:
    return u64(bpf.at(key, Word4).value)


def value_of(base: u64, index: u64) -> u64:
    return base + shape_values(base) + index * shape_slot_bytes(base)


def seen(base: u64, key: u64) -> u64:
    index = index_of(key)
    return value_of(base, index) if index < shape_max_entries(base) else u64(0)


def lookup(base: u64, key: u64, cpu: u64) -> u64:
    place = seen(base, key)
    return place + cpu * shape_stride(base) if place != 0 and shape_per_cpu(base) != 0 else place


def refused(base: u64, key: u64, flags: u64) -> s64:
    if flags & u64(~F_LOCK) > EXIST:
        return s64(EINVAL)
    if index_of(key) >= shape_max_entries(base):
        return s64(E2BIG)
    if flags & NOEXIST != 0:
        return s64(EEXIST)
    return s64(EINVAL) if flags & F_LOCK != 0 and shape_lock_at(base) == 0 else s64(0)


def update(base: u64, key: u64, value: u64, flags: u64, cpu: u64) -> s64:
    result = refused(base, key, flags)
    if result == 0:
        put_value(base, lookup(base, key, cpu), value, flags)
    return result


def store(base: u64, key: u64, value: u64, flags: u64) -> s64:
    result = refused(base, key, flags)
    if result == 0:
        if shape_per_cpu(base) != 0:
            bpf.copy(seen(base, key), value, shape_user_size(base))
        else:
            put_value(base, seen(base, key), value, flags)
    return result


def each(base: u64, state: u64, cpu: u64) -> u64:
    """See `table.each`."""
    walk = bpf.at(state, Walk)
    index = walk.position
    if index >= shape_max_entries(base):
        return u64(0)
    walk.position = index + 1
    walk.index = u32(index)
    walk.key = state + 32
    place = value_of(base, index)
    return place + cpu * shape_stride(base) if shape_per_cpu(base) != 0 else place


def delete(base: u64, key: u64) -> s64:
    return s64(EINVAL)
