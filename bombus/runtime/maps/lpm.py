"""Longest prefix match. Behaviour: Linux 6.12 kernel/bpf/lpm_trie.c.

Prefixes are kept in a hash table, by their length and bits. A look-up tries the lengths that there are, from the
longest that the key allows: for the few lengths of real tables that is a step or two, where a trie takes one for each
bit that branches.
"""

from __future__ import annotations

import errno

from bombus import bpf
from bombus.bpf import Struct, be16, be32, be64, s64, u8, u32, u64
from bombus.runtime.maps.control import (
    Control,
    shape_key_size,
    shape_lists,
    shape_mask,
    shape_max_entries,
    shape_value_size,
)
from bombus.runtime.maps.hash import pop, push
from bombus.runtime.maps.table import (
    END,
    MIX,
    Element,
    Word4,
    append,
    bucket,
    element,
    enter,
    give,
    inherit,
    key_of,
    leave,
    take,
    value_of,
)

NOEXIST, EXIST = 1, 2
EEXIST, EINVAL, ENOENT, ENOSPC = -errno.EEXIST, -errno.EINVAL, -errno.ENOENT, -errno.ENOSPC
ALL = 0xFFFF_FFFF_FFFF_FFFF


class Bits8(Struct, packed=True):
    """Bytes as a word whose most significant bit is the first one's."""

    value: be64


class Bits4(Struct, packed=True):
    value: be32


class Bits2(Struct, packed=True):
    value: be16


class Length(Struct):
    """A length of prefixes. shorter: the next one that there is, + 1. count: of prefixes."""

    shorter: u32
    count: u32


def longest(base: u64) -> u64:
    """Where the longest length is named, + 1: the `shorter` of a length that is longer than all."""
    return base + shape_lists(base)


def length_at(base: u64, length: u64) -> u64:
    return base + shape_lists(base) + 8 + length * 8


def bits(base: u64) -> u64:
    return (shape_key_size(base) - 4) * 8


def mask_of(left: u64) -> u64:
    """The first `left` bits of a word."""
    if left >= 64:
        return u64(ALL)
    if left == 0:
        return u64(0)
    return u64(ALL) << (64 - left)


def rest_of(at: u64, left: u64) -> u64:
    """The last bytes, fewer than 8, as the beginning of a word."""
    word = u64(0)
    free = u64(64)
    place = at
    if left & 4:
        free = u64(32)
        word = u64(bpf.at(place, Bits4).value) << free
        place = place + 4
    if left & 2:
        free = free - 16
        word = word | (u64(bpf.at(place, Bits2).value) << free)
        place = place + 2
    if left & 1:
        word = word | (u64(bpf.at(place, u8).value) << (free - 8))
    return word


def hash_prefix(base: u64, data: u64, length: u64) -> u32:
    """Of the first `length` bits."""
    left = shape_key_size(base) - 4
    at = data
    open = length
    value = (u64(bpf.at(base, Control).seed) ^ length) * MIX
    while left >= 8:
        value = (value ^ (u64(bpf.at(at, Bits8).value) & mask_of(open))) * MIX
        value = value ^ (value >> 32)
        open = open - 64 if open > 64 else u64(0)
        at = at + 8
        left = left - 8
    if left != 0:
        value = (value ^ (rest_of(at, left) & mask_of(open))) * MIX
        value = value ^ (value >> 32)
    return u32((value * MIX) >> 32)


def same(base: u64, one: u64, other: u64, length: u64) -> bool:
    """Are the first `length` bits the same?"""
    left = shape_key_size(base) - 4
    at = u64(0)
    open = length
    while left >= 8:
        if (u64(bpf.at(one + at, Bits8).value) ^ u64(bpf.at(other + at, Bits8).value)) & mask_of(open) != 0:
            return False
        open = open - 64 if open > 64 else u64(0)
        at = at + 8
        left = left - 8
    return left == 0 or (rest_of(one + at, left) ^ rest_of(other + at, left)) & mask_of(open) == 0


