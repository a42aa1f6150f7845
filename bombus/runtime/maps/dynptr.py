"""Dynamic pointers over memory and records of ring buffers, as kernel.user.helpers.dynptr has them. Those over packets
come from kernel functions only: programs that call such go to Python."""

from __future__ import annotations

import errno

from bombus import bpf
from bombus.bpf import Struct, s64, u32, u64
from bombus.runtime.maps.control import shape_version

LOCAL, RINGBUF = 1, 2
RDONLY = 1 << 31
MOST = (1 << 24) - 1  # DYNPTR_MAX_SIZE
FLAGS_LATE = 0x604  # Linux 6.4: bpf_dynptr_write looks at its flags after the bounds
EINVAL, E2BIG = -errno.EINVAL, -errno.E2BIG


class Dynptr(Struct):
    """size: bits 28 to 30 are the kind, 31: nobody writes."""

    data: u64
    size: u32
    offset: u32


def place_of(pointer: u64, offset: u64, count: u64) -> u64:
    """The address of part of the memory; 0 when there is not as much."""
    one = bpf.at(pointer, Dynptr)
    size = u64(one.size & u32(MOST))
    if count > size or offset > size - count:
        return u64(0)
    return one.data + u64(one.offset) + offset


def put(pointer: u64, data: u64, size: u32) -> None:
    one = bpf.at(pointer, Dynptr)
    one.data = data
    one.size = size
    one.offset = u32(0)


def dynptr_from_mem(base: u64, data: u64, size: u64, flags: u64, pointer: u64) -> s64:
    length = size & 0xFFFF_FFFF
    put(pointer, u64(0), u32(0))
    if length > MOST:
        return s64(E2BIG)
    if flags != 0:
        return s64(EINVAL)
    put(pointer, data, u32(length) | LOCAL << 28)
    return s64(0)


def dynptr_read(base: u64, to: u64, count: u64, pointer: u64, offset: u64, flags: u64) -> s64:
    length = count & 0xFFFF_FFFF
    if bpf.at(pointer, Dynptr).data == 0 or flags != 0:
        return s64(EINVAL)
    place = place_of(pointer, offset & 0xFFFF_FFFF, length)
    if place == 0:
        return s64(E2BIG)
    bpf.copy(to, place, length)
    return s64(0)


def dynptr_write(base: u64, pointer: u64, offset: u64, source: u64, count: u64, flags: u64) -> s64:
    length = count & 0xFFFF_FFFF
    one = bpf.at(pointer, Dynptr)
    if one.data == 0 or one.size & RDONLY != 0 or (flags != 0 and shape_version(base) < FLAGS_LATE):
        return s64(EINVAL)
    place = place_of(pointer, offset & 0xFFFF_FFFF, length)
    if place == 0:
        return s64(E2BIG)
    if flags != 0:
        return s64(EINVAL)
    bpf.copy(place, source, length)
    return s64(0)


def dynptr_data(base: u64, pointer: u64, offset: u64, count: u64) -> u64:
    one = bpf.at(pointer, Dynptr)
    if one.data == 0 or one.size & RDONLY != 0:
        return u64(0)
    return place_of(pointer, offset & 0xFFFF_FFFF, count & 0xFFFF_FFFF)
