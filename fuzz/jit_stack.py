"""Steps for programs that make numbers of addresses of their stack, and for who reads memory by such a number.

Root may do that in many ways (pointers spilled and read back as bytes, arithmetic on them, atomics, maps). A number
goes at once to a helper that follows it, or waits in KEPT, the last word of the array map's value, where callbacks,
functions and programs that are jumped to find it. Only bytes of frames that are alive are read, and none that hold
addresses, so that what is read is the same wherever the stack lies.
"""

from __future__ import annotations

from typing import Final

from vm_generate import SCALARS, VALUE_SIZE, Function

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.isa.sample import number

KEPT: Final = VALUE_SIZE - 8
SPARE: Final = -112  # of the stack: a word for a pointer
DATA: Final = -128  # and two for arguments

_PROBE, _PROBE_STR, _PRINTK, _SNPRINTF, _VPRINTK = 113, 115, 6, 165, 177
_COMM, _STRTOL, _STRTOUL, _STRNCMP = 16, 105, 106, 182
_KEPT_TOP: Final = KEPT + 7  # the highest byte of an address of this process is 0

FORMAT_SIZE: Final = 16
# In a read-only map. Those that take addresses: format -> how many, bytes read at each, whether a number follows.
_TAKES: Final = {
    "%pI4": (1, 4, False), "%pi4 %d": (1, 4, True), "%pI6": (1, 16, False), "%pI4 %pI4": (2, 4, False),
    "%s": (1, 0, False), "%pks|%x": (1, 0, True),
}  # fmt: skip
_NUMBERS: Final = ("12", "-0x1f", "%d %llx")
FORMATS: Final = (*_TAKES, *_NUMBERS)


def texts() -> bytes:
    """The value of the read-only map."""
    return b"".join(text.encode().ljust(FORMAT_SIZE, b"\0") for text in FORMATS)


