"""Steps over what maps hold: records and dynptrs of ring buffers, values under a lock, values of other CPUs, atomics
of all kinds, loops over packets, jumps into other programs."""

from __future__ import annotations

from typing import Final

from jit_stack import SPARE, StackSteps
from vm_generate import PACKET_BYTES, SCALARS

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.isa.sample import number

DYNPTR: Final = -144  # of the stack
_LOCK, _UNLOCK, _PERCPU, _TAIL = 93, 94, 195, 12
_RESERVE, _SUBMIT, _DISCARD = 131, 132, 133
_FROM_MEM, _RESERVE_DYNPTR, _SUBMIT_DYNPTR, _DISCARD_DYNPTR, _READ, _WRITE, _DATA = range(197, 204)
_WIDTHS: Final = (("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8))
_SIGNED: Final = (("s8", 1), ("s16", 2), ("s32", 4))
_ATOMICS: Final = [
    operation | fetch
    for operation in (op.BPF_ADD, op.BPF_OR, op.BPF_AND, op.BPF_XOR)
    for fetch in (0, op.BPF_FETCH)
] + [op.BPF_XCHG, op.BPF_CMPXCHG]


class ObjectSteps(StackSteps):
    def map_of(self, which: int, reg: int = 1) -> list[Insn]:
        """which: one of the program's shapes; -1: the array."""
        first, second = b.ld_imm64(reg, 0, src=op.BPF_PSEUDO_MAP_FD)
        return [first._replace(imm=which), second]

    def used(self, pointer: int, first: int, end: int, *, aligned: bool = True) -> list[Insn]:
        """Loads, stores and atomics (aligned only) on [first, end) behind a pointer; it is not changed."""
        rng, code = self.rng, []
        regs = [reg for reg in SCALARS if reg != pointer and reg not in self.busy]
        for _ in range(rng.randint(1, 4)):
            name, width = rng.choice([row for row in _WIDTHS if row[1] <= end - first])
            off = first + rng.randrange(0, end - first - width + 1)
            off -= off % width
            reg, choice = rng.choice(regs), rng.randrange(8)
            if choice < 2:
                code.append(b.ldx(name, reg, pointer, off))
            elif choice == 2:
                name, width = rng.choice([row for row in _SIGNED if row[1] <= end - first])
                code.append(b.ldx(name, reg, pointer, first + rng.randrange(0, end - first - width + 1)))
            elif choice == 3:
                code.append(b.st(name, pointer, off, number(rng, 32)))
            elif choice < 6 and aligned and width >= 4:
                code += self._atomic(name, pointer, off, reg)
            else:
                code.append(b.stx(name, pointer, off, reg))
        return code

    def _atomic(self, name: str, pointer: int, off: int, reg: int) -> list[Insn]:
        rng, operation = self.rng, self.rng.choice(_ATOMICS)
        if operation == op.BPF_CMPXCHG:
            if pointer == 0 or 0 in self.busy:
                operation = op.BPF_XCHG
            elif rng.random() < 0.5:
                return [b.ldx(name, 0, pointer, off), b.atomic(operation, name, pointer, off, reg)]
        return [b.atomic(operation, name, pointer, off, reg)]

    def locked(self, which: int, key: list[Insn], size: int) -> list[Insn]:
        """A value whose lock is held while it is worked on. key: code that leaves the key's address in r2."""
        held = [b.ldx("u64", 1, 10, SPARE), *self.used(1, 8, size), b.ldx("u64", 1, 10, SPARE)]
        inner = [b.stx("u64", 10, SPARE, 0), b.mov(1, b.R0), *self.called(_LOCK), b.mov(0, 5), *held,
                 *self.called(_UNLOCK), b.mov(0, 1)]  # fmt: skip
        return [*key, *self.map_of(which), *self.called(1), b.jmp("==", 0, 0, len(inner)), *inner]

    def of_cpu(self, which: int, key: list[Insn], size: int) -> list[Insn]:
        inner = [*self.used(0, 0, size, aligned=size % 8 == 0), b.mov(0, 1)]
        cpu = self.rng.choice((0, 0, 1, 2, 99))
        return [*key, *self.map_of(which), b.mov(3, cpu), *self.called(_PERCPU), b.jmp("==", 0, 0, len(inner)), *inner]

    def record(self, which: int) -> list[Insn]:
        """A record that is held over other steps."""
        rng, size = self.rng, self.rng.choice((8, 16, 64))
        between = [b.mov(0, 3), *self.arithmetic(3), *self.arithmetic(3)]
        held = [b.stx("u64", 10, SPARE, 0), *self.used(0, 0, size), *between, b.ldx("u64", 1, 10, SPARE),
                *self.used(1, 0, size), b.ldx("u64", 1, 10, SPARE), b.mov(2, 0),
                Insn(op.CALL, 0, 0, 0, rng.choice((_SUBMIT, _DISCARD))), b.mov(0, 7), *self.lost()]  # fmt: skip
        return [*self.map_of(which), b.mov(2, size), b.mov(3, 0), Insn(op.CALL, 0, 0, 0, _RESERVE), *self.lost(),
                b.jmp("==", 0, 0, len(held)), *held]  # fmt: skip

    def dynptr(self, ring: int) -> list[Insn]:
        """One over a ring buffer's record, or over the array's value (ring < 0)."""
        rng = self.rng
        here = [b.mov(4, b.R10), b.add(4, DYNPTR)]
        if ring < 0:
            code = [b.mov(1, b.R8), b.mov(2, rng.choice((8, 30, 64))), b.mov(3, 0), *here, *self.called(_FROM_MEM)]
        else:
            code = [*self.map_of(ring), b.mov(2, rng.choice((8, 24, 64))), b.mov(3, 0), *here,
                    *self.called(_RESERVE_DYNPTR)]  # fmt: skip
        for _ in range(rng.randint(1, 3)):
            off, length, way = rng.choice((0, 0, 1, 8, 60)), rng.choice((1, 4, 8, 16)), rng.choice((0, 1, 2, 2))
            stack = rng.randint(-64, -length)
            if way == 0:
                code += [b.mov(1, b.R10), b.add(1, stack), b.mov(2, length), b.mov(3, b.R10), b.add(3, DYNPTR),
                         b.mov(4, off), b.mov(5, 0), *self.called(_READ)]  # fmt: skip
            elif way == 1:
                code += [b.mov(1, b.R10), b.add(1, DYNPTR), b.mov(2, off), b.mov(3, b.R10), b.add(3, stack),
                         b.mov(4, length), b.mov(5, 0), *self.called(_WRITE)]  # fmt: skip
            else:
                inner = [*self.used(0, 0, length, aligned=False), b.mov(0, 1)]
                if ring < 0 and rng.random() < 0.7:  # the same bytes by two ways
                    name = rng.choice([name for name, width in _WIDTHS if width <= length])
                    inner = [*self.in_order(name, 0, ((0, 0), (8, off))), b.mov(0, b.R2)]
                code += [b.mov(1, b.R10), b.add(1, DYNPTR), b.mov(2, off), b.mov(3, length), *self.called(_DATA),
                         b.jmp("==", 0, 0, len(inner)), *inner]  # fmt: skip
        if ring >= 0:
            code += [b.mov(1, b.R10), b.add(1, DYNPTR), b.mov(2, 0),
                     *self.called(rng.choice((_SUBMIT_DYNPTR, _DISCARD_DYNPTR))), b.mov(0, 4)]  # fmt: skip
        return code

    def walk(self, depth: int) -> list[Insn]:
        """A loop over the packet, by an offset or by a pointer; or a place that the packet says."""
        rng = self.rng
        if depth > 2 or 9 in self.busy or not self.main or self.kind == "socket":
            return self.arithmetic(depth)
        name, width = rng.choice(_WIDTHS)
        way = rng.randrange(3)
        does = rng.choice((b.add(0, b.R4), b.xor(0, b.R4), b.sub(0, b.R4)))
        if way == 0:  # by an offset, from 0
            rounds = min(rng.choice((1, 7, 16)), PACKET_BYTES // width)
            return [b.mov(0, 0), b.mov(5, 0), b.mov(3, b.R7), b.add(3, b.R5), b.ldx(name, 4, 3, 0), does,
                    b.add(5, width), b.jmp("<", 5, rounds * width, -6), b.mov(3, 1), b.mov(4, 2)]  # fmt: skip
        end = [b.ldx("u32", 2, 6, 4 if self.kind == "xdp" else 80)]
        if way == 1:  # by a pointer, up to the packet's end
            step = rng.choice((width, width + 1, 13))
            body = [b.mov(1, b.R3), b.add(1, width), b.jmp(">", 1, b.R2, 6), b.ldx(name, 4, 3, 0), does,
                    b.add(3, step), b.add(5, 1), b.jmp("<", 5, rng.choice((1, 5, 16)), -8), b.mov(1, 3)]  # fmt: skip
            return [*end, b.mov(0, 0), b.mov(5, 0), b.mov(3, b.R7), *body, b.mov(1, 1), b.mov(2, 1), b.mov(3, 1),
                    b.mov(4, 1)]  # fmt: skip
        # A place that the packet says.
        access = b.ldx(name, 4, 3, 0) if rng.random() < 0.6 else b.stx(name, 3, 0, 0)
        place = [b.ldx("u8", 5, 7, rng.randrange(PACKET_BYTES)), b.and_(5, rng.choice((4, 15, 60, 255)))]
        return [*end, *place, b.mov(3, b.R7), b.add(3, b.R5), b.add(3, rng.randint(0, 40)), b.mov(1, b.R3),
                b.add(1, width), b.jmp(">", 1, b.R2, 1), access, b.mov(1, 1), b.mov(2, 2), b.mov(3, 3),
                b.mov(4, 4)]  # fmt: skip

    def either(self, depth: int) -> list[Insn]:
        """A pointer into memory of one of two kinds, as the run will have it, and both of them: stores and loads that
        must stay in their order."""
        rng = self.rng
        places = [(8, 0), (10, -64), *([(6, 0)] if not self.main else [])]
        if self.main and self.kind != "socket":
            places.append((7, 0))
        one, two = rng.sample(places, 2)
        name, width = rng.choice(_WIDTHS[1:])
        off = rng.randrange(0, 64 - width + 1, width)
        code = [b.ldx("u8", 5, 8, rng.randrange(64)), b.mov(3, b.Reg(one[0])), b.add(3, one[1]),
                b.jmp(rng.choice(("s<", "&")), 5, rng.choice((1, 4, 100)), 2), b.mov(3, b.Reg(two[0])),
                b.add(3, two[1])]  # fmt: skip
        return [*code, *self.in_order(name, off, ((3, 0), (3, 0), one, two)), b.mov(0, b.R2), b.mov(3, 3)]

    def in_order(self, name: str, off: int, places: tuple[tuple[int, int], ...]) -> list[Insn]:
        """Stores and loads at `off` behind several pointers (not r1, r2, r4, r5), which may be the same; r2 shows what
        was loaded."""
        rng = self.rng
        code = [b.mov(2, 0), b.mov(4, number(rng, 32))]
        for _ in range(rng.randint(3, 6)):
            base, first = rng.choice(places)
            if rng.random() < 0.5:
                code += [b.add(4, 1), b.stx(name, base, first + off, 4)]
            else:
                code += [b.ldx(name, 1, base, first + off), b.mul(2, 3), b.add(2, b.R1)]
        return [*code, b.mov(1, 1), b.mov(5, 5)]

    def bulk(self, depth: int) -> list[Insn]:
        """Bytes of one kind of memory to another, in a loop that LLVM may make wide."""
        rng = self.rng
        if depth > 2 or 9 in self.busy:
            return self.arithmetic(depth)
        name, width = rng.choice(_WIDTHS)
        places = [(8, 0, 64), (8, 32, 32), (10, -64, 64)]
        if self.main and self.kind != "socket":
            places += [(7, 0, PACKET_BYTES), (7, 1, PACKET_BYTES - 1)]
        one, two = rng.choice(places), rng.choice(places)
        rounds = min(one[2] // width, two[2] // width, rng.choice((2, 4, 16)))
        change = rng.choice(([], [b.xor(4, number(rng, 8))], [b.add(4, b.R5)]))
        code = [b.mov(5, 0)]
        body = [b.mov(1, b.Reg(one[0])), b.add(1, b.R5), b.ldx(name, 4, 1, one[1]), *change, b.mov(2, b.Reg(two[0])),
                b.add(2, b.R5), b.stx(name, 2, two[1], 4), b.add(5, width)]  # fmt: skip
        return [*code, *body, b.jmp("<", 5, rounds * width, -len(body) - 1), b.mov(1, 1), b.mov(2, 2)]

    def jump(self, which: int, entries: int) -> list[Insn]:
        """Into another program; what lies in frames that end here is told to nobody any more."""
        rng = self.rng
        index = [b.mov(3, rng.choice((0, 0, 0, 1, 1, entries - 1, entries)))]
        if rng.random() < 0.3:
            index = [b.mov(3, b.Reg(self.scalar())), b.and_(3, 3)]
        return [*index, *self.forget(), b.mov(1, b.R6), *self.map_of(which, 2), *self.called(_TAIL),
                b.mov(0, number(rng, 32))]  # fmt: skip
