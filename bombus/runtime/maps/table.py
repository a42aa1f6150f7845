"""What hash tables share: keys in chains, elements in the order of their age, one lock for all changes.

Look-ups take no lock. As in Linux (kernel/bpf/hashtab.c), an element that was deleted may be used again at once, for
another key, so a reader can be led into another chain; chains therefore end with the number of their bucket, and a
reader who arrives elsewhere starts again. An element is whole before it enters a chain.
"""

from __future__ import annotations

import errno

from bombus import bpf
from bombus.bpf import Struct, s64, u8, u16, u32, u64
from bombus.runtime.maps.control import (
    Control,
    shape_buckets,
    shape_element_bytes,
    shape_elements,
    shape_head,
    shape_key_size,
    shape_lock_at,
    shape_mask,
    shape_per_cpu,
    shape_slot_bytes,
    shape_stride,
    shape_user_size,
    shape_value_size,
    shape_values,
)

ENOENT = -errno.ENOENT
END = 0x8000_0000  # ends a chain, with the number of the bucket
MIX, MIX_TOO = 0x9E37_79B9_7F4A_7C15, 0xD6E8_FEB8_6659_FD93  # odd, half of the bits set
FREE_NUMBER = 0xFFFF_FFFF_FFFF_FFFF  # of an element that is in no table
FIRST_WAIT, LONGEST_WAIT = 32, 8192  # reads of a word; after the longest wait the CPU goes to somebody else


class Element(Struct):
    """next: in its chain. older, younger: its neighbours by age, `older` also in the free list. number: grows along the
    order."""

    next: u32
    hash: u32
    older: u32
    younger: u32
    number: u64


YOUNGER, NUMBER = 12, 16  # where they are in an Element


class Word8(Struct, packed=True):
    value: u64


class Word4(Struct, packed=True):
    value: u32


class Word2(Struct, packed=True):
    value: u16


@bpf.kfunc
def sched_yield() -> u32: ...  # type: ignore[empty-body]


def take(base: u64) -> None:
    """Take the map's lock."""
    if bpf.exchange(bpf.at(base, u32), u32(1)) != 0:
        wait(base)


@bpf.noinline
def wait(base: u64) -> None:
    """Get the lock from somebody who has it. Who waits looks ever less often: so the other one gets on with what lies
    in its CPU's cache, and two threads do as much as one, not a quarter of it."""
    lock = bpf.at(base, u32)
    word = bpf.local(u32(0))
    patience = u32(FIRST_WAIT)
    while True:
        spins = u32(0)
        while spins < patience:
            spins = spins + 1 + bpf.read_once(word)  # nothing, but it takes time
        if bpf.read_once(lock) == 0 and bpf.exchange(lock, u32(1)) == 0:
            return
        if patience < LONGEST_WAIT:
            patience = patience * 2
        else:
            sched_yield()


def give(base: u64) -> None:
    bpf.store_release(bpf.at(base, u32), u32(0))


def bucket(base: u64, number: u32) -> u64:
    return base + shape_buckets(base) + u64(number) * 4


def element(base: u64, at: u32) -> u64:
    return base + shape_elements(base) + u64(at - 1) * shape_element_bytes(base)


def key_of(base: u64, at: u32) -> u64:
    return element(base, at) + shape_head(base)


def value_of(base: u64, at: u32) -> u64:
    return base + shape_values(base) + u64(at - 1) * shape_slot_bytes(base)


def mixed(start: u64, place: u64, size: u64) -> u64:
    """A number that depends on `start` and on bytes."""
    bytes_left = size
    at = place
    value = start
    while bytes_left >= 8:
        value = (value ^ bpf.at(at, Word8).value) * MIX
        value = value ^ (value >> 32)
        at = at + 8
        bytes_left = bytes_left - 8
    rest = u64(0)
    if bytes_left & 4:
        rest = u64(bpf.at(at, Word4).value)
        at = at + 4
    if bytes_left & 2:
        rest = (rest << 16) | u64(bpf.at(at, Word2).value)
        at = at + 2
    if bytes_left & 1:
        rest = (rest << 8) | u64(bpf.at(at, u8).value)
    if bytes_left != 0:
        value = (value ^ rest) * MIX
        value = value ^ (value >> 32)
    return value


