"""Dynamic pointers. The 16 bytes of a bpf_dynptr hold address u64, size u32 (type in bits 28-30, read-only bit 31),
offset u32. Linux 6.12 kernel/bpf/helpers.c bpf_dynptr_*.
"""

from __future__ import annotations

import errno
import struct
from typing import Any, Final

from bombus.kernel.user.helpers.events import ring_of
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv
from bombus.spec.version import since

U32: Final = 0xFFFF_FFFF
_LAYOUT: Final = struct.Struct("<QII")
_MAX_SIZE: Final = (1 << 24) - 1  # DYNPTR_MAX_SIZE
_LOCAL, _RINGBUF = 1, 2
_RDONLY: Final = 1 << 31
_FLAGS_LATE: Final = since("6.4")  # from here on dynptr_write looks at its flags after the bounds


def _put(env: ProgEnv, at: int, address: int, size: int, kind: int, *, read_only: bool = False) -> None:
    env.memory.write(at, _LAYOUT.pack(address, size | kind << 28 | (_RDONLY if read_only else 0), 0))


def _get(env: ProgEnv, at: int) -> tuple[int, int, bool]:
    """(address of byte 0, size, read-only); address 0 for a null dynptr."""
    address, size, offset = _LAYOUT.unpack(env.memory.read(at, _LAYOUT.size))
    return (address + offset if address else 0), size & _MAX_SIZE, bool(size & _RDONLY)


@helper("dynptr_from_mem")
def dynptr_from_mem(env: ProgEnv, data: int, size: int, flags: int, out: int) -> int:
    size &= U32
    problem = -errno.E2BIG if size > _MAX_SIZE else -errno.EINVAL if flags else 0
    if problem:
        _put(env, out, 0, 0, 0)
        return problem
    _put(env, out, data, size, _LOCAL)
    return 0


@helper("dynptr_read")
def dynptr_read(env: ProgEnv, to: int, count: int, source: int, offset: int, flags: int) -> int:
    address, size, _ = _get(env, source)
    count &= U32
    offset &= U32
    if not address or flags:
        return -errno.EINVAL
    if count > size or offset > size - count:
        return -errno.E2BIG
    if count:
        env.memory.write(to, env.memory.read(address + offset, count))
    return 0


@helper("dynptr_write")
def dynptr_write(env: ProgEnv, to: int, offset: int, source: int, count: int, flags: int) -> int:
    address, size, read_only = _get(env, to)
    count &= U32
    offset &= U32
    early = env.kernel.version < _FLAGS_LATE
    if not address or read_only or (flags and early):
        return -errno.EINVAL
    if count > size or offset > size - count:
        return -errno.E2BIG
    if flags:
        return -errno.EINVAL
    if count:
        env.memory.write(address + offset, env.memory.read(source, count))
    return 0


@helper("dynptr_data")
def dynptr_data(env: ProgEnv, pointer: int, offset: int, count: int) -> int:
    address, size, read_only = _get(env, pointer)
    count &= U32
    offset &= U32
    if not address or read_only or count > size or offset > size - count:
        return 0
    return address + offset


@helper("ringbuf_reserve_dynptr")
def ringbuf_reserve_dynptr(env: ProgEnv, handle: int, size: int, flags: int, out: int) -> int:
    item: Any = env.map(handle)
    size &= U32
    if flags or size > _MAX_SIZE:
        _put(env, out, 0, 0, 0)
        return -errno.EINVAL if flags else -errno.E2BIG
    sample: int = item.reserve(size, 0)
    if sample <= 0:
        _put(env, out, 0, 0, 0)
        return -errno.EINVAL
    _put(env, out, sample, size, _RINGBUF)
    return 0


@helper("ringbuf_submit_dynptr")
def ringbuf_submit_dynptr(env: ProgEnv, pointer: int, flags: int) -> int:
    return _finish(env, pointer, flags, "submit")


@helper("ringbuf_discard_dynptr")
def ringbuf_discard_dynptr(env: ProgEnv, pointer: int, flags: int) -> int:
    return _finish(env, pointer, flags, "discard")


def _finish(env: ProgEnv, pointer: int, flags: int, how: str) -> int:
    address, _, _ = _get(env, pointer)
    if address:
        getattr(ring_of(env, address), how)(address, flags)
        _put(env, pointer, 0, 0, 0)
    return 0


def with_sample(env: ProgEnv, data: int, size: int, function: int, argument: int) -> int:
    """Call function(dynptr over a sample of a user ring buffer, argument)."""
    memory = env.memory
    pointer = memory.allocate(_LAYOUT.size, name="the dynptr", kind="mem")
    try:
        _LAYOUT.pack_into(pointer.view, 0, data, size | _LOCAL << 28 | _RDONLY, 0)
        return env.call(function, pointer.start, argument)
    finally:
        memory.remove(pointer)
