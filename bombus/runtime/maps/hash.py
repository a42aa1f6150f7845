"""Hash tables, plain and per CPU. Linux 6.12 kernel/bpf/hashtab.c."""

from __future__ import annotations

import errno

from bombus import bpf
from bombus.bpf import s64, u8, u32, u64
from bombus.runtime.maps.control import (
    Control,
    shape_lock_at,
    shape_max_entries,
    shape_per_cpu,
    shape_slot_bytes,
    shape_stride,
    shape_value_size,
)
from bombus.runtime.maps.table import (
    F_LOCK,
    FREE_NUMBER,
    Element,
    append,
    element,
    enter,
    find,
    give,
    hash_key,
    inherit,
    leave,
    put_value,
    take,
    value_of,
)

NOEXIST, EXIST = 1, 2
E2BIG, EEXIST, EINVAL, ENOENT = -errno.E2BIG, -errno.EEXIST, -errno.EINVAL, -errno.ENOENT


def pop(base: u64) -> u32:
    """A free element: the one that was given back last, or a new one."""
    control = bpf.at(base, Control)
    at = control.free
    if at != 0:
        control.free = bpf.at(element(base, at), Element).older
        return at
    at = control.made + 1
    control.made = at
    return at


def push(base: u64, at: u32) -> None:
    control = bpf.at(base, Control)
    one = bpf.at(element(base, at), Element)
    one.older = control.free
    one.number = u64(FREE_NUMBER)
    control.free = at


def lookup(base: u64, key: u64, cpu: u64) -> u64:
    at = find(base, key, hash_key(base, key))
    if at == 0:
        return u64(0)
    if shape_per_cpu(base) != 0:
        return value_of(base, at) + cpu * shape_stride(base)
    return value_of(base, at)


def seen(base: u64, key: u64) -> u64:
    """A look-up of user space: the values of all CPUs."""
    at = find(base, key, hash_key(base, key))
    return value_of(base, at) if at != 0 else u64(0)


def put(base: u64, key: u64, value: u64, flags: u64, cpu: u64, whole: u32) -> s64:
    how = flags & u64(~F_LOCK)
    if how > EXIST or (how != flags and shape_lock_at(base) == 0):
        return s64(EINVAL)
    hashed = hash_key(base, key)
    take(base)
    old = find(base, key, hashed)
    result = s64(0)
    if old != 0 and how == NOEXIST:
        result = s64(EEXIST)
    elif old == 0 and how == EXIST:
        result = s64(ENOENT)
    elif old == 0 and bpf.at(base, Control).count >= u32(shape_max_entries(base)):
        result = s64(E2BIG)
    elif old != 0 and how != flags:  # the only update in place
        put_value(base, value_of(base, old), value, flags)
    elif shape_per_cpu(base) != 0 and old != 0:
        if whole != 0:
            bpf.copy(value_of(base, old), value, shape_slot_bytes(base))
        else:
            bpf.copy(value_of(base, old) + cpu * shape_stride(base), value, shape_value_size(base))
    else:
        new = pop(base)
        place = value_of(base, new)
        if shape_per_cpu(base) == 0:
            put_value(base, place, value, u64(0))
        elif whole != 0:
            bpf.copy(place, value, shape_slot_bytes(base))
        else:
            # pcpu_init_value: the other CPUs of an element that a program makes start with zeros.
            bpf.fill(place, u8(0), shape_slot_bytes(base))
            bpf.copy(place + cpu * shape_stride(base), value, shape_value_size(base))
        enter(base, new, key, hashed)
        if old == 0:
            append(base, new)
        else:
            # The old value stays as it is: who holds it goes on seeing it.
            leave(base, old)
            inherit(base, old, new)
            push(base, old)
    give(base)
    return result


def update(base: u64, key: u64, value: u64, flags: u64, cpu: u64) -> s64:
    return put(base, key, value, flags, cpu, u32(0))


def store(base: u64, key: u64, value: u64, flags: u64) -> s64:
    return put(base, key, value, flags, u64(0), u32(1))


def drop(base: u64, at: u32) -> None:
    leave(base, at)
    inherit(base, at, u32(0))
    push(base, at)
