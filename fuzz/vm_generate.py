"""Random programs that Linux accepts, over the whole ISA, with everything they compute left in memory.

A program works on: scalars in r0 to r5 and r9; r8, a pointer to a 128-byte array map value; r7, a pointer to 64
bytes of packet (xdp and tc); r6, the context; 64 bytes of stack, written at the start. Before it exits it
stores the scalars into the second half of the map value, so that nothing it computed goes unseen.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.forms import FORMS, Form
from bombus.isa.insn import Insn
from bombus.isa.sample import number, sample

VALUE_SIZE = 128
PACKET_BYTES = 64  # of the packet that programs may touch
SCALARS = (0, 1, 2, 3, 4, 5, 9)
_ALU = (op.BPF_ALU, op.BPF_ALU64)
_ARITHMETIC = [form for form in FORMS if form.opcode & 7 in _ALU and form.name != "addr_space_cast"]
_WIDE = [form for form in FORMS if form.opcode == op.LD_IMM64]
_CONDITIONS = [form for form in FORMS if form.off == "jump" and form.bits]
_SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}
_SIGNED = {"s8": 1, "s16": 2, "s32": 4}
_ATOMICS = [code | fetch for code in (op.BPF_ADD, op.BPF_OR, op.BPF_AND, op.BPF_XOR) for fetch in (0, op.BPF_FETCH)]
_ATOMICS += [op.BPF_XCHG, op.BPF_CMPXCHG]


@dataclass(frozen=True, slots=True)
class Program:
    """kind: "socket", "tc" or "xdp". Map references are BPF_PSEUDO_MAP_VALUE with both immediates 0."""

    kind: str
    insns: list[Insn]

    def with_map(self, low: int, high: int = 0) -> list[Insn]:
        """The instructions with the immediates of every map reference set."""
        out = list(self.insns)
        for index, insn in enumerate(self.insns):
            if insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_MAP_VALUE:
                out[index] = insn._replace(imm=low)
                out[index + 1] = Insn(0, imm=high)
        return out


class Function:
    """One function being written. `pointers`: register -> (first, end) offsets that it may access, alignment."""

    def __init__(self, rng: random.Random, kind: str, main: bool, callees: int, argument: bool) -> None:
        self.rng = rng
        self.kind = kind
        self.main = main
        self.callees = callees
        self.busy: set[int] = set()  # scalars that hold loop counters
        self.pointers: dict[int, tuple[int, int, bool]] = {8: (0, 64, False), 10: (-64, 0, True)}
        if argument:
            self.pointers[6] = (0, 64, True)
        if main and kind != "socket":
            self.pointers[7] = (0, PACKET_BYTES, False)
        self.loops = 0
        self.steps: list[Callable[[int], list[Insn]]] = [self.arithmetic] * 10
        self.steps += [self.memory] * 6 + [self.branch] * 3 + [self.diamond, self.wide, self.variable, self.spill]
        self.steps += [self.atomic] * 3 + [self.ordered, self.loop]
        if callees:
            self.steps += [self.call] * 2
        if main and kind != "xdp":
            self.steps += [self.legacy]

    def scalar(self, write: bool = False) -> int:
        return self.rng.choice([reg for reg in SCALARS if not write or reg not in self.busy])

    def block(self, depth: int, length: int) -> list[Insn]:
        out: list[Insn] = []
        for _ in range(length):
            out += self.rng.choice(self.steps)(depth)
        return out

    def _draw(self, form: Form) -> list[Insn]:
        insns = sample(self.rng, form)
        first = insns[0]
        if form.dst == "write":
            first = first._replace(dst=self.scalar(write=True))
        elif form.dst == "read":
            first = first._replace(dst=self.scalar())
        if form.src in ("read", "write"):
            first = first._replace(src=self.scalar(write=form.src == "write"))
        return [first, *insns[1:]]

    def arithmetic(self, depth: int) -> list[Insn]:
        return self._draw(self.rng.choice(_ARITHMETIC))

    def wide(self, depth: int) -> list[Insn]:
        first, second = self._draw(_WIDE[0])
        return [first._replace(src=0), second]

    def place(self, size: int, *, aligned: bool = False, atomic: bool = False) -> tuple[int, int]:
        """A pointer register and an offset at which `size` bytes may be accessed."""
        choices = [reg for reg in self.pointers if not (atomic and reg == 7)]
        reg = self.rng.choice(choices)
        first, end, strict = self.pointers[reg]
        off = self.rng.randrange(first, end - size + 1)
        if aligned or strict:
            off -= off % size
        return reg, off

    def memory(self, depth: int) -> list[Insn]:
        kind = self.rng.randrange(4)
        if kind == 0:
            name, size = self.rng.choice(list(_SIGNED.items()))
            reg, off = self.place(size)
            return [b.ldx(name, self.scalar(write=True), reg, off)]
        name, size = self.rng.choice(list(_SIZES.items()))
        reg, off = self.place(size)
        if kind == 1:
            return [b.ldx(name, self.scalar(write=True), reg, off)]
        if kind == 2:
            return [b.stx(name, reg, off, self.scalar())]
        return [b.st(name, reg, off, number(self.rng, 32))]

    def atomic(self, depth: int) -> list[Insn]:
        name, size = self.rng.choice((("u32", 4), ("u64", 8)))
        reg, off = self.place(size, aligned=True, atomic=True)
        operation = self.rng.choice(_ATOMICS)
        if operation == op.BPF_CMPXCHG and 0 in self.busy:
            operation = op.BPF_ADD
        prefix, suffix = [], []
        source = self.scalar(write=True)
        if reg != 8:
            # Linux 6.18 does not count an atomic as a read of the stack when it compares states, prunes wrongly
            # and removes live code: a plain read in front keeps the slot alive.
            prefix = [b.ldx(name, source, reg, off), *self.arithmetic(0)]
        if operation == op.BPF_CMPXCHG:
            if self.rng.random() < 0.5:  # make it succeed
                prefix.append(b.ldx(name, 0, reg, off))
            if size == 4:
                # Where r0 is a subprogram's result, Linux 6.18 forgets that the upper half must become 0.
                suffix = [b.mov32(0, b.R0)]
        return [*prefix, b.atomic(operation, name, reg, off, source), *suffix]

    def ordered(self, depth: int) -> list[Insn]:
        name, size = self.rng.choice(list(_SIZES.items()))
        reg, off = self.place(size, aligned=True, atomic=True)
        if self.rng.random() < 0.5:
            return [b.load_acquire(name, self.scalar(write=True), reg, off)]
        return [b.store_release(name, reg, off, self.scalar())]

    def variable(self, depth: int) -> list[Insn]:
        """An access to the map value at an offset that is not known before."""
        reg = self.scalar(write=True)
        name, size = self.rng.choice(list(_SIZES.items()))
        off = self.rng.randrange(0, 64 - 31 - size)
        access = b.stx(name, reg, off, self.scalar()) if self.rng.random() < 0.4 else b.ldx(name, reg, reg, off)
        if access.opcode & 7 == op.BPF_STX and access.src == reg:
            access = access._replace(src=self.rng.choice([r for r in SCALARS if r != reg]))
        return [b.and_(reg, 31), b.add(reg, b.R8), access, *self.fresh(reg, access)]

    def fresh(self, reg: int, access: Insn) -> list[Insn]:
        return [] if access.opcode & 7 == op.BPF_LDX else [b.mov(reg, number(self.rng, 32))]

    def spill(self, depth: int) -> list[Insn]:
        return [b.stx("u64", 10, -72, 8), b.mov(8, 0), b.ldx("u64", 8, 10, -72)]

    def condition(self, off: int) -> Insn:
        return self._draw(self.rng.choice(_CONDITIONS))[0]._replace(off=off)

    def branch(self, depth: int) -> list[Insn]:
        if depth > 3:
            return self.arithmetic(depth)
        inner = self.block(depth + 1, self.rng.randint(1, 4))
        if self.rng.random() < 0.05:
            return [b.may_goto(len(inner)), *inner]
        return [self.condition(len(inner)), *inner]

    def diamond(self, depth: int) -> list[Insn]:
        if depth > 3:
            return self.arithmetic(depth)
        left = self.block(depth + 1, self.rng.randint(1, 3))
        right = self.block(depth + 1, self.rng.randint(1, 3))
        skip = b.ja(len(right)) if self.rng.random() < 0.5 else b.gotol(len(right))
        return [self.condition(len(left) + 1), *left, skip, *right]

    def loop(self, depth: int) -> list[Insn]:
        if depth > 2 or self.loops == 2 or 9 in self.busy:
            return self.arithmetic(depth)
        self.loops += 1
        self.busy.add(9)
        inner = self.block(depth + 2, self.rng.randint(1, 4))
        self.busy.discard(9)
        rounds = self.rng.randint(1, 5)
        back = [b.add(9, -1), b.jmp("!=", 9, 0, -len(inner) - 2, bits=self.rng.choice((32, 64)))]
        if self.rng.random() < 0.3:  # a while loop: the test comes first
            return [b.mov(9, rounds), b.jmp("==", 9, 0, len(inner) + 2), *inner, b.add(9, -1), b.ja(-len(inner) - 3)]
        return [b.mov(9, rounds), *inner, *back]

    def call(self, depth: int, callee: int | None = None) -> list[Insn]:
        """off of the call is the callee's number until `generate` knows where it starts."""
        number_ = self.rng.randrange(self.callees) if callee is None else callee
        prefix = [b.mov(1, b.R10), b.add(1, -64)]
        return [*prefix, Insn(op.CALL, 0, op.BPF_PSEUDO_CALL, number_, 0), *self.lost()]

    def lost(self) -> list[Insn]:
        """New values for the scalars that a call loses."""
        return [b.mov(reg, number(self.rng, 32)) for reg in range(1, 6)]

    def legacy(self, depth: int) -> list[Insn]:
        size = self.rng.choice(("u8", "u16", "u32"))
        if self.rng.random() < 0.5:
            insn = [b.ld_abs(size, self.rng.randrange(70))]
        else:
            reg = self.scalar(write=True)
            start = [b.and_(reg, 31)] if self.rng.random() < 0.9 else []
            insn = [*start, b.ld_ind(size, reg, self.rng.randrange(32))]
        return [*insn, *self.lost()]


