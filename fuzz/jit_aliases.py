"""Steps that reach the same bytes by several pointers, and show which stores the loads saw.

LLVM is told which accesses never touch the same bytes. What is wrongly told shows only where it is used: loads and
stores that follow each other, at level 2. So programs of many such steps are marked, and compiled at that level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from jit_objects import DYNPTR, ObjectSteps
from jit_shapes import Shape
from vm_generate import PACKET_BYTES

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.isa.sample import number

KEY: Final = -96  # in the stack: 16 bytes of a key
OUTER_KEY: Final = -104  # and of one of a map of maps
HELD: Final = -152  # a word for the first pointer
_SAME: Final = -160  # and one for what an offset is made of
_LOOKUP, _UPDATE, _CPU, _PERCPU, _PROBE, _CSUM_DIFF = 1, 2, 8, 195, 113, 28
_FROM_MEM, _DATA = 197, 203
_CB: Final = 48  # of __sk_buff: 20 bytes that programs may write
_WIDTHS: Final = (("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8))
_ROUNDS: Final = (1, 1, 2, 3)


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes that there are several ways to. known: a register and an offset that lead there anyway. ways: code that
    leaves the address in r0, or null where `fails`; r1 to r5 are lost. size: bytes behind it, from `first`. memory: it
    is the program's own, for atomics and for helpers. before: code that the ways want once."""

    ways: tuple[Callable[[], list[Insn]], ...]
    size: int
    known: tuple[tuple[int, int], ...] = ()
    fails: bool = False
    aligned: bool = False
    memory: bool = True
    first: int = 0
    before: tuple[Insn, ...] = ()


