"""Programs about numbers: bounds, known bits, linked registers, spills, branches that join, small loops."""

from __future__ import annotations

import random

from verifier_gen import KTIME, PRANDOM, SOCKET_FILTER, Case, Label, Writer, number, weighted

_ALU = (0x00, 0x10, 0x20, 0x40, 0x50, 0xA0)  # add sub mul or and xor
_SHIFT = (0x60, 0x70, 0xC0)
_CONDITIONS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)


class ScalarWriter(Writer):
    """r6 to r9 and r0 hold numbers; fp-8 to fp-32 hold spilled ones."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.regs: tuple[int, ...] = (0, 6, 7, 8, 9)
        self.slots: set[int] = set()

    def reg(self) -> int:
        return self.rng.choice(self.regs)

    def fresh(self, reg: int) -> None:
        """An unknown number in a register."""
        pick = self.rng.random()
        self.put(0x85, 0, 0, 0, PRANDOM if pick < 0.5 else KTIME)
        if reg:
            self.put(0xBC if self.chance(0.2) else 0xBF, reg)

    def limit(self) -> None:
        """Bring a register into a small range."""
        r = self.reg()
        pick = self.rng.random()
        if pick < 0.5:
            mask = self.rng.choice((1, 3, 7, 15, 0xFF, 12, 0x7E, 48, 0x1FF))
            self.put(0x57 if self.chance(0.7) else 0x54, r, 0, 0, mask)
        elif pick < 0.8:
            self.put(self.rng.choice((0x77, 0x74, 0xC7, 0xC4)), r, 0, 0, self.rng.randint(20, 63) & (63))
        else:
            self.put(0x97 if self.chance(0.5) else 0x94, r, 0, 0, self.rng.randint(1, 40))

    def arithmetic(self) -> None:
        rng = self.rng
        klass = rng.choice((7, 7, 4))
        d, s = self.reg(), self.reg()
        pick = rng.random()
        if pick < 0.6:
            code = rng.choice(_ALU)
            if self.chance(0.4):
                self.put(code | klass | 8, d, s)
            else:
                self.put(code | klass, d, 0, 0, number(rng))
        elif pick < 0.78:
            code = rng.choice(_SHIFT)
            if self.chance(0.25):
                self.put(code | klass | 8, d, s)
            else:
                top = 64 if klass == 7 else 32
                self.put(code | klass, d, 0, 0, rng.randint(0, top - 1) if self.chance(0.97) else rng.randint(-2, 70))
        elif pick < 0.84:
            code = rng.choice((0x30, 0x90))
            signed = int(self.chance(0.4))
            if self.chance(0.4):
                self.put(code | klass | 8, d, s, signed)
            else:
                self.put(code | klass, d, 0, signed, number(rng))
        elif pick < 0.92:
            self.put(0x80 | klass, d)
        else:
            self.put(rng.choice((0xDC, 0xD4, 0xD7)), d, 0, 0, rng.choice((16, 32, 64)))

    def move(self) -> None:
        rng = self.rng
        d, s = self.reg(), self.reg()
        pick = rng.random()
        if pick < 0.5:
            self.put(0xBF, d, s)
        elif pick < 0.7:
            self.put(0xBC, d, s)
        elif pick < 0.85:
            bits = rng.choice((8, 16, 32))
            wide = bits == 32 or self.chance(0.6)
            self.put(0xBF if wide else 0xBC, d, s, bits)
        else:
            self.put(0xB7 if self.chance(0.6) else 0xB4, d, 0, 0, number(rng))

    def constant(self) -> None:
        if self.chance(0.5):
            rng = self.rng
            self.wide(self.reg(), rng.choice((rng.getrandbits(64), 1 << rng.randint(0, 63), (1 << 64) - 1)))
        else:
            self.fresh(self.reg())

    def spill(self) -> None:
        rng = self.rng
        slot = -8 * rng.randint(1, 4)
        pick = rng.random()
        if pick < 0.6:
            self.put(0x7B, 10, self.reg(), slot)
        elif pick < 0.8:
            self.put(0x63, 10, self.reg(), slot + rng.choice((0, 0, 4)))
        elif pick < 0.9:
            self.put(rng.choice((0x6B, 0x73)), 10, self.reg(), slot + rng.choice((0, 2, 4, 6)))
        else:
            self.put(rng.choice((0x7A, 0x62, 0x6A, 0x72)), 10, 0, slot, rng.choice((0, 0, 1, -1, number(rng))))
        self.slots.add(slot)

    def fill(self) -> None:
        rng = self.rng
        slots = sorted(self.slots)
        if not slots:
            self.spill()
            return
        slot = rng.choice(slots)
        pick = rng.random()
        if pick < 0.5:
            self.put(0x79, self.reg(), 10, slot)
        elif pick < 0.75:
            self.put(0x61, self.reg(), 10, slot + rng.choice((0, 0, 4)))
        elif pick < 0.9:
            self.put(rng.choice((0x69, 0x71)), self.reg(), 10, slot + rng.choice((0, 2, 4, 6)))
        else:
            self.put(rng.choice((0x81, 0x89, 0x91)), self.reg(), 10, slot + rng.choice((0, 0, 4)))

    def condition(self, to: Label) -> None:
        rng = self.rng
        code = rng.choice(_CONDITIONS) | rng.choice((5, 5, 6))
        if self.chance(0.35):
            self.jump(code | 8, self.reg(), self.reg(), 0, to)
        else:
            self.jump(code, self.reg(), 0, number(rng), to)

    def body(self, length: int, depth: int = 0) -> None:
        for _ in range(length):
            weighted(self.rng, (
                (5, self.arithmetic), (2, self.move), (1.2, self.limit), (0.4, self.constant),
                (0.9, self.spill), (1.0, self.fill), (2.6 if depth < 4 else 0, lambda: self.branch(depth)),
                (0.15 if depth < 1 else 0, lambda: self.loop(depth)),
            ))  # fmt: skip

    def branch(self, depth: int) -> None:
        rng = self.rng
        over = Label()
        self.condition(over)
        self.body(rng.randint(0, 3), depth + 1)
        if self.chance(0.3):
            end = Label()
            self.jump(0x05, 0, 0, 0, end)
            self.place(over)
            self.body(rng.randint(0, 2), depth + 1)
            self.place(end)
        else:
            self.place(over)

    def loop(self, depth: int) -> None:
        rng = self.rng
        counter = rng.choice((6, 7, 8, 9))
        before = self.regs
        pick = rng.random()
        if pick < 0.5:
            self.put(0xB7, counter)
            top = self.here()
            self.regs = tuple(r for r in before if r != counter)
            self.body(rng.randint(0, 3), depth + 1)
            self.regs = before
            self.put(0x07, counter, 0, 0, rng.choice((1, 1, 2, 3)))
            self.jump(rng.choice((0xA5, 0xA5, 0x55, 0xB5, 0xC5, 0xA6)), counter, 0, rng.randint(1, 9), top)
        else:
            end = Label()
            top = self.here()
            self.put(0xE5)
            self.fixups.append((len(self.code) - 1, end, "off"))
            self.body(rng.randint(1, 4), depth + 1)
            self.jump(0x05, 0, 0, 0, top)
            self.place(end)

    def probe(self) -> None:
        """Use a number where its range decides: an offset into the stack, or the return value's parity."""
        r = self.reg()
        if self.chance(0.5):
            self.put(0x7A, 10, 0, -8)
            self.put(0x7A, 10, 0, -16)
            self.put(0xBF, 1, 10)
            self.put(0x0F, 1, r)
            self.put(self.rng.choice((0x71, 0x72)), 0 if self.chance(0.5) else 1, 1, -self.rng.randint(1, 17))


def generate(rng: random.Random) -> Case:
    w = ScalarWriter(rng)
    for r in (6, 7, 8, 9):
        if w.chance(0.7):
            w.fresh(r)
            if w.chance(0.4):
                w.put(0x57, r, 0, 0, rng.choice((0xFF, 7, 0x7FFFFFFF, 1, 0x3F0)))
        else:
            w.put(0xB7, r, 0, 0, number(rng))
    w.fresh(0)
    w.body(rng.randint(3, 14))
    if w.chance(0.4):
        w.probe()
    w.put(0xB7 if w.chance(0.9) else 0x57, 0, 0, 0, 0)
    w.put(0x95)
    # BPF_F_TEST_STATE_FREQ, BPF_F_STRICT_ALIGNMENT, BPF_F_TEST_REG_INVARIANTS
    flags = rng.choice((0, 0, 0, 0, 0, 0, 8, 8, 1, 128))
    return Case("scalar", w.finish(), SOCKET_FILTER, flags=flags)
