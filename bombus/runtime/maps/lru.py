"""Hash tables that drop old elements when they are full. Behaviour: Linux 6.12.117 kernel/bpf/bpf_lru_list.c.

The lists are those of bombus.kernel.user.maps.lrulist, which explains them: here they are linked by numbers of
elements, and 0 stands for a list's head.
"""

from __future__ import annotations

import errno

from bombus import bpf
from bombus.bpf import Struct, s64, u8, u32, u64
from bombus.runtime.maps.control import (
    Control,
    shape_cpus,
    shape_lists,
    shape_own_lists,
    shape_per_cpu,
    shape_slot_bytes,
    shape_stride,
    shape_target,
    shape_value_size,
)
from bombus.runtime.maps.table import (
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
    take,
    value_of,
)

NOEXIST, EXIST = 1, 2
EEXIST, EINVAL, ENOENT, ENOMEM = -errno.EEXIST, -errno.EINVAL, -errno.ENOENT, -errno.ENOMEM
FREE, LOCAL, PENDING, ACTIVE, INACTIVE = range(5)  # where an element is
COMMON_SCANS, OWN_SCANS = 128, 4
OWN_TARGET = 4


class Node(Struct):
    """Behind the members of `Element`. before, behind: towards the old and the young end of its list."""

    chain: Element
    before: u32
    behind: u32
    where: u32
    cpu: u32
    referenced: u32
    spare: u32


class List(Struct):
    """oldest, newest: its ends. Free lists go by `newest` only."""

    oldest: u32
    newest: u32
    count: u32
    cursor: u32


class Lists(Struct):
    """Of a CPU: free and pending elements of the common kind, or all that it has. Before them one for all CPUs."""

    free: List
    active: List
    inactive: List
    pending: List
    unborn: u32
    steal: u32
    first: u32
    spare: u32


LISTS_BYTES = 80
ACTIVE_AT, INACTIVE_AT, PENDING_AT = 16, 32, 48  # in Lists, whose first member is the free list


def node_of(base: u64, at: u32) -> Node:
    return bpf.at(element(base, at), Node)


def lists_of(base: u64, number: u32) -> u64:
    """Of all CPUs (0), or of CPU number - 1."""
    return base + shape_lists(base) + u64(number) * LISTS_BYTES


def add(base: u64, where: u64, at: u32) -> None:
    """Put an element at the young end of the list at an address."""
    row = bpf.at(where, List)
    one = node_of(base, at)
    last = row.newest
    one.before = last
    one.behind = u32(0)
    if last != 0:
        node_of(base, last).behind = at
    else:
        row.oldest = at
    row.newest = at
    row.count = row.count + 1


def unlink(base: u64, where: u64, at: u32) -> None:
    row = bpf.at(where, List)
    one = node_of(base, at)
    before = one.before
    behind = one.behind
    if before != 0:
        node_of(base, before).behind = behind
    else:
        row.oldest = behind
    if behind != 0:
        node_of(base, behind).before = before
    else:
        row.newest = before
    row.count = row.count - 1


def pop_newest(base: u64, where: u64) -> u32:
    at = bpf.at(where, List).newest
    if at != 0:
        unlink(base, where, at)
    return at


def leave_list(base: u64, lists: u64, at: u32) -> None:
    """Take an element out of the active or the inactive list."""
    one = node_of(base, at)
    if one.where == ACTIVE:
        unlink(base, lists + ACTIVE_AT, at)
    elif one.where == INACTIVE:
        row = bpf.at(lists + INACTIVE_AT, List)
        if row.cursor == at:
            row.cursor = one.behind
        unlink(base, lists + INACTIVE_AT, at)


def enter_list(base: u64, lists: u64, at: u32, where: u32) -> None:
    """Put an element that is in no list at the young end of one, its reference forgotten."""
    one = node_of(base, at)
    one.referenced = u32(0)
    one.where = where
    if where == ACTIVE:
        add(base, lists + ACTIVE_AT, at)
    elif where == INACTIVE:
        add(base, lists + INACTIVE_AT, at)
    else:
        add(base, lists, at)


def move(base: u64, lists: u64, at: u32, where: u32) -> None:
    leave_list(base, lists, at)
    enter_list(base, lists, at, where)


def pop_unused(base: u64, lists: u64) -> u32:
    at = pop_newest(base, lists)
    if at == 0 and bpf.at(lists, Lists).unborn != 0:
        bpf.at(lists, Lists).unborn = bpf.at(lists, Lists).unborn - 1
        control = bpf.at(base, Control)
        at = control.made + 1
        control.made = at
    return at