class AliasSteps(ObjectSteps):
    shapes: list[Shape]
    own: list[int]

    # ------------------------------------------------------------------------------------------ regions

    def region(self) -> Region:
        rng = self.rng
        of_maps = self._plain_maps()
        choices: list[Callable[[], Region]] = [self._of_value, self._of_value, self._of_stack]
        choices += [lambda: self._of_map(rng.choice(of_maps))] * 4 if of_maps else []
        if self.main:
            choices += [self._of_context] if self.kind != "xdp" else []
            choices += [self._of_packet] * 2 if self.kind != "socket" else []
        if 6 in self.pointers:
            choices += [self._of_argument] * 2
        return rng.choice(choices)()

    def _plain_maps(self) -> list[int]:
        """Those that give addresses of values that all may write to."""
        return [which for which in self.own if self.shapes[which].type in _HELD_BY and not self.shapes[which].special]

    def _copies(self, reg: int, first: int = 0) -> tuple[Callable[[], list[Insn]], ...]:
        """Ways to where a register leads: a move, one through the stack, one at an offset that only the run knows."""
        move = [b.mov(0, b.Reg(reg)), *([b.add(0, first)] if first else [])]
        spilled = [*move, b.stx("u64", 10, _SAME, 0), b.mov(0, 1), b.ldx("u64", 0, 10, _SAME)]
        return (lambda: move, lambda: spilled)

    def _of_value(self) -> Region:
        """The array's value."""
        first, second = b.ld_imm64(0, 0, src=op.BPF_PSEUDO_MAP_VALUE)
        looked_up = [b.st("u64", 10, KEY, 0), b.mov(2, b.R10), b.add(2, KEY), *self.map_of(-1), *self.called(_LOOKUP)]
        dynptr = [b.mov(1, b.R10), b.add(1, DYNPTR), b.mov(2, 0), b.mov(3, 64), *self.called(_DATA)]
        made = (b.mov(1, b.R8), b.mov(2, 64), b.mov(3, 0), b.mov(4, b.R10), b.add(4, DYNPTR), *self.called(_FROM_MEM))
        variable = [b.mov(0, b.R8), b.ldx("u8", 1, 8, self.rng.randrange(64)), b.and_(1, 8), b.add(0, b.R1)]
        ways = (*self._copies(8), lambda: [first, second], lambda: looked_up, lambda: looked_up, lambda: dynptr)
        if self.rng.random() < 0.3:
            return Region((*ways, lambda: variable), 56, ((8, 0),), fails=True, before=made)
        return Region(ways, 64, ((8, 0), (8, 0)), fails=True, before=made)

    def _of_stack(self) -> Region:
        rng = self.rng
        variable = [b.mov(0, b.R10), b.ldx("u8", 1, 8, rng.randrange(64)), b.and_(1, 8), b.add(0, b.R1), b.add(0, -64)]
        if rng.random() < 0.7:  # LLVM knows for itself where the others lead
            ways = (*self._copies(10, -64), lambda: variable, lambda: variable)
            return Region(ways, 56, ((10, -64),), aligned=True, memory=False)
        return Region(self._copies(10, -64), 64, ((10, -64), (10, -64)), aligned=True)

    def _of_argument(self) -> Region:
        """What the caller gave: its stack or a value of the array."""
        ways = (*self._copies(6), *self._copies(8))
        return Region(ways, 64, ((6, 0), (8, 0)), aligned=True)

    def _of_context(self) -> Region:
        return Region(self._copies(6), 20, ((6, 0),), aligned=True, memory=False, first=_CB)

    def _of_packet(self) -> Region:
        """Also: its start and end read once more."""
        data = 0 if self.kind == "xdp" else 76
        again = [b.ldx("u32", 0, 6, data), b.ldx("u32", 1, 6, data + 4), b.mov(2, b.R0), b.add(2, PACKET_BYTES),
                 b.jmp("<=", 2, b.R1, 1), b.mov(0, b.R7), *self.lost()]  # fmt: skip
        return Region((*self._copies(7), lambda: again, lambda: again), PACKET_BYTES, ((7, 0), (7, 0)), memory=False)

    def _of_map(self, which: int) -> Region:
        """An element's value, looked up more than once."""
        rng, shape = self.rng, self.shapes[which]
        inner = shape.inner or shape
        outer: list[Insn] = [] if shape.inner is None else [
            b.mov(2, b.R10), b.add(2, OUTER_KEY), *self.map_of(which), *self.called(_LOOKUP)
        ]  # fmt: skip
        key = [b.mov(2, b.R10), b.add(2, KEY)]

        def of_map(code: list[Insn]) -> list[Insn]:
            """Code that wants the map in r1."""
            if not outer:
                return [*self.map_of(which), *code]
            return [*outer, b.jmp("==", 0, 0, len(code) + 1), b.mov(1, b.R0), *code]

        before = [b.st("u64", 10, KEY, rng.choice((0, 1, 2))), b.st("u64", 10, KEY + 8, 0),
                  b.st("u64", 10, OUTER_KEY, rng.choice((0, 1)))]  # fmt: skip
        if "HASH" in inner.type:
            before += of_map([*key, b.mov(3, b.R10), b.add(3, -64), b.mov(4, 0), *self.called(_UPDATE)])
        looked_up = of_map([*key, *self.called(_LOOKUP)])
        ways = [lambda: looked_up] * 2
        if inner.type.startswith(("PERCPU", "LRU_PERCPU")) and not outer:
            of_cpu = [*self.called(_CPU), *key, *self.map_of(which), b.mov(3, b.R0), *self.called(_PERCPU)]
            ways.append(lambda: of_cpu)
        return Region(tuple(ways), inner.value, fails=True, before=tuple(before))

    # ------------------------------------------------------------------------------------------ steps

    def twins(self, depth: int) -> list[Insn]:
        """Two pointers to a region, and loads and stores through both."""
        rng, region = self.rng, self.region()
        one, two = rng.choice(region.ways), rng.choice(region.ways)
        rest = [b.ldx("u64", 3, 10, HELD), *self.mixed(region), b.mov(0, b.R2), b.mov(3, 3)]
        rest = [b.stx("u64", 10, HELD, 0), *two(), *self._unless_null(region, rest)]
        return [*region.before, *one(), *self._unless_null(region, rest)]

    def _unless_null(self, region: Region, code: list[Insn]) -> list[Insn]:
        return [b.jmp("==", 0, 0, len(code)), *code] if region.fails else code

    def mixed(self, region: Region) -> list[Insn]:
        """Accesses of several widths to one word of a region, behind r0, r3 and what is known, perhaps in a loop.
        Changes r1, r2, r4 and r5; r2 shows what was loaded."""
        rng, size = self.rng, region.size
        places = ((0, 0), (0, 0), (3, 0), (3, 0), *region.known)
        name, width = rng.choice([row for row in _WIDTHS if row[1] <= size])
        off = rng.randrange(0, size - width + 1)
        off -= off % width if region.aligned or rng.random() < 0.8 else 0
        body: list[Insn] = []
        for _ in range(rng.randint(3, 8)):
            base, first = rng.choice(places)
            part, inside = (name, 0)
            if rng.random() < 0.2:
                part, small = rng.choice([row for row in _WIDTHS if row[1] <= width])
                inside = rng.randrange(0, width, small)
            at, choice = region.first + first + off + inside, rng.randrange(8)
            if choice < 3:
                body += [b.add(4, 1), b.stx(part, base, at, 4)]
            elif choice == 3:
                body.append(b.st(part, base, at, number(rng, 16)))
            elif choice == 4 and region.memory and width >= 4 and off % width == 0 and size % width == 0:
                at = first + off
                body.append(b.atomic(op.BPF_ADD | rng.choice((0, op.BPF_FETCH)), name, base, at, 4))
            else:
                body += [b.ldx(part, 1, base, at), b.mul(2, 3), b.add(2, b.R1)]
        rounds = rng.choice(_ROUNDS)
        loop = [b.add(5, 1), b.jmp("<", 5, rounds, -len(body) - 2)] if rounds > 1 else []
        return [b.mov(2, 0), b.mov(4, number(rng, 32)), b.mov(5, 0), *body, *loop, b.mov(1, 1), b.mov(5, 5)]

    def behind(self, depth: int) -> list[Insn]:
        """A store, something that looks at the bytes or changes them behind a call, and a load."""
        rng, region = self.rng, self.region()
        if not region.memory:
            return self.twins(depth)
        name, width = rng.choice([row for row in _WIDTHS if row[1] <= region.size])
        off = rng.randrange(0, region.size - width + 1, width)
        touched = rng.choice((self._read_by_helper, self._written_by_helper, self._updated))(region.size)
        start = rng.choice(([b.st(name, 0, off, number(rng, 16))], [b.ldx(name, 1, 0, off)], []))
        code = [*start, b.stx("u64", 10, HELD, 0), *touched, b.ldx("u64", 3, 10, HELD), b.ldx(name, 1, 3, off),
                b.mul(0, 3), b.add(0, b.R1), b.mov(3, 3)]  # fmt: skip
        return [*region.before, *rng.choice(region.ways)(), *self._unless_null(region, code)]

    def _read_by_helper(self, size: int) -> list[Insn]:
        if self.kind == "tc" and size % 4 == 0 and self.rng.random() < 0.5:
            return [b.mov(1, b.R0), b.mov(2, size), b.mov(3, 0), b.mov(4, 0), b.mov(5, 0), *self.called(_CSUM_DIFF)]
        room = min(size, 16)
        return [b.mov(3, b.R0), b.mov(1, b.R10), b.add(1, -room), b.mov(2, room), *self.called(_PROBE),
                b.ldx("u8", 0, 10, -1)]  # fmt: skip

    def _written_by_helper(self, size: int) -> list[Insn]:
        return [b.mov(1, b.R0), b.mov(2, size), b.mov(3, b.R8), *self.called(_PROBE)]

    def _updated(self, size: int) -> list[Insn]:
        """The element under the key that lies on the stack, or the array's."""
        maps = [which for which in self._plain_maps() if not self.shapes[which].inner]
        if not maps:
            return self._written_by_helper(size)
        which = self.rng.choice(maps)
        return [*self.map_of(which), b.mov(2, b.R10), b.add(2, KEY), b.mov(3, b.R10), b.add(3, -64), b.mov(4, 0),
                *self.called(_UPDATE)]  # fmt: skip


_HELD_BY: Final = ("ARRAY", "HASH", "LRU_HASH", "PERCPU_ARRAY", "PERCPU_HASH", "LRU_PERCPU_HASH", "ARRAY_OF_MAPS",
                   "HASH_OF_MAPS")  # fmt: skip
