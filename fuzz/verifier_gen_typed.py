"""Programs that know the types of their registers as they are written, and now and then break one rule.

r6 starts as the context; r6 to r9 keep values across calls. A rule is broken where `slip()` says so: an offset one too
far, a null check forgotten, a register of the wrong kind.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from verifier_gen import KTIME, PRANDOM, SCHED_CLS, XDP, Case, Label, Writer, number, weighted
from verifier_gen_world import World

from bombus.spec.attachtypes import ATTACH_TYPES
from bombus.spec.contexts import CONTEXT
from bombus.spec.progtypes import PROG_TYPE_BY_ID

SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
# Program types that need no BTF of the kernel, less LIRC_MODE2, which kernels are often built without.
PROG_TYPES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 24, 25, 30, 31, 32)
ATTACH_IDS = {row.name: row.id for row in ATTACH_TYPES}
_CONDITIONS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a register holds. size: bytes that may be accessed; at: a known offset; top: the greatest value, or -1."""

    name: str
    size: int = 0
    at: int = 0
    top: int = -1
    map: str = ""
    ident: int = 0


NUMBER = Kind("number")
CTX = Kind("ctx")
HOMES = (6, 7, 8, 9)


class TypedWriter(Writer):
    """Writes one function after the other; `todo` are those that something refers to already."""

    def __init__(self, rng: random.Random, world: World, prog_type: int, attach_type: int, slip: float) -> None:
        super().__init__(rng)
        self.world = world
        self.prog_type = prog_type
        self.attach_type = attach_type
        self.slips = slip
        self.regs: dict[int, Kind] = {1: CTX}
        self.slots: dict[int, Kind] = {}
        self.todo: list[tuple[Label, int, Callable[[], None]]] = []
        self.functions: list[tuple[Label, int]] = []
        self.with_btf = False
        self.main_type = 0  # the BTF id of the main program, when it is not any
        self.depth = 0
        self.idents = 0
        row = PROG_TYPE_BY_ID[prog_type]
        self.ctx = CONTEXT.get(row.ctx)
        self.packets = prog_type in (SCHED_CLS, 4, XDP, 8, 10, 11, 12, 14, 16, 19, 21, 22)

    # Choosing.

    def slip(self) -> bool:
        return self.rng.random() < self.slips

    def holding(self, *names: str) -> int | None:
        """A register that holds one of the kinds."""
        if self.slip() and self.slip():
            return self.rng.randint(0, 10)
        found = [r for r, kind in self.regs.items() if kind.name in names]
        return self.rng.choice(found) if found else None

    def home(self) -> int:
        """A register that keeps its value, the context's last."""
        free = [r for r in HOMES if r not in self.regs]
        if free:
            return self.rng.choice(free)
        return self.rng.choice(HOMES[1:] if self.chance(0.97) else HOMES)

    def any_reg(self) -> int:
        return self.rng.choice((*HOMES[1:], 0, 1, 2, 3, 4, 5))

    def some(self) -> int:
        """A register that holds something."""
        return self.rng.choice(list(self.regs) or [10])

    def set(self, reg: int, kind: Kind) -> None:
        self.regs[reg] = kind

    def called(self, result: Kind | None) -> None:
        for r in range(6):
            self.regs.pop(r, None)
        if result is not None:
            self.regs[0] = result

    def new_ident(self) -> int:
        self.idents += 1
        return self.idents

    # Numbers.

    def random_number(self, reg: int, top: int = -1) -> None:
        """An unknown number; 0 to `top` when that is not -1."""
        pick = self.rng.random()
        if pick < 0.35 and self.holding("ctx") == 6 and self.ctx is not None and self.prog_type in (1, 3, 6):
            self.put(0x61, reg, 6, self.rng.choice((0, 4, 8)) if self.prog_type != XDP else 12)
        elif reg <= 5 and pick > 0.6 and any(r in self.regs for r in range(6)):
            self.put(0xB7, reg, 0, 0, self.rng.randint(0, 64))
            if top >= 0:
                self.regs[reg] = replace(NUMBER, top=64)
        else:
            self.put(0x85, 0, 0, 0, PRANDOM if self.chance(0.7) else KTIME)
            self.called(NUMBER)
            if reg:
                self.put(0xBF, reg)
        self.set(reg, NUMBER)
        if top >= 0:
            self.bound(reg, top)

    def bound(self, reg: int, top: int) -> None:
        """Make a number at most `top`, in one of several ways, or nearly so."""
        if self.slip():
            top += self.rng.choice((1, 1, 2, 8, -1))
        top = max(top, 0)
        pick = self.rng.random()
        if pick < 0.35:
            mask = (1 << (top + 1).bit_length() - 1) - 1 if self.chance(0.8) else top
            self.put(0x57 if self.chance(0.7) else 0x54, reg, 0, 0, mask)
        elif pick < 0.65:
            over = Label()
            wide = self.chance(0.7)
            if not wide and self.chance(0.8):
                self.put(0xBC, reg, reg)
            self.jump(0xB5 if wide else 0xB6, reg, 0, top, over)
            if self.chance(0.5):
                self.put(0xB7, reg, 0, 0, self.rng.randint(0, top))
            else:
                self.leave()
            self.place(over)
        elif pick < 0.75:
            self.put(0x97 if self.chance(0.6) else 0x94, reg, 0, 0, top + 1)
        elif pick < 0.85:
            over = Label()
            self.jump(0xA5, reg, 0, top + 1, over)
            self.leave()
            self.place(over)
        else:
            # signed comparisons need both sides
            over, under = Label(), Label()
            self.jump(0x65, reg, 0, top, over)
            self.jump(0x75, reg, 0, 0 if not self.slip() else -1, under)
            self.place(over)
            self.leave()
            self.place(under)
        if self.chance(0.2):
            self.put(0xBC, reg, reg)
        self.set(reg, replace(NUMBER, top=top))

    def leave(self) -> None:
        """End the function here, in one way or another."""
        self.put(0xB7, 0, 0, 0, 0)
        self.put(0x95)

    def get_number(self, top: int = -1) -> int:
        """A register with a number."""
        found = [r for r, kind in self.regs.items() if kind.name == "number" and (top < 0 or 0 <= kind.top <= top)]
        if found and self.chance(0.7):
            return self.rng.choice(found)
        reg = self.home()
        self.random_number(reg, top)
        return reg

    # Maps, tests for null, and the stack.

    def lookup(self, name: str) -> None:
        info = self.world.infos[self.world.maps[name]]
        at = self.stack_bytes(info.key_size)
        self.put(0xBF, 2, 10)
        self.put(0x07, 2, 0, 0, at)
        self.map_pointer(1, name)
        self.put(0x85, 0, 0, 0, 1)
        self.called(None)

    def map_pointer(self, reg: int, name: str) -> None:
        self.wide(reg, self.world.maps[name], 1)
        self.set(reg, Kind("map", map=name))

    def check_null(self, reg: int) -> None:
        """Go on only where the pointer is not null."""
        kind = self.regs.get(reg, NUMBER)
        pick = self.rng.random()
        if pick < 0.6:
            over = Label()
            self.jump(0x55, reg, 0, 0, over)
            self.leave()
            self.place(over)
        else:
            if not self.todo_exit():
                return
            self.jump(0x15, reg, 0, 0, self.exit_label)
        for r, other in list(self.regs.items()):
            if other.ident == kind.ident and other.name == kind.name and kind.ident:
                self.set(r, replace(other, name=other.name.rstrip("?")))

    def todo_exit(self) -> bool:
        """There is one place at the end of the function where paths end."""
        if not hasattr(self, "exit_label"):
            self.exit_label = Label()
        return True

    def stack_bytes(self, size: int, init: bool = True) -> int:
        """The offset of stack bytes that are written."""
        rng = self.rng
        at = -(size + 7) // 8 * 8 - 8 * rng.randint(0, 3)
        if self.slip():
            at += rng.choice((1, 4, 8, -8))
        if init:
            for off in range(at, at + (size + 7) // 8 * 8, 8):
                if off in self.slots and self.chance(0.8):
                    continue
                if self.slip() and self.slip():
                    continue
                if off > -8 or off < -512:
                    continue
                pick = rng.random()
                if pick < 0.75:
                    self.put(0x7A, 10, 0, off, rng.choice((0, 0, 1, rng.randint(0, 40))))
                elif pick < 0.9:
                    self.put(0x62, 10, 0, off, 0)
                    self.put(0x62, 10, 0, off + 4, rng.randint(0, 3))
                else:
                    numbers = [r for r, kind in self.regs.items() if kind.name == "number"]
                    if numbers:
                        self.put(0x7B, 10, rng.choice(numbers), off)
                    else:
                        self.put(0x7A, 10, 0, off, 0)
                self.slots[off] = NUMBER
        return at

    def arithmetic(self) -> None:
        rng = self.rng
        numbers = [r for r, kind in self.regs.items() if kind.name == "number"]
        if not numbers or (self.slip() and self.slip()):
            numbers = [self.get_number()]
        d = rng.choice(numbers)
        s = rng.choice(numbers) if not (self.slip() and self.slip()) else rng.randint(0, 10)
        klass = rng.choice((7, 7, 4))
        code = rng.choice((0x00, 0x10, 0x20, 0x40, 0x50, 0xA0, 0x60, 0x70, 0xC0, 0x30, 0x90))
        if code in (0x60, 0x70, 0xC0):
            self.put(code | klass, d, 0, 0, rng.randint(0, 31))
        elif self.chance(0.3):
            self.put(code | klass | 8, d, s)
        else:
            self.put(code | klass, d, 0, 0, number(rng) or 1)
        self.set(d, NUMBER)

    def copy(self) -> None:
        source = self.some()
        to = self.any_reg()
        self.put(0xBF, to, source)
        self.set(to, self.regs.get(source, NUMBER))

    # Control flow.

    def statements(self) -> list[tuple[float, Callable[[], None]]]:
        """What a body is made of, with weights."""
        return [
            (1, self.arithmetic), (0.8, self.copy), (1.2 if self.depth < 3 else 0, self.branch),
            (0.25 if self.depth < 1 else 0, self.loop),
        ]  # fmt: skip

    def body(self, length: int) -> None:
        for _ in range(length):
            weighted(self.rng, self.statements())

    def branch(self) -> None:
        rng = self.rng
        over = Label()
        r = self.get_number()
        code = rng.choice(_CONDITIONS) | rng.choice((5, 5, 6))
        if self.chance(0.2):
            self.jump(code | 8, r, self.get_number(), 0, over)
        else:
            self.jump(code, r, 0, number(rng), over)
        regs, slots = dict(self.regs), dict(self.slots)
        self.depth += 1
        self.body(rng.randint(1, 2))
        if self.chance(0.3):
            end = Label()
            self.jump(0x05, 0, 0, 0, end)
            self.place(over)
            then_regs, then_slots = self.regs, self.slots
            self.regs, self.slots = dict(regs), dict(slots)
            self.body(1)
            self.place(end)
            regs, slots = then_regs, then_slots
        else:
            self.place(over)
        self.depth -= 1
        self.join(regs, slots)

    def join(self, regs: dict[int, Kind], slots: dict[int, Kind]) -> None:
        """Keep what is the same on both paths."""
        if self.slip() and self.slip():
            return
        self.regs = {r: kind for r, kind in self.regs.items() if regs.get(r) == kind}
        self.slots = {at: kind for at, kind in self.slots.items() if slots.get(at) == kind}

    def loop(self) -> None:
        rng = self.rng
        pick = rng.random()
        self.depth += 1
        if pick < 0.6:
            counter = 9
            self.put(0xB7, counter)
            self.set(counter, Kind("counter"))
            regs, slots = dict(self.regs), dict(self.slots)
            top = self.here()
            self.body(rng.randint(1, 2))
            self.put(0x07, counter, 0, 0, 1)
            self.jump(rng.choice((0xA5, 0x55, 0xC5)), counter, 0, rng.randint(1, 5), top)
        else:
            end = Label()
            regs, slots = dict(self.regs), dict(self.slots)
            top = self.here()
            self.fixups.append((len(self.code), end, "off"))
            self.put(0xE5)
            self.body(rng.randint(1, 2))
            self.jump(0x05, 0, 0, 0, top)
            self.place(end)
        self.depth -= 1
        self.join(regs, slots)

    # Functions.

    def end(self) -> None:
        """The end of the function that is being written."""
        if hasattr(self, "exit_label"):
            self.place(self.exit_label)
            del self.exit_label
        pick = self.rng.random()
        numbers = [r for r, kind in self.regs.items() if kind.name == "number"]
        if pick < 0.8:
            self.put(0xB7, 0, 0, 0, self.rng.choice((0, 0, 0, 1)))
        elif pick < 0.9:
            self.put(self.rng.choice((0xB7, 0xB4)), 0, 0, 0, self.rng.randint(-2, 5))
        elif numbers:
            self.put(0xBF, 0, self.rng.choice(numbers))
            if self.chance(0.5):
                self.put(self.rng.choice((0x57, 0x54)), 0, 0, 0, self.rng.choice((1, 1, 3, 2)))
        self.put(0x95)

    def main(self, length: int) -> None:
        self.put(0xBF, 6, 1)
        self.set(6, CTX)
        self.body(length)
        self.end()
        while self.todo:
            label, type_id, write = self.todo.pop(0)
            self.place(label)
            self.functions.append((label, type_id))
            write()


def choose_type(rng: random.Random, prog_types: Sequence[int]) -> tuple[int, int]:
    """(program type, expected attach type)."""
    prog_type = rng.choice(prog_types)
    row = PROG_TYPE_BY_ID[prog_type]
    if row.attach_checked or rng.random() < 0.2:
        names = [name for name in row.attach_types if name in ATTACH_IDS]
        if names:
            return prog_type, ATTACH_IDS[rng.choice(names)]
    return prog_type, 0


def broken(rng: random.Random, functions: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """func_info records with something wrong."""
    rows = list(functions)
    at = rng.randrange(len(rows))
    pick = rng.random()
    if pick < 0.3:
        rows[at] = (rows[at][0] + rng.choice((-1, 1, 2)) & 0xFFFFFFFF, rows[at][1])
    elif pick < 0.6:
        rows[at] = (rows[at][0], rng.choice((0, 1, 2, 5, 34, 1000)))
    elif pick < 0.8:
        del rows[at]
    else:
        rows.insert(at, rows[at])
    return tuple(rows)


def finish(w: TypedWriter, topic: str, prog_type: int, attach_type: int) -> Case:
    rng = w.rng
    insns = w.finish()
    functions: tuple[tuple[int, int], ...] = ()
    if w.with_btf:
        main = rng.choice(w.world.types.functions[:4]) if rng.random() < 0.9 else rng.choice(w.world.types.functions)
        functions = ((0, w.main_type or main.type_id), *((label.at, type_id) for label, type_id in w.functions))
        if rng.random() < 0.03:
            functions = broken(rng, functions)
    flags = rng.choice((0, 0, 0, 0, 0, 0, 0, 8, 8, 1))  # BPF_F_TEST_STATE_FREQ, BPF_F_STRICT_ALIGNMENT
    level = rng.choice((6, 6, 6, 6, 4, 4, 1, 5))
    return Case(topic, insns, prog_type, attach_type, flags, level, functions=functions,
                license="GPL" if rng.random() < 0.97 else "proprietary")  # fmt: skip
