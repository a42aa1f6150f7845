"""Ring buffers and perf events. Linux 6.12 kernel/bpf/ringbuf.c, kernel/trace/bpf_trace.c, net/core/filter.c."""

from __future__ import annotations

import errno
from typing import Any, Final

from bombus.errors import VmFault
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.maps.ringbuf import RingBufMap
from bombus.kernel.user.progenv import ProgEnv

U32: Final = 0xFFFF_FFFF
_F_CURRENT_CPU: Final = U32
_F_CTXLEN: Final = 0xFFFFF << 32


@helper("ringbuf_reserve")
def ringbuf_reserve(env: ProgEnv, handle: int, size: int, flags: int) -> int:
    if flags:
        return 0
    item: Any = env.map(handle)
    address: int = item.reserve(size, flags)
    return max(address, 0)


@helper("ringbuf_submit")
def ringbuf_submit(env: ProgEnv, sample: int, flags: int) -> int:
    ring_of(env, sample).submit(sample, flags)
    return 0


@helper("ringbuf_discard")
def ringbuf_discard(env: ProgEnv, sample: int, flags: int) -> int:
    ring_of(env, sample).discard(sample, flags)
    return 0


def ring_of(env: ProgEnv, sample: int) -> RingBufMap:
    """The ring buffer in whose memory a sample lies."""
    for item in env.prog.maps:
        if isinstance(item, RingBufMap) and item.owns(sample):
            return item
    raise VmFault("helper", f"{sample:#x} is not a ring buffer sample")


@helper("ringbuf_output")
def ringbuf_output(env: ProgEnv, handle: int, data: int, size: int, flags: int) -> int:
    item: Any = env.map(handle)
    result: int = item.output(env.memory.read(data, size), flags)
    return result


@helper("ringbuf_query")
def ringbuf_query(env: ProgEnv, handle: int, what: int) -> int:
    item: Any = env.map(handle)
    result: int = item.query(what)
    return result


@helper("user_ringbuf_drain")
def user_ringbuf_drain(env: ProgEnv, handle: int, function: int, argument: int, flags: int) -> int:
    """Each sample goes to function(dynptr, argument)."""
    from bombus.kernel.user.helpers.dynptr import with_sample

    item: Any = env.map(handle)
    result: int = item.drain(lambda data, size: with_sample(env, data, size, function, argument), flags)
    return result


@helper("perf_event_output")
def perf_event_output(env: ProgEnv, ctx: int, handle: int, flags: int, data: int, size: int) -> int:
    """The record holds `size` bytes, and after them as many bytes of the packet as flags' upper half says."""
    packet: Any = env.contexts.get(ctx)
    extra = (flags & _F_CTXLEN) >> 32
    if flags & ~(_F_CTXLEN | U32) or (extra and packet is None):
        return -errno.EINVAL
    if extra and extra > packet.length:
        return -errno.EFAULT
    record = env.memory.read(data, size) if size else b""
    if extra:
        record += packet.read(0, extra) if packet.kind == "xdp" else packet.output()[:extra]
    return _emit(env, handle, flags & U32, record)


def _emit(env: ProgEnv, handle: int, index: int, record: bytes) -> int:
    item: Any = env.map(handle)
    cpu = env.world.cpu
    if index == _F_CURRENT_CPU:
        index = cpu
    if index >= item.max_entries:
        return -errno.E2BIG
    event = item.target(index)
    if event is None:
        return -errno.ENOENT
    result: int = event.output(record, cpu)
    return result


@helper("skb_output", "xdp_output")
def typed_output(env: ProgEnv, ctx: int, handle: int, flags: int, data: int, size: int) -> int:
    """For tracing programs, whose ctx is a kernel object: none exists here."""
    return -errno.EINVAL
