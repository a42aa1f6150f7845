"""Programs near the rules of encoding and control flow: reserved fields, jumps, loops, functions, packet loads."""

from __future__ import annotations

import random

from verifier_gen import PRANDOM, SCHED_CLS, SOCKET_FILTER, XDP, Case, Label, Writer, clip16, number, weighted

from bombus.isa.insn import Insn

_SKF = -0x10_0000


class RawWriter(Writer):
    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.labels = [Label() for _ in range(rng.randint(1, 4))]
        self.subprograms = [Label() for _ in range(rng.choice((0, 0, 1, 2, 3, 9)))]

    def number_into(self, reg: int) -> None:
        self.put(0xB7, reg, 0, 0, number(self.rng))

    def statement(self) -> None:
        weighted(self.rng, (
            (3, self.plain), (2, self.jump_somewhere), (1, self.packet_load), (0.7, self.store_load),
            (1.5 if self.subprograms else 0, self.call_subprogram), (0.5, self.helper), (0.3, self.leave),
            (0.3, self.wide_number), (0.4, self.may_goto), (0.3, self.far_jump),
        ))  # fmt: skip

    def plain(self) -> None:
        rng = self.rng
        self.put(rng.choice((0x07, 0x0F, 0xB7, 0xBF, 0x57, 0xB4, 0x67, 0x87, 0xD4, 0xDC)), rng.choice((0, 7, 8, 9)),
                 rng.choice((0, 0, 7, 8)), 0, rng.choice((0, 1, 16, 32)))  # fmt: skip
        last = self.code[-1]
        if last.opcode & 8 == 0 and last.opcode not in (0xDC,):
            self.code[-1] = last._replace(src=0)
        elif last.opcode != 0xDC:
            self.code[-1] = last._replace(imm=0)
        else:
            self.code[-1] = last._replace(src=0, imm=16)
        if self.code[-1].opcode == 0x87:
            self.code[-1] = self.code[-1]._replace(imm=0, src=0)
        if self.code[-1].opcode == 0xD4:
            self.code[-1] = self.code[-1]._replace(imm=rng.choice((16, 32, 64)))

    def jump_somewhere(self) -> None:
        rng = self.rng
        code = rng.choice((0x05, 0x15, 0x55, 0x25, 0x65, 0xA5, 0x16, 0x26, 0x06, 0x1D, 0xBD))
        reg = rng.choice((0, 7, 8)) if code not in (0x05, 0x06) else 0
        source = rng.choice((7, 8, 9)) if code & 8 else 0
        self.jump(code, reg, source, 0 if code & 8 or code in (5, 6) else number(rng), rng.choice(self.labels))

    def far_jump(self) -> None:
        self.put(self.rng.choice((0x05, 0x15, 0xA5)), 0, 0, self.rng.randint(-12, 12), 0)

    def may_goto(self) -> None:
        self.fixups.append((len(self.code), self.rng.choice(self.labels), "off"))
        self.put(0xE5)

    def packet_load(self) -> None:
        rng = self.rng
        size = rng.choice((0x00, 0x08, 0x10)) if self.chance(0.95) else 0x18
        off = rng.choice((0, 4, 14, _SKF, -0x20_0000, number(rng)))
        if self.chance(0.5):
            self.put(0x20 | size, 0, 0, 0, off)
        else:
            self.put(0x40 | size, 0, rng.choice((7, 8, 9, 0)), 0, off)

    def store_load(self) -> None:
        off = -8 * (self.rng.randint(1, 3) if self.chance(0.8) else self.rng.randint(1, 65))
        if self.chance(0.5):
            self.put(0x7B, 10, self.rng.choice((6, 7, 8, 9)), off)
        else:
            self.put(0x79, self.rng.choice((0, 7, 8)), 10, off)

    def helper(self) -> None:
        self.put(0x85, 0, 0, 0, PRANDOM if self.chance(0.9) else self.rng.randint(-1, 215))

    def call_subprogram(self) -> None:
        rng = self.rng
        for reg in (1, 2):
            if self.chance(0.6):
                self.put(0xBF, reg, rng.choice((6, 7, 8, 10)))
        # Mostly forward, in long chains.
        later = [label for label in self.subprograms if label.at < 0]
        self.call(rng.choice(later[:2] if later and self.chance(0.9) else self.subprograms))

    def leave(self) -> None:
        self.put(0x95)

    def wide_number(self) -> None:
        self.wide(self.rng.choice((0, 7, 8)), self.rng.getrandbits(64))

    def function(self, length: int, main: bool) -> None:
        if main or self.chance(0.7):
            self.put(0xBF, 6, 1)
        for reg in (7, 8, 9):
            if self.chance(0.9):
                self.number_into(reg)
        self.labels = [Label() for _ in range(self.rng.randint(1, 3))]
        for _ in range(length):
            self.statement()
            if self.chance(0.2):
                self.place(self.rng.choice(self.labels))
        for label in self.labels:
            if label.at < 0:
                self.place(label)
        if self.chance(0.95):
            self.put(0xB7, 0, 0, 0, 0)
        if self.chance(0.97):
            self.put(0x95)


def _break(rng: random.Random, insns: list[Insn]) -> None:
    at = rng.randrange(len(insns))
    insn = insns[at]
    pick = rng.random()
    if pick < 0.3:
        insns[at] = insn._replace(off=clip16(rng.choice((1, -1, insn.off + 1, 8, 16, 32))))
    elif pick < 0.5:
        insns[at] = insn._replace(src=rng.randint(0, 15))
    elif pick < 0.6:
        insns[at] = insn._replace(dst=rng.randint(0, 15))
    elif pick < 0.8:
        insns[at] = insn._replace(opcode=rng.randint(0, 255))
    elif pick < 0.9:
        insns[at] = insn._replace(imm=number(rng))
    else:
        del insns[at]


def generate(rng: random.Random) -> Case:
    w = RawWriter(rng)
    w.function(rng.randint(0, 8), True)
    for label in w.subprograms:
        w.place(label)
        w.function(rng.randint(0, 4), False)
    insns = list(w.finish())
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1))):
        if len(insns) > 1:
            _break(rng, insns)
    prog_type = rng.choice((SOCKET_FILTER, SOCKET_FILTER, SCHED_CLS, XDP))
    flags = rng.choice((0, 0, 0, 8, 1, rng.choice((2, 16, 128))))
    return Case("raw", tuple(insns), prog_type, 0, flags, rng.choice((6, 6, 4, 1)))
