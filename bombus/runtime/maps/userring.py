"""Ring buffers that programs drain. Linux 6.12 kernel/bpf/ringbuf.c: bpf_user_ringbuf_drain.

The memory is that of `ringbuf`; the lock of the control struct is held by who drains.
"""

from __future__ import annotations

import errno

from bombus import bpf
from bombus.bpf import Struct, s64, u32, u64
from bombus.runtime.maps.control import shape_mask
from bombus.runtime.maps.dynptr import LOCAL, MOST, RDONLY, Dynptr
from bombus.runtime.maps.ringbuf import BUSY, DISCARDED, HEADER, PAGE, consumer, producer, record
from bombus.runtime.maps.table import give

SAMPLES = 128 * 1024  # BPF_MAX_USER_RINGBUF_SAMPLES
WAKEUPS = 3  # BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP
EINVAL, E2BIG, EBUSY = -errno.EINVAL, -errno.E2BIG, -errno.EBUSY


class Drain(Struct):
    """dynptr: of the present sample, which takes `taken` bytes of the ring. samples: all that were met, `discarded`
    those among them that nobody is to see. error: what ended it."""

    dynptr: Dynptr
    taken: u64
    samples: u32
    discarded: u32
    error: s64


def enter(base: u64) -> u64:
    """Begin to drain; 0 when somebody else does."""
    return u64(bpf.exchange(bpf.at(base, u32), u32(1)) == 0)


def leave(base: u64) -> u64:
    give(base)
    return u64(0)


def begin(base: u64, state: u64, flags: u64) -> s64:
    if flags > WAKEUPS:
        return s64(EINVAL)
    return s64(0) if enter(base) != 0 else s64(EBUSY)


def consume(base: u64, count: u64) -> None:
    bpf.store_release(bpf.at(base + PAGE, u64), bpf.at(base + PAGE, u64).value + count)


def release(base: u64, state: u64) -> None:
    """The present sample is done with."""
    drain = bpf.at(state, Drain)
    if drain.taken != 0:
        consume(base, drain.taken)
        drain.taken = u64(0)


def each(base: u64, state: u64, cpu: u64) -> u64:
    """A dynptr over the next sample; 0 at the end. __bpf_user_ringbuf_peek."""
    drain = bpf.at(state, Drain)
    release(base, state)
    while drain.samples < SAMPLES:
        end = producer(base)
        position = consumer(base)
        if end & 7 != 0:
            drain.error = s64(EINVAL)
            return u64(0)
        if position >= end:
            return u64(0)
        header = bpf.load_acquire(bpf.at(record(base, position), u32))
        size = u64(header & u32(~(BUSY | DISCARDED) & 0xFFFF_FFFF))
        total = (size + HEADER + 7) // 8 * 8 & 0xFFFF_FFFF
        if total > end - position:
            drain.error = s64(EINVAL)
            return u64(0)
        if total > shape_mask(base) + 1 or size > MOST:
            drain.error = s64(E2BIG)
            return u64(0)
        if header & DISCARDED != 0:
            consume(base, total)
            drain.discarded = drain.discarded + 1
            drain.samples = drain.samples + 1
            continue
        if header & BUSY != 0:
            return u64(0)
        drain.samples = drain.samples + 1
        drain.taken = total
        drain.dynptr.data = record(base, position + HEADER)
        drain.dynptr.size = u32(size) | LOCAL << 28 | RDONLY
        drain.dynptr.offset = u32(0)
        return state
    return u64(0)


def finish(base: u64, state: u64) -> s64:
    """What the helper returns: how many samples the callback got, or what was wrong."""
    drain = bpf.at(state, Drain)
    release(base, state)
    give(base)
    return drain.error if drain.error != 0 else s64(drain.samples - drain.discarded)
