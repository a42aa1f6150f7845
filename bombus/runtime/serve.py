"""The main loop of executables: programs over records from standard input, results to standard output.

All numbers are big endian. A record is `u32 program, u32 size` and `size` bytes; the answer `u32 status, u32 insn,
u64 r0, u32 size` and the bytes as the program left them. status and insn are those of `struct run` (`jit.abi`).
"""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, be32, s32, s64, u8, u16, u32, u64, var
from bombus.spec.ctxstructs import CONTEXT

# What the context of a program is.
MEMORY = 0  # r1 is the address of the bytes
XDP = 1  # r1 is a struct xdp_md whose packet they are
SKB = 2  # r1 is a struct __sk_buff whose packet they are, from the link layer on

# Exit codes.
ENDED, CUT_OFF, NO_PROGRAM, TOO_LARGE = 0, 65, 66, 67


class Request(Struct):
    program: be32
    size: be32


class Answer(Struct):
    status: be32
    insn: be32
    high: be32
    low: be32
    size: be32


class Region(Struct):
    start: u64
    readable: u64
    writable: u64


class Run(Struct):
    """`struct run` of jit.abi; a test compares the offsets."""

    status: u32
    insn: u32
    fault: u32
    tail_calls: u32
    budget: u64
    frame: u64
    top: u64
    result: u64
    ordinary: u64
    cpu: u32
    count: u32
    program: u64
    first: Region
    second: Region
    third: Region


class Packet(Struct):
    """struct xdp_md (Linux 6.12 include/uapi/linux/bpf.h), and its addresses whole, as native code reads them."""

    data: u32
    data_end: u32
    data_meta: u32
    ingress_ifindex: u32
    rx_queue_index: u32
    egress_ifindex: u32
    start: u64
    end: u64
    meta: u64


class Buffer(Struct):
    """struct __sk_buff, and the addresses of its packet, as native code reads them (`native.programs`)."""

    fields: Array[u64] = array(24)
    start: u64
    end: u64
    link: u64
    network: u64
    meta: u64


_SKB_BYTES = CONTEXT["__sk_buff"].size
_PKT_TYPE, _PROTOCOL, _IFINDEX, _WIRE_LEN = (
    next(member.offset for member in CONTEXT["__sk_buff"].members if member.name == name)
    for name in ("pkt_type", "protocol", "ifindex", "wire_len")
)
_HEADER = 14  # of Ethernet
_BROADCAST, _MULTICAST = 1, 2  # PACKET_*, include/uapi/linux/if_packet.h

request = var(Request)
answer = var(Answer)
context = var(Packet)
buffer = var(Buffer)


@bpf.kfunc
def bombus_read(address: u64, size: u64) -> s64: ...  # type: ignore[empty-body]


@bpf.kfunc
def bombus_write(address: u64, size: u64) -> s64: ...  # type: ignore[empty-body]


@bpf.kfunc
def bombus_kind(program: u32) -> s32: ...  # type: ignore[empty-body]


@bpf.kfunc
def bombus_enter(program: u32, run: u64, ctx: u64) -> u64: ...  # type: ignore[empty-body]


def _read(address: u64, size: u64) -> u64:
    """Bytes read: fewer than `size` at the end of the input."""
    done = u64(0)
    while done < size:
        count = bombus_read(address + done, size - done)
        if count <= 0:
            break
        done = done + u64(count)
    return done


def _write(address: u64, size: u64) -> bool:
    done = u64(0)
    while done < size:
        count = bombus_write(address + done, size - done)
        if count <= 0:
            return False
        done = done + u64(count)
    return True


def _fill_buffer(data: u64, size: u64) -> u64:
    """The context of a packet that came in on interface 1."""
    at = bpf.address(buffer)
    bpf.fill(at, u8(0), _SKB_BYTES)
    header = u64(_HEADER) if size >= _HEADER else size
    bpf.at(at, u32).value = u32(size)
    bpf.at(at + _WIRE_LEN, u32).value = u32(size)
    bpf.at(at + _IFINDEX, u32).value = u32(1)
    if size >= _HEADER:
        bpf.at(at + _PROTOCOL, u32).value = u32(bpf.at(data + 12, u16).value)  # in network order, as there
        if bpf.at(data, u8).value & 1 != 0:
            everybody = bpf.at(data, u32).value == 0xFFFF_FFFF and bpf.at(data + 4, u16).value == 0xFFFF
            bpf.at(at + _PKT_TYPE, u32).value = u32(_BROADCAST) if everybody else u32(_MULTICAST)
    buffer.start = data
    buffer.end = data + size
    buffer.link = data
    buffer.network = data + header
    buffer.meta = data
    return at


def serve(run_at: u64, frames: u64, frame_bytes: u64, depth: u64, data: u64, room: u64, budget: u64) -> u32:
    """Answer records until the input ends. Returns the exit code."""
    run = bpf.at(run_at, Run)
    while True:
        count = _read(bpf.address(request), u64(8))
        if count == 0:
            return u32(ENDED)
        size = u64(u32(request.size))
        program = u32(request.program)
        if count != 8:
            return u32(CUT_OFF)
        if size > room:
            return u32(TOO_LARGE)
        kind = bombus_kind(program)
        if kind < 0:
            return u32(NO_PROGRAM)
        if _read(data, size) != size:
            return u32(CUT_OFF)
        ctx = data
        run.status = u32(0)
        run.insn = u32(0)
        run.cpu = u32(0)
        run.budget = budget
        run.frame = frames
        run.top = frames + frame_bytes * (depth - 1)
        run.first.start = data
        run.first.readable = size
        run.first.writable = size
        run.second.start = frames
        run.second.readable = frame_bytes * depth
        run.second.writable = frame_bytes * depth
        run.count = u32(2)
        if kind == XDP:
            ctx = bpf.address(context)
            context.data = u32(data)
            context.data_end = u32(data + size)
            context.data_meta = u32(data)
            context.ingress_ifindex = u32(1)
            context.rx_queue_index = u32(0)
            context.egress_ifindex = u32(0)
            context.start = data
            context.end = data + size
            context.meta = data
            run.third.start = ctx
            run.third.readable = u64(24)
            run.third.writable = u64(0)
            run.count = u32(3)
        if kind == SKB:
            ctx = _fill_buffer(data, size)
        r0 = bombus_enter(program, run_at, ctx)
        answer.status = be32(run.status)
        answer.insn = be32(run.insn)
        answer.high = be32(u32(r0 >> 32))
        answer.low = be32(u32(r0))
        answer.size = be32(u32(size))
        if not (_write(bpf.address(answer), u64(20)) and _write(data, size)):
            return u32(CUT_OFF)