def hash_key(base: u64, key: u64) -> u32:
    size = shape_key_size(base)
    value = mixed(u64(bpf.at(base, Control).seed) + size, key, size)
    if size > 4:  # the upper half depends on all of a number of 32 bits already
        value = value * MIX_TOO
    return u32(value >> 32)


def find(base: u64, key: u64, hashed: u32) -> u32:
    """The element of a key, or 0."""
    number = hashed & u32(shape_mask(base))
    while True:
        at = bpf.load_acquire(bpf.at(bucket(base, number), u32))
        while at != 0 and at & END == 0:
            place = element(base, at)
            one = bpf.at(place, Element)
            if one.hash == hashed and bpf.equal(place + shape_head(base), key, shape_key_size(base)):
                return at
            at = bpf.load_acquire(bpf.at(place, u32))
        if at == 0 or at == number | END:
            return u32(0)


def following(base: u64, key: u64) -> u32:
    """The element after a key by age; the first for a key that is not there."""
    at = find(base, key, hash_key(base, key))
    if at == 0:
        return bpf.at(base, Control).oldest
    return bpf.at(element(base, at), Element).younger


def enter(base: u64, at: u32, key: u64, hashed: u32) -> None:
    """Give an element its key, and put it in front of its chain."""
    place = element(base, at)
    one = bpf.at(place, Element)
    number = hashed & u32(shape_mask(base))
    one.hash = hashed
    bpf.copy(place + shape_head(base), key, shape_key_size(base))
    head = bpf.at(bucket(base, number), u32)
    first = head.value
    one.next = first if first != 0 else number | END
    bpf.store_release(head, at)


def leave(base: u64, at: u32) -> None:
    """Take an element out of its chain. Its own link stays: a reader may stand on it."""
    one = bpf.at(element(base, at), Element)
    place = bucket(base, one.hash & u32(shape_mask(base)))
    while True:
        found = bpf.at(place, u32).value
        if found == at:
            bpf.store_release(bpf.at(place, u32), one.next)
            return
        place = element(base, found)  # its first member is `next`


def append(base: u64, at: u32) -> None:
    """Make an element the youngest."""
    control = bpf.at(base, Control)
    one = bpf.at(element(base, at), Element)
    last = control.newest
    one.number = control.number
    control.number = control.number + 1
    one.older = last
    one.younger = u32(0)
    if last != 0:
        bpf.at(element(base, last), Element).younger = at
    else:
        control.oldest = at
    control.newest = at
    control.count = control.count + 1


def inherit(base: u64, old: u32, new: u32) -> None:
    """Take an element out of the order; `new`, unless it is 0, takes its place."""
    control = bpf.at(base, Control)
    one = bpf.at(element(base, old), Element)
    older = one.older
    younger = one.younger
    if new != 0:
        other = bpf.at(element(base, new), Element)
        other.number = one.number
        other.older = older
        other.younger = younger
        if older != 0:
            bpf.at(element(base, older), Element).younger = new
        else:
            control.oldest = new
        if younger != 0:
            bpf.at(element(base, younger), Element).older = new
        else:
            control.newest = new
        return
    if older != 0:
        bpf.at(element(base, older), Element).younger = younger
    else:
        control.oldest = younger
    if younger != 0:
        bpf.at(element(base, younger), Element).older = older
    else:
        control.newest = older
    control.count = control.count - 1


class Walk(Struct):
    """A walk over the elements that are there when it begins: it is zeros then.

    position: the number of the next element. end: new elements have numbers from here on. element: the next element,
    unless it went. key: where the key of the last one lies; index: that key, in arrays.
    """

    position: u64
    end: u64
    element: u64
    key: u64
    index: u32