def find_prefix(base: u64, data: u64, length: u64) -> u32:
    """The element of exactly this prefix, or 0."""
    hashed = hash_prefix(base, data, length)
    number = hashed & u32(shape_mask(base))
    while True:
        at = bpf.load_acquire(bpf.at(bucket(base, number), u32))
        while at != 0 and at & END == 0:
            key = key_of(base, at)
            if (
                bpf.at(element(base, at), Element).hash == hashed
                and u64(bpf.at(key, Word4).value) == length
                and same(base, key + 4, data, length)
            ):
                return at
            at = bpf.load_acquire(bpf.at(element(base, at), u32))
        if at == 0 or at == number | END:
            return u32(0)


def exact(base: u64, key: u64) -> u32:
    length = u64(bpf.at(key, Word4).value)
    return find_prefix(base, key + 4, length) if length <= bits(base) else u32(0)


def match(base: u64, key: u64) -> u32:
    """The longest prefix that a key begins with."""
    wanted = u64(bpf.at(key, Word4).value)
    if wanted > bits(base):
        return u32(0)
    length = bpf.load_acquire(bpf.at(longest(base), u32))
    while length != 0:
        if u64(length - 1) <= wanted:
            at = find_prefix(base, key + 4, u64(length - 1))
            if at != 0:
                return at
        length = bpf.load_acquire(bpf.at(length_at(base, u64(length - 1)), u32))
    return u32(0)


def lookup(base: u64, key: u64, cpu: u64) -> u64:
    at = match(base, key)
    return value_of(base, at) if at != 0 else u64(0)


def seen(base: u64, key: u64) -> u64:
    return lookup(base, key, u64(0))


def before(base: u64, length: u64) -> u64:
    """What names the next length that is at most this one."""
    place = longest(base)
    while True:
        named = bpf.at(place, u32).value
        if named == 0 or u64(named - 1) <= length:
            return place
        place = length_at(base, u64(named - 1))


def count_up(base: u64, length: u64) -> None:
    row = bpf.at(length_at(base, length), Length)
    row.count = row.count + 1
    if row.count == 1:
        place = before(base, length)
        row.shorter = bpf.at(place, u32).value
        bpf.store_release(bpf.at(place, u32), u32(length) + 1)


def count_down(base: u64, length: u64) -> None:
    """Its own `shorter` stays: a reader may stand on it."""
    row = bpf.at(length_at(base, length), Length)
    row.count = row.count - 1
    if row.count == 0:
        bpf.store_release(bpf.at(before(base, length), u32), row.shorter)


@bpf.noinline
def store(base: u64, key: u64, value: u64, flags: u64) -> s64:
    length = u64(bpf.at(key, Word4).value)
    if flags > EXIST or length > bits(base):
        return s64(EINVAL)
    hashed = hash_prefix(base, key + 4, length)
    take(base)
    old = find_prefix(base, key + 4, length)
    result = s64(0)
    if old != 0 and flags == NOEXIST:
        result = s64(EEXIST)
    elif old == 0 and flags == EXIST:
        result = s64(ENOENT)
    elif old == 0 and bpf.at(base, Control).count >= u32(shape_max_entries(base)):
        result = s64(ENOSPC)
    else:
        new = pop(base)
        bpf.copy(value_of(base, new), value, shape_value_size(base))
        enter(base, new, key, hashed)
        if old == 0:
            append(base, new)
            count_up(base, length)
        else:
            leave(base, old)
            inherit(base, old, new)
            push(base, old)
    give(base)
    return result


def update(base: u64, key: u64, value: u64, flags: u64, cpu: u64) -> s64:
    return store(base, key, value, flags)


def drop(base: u64, at: u32) -> None:
    leave(base, at)
    inherit(base, at, u32(0))
    count_down(base, u64(bpf.at(key_of(base, at), Word4).value))
    push(base, at)


def delete(base: u64, key: u64) -> s64:
    if u64(bpf.at(key, Word4).value) > bits(base):
        return s64(EINVAL)
    take(base)
    at = exact(base, key)
    if at != 0:
        drop(base, at)
    give(base)
    return s64(0) if at != 0 else s64(ENOENT)


def stored(base: u64, key: u64, target: u64) -> s64:
    """Copy the key of exactly this prefix out, as it was stored."""
    take(base)
    at = exact(base, key)
    if at != 0:
        bpf.copy(target, key_of(base, at), shape_key_size(base))
    give(base)
    return s64(0) if at != 0 else s64(ENOENT)
