"""Helpers that get no map: native code as those of maps, with no memory to begin with."""

from __future__ import annotations

import errno
import time

from bombus import bpf
from bombus.bpf import Struct, s32, s64, u8, u32, u64
from bombus.runtime.maps.control import shape_version, shape_words
from bombus.runtime.maps.dynptr import Dynptr, dynptr_data, dynptr_from_mem, dynptr_read, dynptr_write, put
from bombus.runtime.maps.ringbuf import DISCARDED, commit
from bombus.runtime.maps.table import MIX, Word2, Word4, give, take

__all__ = ["dynptr_data", "dynptr_from_mem", "dynptr_read", "dynptr_write"]  # bodies here, too
ASK = 0xFFFF_FFFF_FFFF_FFFF  # vm.env.ASK
MONOTONIC, BOOTTIME, TAI = time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME, time.CLOCK_TAI
REALTIME = time.CLOCK_REALTIME
MONOTONIC_COARSE = 6  # Linux include/uapi/linux/time.h
ANY_SIZES = 0x60D  # Linux 6.13: bpf_csum_diff takes them
MOST = 512  # bytes before that: MAX_BPF_STACK
EINVAL, EFAULT = -errno.EINVAL, -errno.EFAULT


class Timespec(Struct):
    seconds: s64
    nanoseconds: s64


class Words(Struct):
    """Behind the context of a packet: see vm.env.Env.packet_words."""

    data: u64
    end: u64
    mac: u64
    network: u64


@bpf.kfunc
def clock_gettime(clock: s32, place: u64) -> s32: ...  # type: ignore[empty-body]


def submit(base: u64, sample: u64, flags: u64) -> u64:
    commit(sample, flags, u32(0))
    return u64(0)


def discard(base: u64, sample: u64, flags: u64) -> u64:
    commit(sample, flags, u32(DISCARDED))
    return u64(0)


def end(pointer: u64, flags: u64, extra: u32) -> u64:
    """Hand the record of a dynptr over; a null pointer has none."""
    data = bpf.at(pointer, Dynptr).data
    if data != 0:
        commit(data, flags, extra)
        put(pointer, u64(0), u32(0))
    return u64(0)


def submit_dynptr(base: u64, pointer: u64, flags: u64) -> u64:
    return end(pointer, flags, u32(0))


def discard_dynptr(base: u64, pointer: u64, flags: u64) -> u64:
    return end(pointer, flags, u32(DISCARDED))


def lock(base: u64, place: u64) -> u64:
    """bpf_spin_lock: the word is 1 while somebody holds it."""
    take(place)
    return u64(0)


def unlock(base: u64, place: u64) -> u64:
    give(place)
    return u64(0)


def cpu(base: u64, number: u64) -> u64:
    return number


def read_clock(clock: s32, ordinary: u64) -> u64:
    if ordinary == 0:
        return u64(ASK)
    now = Timespec()
    clock_gettime(clock, bpf.address(now))
    return u64(now.seconds) * 1_000_000_000 + u64(now.nanoseconds)


def monotonic(base: u64, ordinary: u64) -> u64:
    return read_clock(s32(MONOTONIC), ordinary)


def boottime(base: u64, ordinary: u64) -> u64:
    return read_clock(s32(BOOTTIME), ordinary)


def coarse(base: u64, ordinary: u64) -> u64:
    return read_clock(s32(MONOTONIC_COARSE), ordinary)


def tai(base: u64, ordinary: u64) -> u64:
    return read_clock(s32(TAI), ordinary)


def random(base: u64, ordinary: u64) -> u64:
    """splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    if ordinary == 0:
        return u64(ASK)
    value = bpf.fetch_add(bpf.at(base, u64), u64(MIX)) + MIX
    value = (value ^ (value >> 30)) * 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) * 0x94D0_49BB_1331_11EB
    return value >> 32 ^ value >> 1 & 0xFFFF_FFFF


def seeded(base: u64) -> u64:
    """bpf_get_prandom_u32 where nobody gave a seed: the first call takes it from the clocks."""
    if bpf.at(base, u64).value == 0:
        now = read_clock(s32(REALTIME), u64(1)) * MIX + read_clock(s32(MONOTONIC), u64(1))
        bpf.at(base, u64).value = now | 1
    return random(base, u64(1))


# ------------------------------------------------------------------------------------------------ checksums


def fold32(total: u64) -> u64:
    total = (total & 0xFFFF_FFFF) + (total >> 32)
    return (total & 0xFFFF_FFFF) + (total >> 32)


def partial(place: u64, size: u64, seed: u64, flip: u32) -> u64:
    """csum_partial of bytes that are xored with `flip`: the ones' complement sum of little-endian u32s."""
    total = seed
    at = place
    left = size
    while left >= 4:
        total = total + u64(bpf.at(at, Word4).value ^ flip)
        at = at + 4
        left = left - 4
    rest = u64(0)
    if left & 2:
        rest = u64(bpf.at(at, Word2).value)
        at = at + 2
    if left & 1:
        rest = rest | u64(bpf.at(at, u8).value) << (left - 1) * 8
    return fold32(total + rest)


def csum_diff(base: u64, old: u64, old_bytes: u64, new: u64, new_bytes: u64, given: u64) -> s64:
    """Linux 6.12 net/core/filter.c; from 6.13 on for any sizes, and folded to 16 bits."""
    old_size = old_bytes & 0xFFFF_FFFF
    new_size = new_bytes & 0xFFFF_FFFF
    seed = given & 0xFFFF_FFFF
    if shape_version(base) < ANY_SIZES:
        if (old_size | new_size) & 3 or old_size + new_size > MOST:
            return s64(EINVAL)
        return s64(partial(new, new_size, partial(old, old_size, seed, u32(0xFFFF_FFFF)), u32(0)))
    if old_size == 0 and new_size == 0:
        return s64(seed)
    total = u64(0)
    if old_size == 0:
        total = partial(new, new_size, seed, u32(0))
    elif new_size == 0:
        total = partial(old, old_size, seed ^ 0xFFFF_FFFF, u32(0)) ^ 0xFFFF_FFFF
    else:
        total = fold32(partial(new, new_size, seed, u32(0)) + (partial(old, old_size, u64(0), u32(0)) ^ 0xFFFF_FFFF))
    total = (total & 0xFFFF) + (total >> 16)
    return s64((total & 0xFFFF) + (total >> 16) & 0xFFFF)


# ------------------------------------------------------------------------------------------------ packets


def load(start: u64, end: u64, to: u64, size: u64) -> s64:
    if start + size > end:
        bpf.fill(to, u8(0), size)
        return s64(EFAULT)
    bpf.copy(to, start, size)
    return s64(0)


def load_bytes(base: u64, context: u64, offset: u64, to: u64, size: u64) -> s64:
    words = bpf.at(context + shape_words(base), Words)
    start = words.data + (offset & 0xFFFF_FFFF)
    if offset & 0x8000_0000:
        start = words.end + 1
    return load(start, words.end, to, size & 0xFFFF_FFFF)


def load_relative(base: u64, context: u64, offset: u64, to: u64, size: u64, header: u64) -> s64:
    words = bpf.at(context + shape_words(base), Words)
    which = u32(header)
    start = words.end + 1
    if offset & 0xFFFF_0000 == 0 and which < 2:
        start = (words.network if which == 1 else words.mac) + (offset & 0xFFFF)
    return load(start, words.end, to, size & 0xFFFF_FFFF)