@bpf.noinline
def rotate(base: u64, lists: u64, scans: u32) -> None:
    active = bpf.at(lists + ACTIVE_AT, List)
    inactive = bpf.at(lists + INACTIVE_AT, List)
    if inactive.count < active.count:
        left = min(scans, active.count)
        while left != 0:
            at = active.oldest
            move(base, lists, at, u32(ACTIVE) if node_of(base, at).referenced != 0 else u32(INACTIVE))
            left = left - 1
    if inactive.oldest == 0:
        return
    last = inactive.newest
    if inactive.cursor != 0 and node_of(base, inactive.cursor).before != 0:
        last = node_of(base, inactive.cursor).before
    current = inactive.cursor
    following = u32(0)
    scanned = u32(0)
    while scanned < scans:
        if current == 0:
            current = inactive.oldest
            if current == 0:
                break
            continue
        following = node_of(base, current).behind
        if node_of(base, current).referenced != 0:
            move(base, lists, current, u32(ACTIVE))
        if current == last:
            break
        current = following
        scanned = scanned + 1
    inactive.cursor = following


def forget(base: u64, at: u32) -> None:
    """Take an element out of the table."""
    leave(base, at)
    inherit(base, at, u32(0))
    bpf.at(element(base, at), Element).number = u64(FREE_NUMBER)


def evict(base: u64, lists: u64, at: u32, target: u64, where: u32) -> None:
    forget(base, at)
    leave_list(base, lists, at)
    node_of(base, at).where = where
    add(base, target, at)


@bpf.noinline
def shrink(base: u64, lists: u64, scans: u32, wanted: u32, target: u64, where: u32) -> None:
    """Move up to `wanted` unreferenced elements from the old end to the list at `target`; one by force if there was
    none."""
    found = u32(0)
    at = bpf.at(lists + INACTIVE_AT, List).oldest
    left = scans
    while left != 0 and at != 0:
        following = node_of(base, at).behind
        if node_of(base, at).referenced != 0:
            move(base, lists, at, u32(ACTIVE))
        else:
            evict(base, lists, at, target, where)
            found = found + 1
            if found == wanted:
                break
        at = following
        left = left - 1
    if found == 0:
        at = bpf.at(lists + INACTIVE_AT, List).oldest
        if at == 0:
            at = bpf.at(lists + ACTIVE_AT, List).oldest
        if at != 0:
            evict(base, lists, at, target, where)


@bpf.noinline
def refill(base: u64, local: u64) -> None:
    """Fill the free list of a CPU; its pending elements go to the common lists."""
    lists = lists_of(base, u32(0))
    while True:
        at = bpf.at(local + PENDING_AT, List).oldest
        if at == 0:
            break
        unlink(base, local + PENDING_AT, at)
        enter_list(base, lists, at, u32(ACTIVE) if node_of(base, at).referenced != 0 else u32(INACTIVE))
    rotate(base, lists, u32(COMMON_SCANS))
    target = u32(shape_target(base))
    free = bpf.at(local, List)
    while free.count < target:
        at = pop_unused(base, lists)
        if at == 0:
            break
        node_of(base, at).where = u32(LOCAL)
        add(base, local, at)
    if free.count < target:
        shrink(base, lists, u32(COMMON_SCANS), target - free.count, local, u32(LOCAL))


def pop_pending(base: u64, local: u64) -> u32:
    pending = bpf.at(local + PENDING_AT, List)
    at = pending.oldest
    while at != 0 and node_of(base, at).referenced != 0:
        at = node_of(base, at).behind
    if at == 0:
        at = pending.oldest
    if at != 0:
        unlink(base, local + PENDING_AT, at)
        forget(base, at)
    return at


@bpf.noinline
def steal(base: u64, local: u64) -> u32:
    """An element of some CPU, when there is none for this one."""
    own = bpf.at(local, Lists)
    first = own.steal
    while True:
        victim = lists_of(base, own.steal + 1)
        at = pop_newest(base, victim)
        if at == 0:
            at = pop_pending(base, victim)
        own.steal = own.steal + 1
        if own.steal == u32(shape_cpus(base)):
            own.steal = u32(0)
        if at != 0 or own.steal == first:
            return at


