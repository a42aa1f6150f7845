"""Scenes: programs with maps, callbacks and readers, played alike on any kernel; what they return is compared."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from helper_cases import call, const

from bombus.errors import KernelError
from bombus.isa import build as b
from bombus.isa.insn import Insn
from bombus.isa.opcodes import BPF_PSEUDO_FUNC, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE, LD_IMM64
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles import Btf, Map, Program

RDONLY_PROG = 1 << 7
REPORT = 512  # bytes of the map value that programs report in

# Types of every BTF made here, by number.
INT, CTX, FUNC_TYPE = 1, 2, 3
LOCKED, TIMED, U64 = 6, 8, 9  # struct {bpf_spin_lock; u64 at 8}, struct {bpf_timer; u64 at 16}, unsigned long

Case = tuple[str, Callable[["Stage"], object]]


def btf_bytes(functions: int) -> bytes:
    """Types for locks and timers and `functions` functions: number 10 is main, 11 the first callback."""
    names = b"\0int\0ctx\0main\0bpf_spin_lock\0bpf_timer\0value\0lock\0timer\0n\0ulong\0callback\0"

    def name(text: bytes) -> int:
        return names.index(b"\0" + text + b"\0") + 1

    def row(text: bytes, info: int, size: int) -> bytes:
        return struct.pack("<III", name(text) if text else 0, info, size)

    struct_, func = 4 << 24, 12 << 24
    types = row(b"int", 1 << 24, 4) + struct.pack("<I", 1 << 24 | 32)  # [1]
    types += row(b"", 2 << 24, 0)  # [2] void *
    types += row(b"", 13 << 24 | 1, INT) + struct.pack("<II", name(b"ctx"), CTX)  # [3] int (void *ctx)
    types += row(b"int", 1 << 24, 4) + struct.pack("<I", 32)  # [4] unsigned
    types += row(b"bpf_spin_lock", struct_ | 1, 4) + struct.pack("<III", name(b"n"), 4, 0)  # [5]
    types += row(b"value", struct_ | 2, 16)  # [6]
    types += struct.pack("<IIIIII", name(b"lock"), 5, 0, name(b"n"), 9, 64)
    types += row(b"bpf_timer", struct_ | 2, 16)  # [7]
    types += struct.pack("<IIIIII", name(b"n"), 9, 0, name(b"lock"), 9, 64)
    types += row(b"value", struct_ | 2, 24)  # [8]
    types += struct.pack("<IIIIII", name(b"timer"), 7, 0, name(b"n"), 9, 128)
    types += row(b"ulong", 1 << 24, 8) + struct.pack("<I", 64)  # [9]
    types += row(b"main", func, FUNC_TYPE)  # [10]
    for number in range(functions - 1):
        text = b"callback"[number:]  # each its own name: callback, allback, ...
        types += struct.pack("<III", names.index(text + b"\0"), func, FUNC_TYPE)
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    return head + types + names


@dataclass
class Stage:
    """One kernel, and everything that a scene opened on it."""

    kernel: Kernel
    stack: ExitStack = field(default_factory=ExitStack)

    def map(self, kind: str, key: int = 4, value: int = 8, entries: int = 1, *, flags: int = 0, value_type: int = 0,
            inner: Map | None = None) -> Map:  # fmt: skip
        fields: dict[str, Any] = {}
        if value_type:
            btf = self.stack.enter_context(Btf.load(self.kernel, btf_bytes(1)))
            fields = {"btf_fd": btf.fd, "btf_key_type_id": INT, "btf_value_type_id": value_type}
        made = Map.create(self.kernel, kind, key, value, entries, flags=flags, inner=inner, **fields)
        return self.stack.enter_context(made)

    def report(self) -> Map:
        return self.map("array", 4, REPORT)

    def text(self, data: bytes) -> Map:
        """A frozen read-only map holding `data`."""
        made = self.map("array", 4, len(data), flags=RDONLY_PROG)
        made.store(bytes(4), data)
        made.freeze()
        return made

    def load(self, main: Sequence[Insn], *functions: Sequence[Insn], kind: str = "sched_cls",
             maps: Sequence[Map] = (), name: str = "", **fields: int) -> Program:  # fmt: skip
        """Load: the n-th map and function are meant by `map_(register, n)` and `func(register, n)`."""
        insns = list(main)
        starts = []
        for function in functions:
            starts.append(len(insns))
            insns += function
        for at, insn in enumerate(insns):
            if insn.opcode == LD_IMM64 and insn.src == BPF_PSEUDO_FUNC:
                insns[at] = insn._replace(imm=starts[insn.imm] - at - 1)
            elif insn.opcode == LD_IMM64 and insn.src in (BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE):
                insns[at] = insn._replace(imm=maps[insn.imm].fd)
        more: dict[str, object] = dict(fields)
        if functions or any(insn.opcode == LD_IMM64 and insn.src == BPF_PSEUDO_FUNC for insn in insns):
            btf = self.stack.enter_context(Btf.load(self.kernel, btf_bytes(1 + len(functions))))
            records = b"".join(struct.pack("<II", at, 10 + n) for n, at in enumerate((0, *starts)))
            more |= {"prog_btf_fd": btf.fd, "func_info_rec_size": 8, "func_info": records}
            more["func_info_cnt"] = len(records) // 8
        elif maps and any(item.type.short == "array" for item in maps):
            btf = self.stack.enter_context(Btf.load(self.kernel, btf_bytes(1)))
            more["prog_btf_fd"] = btf.fd
        made = Program.load(self.kernel, kind, insns, name=name, **more)  # type: ignore[arg-type]
        return self.stack.enter_context(made)

    def run(self, program: Program, data: bytes | None = bytes(64), ctx: bytes | None = None, **more: int) -> object:
        """(retval, data, ctx), or the errno."""
        try:
            run = program.test_run(data, ctx, **more)
        except KernelError as error:
            return error.errno
        return run.retval, run.data, run.ctx

    def fails(self, attr: Attr) -> int:
        try:
            self.kernel.bpf(attr)
        except KernelError as error:
            return error.errno or 0
        return 0


def play(kernel: Kernel, scene: Callable[[Stage], object]) -> object:
    stage = Stage(kernel)
    with stage.stack:
        return scene(stage)


def map_(register: int, number: int) -> list[Insn]:
    return b.ld_imm64(register, number, BPF_PSEUDO_MAP_FD)


def value_(register: int, number: int, offset: int = 0) -> list[Insn]:
    first, second = b.ld_imm64(register, number, BPF_PSEUDO_MAP_VALUE)
    return [first, second._replace(imm=offset)]


def func(register: int, number: int) -> list[Insn]:
    return b.ld_imm64(register, number, BPF_PSEUDO_FUNC)


def stack_(register: int, offset: int) -> list[Insn]:
    return [b.mov(register, b.R10), b.add(register, offset)]


def args(*values: int | list[Insn]) -> list[Insn]:
    """r1..r5: numbers, or instructions that make one (`map_(2, 0)`, `[b.mov(1, b.R6)]`)."""
    out: list[Insn] = []
    for register, value in enumerate(values, 1):
        out += const(register, value) if isinstance(value, int) else value
    return out


def helper(name: str, *values: int | list[Insn]) -> list[Insn]:
    return [*args(*values), call(name)]


def note(number: int, register: int = 0) -> list[Insn]:
    """Store a register in word `number` of map 0's value, whose address is r9."""
    return [b.stx("u64", 9, 8 * number, b.Reg(register))]


def main(*parts: Insn | list[Insn], result: int | None = 0) -> list[Insn]:
    """r6 is the ctx, r9 the value of map 0 (an array); r0 is `result`, None for what it is."""
    end = [] if result is None else [b.mov(0, result)]
    return b.program(b.mov(6, b.R1), value_(9, 0), *parts, end, b.exit_())