class StackSteps(Function):
    """texts: number of the map with FORMATS; -1: there is none. sets: does this function leave addresses of its own
    frame in KEPT?"""

    texts = -1
    sets = False

    def called(self, helper: int) -> list[Insn]:
        return [Insn(op.CALL, 0, 0, 0, helper), *self.lost()]

    def base(self, reg: int, size: int) -> list[Insn]:
        """The address of `size` bytes of numbers in a frame."""
        rng = self.rng
        if 6 in self.pointers and rng.random() < 0.4:
            return [b.mov(reg, b.R6), b.add(reg, rng.randint(0, 64 - size))]
        return [b.mov(reg, b.R10), b.add(reg, rng.randint(-64, -size))]

    def number_of(self, reg: int, size: int) -> list[Insn]:
        """Such an address as a number in `reg`, one of r1 to r5."""
        rng = self.rng
        other = rng.choice([one for one in range(1, 6) if one != reg])
        code = self.base(reg, size)
        way = rng.choice(("swap", "negate", "difference", "kept", "exchange", "compared", "added", "partly", "halves",
                          "anywhere", "low", "plain"))  # fmt: skip
        if way == "swap":
            return [*code, b.bswap(reg, 64), b.bswap(reg, 64)]
        if way == "negate":
            return [*code, b.neg(reg), b.neg(reg)]
        if way == "difference":
            return [*code, b.mov(other, b.R8), b.sub(reg, b.Reg(other)), b.neg(other), b.neg(other),
                    b.add(reg, b.Reg(other))]  # fmt: skip
        if way == "kept":
            return [*code, b.stx("u64", 8, KEPT, reg), b.ldx("u64", reg, 8, KEPT), *self.forget()]
        if way == "exchange":
            place, off = rng.choice(((8, KEPT), (10, SPARE)))
            return [*code, b.st("u64", place, off, 0), b.atomic(op.BPF_XCHG, "u64", place, off, reg),
                    b.ldx("u64", reg, place, off), *self.forget()]  # fmt: skip
        if way == "compared":
            return [*code, b.st("u64", 8, KEPT, 5), b.mov(0, 5), b.atomic(op.BPF_CMPXCHG, "u64", 8, KEPT, reg),
                    b.ldx("u64", reg, 8, KEPT), *self.forget()]  # fmt: skip
        if way == "added":
            place, off = rng.choice(((8, KEPT), (10, SPARE)))
            operation = rng.choice((op.BPF_ADD, op.BPF_OR, op.BPF_XOR)) | rng.choice((0, op.BPF_FETCH))
            fetched = [] if not operation & op.BPF_FETCH else [b.mov(reg, 0)]
            return [*code, b.st("u64", place, off, 0), b.atomic(operation, "u64", place, off, reg), *fetched,
                    b.ldx("u64", reg, place, off), *self.forget()]  # fmt: skip
        if way == "partly":  # the pointer's highest byte is 0 anyway
            return [*code, b.stx("u64", 10, SPARE, reg), b.st("u8", 10, SPARE + 7, 0), b.ldx("u64", reg, 10, SPARE)]
        if way == "halves":
            return [*code, b.stx("u64", 10, SPARE, reg), b.st("u8", 10, SPARE + 7, 0), b.ldx("u32", reg, 10, SPARE),
                    b.ldx("u32", other, 10, SPARE + 4), b.lsh(other, 32), b.or_(reg, b.Reg(other))]  # fmt: skip
        if way == "anywhere":  # at an offset that only the run knows: 0
            return [*code, b.stx("u64", 10, SPARE, reg), b.ldx("u8", other, 8, _KEPT_TOP), b.and_(other, 8),
                    b.add(other, b.R10), b.ldx("u64", reg, other, SPARE)]  # fmt: skip
        if way == "low":  # its halves, by moves
            return [*code, b.mov32(other, b.Reg(reg)), b.neg(reg), b.neg(reg), b.rsh(reg, 32), b.lsh(reg, 32),
                    b.or_(reg, b.Reg(other))]  # fmt: skip
        return code  # a pointer as it is

    def forget(self) -> list[Insn]:
        return [b.st("u64", 8, KEPT, 0)]

    def told(self, depth: int) -> list[Insn]:
        """A number of an address, and who follows it."""
        size = self.rng.choice((1, 4, 8, 16))
        return [*self.number_of(3, size), *self.follow(size)]

    def string(self, depth: int) -> list[Insn]:
        """One of text in this frame, which ends there."""
        pointers, self.pointers = self.pointers, {8: (0, 64, False), 10: (-64, 0, True)}
        code = self.number_of(3, 1)
        self.pointers = pointers
        return [b.st("u8", 10, -1, 0), *code, *self.follow(0)]

    def keep(self, depth: int) -> list[Insn]:
        """A number into KEPT; this function's end takes it away."""
        if not self.sets:
            return self.told(depth)
        return [*self.number_of(3, 16), b.stx("u64", 8, KEPT, 3), *self.lost()]

    def kept(self, depth: int) -> list[Insn]:
        """Follow the number in KEPT, if there is one."""
        size = self.rng.choice((1, 4, 8, 16))
        code = [*self.follow(size), b.mov(3, 0)]
        return [b.ldx("u64", 3, 8, KEPT), b.jmp("==", 3, 0, len(code)), *code]

    def text(self, reg: int, text: str) -> list[Insn]:
        first, second = b.ld_imm64(reg, self.texts + 1, src=op.BPF_PSEUDO_MAP_VALUE)
        return [first, second._replace(imm=FORMATS.index(text) * FORMAT_SIZE)]

    def room(self, reg: int, size: int) -> list[Insn]:
        """Somewhere to write to."""
        rng = self.rng
        place, first = rng.choice(((8, 0), (10, -64)))
        return [b.mov(reg, b.Reg(place)), b.add(reg, first + rng.randint(0, 64 - size))]

    def follow(self, size: int) -> list[Insn]:
        """Something that reads `size` bytes at the number in r3; 0: a string. r1 to r5 are new after it."""
        rng = self.rng
        fits = [text for text, row in _TAKES.items() if row[1] <= size and bool(row[1]) == bool(size)]
        way = rng.choice(("probe", "string", "print", "snprintf", "array"))
        if self.texts < 0 or not fits or way in ("probe", "string"):
            string = way == "string" or not size
            return [*self.room(1, size or 16), b.mov(2, size or 16), *self.called(_PROBE_STR if string else _PROBE)]
        text = rng.choice(fits)
        count, _, more = _TAKES[text]
        second = [b.mov(4, number(rng, 32))] if more else [b.mov(4, b.R3)] if count == 2 else []
        if way == "print":
            return [*self.text(1, text), b.mov(2, FORMAT_SIZE), *(second or [b.mov(4, 1)]), b.mov(5, 0),
                    *self.called(_PRINTK)]  # fmt: skip
        # The arguments lie in the map, so that no pointer into the stack goes anywhere; or on the stack.
        if not second and rng.random() < 0.7:
            data, after, length = [b.stx("u64", 8, KEPT, 3), b.mov(4, b.R8), b.add(4, KEPT)], self.forget(), 8
        else:
            data = [b.stx("u64", 10, DATA, 3), *second, *([b.stx("u64", 10, DATA + 8, 4)] if second else [])]
            data += [b.mov(4, b.R10), b.add(4, DATA)]
            after, length = [], 16 if second else 8
        if way == "array":
            return [*data, *self.text(1, text), b.mov(2, FORMAT_SIZE), b.mov(3, b.R4), b.mov(4, length),
                    *self.called(_VPRINTK), *after]  # fmt: skip
        return [*data, *self.room(1, 16), b.mov(2, rng.choice((8, 16))), *self.text(3, text), b.mov(5, length),
                *self.called(_SNPRINTF), *after]  # fmt: skip

    def distance(self, depth: int) -> list[Insn]:
        """How far two addresses of one frame lie apart, and which is the higher one."""
        rng = self.rng
        one, two = rng.sample(SCALARS[:6], 2)
        code = [b.mov(one, b.R10), b.add(one, rng.randint(-64, 0)), b.mov(two, b.R10), b.add(two, rng.randint(-64, 0))]
        if rng.random() < 0.5:
            code += [b.sub(one, b.Reg(two)), b.mov(two, number(rng, 32))]
        else:
            higher = [b.mov(one, 1), b.ja(1), b.mov(one, 0)]
            code += [b.jmp(rng.choice((">", "<=", "==", "s<")), one, b.Reg(two), 2), *higher, b.mov(two, 3)]
        return code

    def somewhere(self, depth: int) -> list[Insn]:
        """A place in the frame that only the run knows."""
        rng, reg = self.rng, self.scalar(write=True)
        name, size = rng.choice((("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)))
        mask = rng.choice((8, 24, 56)) if size == 8 else rng.choice((8, 24, 56)) | (8 - size)
        first = -64 + rng.randrange(0, 64 - mask - (8 - size if mask & 7 == 0 else 0) - size + 1, 8)
        start = [b.and_(reg, mask), b.add(reg, b.R10)]
        other = rng.choice([one for one in SCALARS if one != reg])
        if rng.random() < 0.5:
            return [*start, b.stx(name, reg, first, other), b.mov(reg, number(rng, 32))]
        return [*start, b.ldx(name, reg, reg, first)]

    def written(self, depth: int) -> list[Insn]:
        """Stack that a helper writes to, or reads text from."""
        rng = self.rng
        way = rng.choice(("comm", "number", "text", "compare", "snprintf"))
        if way == "comm":
            size = rng.choice((1, 8, 16, 30))
            return [b.mov(1, b.R10), b.add(1, rng.randint(-64, -size)), b.mov(2, size), *self.called(_COMM)]
        if self.texts < 0:
            return [b.mov(1, b.R10), b.add(1, -64), b.mov(2, 9), b.mov(3, 0), b.mov(4, b.R10), b.add(4, -16),
                    *self.called(rng.choice((_STRTOL, _STRTOUL)))]  # fmt: skip
        text = rng.choice(_NUMBERS[:2])
        if way == "number":
            return [*self.text(1, text), b.mov(2, rng.choice((2, 5, 9))), b.mov(3, rng.choice((0, 16))),
                    b.mov(4, b.R10), b.add(4, rng.randrange(-64, 0, 8)),
                    *self.called(rng.choice((_STRTOL, _STRTOUL)))]  # fmt: skip
        if way == "text":  # text becomes stack
            return [*self.text(3, text), b.mov(1, b.R10), b.add(1, -48), b.mov(2, 12), *self.called(_PROBE_STR)]
        if way == "compare":
            return [b.mov(1, b.R10), b.add(1, -48), b.mov(2, rng.choice((1, 3, 8))), *self.text(3, text),
                    *self.called(_STRNCMP)]  # fmt: skip
        value = self.scalar()
        return [b.stx("u64", 10, DATA, value), b.st("u64", 10, DATA + 8, number(rng, 32)), b.mov(1, b.R10),
                b.add(1, -40), b.mov(2, rng.choice((1, 8, 30))), *self.text(3, _NUMBERS[2]), b.mov(4, b.R10),
                b.add(4, DATA), b.mov(5, 16), *self.called(_SNPRINTF)]  # fmt: skip