def prologue(rng: random.Random, kind: str, main: bool, argument: int = 1) -> list[Insn]:
    """argument: the register that becomes r6: the context, or the address of a caller's 64 bytes."""
    out = [b.mov(6, b.Reg(argument))]
    if main and kind != "socket":
        data = 0 if kind == "xdp" else 76
        out += [b.ldx("u32", 7, 1, data), b.ldx("u32", 3, 1, data + 4), b.mov(2, b.R7), b.add(2, PACKET_BYTES),
                b.jmp("<=", 2, b.R3, 2), b.mov(0, 0), b.exit_()]  # fmt: skip
    out += b.ld_imm64(8, 0, src=op.BPF_PSEUDO_MAP_VALUE)
    for slot in range(-64, 0, 8):
        out.append(b.st("u64", 10, slot, number(rng, 32)))
    for reg in SCALARS:
        if rng.random() < 0.6:
            out.append(b.ldx("u64", reg, 8, rng.randrange(0, 64, 8)))
        elif rng.random() < 0.5:
            out.append(b.mov(reg, number(rng, 32)))
        else:
            out += b.ld_imm64(reg, number(rng, 64))
    return out


def join(bodies: list[list[Insn]]) -> list[Insn]:
    """Functions one after the other; where they name others, `off` is how many bodies further on, less 1."""
    starts = [sum(map(len, bodies[:index])) for index in range(len(bodies))]
    out: list[Insn] = []
    for index, body in enumerate(bodies):
        for insn in body:
            local = insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_CALL
            if local or (insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_FUNC):
                insn = insn._replace(off=0, imm=starts[index + 1 + insn.off] - len(out) - 1)
            out.append(insn)
    return out


def generate(rng: random.Random, length: int = 14) -> Program:
    """A program of about `length` steps in its main function and up to two subprograms."""
    kind = rng.choice(("socket", "tc", "xdp"))
    subprograms = rng.choice((0, 0, 0, 1, 2))
    bodies = []
    for index in range(subprograms + 1):
        main = index == 0
        # A function calls later ones only; callee numbers are relative to it.
        function = Function(rng, kind, main, subprograms - index, not main)
        code = prologue(rng, kind, main) + function.block(0, rng.randint(2, length if main else length // 2))
        if index < subprograms and not any(insn.opcode == op.CALL and insn.off == 0 for insn in code):
            code += function.call(0, 0)  # a function that nobody calls is refused as unreachable
        if main:
            code += results()
        bodies.append([*code, b.exit_()])
    return Program(kind, join(bodies))


def results() -> list[Insn]:
    """The scalars into the map value."""
    return [b.stx("u64", 8, 64 + 8 * slot, reg) for slot, reg in enumerate(SCALARS)]
