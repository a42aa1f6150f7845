"""Running one small program on any kernel, and what it left behind."""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from bombus.errors import KernelError
from bombus.isa import build as b
from bombus.isa.insn import Insn, encode
from bombus.isa.opcodes import BPF_PSEUDO_FUNC, BPF_PSEUDO_MAP_FD, LD_IMM64
from bombus.kernel.api import Attr, Kernel
from bombus.spec.helpers import HELPER
from bombus.spec.progtypes import PROG_TYPE

SKB_FIELDS = {"len": 0, "pkt_type": 4, "mark": 8, "protocol": 16, "vlan_present": 20, "vlan_tci": 24, "vlan_proto": 28,
              "priority": 32, "ifindex": 40, "cb0": 48, "hash": 68}  # fmt: skip
RESULT = 256  # bytes of the map value that programs report in


@dataclass(frozen=True)
class Case:
    """body: instructions between prologue and epilogue: r6 is the ctx, r9 the report (256 bytes), r0 the result."""

    name: str
    type: str
    body: tuple[Insn, ...]
    data: bytes = bytes(64)
    ctx: bytes = b""
    flags: int = 0
    fields: tuple[str, ...] = ()
    repeat: int = 0
    function: tuple[Insn, ...] = ()  # a subprogram behind the program; the BPF_PSEUDO_FUNC of `body` means it
    map: tuple[int, ...] = ()  # type, key size, value size and entries of EXTRA_MAP


# In a case's body: the address of the case's own map.
EXTRA_MAP = -1


@dataclass(frozen=True)
class Outcome:
    errno: int
    retval: int = 0
    data: bytes = b""
    ctx: bytes = b""
    report: bytes = b""


def call(name: str) -> Insn:
    return b.call(HELPER[name].id)


def const(register: int, value: int) -> list[Insn]:
    if -(1 << 31) <= value < 1 << 31:
        return [b.mov(register, value)]
    return b.ld_imm64(register, value)


def stack_bytes(data: bytes, at: int = -256) -> list[Insn]:
    """Put bytes on the stack at r10 + at."""
    out = []
    for offset in range(0, len(data), 4):
        word = data[offset : offset + 4].ljust(4, b"\0")
        out.append(b.st("u32", 10, at + offset, struct.unpack("<i", word)[0]))
    return out


def program(case: Case, map_fd: int, extra: int = 0) -> list[Insn]:
    fields = []
    for number, field in enumerate(case.fields):
        fields += [b.ldx("u32", 1, 6, SKB_FIELDS[field]), b.stx("u32", 9, 16 + 4 * number, b.R1)]
    prologue = [
        b.mov(6, b.R1), b.st("u32", 10, -4, 0), *b.ld_imm64(1, map_fd, BPF_PSEUDO_MAP_FD), b.mov(2, b.R10),
        b.add(2, -4), call("map_lookup_elem"), b.jmp("!=", 0, 0, 2), b.mov(0, 99), b.exit_(), b.mov(9, b.R0),
    ]  # fmt: skip
    last = b.and_(0, 1) if case.type == "CGROUP_SKB" else b.mov32(0, b.R0)  # the verifier wants 0 or 1 of it
    insns = b.program(prologue, case.body, b.stx("u64", 9, 0, b.R0), fields, b.ldx("u64", 0, 9, 0), last, b.exit_())
    for index, insn in enumerate(insns):
        if insn.opcode == LD_IMM64 and insn.src == BPF_PSEUDO_MAP_FD and insn.imm == EXTRA_MAP:
            insns[index] = insn._replace(imm=extra)
        if insn.opcode == LD_IMM64 and insn.src == BPF_PSEUDO_FUNC:
            insns[index] = insn._replace(imm=len(insns) - index - 1)
    return [*insns, *case.function]


def outcome(kernel: Kernel, case: Case) -> Outcome:
    """Load and run a case. A refused load raises; a refused run is an outcome."""
    fds = []
    try:
        create = Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=RESULT, max_entries=1)
        fds.append(kernel.bpf(create))
        if case.map:
            kind, key, value, entries = case.map
            extra = Attr("BPF_MAP_CREATE", map_type=kind, key_size=key, value_size=value, max_entries=entries)
            fds.append(kernel.bpf(extra))
        insns = program(case, fds[0], fds[-1])
        row = PROG_TYPE["BPF_PROG_TYPE_" + case.type]
        log = bytearray(1 << 16)
        load = Attr(
            "BPF_PROG_LOAD", prog_type=row.id, insns=encode(insns), insn_cnt=len(insns), license=b"GPL\0",
            log_level=1, log_size=len(log), log_buf=log,
        )  # fmt: skip
        if case.function:
            fds.append(_add_functions(kernel, load, len(insns) - len(case.function)))
        try:
            fds.append(kernel.bpf(load))
        except KernelError as error:
            text = log.partition(b"\0")[0].decode()
            raise AssertionError(f"{case.name}: {kernel.name} refuses it: {error}\n{text}") from None
        return _run(kernel, case, fds[-1], fds[0])
    finally:
        for fd in reversed(fds):
            kernel.close(fd)