def each(base: u64, state: u64, cpu: u64) -> u64:
    """The value of the next element; 0 at the end.

    As in Linux (bpf_for_each_hash_elem), elements may go and be replaced during the walk, the present one too. What
    goes before its turn is not seen. Linux sees some of those that are new, we see none.
    """
    walk = bpf.at(state, Walk)
    if walk.position < walk.end:
        at = u32(walk.element)
        if step(base, state, at):
            return value_on(base, at, cpu)
    return search(base, state, cpu)


def number_of(base: u64, at: u32) -> u64:
    return bpf.load_acquire(bpf.at(element(base, at) + NUMBER, u64))


def value_on(base: u64, at: u32, cpu: u64) -> u64:
    place = value_of(base, at)
    return place + cpu * shape_stride(base) if shape_per_cpu(base) != 0 else place


def step(base: u64, state: u64, at: u32) -> bool:
    """Go on from the element that the walk is at, without the lock: that, and what comes behind it, were in the order
    when both were looked at if nothing has changed after that. False when something has."""
    walk = bpf.at(state, Walk)
    if number_of(base, at) != walk.position:
        return False
    link = bpf.at(element(base, at) + YOUNGER, u32)
    following = bpf.load_acquire(link)
    number = number_of(base, following) if following != 0 else walk.end
    if bpf.load_acquire(link) != following or number_of(base, at) != walk.position:
        return False
    walk.element = u64(following)
    walk.position = number
    walk.key = key_of(base, at)
    return True


@bpf.noinline
def search(base: u64, state: u64, cpu: u64) -> u64:
    """The first element, or what comes after one that is gone."""
    walk = bpf.at(state, Walk)
    take(base)
    control = bpf.at(base, Control)
    at = u32(0)
    if walk.end == 0:
        walk.end = control.number
        at = control.oldest
    elif walk.position < walk.end:
        at = u32(walk.element)
        if bpf.at(element(base, at), Element).number != walk.position:
            at = control.oldest
            while at != 0 and bpf.at(element(base, at), Element).number < walk.position:
                at = bpf.at(element(base, at), Element).younger
    place = u64(0)
    walk.position = walk.end
    if at != 0 and bpf.at(element(base, at), Element).number < walk.end:
        following = bpf.at(element(base, at), Element).younger
        if following != 0:
            walk.element = u64(following)
            walk.position = bpf.at(element(base, following), Element).number
        walk.key = key_of(base, at)
        place = value_on(base, at, cpu)
    give(base)
    return place


F_LOCK = 4  # BPF_F_LOCK: copy under the value's lock


def put_value(base: u64, place: u64, source: u64, flags: u64) -> None:
    """Store a value but for its lock."""
    at = shape_lock_at(base)
    if at == 0:
        bpf.copy(place, source, shape_value_size(base))
        return
    if flags & F_LOCK != 0:
        take(place + at - 1)
    bpf.copy(place, source, at - 1)
    bpf.copy(place + at + 3, source + at + 3, shape_value_size(base) - at - 3)
    if flags & F_LOCK != 0:
        give(place + at - 1)


def get_value(base: u64, place: u64, target: u64, flags: u64) -> None:
    """Copy a value (of all CPUs) for user space, which sees no lock."""
    at = shape_lock_at(base)
    if at != 0 and flags & F_LOCK != 0:
        take(place + at - 1)
    bpf.copy(target, place, shape_user_size(base))
    if at != 0:
        if flags & F_LOCK != 0:
            give(place + at - 1)
        bpf.at(target + at - 1, Word4).value = u32(0)


@bpf.kfunc
def map_drop(base: u64, at: u32) -> None: ...  # a map type's own `drop`


def grab(base: u64, key: u64, target: u64) -> s64:
    """Copy a value (of all CPUs) out and delete its element."""
    hashed = hash_key(base, key)
    take(base)
    at = find(base, key, hashed)
    if at != 0:
        get_value(base, value_of(base, at), target, u64(0))
        map_drop(base, at)
    give(base)
    return s64(0) if at != 0 else s64(ENOENT)


def delete(base: u64, key: u64) -> s64:
    hashed = hash_key(base, key)
    take(base)
    at = find(base, key, hashed)
    if at != 0:
        map_drop(base, at)
    give(base)
    return s64(0) if at != 0 else s64(ENOENT)
