"""Ring buffers that programs produce into. Linux 6.12 kernel/bpf/ringbuf.c.

The control struct has a page of its own; behind it are the pages of the consumer's and of the producer's position, as
user space maps them, and the data. `position` is the oldest record that may be busy. As in Linux, a record's second
word says how many pages it lies behind the first one, so that a record alone leads there.
"""

from __future__ import annotations

import errno

from bombus import bpf
from bombus.bpf import Struct, s64, u32, u64
from bombus.runtime.maps.control import Control, shape_mask
from bombus.runtime.maps.dynptr import MOST as MOST_DYNPTR
from bombus.runtime.maps.dynptr import RINGBUF, put
from bombus.runtime.maps.table import give, take

BUSY, DISCARDED = 1 << 31, 1 << 30
HEADER = 8
NO_WAKEUP, FORCE_WAKEUP = 1, 2
PAGE = 4096
DATA = 3 * PAGE
MOST = 0xFFFF_FFFF // 4  # RINGBUF_MAX_RECORD_SZ
EINVAL, EAGAIN, E2BIG = -errno.EINVAL, -errno.EAGAIN, -errno.E2BIG


class Record(Struct):
    length: u32
    pages: u32


def consumer(base: u64) -> u64:
    return bpf.load_acquire(bpf.at(base + PAGE, u64))


def producer(base: u64) -> u64:
    return bpf.load_acquire(bpf.at(base + 2 * PAGE, u64))


def record(base: u64, position: u64) -> u64:
    return base + DATA + (position & shape_mask(base))


def rounded(length: u32) -> u64:
    """Bytes that a record takes."""
    return (u64(length & 0x3FFF_FFFF) + HEADER + 7) // 8 * 8


def reserve(base: u64, size: u64, flags: u64) -> u64:
    """Room for a record; 0 when there is none."""
    if flags != 0 or size > MOST:
        return u64(0)
    length = rounded(u32(size))
    mask = shape_mask(base)
    if length > mask + 1:
        return u64(0)
    take(base)
    control = bpf.at(base, Control)
    position = producer(base)
    pending = control.position
    while pending < position:
        found = bpf.load_acquire(bpf.at(record(base, pending), u32))
        if found & BUSY != 0:
            break
        pending = pending + rounded(found)
    control.position = pending
    end = position + length
    place = u64(0)
    if end - consumer(base) <= mask and end - pending <= mask:
        place = record(base, position)
        one = bpf.at(place, Record)
        one.pages = u32((place - base) // PAGE)
        bpf.write_once(bpf.at(place, u32), u32(size) | BUSY)
        bpf.store_release(bpf.at(base + 2 * PAGE, u64), end)
        place = place + HEADER
    give(base)
    return place


def reserve_dynptr(base: u64, size: u64, flags: u64, pointer: u64) -> s64:
    put(pointer, u64(0), u32(0))
    length = size & 0xFFFF_FFFF
    if flags != 0:
        return s64(EINVAL)
    if length > MOST_DYNPTR:
        return s64(E2BIG)
    place = reserve(base, length, u64(0))
    if place == 0:
        return s64(EINVAL)
    put(pointer, place, u32(length) | RINGBUF << 28)
    return s64(0)


def commit(sample: u64, flags: u64, extra: u32) -> u64:
    """Hand a record over. Is somebody to be woken?"""
    place = sample - HEADER
    base = place // PAGE * PAGE - u64(bpf.at(place, Record).pages) * PAGE
    at = place - base - DATA
    length = bpf.at(place, u32).value
    bpf.exchange(bpf.at(place, u32), (length ^ BUSY) | extra)
    if flags & FORCE_WAKEUP != 0:
        return u64(1)
    return u64(consumer(base) & (bpf.at(base, Control).mask) == at and flags & NO_WAKEUP == 0)


def output(base: u64, data: u64, size: u64, flags: u64) -> s64:
    if flags > 3:
        return s64(EINVAL)
    place = reserve(base, size, u64(0))
    if place == 0:
        return s64(EAGAIN)
    bpf.copy(place, data, size)
    commit(place, flags, u32(0))
    return s64(0)


def query(base: u64, what: u64) -> u64:
    if what == 0:
        return producer(base) - consumer(base)
    if what == 1:
        return shape_mask(base) + 1
    if what == 2:
        return consumer(base)
    return producer(base) if what == 3 else u64(0)