def _add_functions(kernel: Kernel, load: Attr, second: int) -> int:
    """Callbacks need BTF: `int main(void *)` and `static int callback(void *)`. Returns the BTF's descriptor."""
    names = b"\0int\0ctx\0main\0callback\0"
    types = struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)  # [1] int
    types += struct.pack("<III", 0, 2 << 24, 0)  # [2] void *
    types += struct.pack("<III", 0, 13 << 24 | 1, 1) + struct.pack("<II", 5, 2)  # [3] int (void *ctx)
    types += struct.pack("<III", 9, 12 << 24, 3)  # [4] static main
    types += struct.pack("<III", 14, 12 << 24, 3)  # [5] static callback
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    blob = header + types + names
    fd = kernel.bpf(Attr("BPF_BTF_LOAD", btf=blob, btf_size=len(blob)))
    load.set("prog_btf_fd", fd)
    load.set("func_info_rec_size", 8)
    load.set("func_info_cnt", 2)
    load.set("func_info", struct.pack("<IIII", 0, 4, second, 5))
    return fd


def _run(kernel: Kernel, case: Case, fd: int, map_fd: int) -> Outcome:
    out = bytearray(8192)
    fields: dict[str, int | bytes | bytearray] = {"prog_fd": fd, "flags": case.flags, "repeat": case.repeat}
    if case.data:
        fields |= {"data_in": case.data, "data_size_in": len(case.data), "data_out": out, "data_size_out": len(out)}
    ctx_out = bytearray(len(case.ctx))
    if case.ctx:
        fields |= {"ctx_in": case.ctx, "ctx_size_in": len(case.ctx)}
        fields |= {"ctx_out": ctx_out, "ctx_size_out": len(ctx_out)}
    attr = Attr("BPF_PROG_TEST_RUN", **fields)
    try:
        kernel.bpf(attr)
    except KernelError as error:
        return Outcome(error.errno or errno.EIO)
    value = bytearray(RESULT)
    kernel.bpf(Attr("BPF_MAP_LOOKUP_ELEM", map_fd=map_fd, key=bytes(4), value=value))
    return Outcome(0, attr.get("retval"), bytes(out[: attr.get("data_size_out")]), bytes(ctx_out), bytes(value))


def ipv4(rng: random.Random, payload: int = 40) -> bytes:
    """A frame with an IPv4 header and any payload."""
    head = struct.pack(">BBHHHBBH", 0x45, rng.choice((0, 1, 2, 3)), 20 + payload, 1, 0, 64, 17, rng.getrandbits(16))
    return rng.randbytes(6) + bytes(6) + b"\x08\x00" + head + rng.randbytes(8 + payload)


def ipv6(rng: random.Random, payload: int = 40) -> bytes:
    head = b"\x60" + rng.randbytes(3) + struct.pack(">HBB", payload, 17, 64)
    return rng.randbytes(6) + bytes(6) + b"\x86\xdd" + head + rng.randbytes(32 + payload)


def vlan(rng: random.Random) -> bytes:
    packet = ipv4(rng)
    return packet[:12] + b"\x81\x00" + rng.randbytes(2) + packet[12:]


def arp(rng: random.Random) -> bytes:
    return rng.randbytes(12) + b"\x08\x06" + rng.randbytes(46)


@cache
def linux() -> Kernel | None:
    """The real kernel, None where bpf(2) is refused."""
    from bombus.kernel.linux.kernel import LinuxKernel

    try:
        kernel = LinuxKernel()
        kernel.close(kernel.bpf(Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=4, max_entries=1)))
    except (KernelError, OSError):
        return None
    return kernel


def extra_map(register: int) -> list[Insn]:
    first, second = b.ld_imm64(register, 0, BPF_PSEUDO_MAP_FD)
    return [first._replace(imm=EXTRA_MAP), second]


def helper_args(*values: int | str) -> Iterable[Insn]:
    """Load r1..r5: numbers, "ctx", "stack" (r10 - 256), "report" (r9 + 64)."""
    for register, value in enumerate(values, 1):
        if value == "ctx":
            yield b.mov(register, b.R6)
        elif value == "stack":
            yield from (b.mov(register, b.R10), b.add(register, -256))
        elif value == "stack2":
            yield from (b.mov(register, b.R10), b.add(register, -128))
        elif value == "map":
            yield from extra_map(register)
        elif value == "report":
            yield from (b.mov(register, b.R9), b.add(register, 64))
        else:
            assert isinstance(value, int)
            yield from const(register, value)
