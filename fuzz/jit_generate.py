"""Random programs over maps of every native type: `vm_generate`'s, with calls of helpers and functions for callbacks.

A program has up to three maps of its own beside the array that all have, and other programs that it may jump to.
What helpers give back goes on in r0, values are read and written through the pointers that look-ups give, and loops and
walks over maps call functions. More steps: `jit_stack` (numbers of addresses), `jit_objects`, `jit_aliases` (several
pointers to the same bytes), `jit_flow`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final

from jit_aliases import KEY, OUTER_KEY
from jit_flow import TIMER_BYTES, FlowSteps
from jit_shapes import JUMPS, SHAPES, TEXTS, Shape
from jit_types import NONNULL, NULLABLE, STATIC
from vm_generate import SCALARS, join, prologue, results

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.isa.sample import number

_LOOKUP, _UPDATE, _DELETE, _PUSH, _POP, _PEEK, _EACH = 1, 2, 3, 87, 88, 89, 164
_RESERVE, _SUBMIT, _DISCARD, _OUTPUT, _QUERY, _LOOP = 131, 132, 133, 130, 134, 181
_PRANDOM, _KTIME, _CPU, _CSUM_DIFF, _LOAD_BYTES = 7, 5, 8, 28, 26


FUNCTIONS: Final = 4  # the most that a program has
_OTHERS: Final = 2  # the most programs to jump to
_KFUNCS: Final = 0.2  # of the programs call some
_ALIASES: Final = 0.12  # of the programs have many of those steps
_SHORT: Final = 4  # and are no longer than this


@dataclass(frozen=True, slots=True)
class MapProgram:
    """kind, insns: as `vm_generate.Program`; BPF_PSEUDO_MAP_FD is for the shape that its immediate numbers,
    BPF_PSEUDO_MAP_VALUE for the one before that, and kernel functions are numbers of KFUNCS. starts: where functions
    begin. kinds: of them, see `jit_types`. others: programs on the same maps, for the first slots of JUMPS. aliases:
    most steps are those of `jit_aliases`."""

    kind: str
    shapes: list[Shape]
    insns: list[Insn]
    starts: list[int]
    kinds: tuple[str, ...]
    others: tuple[MapProgram, ...] = ()
    aliases: bool = False


class MapFunction(FlowSteps):
    """callee: the kind of function that is called."""

    def __init__(
        self, rng: random.Random, kind: str, main: bool, callees: int, shapes: list[Shape],
        callbacks: list[tuple[int, str]], *, entry: bool = True, aliases: bool = False,
        callee: str = STATIC, kfuncs: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(rng, kind, main, callees, not main)
        self.shapes = shapes
        self.own = [place for place, shape in enumerate(shapes) if shape not in (TEXTS, JUMPS)]
        self.texts = shapes.index(TEXTS) if TEXTS in shapes else -1
        self.callbacks = callbacks
        self.callee = callee
        self.sets = rng.random() < 0.4
        self.steps += [self.helper] * 9
        self.steps += [self.told, self.told, self.string, self.kept, self.kept, self.distance, self.somewhere]
        self.steps += [self.somewhere, self.written, self.written, self.walk, self.walk, self.bulk, self.over_value]
        self.steps += [self.either, self.over_value, self.over_value] * 2
        self.steps += [self.keep] * 3 if self.sets else []
        if main and not entry and self.sets:
            self.steps = [step for step in self.steps if step != self.legacy]  # which may leave at once
        self.steps += [self.map_step] * 14 if self.own else []
        self.steps += [self.jump_step] * 3 if JUMPS in shapes else []
        self.steps += [self.call_back] * 3 if any(caller != "timer" for _, caller in callbacks) else []
        self.steps += [self.iterate, self.iterate, self.cast] * 2 + [self.section] if kfuncs else []
        self.steps += [self.until]
        self.steps += [self.twins, self.twins, self.behind]
        if aliases:
            self.steps = [self.twins] * 8 + [self.behind, self.either] * 4 + self.steps[:: max(len(self.steps) // 6, 1)]

    def helper(self, depth: int) -> list[Insn]:
        """One without a map."""
        rng = self.rng
        choice = rng.choice(("cpu", "time", "random", "csum", "bytes"))
        if choice == "cpu":
            return self.called(_CPU)
        if choice in ("time", "random"):
            return [*self.called(_KTIME if choice == "time" else _PRANDOM), b.and_(0, 0)]
        if choice == "csum" and self.kind == "tc":
            sizes = rng.choice((0, 4, 16, 64)), rng.choice((0, 4, 8, 60))
            code = []
            for at, size in ((1, sizes[0]), (3, sizes[1])):
                code += [b.mov(at, b.R10), b.add(at, -64)] if size else [b.mov(at, 0)]
                code.append(b.mov(at + 1, size))
            return [*code, b.mov(5, number(rng, 32)), *self.called(_CSUM_DIFF)]
        if choice == "bytes" and self.main and self.kind != "xdp":
            size = rng.choice((1, 4, 14, 64))
            return [b.mov(1, b.R6), b.mov(2, rng.randrange(100)), b.mov(3, b.R10), b.add(3, -64), b.mov(4, size),
                    *self.called(_LOAD_BYTES)]  # fmt: skip
        return self.called(_CPU)

    def key(self, shape: Shape) -> list[Insn]:
        """A key on the stack: one of a few."""
        rng, reg = self.rng, self.scalar(write=True)
        store = b.stx("u32", 10, KEY + (4 if shape.type == "LPM_TRIE" else 0), reg)
        code = [b.and_(reg, 7), store, b.st("u64", 10, KEY + 8, rng.choice((0, 1)))]
        if shape.type == "LPM_TRIE":
            return [b.st("u32", 10, KEY, rng.choice((0, 1, 4, 8, 8, 8, (shape.key - 4) * 8, 40))), *code]
        return [b.st("u32", 10, KEY + 4, rng.choice((0, 0, 1))), *code]

    def map_step(self, depth: int) -> list[Insn]:
        rng, which = self.rng, self.rng.choice(self.own)
        shape = self.shapes[which]
        if shape.type == "RINGBUF":
            return rng.choice((self.ring, self.ring, self.record, self.dynptr))(which)
        if not shape.key:
            return self.pushed(which, shape)
        if shape.inner is not None:
            return self.inner(which, shape.inner)
        choice = rng.randrange(9)
        if choice > 3 and shape.timer:
            return self.timed(which, shape)
        place = [*self.key(shape), b.mov(2, b.R10), b.add(2, KEY)]
        if choice > 6 and shape.type.startswith(("PERCPU", "LRU_PERCPU")):
            return self.of_cpu(which, place, shape.value)
        if choice > 3 and shape.lock:
            return self.locked(which, place, shape.value)
        code = [*place, *self.map_of(which)]
        if choice < 2 and shape.type != "LPM_TRIE":
            return [*code, *self.called(_DELETE)]
        if choice < 4:
            flags = rng.choice((0, 0, 0, 1, 2, 3, *((4, 6) if shape.lock else ())))
            return [*code, b.mov(3, b.R10), b.add(3, -64), b.mov(4, flags), *self.called(_UPDATE)]
        return [*code, *self.called(_LOOKUP), *self.value(shape.value)]

    def over_value(self, depth: int) -> list[Insn]:
        return self.dynptr(-1)

    def jump_step(self, depth: int) -> list[Insn]:
        if not self.main or depth > 1:
            return self.kept(depth)
        return self.jump(self.shapes.index(JUMPS), JUMPS.entries)

    def call(self, depth: int, callee: int | None = None) -> list[Insn]:
        code = super().call(depth, callee)
        if self.rng.random() < 0.3:  # memory of another kind
            code[:2] = [b.mov(1, b.R8), b.add(1, 0)]
        elif self.callee == NULLABLE and self.rng.random() < 0.3:
            code[:2] = [b.mov(1, 0), b.mov(1, 0)]
        return code

    def inner(self, which: int, shape: Shape) -> list[Insn]:
        """An operation on a map that a map of maps holds."""
        rng = self.rng
        start = [*self.key(shape), b.st("u64", 10, OUTER_KEY, rng.choice((0, 0, 1, 2, 3))), *self.map_of(which),
                 b.mov(2, b.R10), b.add(2, OUTER_KEY), *self.called(_LOOKUP)]  # fmt: skip
        choice = rng.randrange(5)
        code = [b.mov(1, b.R0), b.mov(2, b.R10), b.add(2, KEY)]
        if choice == 0:
            code += self.called(_DELETE)
        elif choice < 3:
            code += [b.mov(3, b.R10), b.add(3, -64), b.mov(4, rng.choice((0, 0, 1, 2))), *self.called(_UPDATE)]
        else:
            code += [*self.called(_LOOKUP), *self.value(shape.value)]
        return [*start, b.jmp("==", 0, 0, len(code)), *code]

    def value(self, size: int) -> list[Insn]:
        """What is done with the pointer in r0, unless it is null; then r0 is a number again."""
        rng, code = self.rng, []
        for _ in range(rng.randint(1, 3)):
            name, width = rng.choice((("u8", 1), ("u32", 4), ("u64", 8)))
            off = rng.randrange(0, size - width + 1, width)
            reg = rng.choice([r for r in SCALARS if r and r not in self.busy])
            choice = rng.randrange(4)
            if choice == 0:
                code.append(b.ldx(name, reg, 0, off))
            elif choice == 1 and width > 1 and size % 8 == 0:
                code.append(b.atomic(op.BPF_ADD, name, 0, off, reg))
            else:
                code.append(b.stx(name, 0, off, reg))
        return [b.jmp("==", 0, 0, len(code)), *code, b.mov(0, number(rng, 32))]

    def pushed(self, which: int, shape: Shape) -> list[Insn]:
        rng = self.rng
        code = [*self.map_of(which), b.mov(2, b.R10), b.add(2, -64)]
        bloom = shape.type == "BLOOM_FILTER"
        helper = rng.choice((_PUSH, _PUSH, _PEEK, *(() if bloom else (_POP,))))
        if helper == _PUSH:
            code.append(b.mov(3, rng.choice((0, 0, 0, *(() if bloom else (2, 3))))))
        elif bloom:
            code.insert(0, b.stx("u64", 10, -64, self.scalar()))
        return [*code, *self.called(helper)]

    def ring(self, which: int) -> list[Insn]:
        rng, choice = self.rng, self.rng.randrange(3)
        if choice == 0:
            return [*self.map_of(which), b.mov(2, rng.randrange(4)), *self.called(_QUERY)]
        size = rng.choice((1, 8, 60))
        if choice == 1:
            return [*self.map_of(which), b.mov(2, b.R10), b.add(2, -64), b.mov(3, size),
                    b.mov(4, rng.choice((0, 1, 2))), *self.called(_OUTPUT)]  # fmt: skip
        inner = [b.st("u8", 0, rng.randrange(size), number(rng, 8)), b.mov(1, b.R0), b.mov(2, 0),
                 Insn(op.CALL, 0, 0, 0, rng.choice((_SUBMIT, _DISCARD)))]  # fmt: skip
        return [*self.map_of(which), b.mov(2, size), b.mov(3, 0), Insn(op.CALL, 0, 0, 0, _RESERVE),
                b.jmp("==", 0, 0, len(inner)), *inner, b.mov(0, number(rng, 32)), *self.lost()]  # fmt: skip

    def call_back(self, depth: int) -> list[Insn]:
        if depth:
            return self.helper(depth)
        distance, caller = self.rng.choice([row for row in self.callbacks if row[1] != "timer"])
        first, second = b.ld_imm64(2, 0, src=op.BPF_PSEUDO_FUNC)
        code = [first._replace(off=distance), second, b.mov(3, b.R10), b.add(3, -64), b.mov(4, 0)]
        if caller == "loop":
            unknown = [b.ldx("u8", 1, 8, self.rng.randrange(64)), b.and_(1, 7)]
            start = unknown if self.rng.random() < 0.5 else [b.mov(1, 3)]
            return [*start, *code, *self.called(_LOOP)]
        return [*self.map_of(int(caller)), *code, *self.called(_EACH)]


def generate(rng: random.Random, length: int = 8) -> MapProgram:
    kind = rng.choice(("socket", "tc", "xdp"))
    aliases = rng.random() < _ALIASES
    choices = [shape for shape in SHAPES if not (shape.special and kind == "socket")]  # no locks there
    if aliases and rng.random() < 0.9:  # the code of the other maps takes long at level 2
        choices = [shape for shape in choices if shape.type.endswith("ARRAY") and not shape.special]
    shapes = rng.sample(choices, rng.choice((0, 1, 1, 2, 3)))
    shapes += [TEXTS] if rng.random() < 0.6 else []
    others: list[MapProgram] = []
    if rng.random() < 0.2:
        shapes.append(JUMPS)
        others = [_program(rng, kind, shapes, 3, entry=False) for _ in range(rng.randint(1, _OTHERS))]
    program = _program(rng, kind, shapes, min(length, _SHORT) if aliases else length, aliases=aliases)
    return replace(program, others=tuple(others))


def _program(
    rng: random.Random, kind: str, shapes: list[Shape], length: int, *, entry: bool = True, aliases: bool = False
) -> MapProgram:
    """entry: nothing jumps to it."""
    walked = [str(number_) for number_, shape in enumerate(shapes) if shape.walks]
    timers = ["timer"] * 4 if any(shape.timer for shape in shapes) else []
    callers = [rng.choice(["loop", *walked, *timers]) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
    callers += timers[:1] if "timer" not in callers else []
    subprograms = rng.choice((0, 0, 0, 1))
    callee = rng.choice((STATIC, STATIC, NONNULL, NULLABLE))
    kfuncs = rng.random() < _KFUNCS
    last = subprograms + len(callers)
    bodies = []
    for index in range(last + 1):
        main, caller = index == 0, callers[index - subprograms - 1] if index > subprograms else ""
        callbacks = [(at - index - 1, callers[at - subprograms - 1]) for at in range(subprograms + 1, last + 1)]
        if caller:  # loops in loops
            callbacks = [row for row in callbacks if row[0] >= 0 and row[1] == caller == "loop"]
        function = MapFunction(rng, kind, main, max(subprograms - index, 0), shapes, callbacks, entry=entry,
                               aliases=aliases, callee=callee, kfuncs=kfuncs)  # fmt: skip
        code: list[Insn] = _walker(rng, shapes[int(caller)]) if caller.isdigit() else []
        if caller == "timer":
            code += _walker(rng, next(shape for shape in shapes if shape.timer), rings=True)
        if not main and not caller and callee == NULLABLE:
            code += [b.jmp("!=", 1, 0, 2), b.mov(0, 0), b.exit_()]
        code += prologue(rng, kind, main, 4 if caller.isdigit() else 2 if caller == "loop" else 1)
        if caller == "timer":
            code.append(b.mov(6, b.R8))
        if main and entry:
            code += function.forget()
        code += [b.st("u64", 10, KEY, 0), b.st("u64", 10, KEY + 8, 0)]
        code += function.block(0, rng.randint(2, length if main else 4))
        if index == 0 and subprograms and not _names(code, op.CALL, op.BPF_PSEUDO_CALL, 0):
            code += function.call(0, 0)
        if main:
            code += _missing(function, code, callbacks)
            if JUMPS in shapes and rng.random() < (0.8 if entry else 0.3):
                code += function.jump(shapes.index(JUMPS), JUMPS.entries)
            code += results()
        if function.sets:
            code += function.forget()
        if caller:
            code.append(b.mov(0, 0) if caller == "timer" else b.and_(0, 1))
        bodies.append([*code, b.exit_()])
    starts = [sum(map(len, bodies[:index])) for index in range(last + 1)]
    kinds = [callee if 0 < index <= subprograms else STATIC for index in range(last + 1)]
    return MapProgram(kind, shapes, join(bodies), starts, tuple(kinds), aliases=aliases)


def _walker(rng: random.Random, shape: Shape, *, rings: bool = False) -> list[Insn]:
    """What a function for each element, or of a timer, does with its key and value."""
    code: list[Insn] = []
    if rings:
        code += [b.ldx("u32", 0, 2, 0), b.stx("u64", 3, TIMER_BYTES, 0)]
    elif shape.key >= 4:
        code += [b.ldx("u32", 0, 2, 0), b.stx("u64", 4, rng.randrange(0, 64, 8), 0)]
    if not shape.lock and shape.value >= 8:
        off = rng.randrange(TIMER_BYTES if shape.timer else 0, shape.value - 7, 8)
        code += [b.ldx("u64", 0, 3, off), b.xor(0, number(rng, 31)), b.stx("u32", 3, off, 0)]
    return code


def _names(code: list[Insn], opcode: int, src: int, off: int) -> bool:
    return any(insn.opcode == opcode and insn.src == src and insn.off == off for insn in code)


def _missing(function: MapFunction, code: list[Insn], callbacks: list[tuple[int, str]]) -> list[Insn]:
    """Calls for the callbacks that main did not come to: a function that nobody names is refused."""
    out: list[Insn] = []
    for row in callbacks:
        if not _names(code, op.LD_IMM64, op.BPF_PSEUDO_FUNC, row[0]):
            function.callbacks = [row]
            if row[1] == "timer":
                which = next(which for which, shape in enumerate(function.shapes) if shape.timer)
                out += function.timed(which, function.shapes[which])
            else:
                out += function.call_back(0)
    return out
