"""Fuzzed programs for the verifier: what one is, and the writer that generators share."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bombus.btf.parse import Btf
from bombus.isa.insn import Insn

SOCKET_FILTER, KPROBE, SCHED_CLS, TRACEPOINT, XDP, CGROUP_SKB, RAW_TRACEPOINT, SYSCALL = 1, 2, 3, 5, 6, 8, 17, 31
PRANDOM, KTIME = 7, 5


@dataclass(frozen=True, slots=True)
class Case:
    """A program as BPF_PROG_LOAD gets it. Map descriptors are the world's; functions: (instruction, BTF type id)."""

    topic: str
    insns: tuple[Insn, ...]
    prog_type: int = SOCKET_FILTER
    attach_type: int = 0
    flags: int = 0
    log_level: int = 6
    license: str = "GPL"
    functions: tuple[tuple[int, int], ...] = ()
    source: str = ""  # of a mutated program: which recorded one
    btf_fd: int = 0  # its BTF, when that is not the world's
    btf: Btf | None = None
    attach_btf_id: int = 0  # in the kernel's BTF: what the program is for


class Label:
    """A place in the code, known once it is placed."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = -1


class Writer:
    """Instructions with labels. Jumps and calls to a label get their distance when the code is finished."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.code: list[Insn] = []
        self.fixups: list[tuple[int, Label, str]] = []

    def put(self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self.code.append(Insn(opcode, dst, src, clip16(off), clip32(imm)))

    def wide(self, dst: int, value: int, src: int = 0) -> None:
        """ld_imm64. value: 64 bits, or a descriptor with the offset in the upper half."""
        self.put(0x18, dst, src, 0, value & 0xFFFFFFFF)
        self.put(0, 0, 0, 0, value >> 32)

    def jump(self, opcode: int, dst: int, src: int, imm: int, to: Label) -> None:
        self.fixups.append((len(self.code), to, "imm" if opcode == 0x06 else "off"))
        self.put(opcode, dst, src, 0, imm)

    def call(self, to: Label) -> None:
        self.fixups.append((len(self.code), to, "imm"))
        self.put(0x85, 0, 1, 0, 0)

    def function_address(self, dst: int, to: Label) -> None:
        self.fixups.append((len(self.code), to, "imm"))
        self.wide(dst, 0, 4)

    def place(self, label: Label) -> None:
        label.at = len(self.code)

    def here(self) -> Label:
        label = Label()
        self.place(label)
        return label

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def finish(self) -> tuple[Insn, ...]:
        out = list(self.code)
        for at, label, kind in self.fixups:
            target = label.at if label.at >= 0 else len(out) - 1
            distance = target - at - 1
            if kind == "off":
                out[at] = out[at]._replace(off=clip16(distance))
            else:
                out[at] = out[at]._replace(imm=distance)
        return tuple(out)


def clip16(value: int) -> int:
    return (value + 0x8000) % 0x10000 - 0x8000


def clip32(value: int) -> int:
    return (value + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000


def number(rng: random.Random) -> int:
    """An immediate: small, at a power of two, or anything."""
    pick = rng.random()
    if pick < 0.4:
        return rng.randint(-8, 16)
    if pick < 0.6:
        return clip32((1 << rng.randint(0, 31)) + rng.choice((-1, 0, 0, 1)))
    if pick < 0.75:
        return rng.randint(0, 300)
    if pick < 0.85:
        return rng.choice((-1, 0, 0x7FFFFFFF, -0x80000000, 0xFF, 0xFFFF, 0x7FFF, -0x8000, 0x80, 0x100))
    return rng.randint(-(1 << 31), (1 << 31) - 1)


Generator = Callable[[random.Random], Case]


def weighted(rng: random.Random, rows: Sequence[tuple[float, Callable[[], None]]]) -> None:
    """Do one of the things, by weight."""
    total = sum(weight for weight, _ in rows)
    pick = rng.random() * total
    for weight, action in rows:
        pick -= weight
        if pick < 0:
            action()
            return
    rows[-1][1]()
