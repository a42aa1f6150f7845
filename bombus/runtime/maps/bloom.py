"""Bloom filters. Linux 6.12 kernel/bpf/bloom_filter.c; the hash is our own."""

from __future__ import annotations

import errno

from bombus import bpf
from bombus.bpf import s64, u32, u64
from bombus.runtime.maps.control import Control, shape_mask, shape_target, shape_value_size, shape_values
from bombus.runtime.maps.table import MIX, MIX_TOO, mixed

EINVAL, ENOENT = -errno.EINVAL, -errno.ENOENT


def hash_value(base: u64, value: u64) -> u64:
    size = shape_value_size(base)
    found = mixed(u64(bpf.at(base, Control).seed) * MIX_TOO + size, value, size)
    found = (found ^ (found >> 32)) * MIX_TOO
    return found ^ (found >> 29)


def bit_of(base: u64, found: u64, number: u32) -> u64:
    """The bit that the hash function of a number chooses."""
    mixed = (found + u64(number) * MIX_TOO) * MIX
    return (mixed >> 32) & shape_mask(base)


def word_of(base: u64, bit: u64) -> u64:
    return base + shape_values(base) + (bit >> 5) * 4


def push(base: u64, value: u64, flags: u64) -> s64:
    if flags != 0:
        return s64(EINVAL)
    found = hash_value(base, value)
    number = u32(0)
    while number < u32(shape_target(base)):
        bit = bit_of(base, found, number)
        word = bpf.at(word_of(base, bit), u32)
        wanted = u32(1) << u32(bit & 31)
        if bpf.read_once(word) & wanted == 0:
            bpf.fetch_or(word, wanted)
        number = number + 1
    return s64(0)


def contains(base: u64, value: u64) -> s64:
    found = hash_value(base, value)
    number = u32(0)
    while number < u32(shape_target(base)):
        bit = bit_of(base, found, number)
        if bpf.read_once(bpf.at(word_of(base, bit), u32)) & (u32(1) << u32(bit & 31)) == 0:
            return s64(ENOENT)
        number = number + 1
    return s64(0)