def pop(base: u64, cpu: u64) -> u32:
    """An element for a new key; 0 when there is none. This may drop any key."""
    lists = lists_of(base, u32(cpu) + 1)
    if shape_own_lists(base) != 0:
        rotate(base, lists, u32(OWN_SCANS))
        at = pop_unused(base, lists)
        if at == 0:
            shrink(base, lists, u32(OWN_SCANS), u32(OWN_TARGET), lists, u32(FREE))
            at = pop_unused(base, lists)
        if at != 0:
            node_of(base, at).cpu = u32(cpu)
            enter_list(base, lists, at, u32(INACTIVE))
        return at
    if bpf.at(lists, List).count == 0:
        refill(base, lists)
    at = pop_newest(base, lists)
    if at == 0:
        at = steal(base, lists)
    if at != 0:
        one = node_of(base, at)
        one.cpu = u32(cpu)
        one.where = u32(PENDING)
        one.referenced = u32(0)
        add(base, lists + PENDING_AT, at)
    return at


def push(base: u64, at: u32) -> None:
    """Give an element back that is in the table no more."""
    one = node_of(base, at)
    lists = lists_of(base, one.cpu + 1)
    if shape_own_lists(base) != 0:
        move(base, lists, at, u32(FREE))
    elif one.where == PENDING:
        unlink(base, lists + PENDING_AT, at)
        one.where = u32(LOCAL)
        one.referenced = u32(0)
        add(base, lists, at)
    else:
        move(base, lists_of(base, u32(0)), at, u32(FREE))


def drop(base: u64, at: u32) -> None:
    forget(base, at)
    push(base, at)


def lookup(base: u64, key: u64, cpu: u64) -> u64:
    """A look-up of a program: the element stays longer."""
    at = find(base, key, hash_key(base, key))
    if at == 0:
        return u64(0)
    one = node_of(base, at)
    if one.referenced == 0:
        one.referenced = u32(1)
    if shape_per_cpu(base) != 0:
        return value_of(base, at) + cpu * shape_stride(base)
    return value_of(base, at)


def seen(base: u64, key: u64) -> u64:
    """A look-up of user space: the values of all CPUs, and no mark."""
    at = find(base, key, hash_key(base, key))
    return value_of(base, at) if at != 0 else u64(0)


def refused(old: u32, flags: u64) -> s64:
    if old != 0 and flags == NOEXIST:
        return s64(EEXIST)
    return s64(ENOENT) if old == 0 and flags == EXIST else s64(0)


def put_shared(base: u64, key: u64, value: u64, flags: u64, cpu: u64) -> s64:
    hashed = hash_key(base, key)
    take(base)
    new = pop(base, cpu)  # first of all, so this may drop the very key that is stored
    result = s64(ENOMEM)
    if new != 0:
        old = find(base, key, hashed)
        result = refused(old, flags)
        if result != 0:
            push(base, new)
        else:
            bpf.copy(value_of(base, new), value, shape_value_size(base))
            enter(base, new, key, hashed)
            if old == 0:
                append(base, new)
            else:
                node_of(base, new).referenced = u32(1)
                leave(base, old)
                inherit(base, old, new)
                bpf.at(element(base, old), Element).number = u64(FREE_NUMBER)
                push(base, old)
    give(base)
    return result


def put_own(base: u64, key: u64, value: u64, flags: u64, cpu: u64, whole: u32) -> s64:
    """Of maps with values of each CPU."""
    hashed = hash_key(base, key)
    take(base)
    new = u32(0)
    if flags != EXIST:
        new = pop(base, cpu)
        if new == 0:
            give(base)
            return s64(ENOMEM)
    old = find(base, key, hashed)
    result = refused(old, flags)
    at = old if old != 0 else new
    if result == 0:
        place = value_of(base, at)
        if whole != 0:
            bpf.copy(place, value, shape_slot_bytes(base))
        else:
            if old == 0:
                bpf.fill(place, u8(0), shape_slot_bytes(base))
            bpf.copy(place + cpu * shape_stride(base), value, shape_value_size(base))
        if old == 0:
            enter(base, new, key, hashed)
            append(base, new)
            new = u32(0)
        else:
            node_of(base, old).referenced = u32(1)
    if new != 0:
        push(base, new)
    give(base)
    return result


def update(base: u64, key: u64, value: u64, flags: u64, cpu: u64) -> s64:
    if flags > EXIST:
        return s64(EINVAL)
    if shape_per_cpu(base) != 0:
        return put_own(base, key, value, flags, cpu, u32(0))
    return put_shared(base, key, value, flags, cpu)


def store(base: u64, key: u64, value: u64, flags: u64) -> s64:
    if flags > EXIST:
        return s64(EINVAL)
    cpu = u64(bpf.at(bpf.at(base, Control).cpu, u32).value)
    if shape_per_cpu(base) != 0:
        return put_own(base, key, value, flags, cpu, u32(1))
    return put_shared(base, key, value, flags, cpu)
