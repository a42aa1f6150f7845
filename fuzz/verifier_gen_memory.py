"""Programs that read and write memory: values of maps, packets, the stack, the context."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from verifier_gen import Case, Label, number
from verifier_gen_typed import (
    CTX,
    NUMBER,
    PROG_TYPES,
    SIZES,
    Kind,
    TypedWriter,
    choose_type,
    finish,
)  # fmt: skip
from verifier_gen_world import World


class MemoryWriter(TypedWriter):
    def get_map_value(self, name: str = "") -> int | None:
        """A register that points to a map's value."""
        reg = self.holding("value")
        if reg is not None and self.chance(0.6) and not name:
            return reg
        if not name:
            name = self.rng.choice(
                ("array", "hash", "one", "percpu", "mmapable", "rodata", "lru", "array", "big", "percpu_one")
            )
            if self.chance(0.15):
                name = self.rng.choice(("rdonly", "wronly", "lock", "timer"))
        info = self.world.infos[self.world.maps[name]]
        reg = self.home()
        if info.type == 2 and self.chance(0.5) and (info.max_entries == 1 or self.slip()):
            at = self.rng.choice((0, 0, 4, 8, info.value_size - 1, info.value_size))
            if not self.slip():
                at = min(at, info.value_size - 1)
            self.wide(reg, self.world.maps[name] | at << 32, 2)
            self.set(reg, Kind("value", info.value_size, at, map=name))
            return reg
        self.lookup(name)
        self.put(0xBF, reg, 0)
        ident = self.new_ident()
        self.set(reg, Kind("value?", info.value_size, 0, map=name, ident=ident))
        self.set(0, self.regs[reg])
        if not self.slip():
            self.check_null(reg)
        return reg

    def get_packet(self) -> int | None:
        """A register that points into the packet, with some bytes checked."""
        reg = self.holding("packet")
        if reg is not None and self.chance(0.6):
            return reg
        if not self.packets or self.regs.get(6) != CTX or self.ctx is None:
            return None
        rng = self.rng
        reg, end = 7, 8
        data = self.ctx.member("data")
        last = self.ctx.member("data_end")
        load = 0x79 if data.size == 8 else 0x61
        if self.chance(0.1) and any(m.name == "data_meta" for m in self.ctx.members):
            data, last = self.ctx.member("data_meta"), self.ctx.member("data")
        self.put(load, reg, 6, data.offset)
        self.put(load, end, 6, last.offset)
        size = rng.choice((1, 2, 8, 14, 20, 34, 64))
        self.put(0xBF, 3, reg)
        self.regs.pop(end, None)
        if self.chance(0.25):
            top = rng.choice((3, 7, 60, 0xFFFF))
            r = 9
            self.random_number(r, top)
            self.put(0x0F, reg, r)
            self.put(0xBF, 3, reg)
        self.put(0x07, 3, 0, 0, size)
        over, out = Label(), Label()
        pick = rng.random()
        strict = 0
        if pick < 0.4:
            self.jump(0xBD, 3, end, 0, over)  # pkt + n <= end
        elif pick < 0.6:
            self.jump(0x3D, end, 3, 0, over)  # end >= pkt + n
        elif pick < 0.8:
            self.jump(0xAD, 3, end, 0, over)  # pkt + n < end: one byte more
            strict = 1
        elif pick < 0.9:
            self.jump(0x2D, 3, end, 0, out)  # pkt + n > end: leave
            self.jump(0x05, 0, 0, 0, over)
        else:
            self.jump(0x2D, end, 3, 0, over)
            strict = 1
        self.place(out)
        self.leave()
        self.place(over)
        self.set(3, Kind("packet", size + strict, size))
        self.set(reg, Kind("packet", size + strict, 0))
        self.set(end, Kind("end"))
        return reg

    def get_memory(self) -> tuple[int, Kind] | None:
        """(register, kind) of memory to work on."""
        rng = self.rng
        pick = rng.random()
        reg: int | None
        if pick < 0.25:
            return 10, Kind("stack", 0, 0)
        if pick < 0.5 and self.packets:
            reg = self.get_packet()
        elif pick < 0.6:
            reg = self.holding("memory", "value", "packet", "sock")
        else:
            reg = self.get_map_value()
        if reg is None:
            reg = self.get_map_value()
        if reg is None:
            return None
        return reg, self.regs.get(reg, NUMBER)

    def offset_in(self, kind: Kind, size: int) -> int:
        """An offset of an access of `size` bytes, often at an end of what is allowed."""
        rng = self.rng
        if kind.name == "stack":
            if self.slots and self.chance(0.7):
                at = rng.choice(list(self.slots)) + rng.choice((0, 0, 0, 1, 2, 4, 8 - size))
            else:
                at = -rng.randint(1, 8) * 8 + rng.choice((0, 0, 8 - size))
            return at if not self.slip() else rng.choice((0, -size, -512, -513, at + 3, 8 - size))
        low, high = -kind.at, kind.size - kind.at - size
        if self.slip():
            return rng.choice((low - 1, high + 1, high + size, low - 8))
        if high < low:
            return low
        pick = rng.random()
        at = low if pick < 0.2 else high if pick < 0.5 else rng.randint(low, high)
        return at if self.chance(0.2) else at - at % size if at - at % size >= low else low

    def load(self) -> None:
        found = self.get_memory()
        if found is None:
            return
        reg, kind = found
        rng = self.rng
        if kind.map == "wronly" and not self.slip():
            return
        size = rng.choice((1, 2, 4, 8))
        off = self.offset_in(kind, size)
        to = self.any_reg()
        if self.chance(0.15) and size < 8:
            self.put(0x81 | SIZES[size], to, reg, off)
        else:
            self.put(0x61 | SIZES[size], to, reg, off)
        if kind.name == "stack" and size == 8 and off in self.slots:
            self.set(to, self.slots[off])
        else:
            self.set(to, replace(NUMBER, top=(1 << size * 8) - 1 if size < 4 else -1))

    def store(self) -> None:
        found = self.get_memory()
        if found is None:
            return
        reg, kind = found
        rng = self.rng
        if kind.map in ("rdonly", "rodata") and not self.slip():
            return
        size = rng.choice((1, 2, 4, 8, 8))
        off = self.offset_in(kind, size)
        if self.chance(0.35):
            self.put(0x62 | SIZES[size], reg, 0, off, number(rng))
            held = NUMBER
        else:
            source = self.get_number() if self.chance(0.6) else self.some()
            self.put(0x63 | SIZES[size], reg, source, off)
            held = self.regs.get(source, NUMBER)
        if kind.name == "stack":
            start = off - off % 8
            self.slots[start] = held if size == 8 and off % 8 == 0 else NUMBER

    def atomic(self) -> None:
        found = self.get_memory()
        if found is None:
            return
        reg, kind = found
        rng = self.rng
        if (kind.map in ("rdonly", "rodata", "wronly") or kind.name == "packet") and not self.slip():
            return
        size = rng.choice((4, 8, 8)) if not self.slip() else rng.choice((1, 2))
        off = self.offset_in(kind, size)
        if self.chance(0.8):
            off -= (off + kind.at) % size
        source = self.get_number() if not self.slip() else self.some()
        what = rng.choice((0x00, 0x40, 0x50, 0xA0, 0x01, 0x41, 0x51, 0xA1, 0xE1, 0xF1))
        if self.chance(0.15):
            what = rng.choice((0x100, 0x110))
            size = rng.choice((1, 2, 4, 8))
            off = self.offset_in(kind, size)
            if self.chance(0.5):
                off -= (off + kind.at) % size
        if what == 0xF1 and 0 not in self.regs and not self.slip():
            self.put(0xB7, 0, 0, 0, 1)
            self.set(0, NUMBER)
        if what == 0x100:
            self.put(0xC3 | SIZES[size], source, reg, off, what)
            self.set(source, NUMBER)
        else:
            self.put(0xC3 | SIZES[size], reg, source, off, what)
            if what & 1 and what != 0xF1:
                self.set(source, NUMBER)
        if kind.name == "stack":
            self.slots[off - off % 8] = NUMBER

    def spill(self) -> None:
        rng = self.rng
        source = self.some()
        at = -8 * rng.randint(1, 8)
        self.put(0x7B, 10, source, at)
        self.slots[at] = self.regs.get(source, NUMBER)

    def fill(self) -> None:
        if not self.slots:
            return
        at = self.rng.choice(list(self.slots))
        to = self.any_reg()
        self.put(0x79, to, 10, at)
        self.set(to, self.slots[at])

    def move_pointer(self) -> None:
        """Pointer arithmetic."""
        rng = self.rng
        found = self.holding("value", "packet", "memory") if self.chance(0.8) else 10
        if found is None:
            return
        kind = self.regs.get(found, Kind("stack"))
        to = self.any_reg()
        self.put(0xBF, to, found)
        pick = rng.random()
        room = max(kind.size - kind.at, 1)
        if kind.name == "stack":
            self.stack_bytes(rng.choice((8, 16, 32)))
            base = rng.choice((-8, -16, -32, -24))
            self.put(0x07, to, 0, 0, base)
            if self.chance(0.6):
                r = self.get_number(rng.choice((1, 3, 7, 15, -base - 1)))
                if r != to:
                    self.put(0x0F, to, r)
            size = rng.choice((1, 4, 8))
            off = rng.choice((0, 0, 0, -base - size, -8, 1))
            if self.chance(0.6):
                self.put(0x61 | SIZES[size], rng.choice((0, 2, 3)), to, off)
            elif self.chance(0.7):
                self.put(0x62 | SIZES[size], to, 0, off, 0)
            else:
                self.put(0x63 | SIZES[size], to, self.get_number(), off)
            self.regs.pop(to, None)
            return
        if pick < 0.4:
            step = rng.choice((1, 4, 8, room - 1, room))
            if self.chance(0.15):
                step = -rng.randint(0, kind.at + 1)
            self.put(0x07 if self.chance(0.9) else 0x17, to, 0, 0, step)
            self.set(to, replace(kind, at=kind.at + step))
        else:
            size = rng.choice((1, 2, 4, 8))
            top = max(room - size, 0)
            r = self.get_number(top)
            if r == to:
                return
            top = max(self.regs.get(r, NUMBER).top, 0)
            code = 0x0F if self.chance(0.93) else rng.choice((0x1F, 0x0C, 0x2F, 0x5F))
            self.put(code, to, r)
            self.set(to, replace(kind, size=kind.size - top))
            if kind.name == "packet":
                self.regs.pop(to, None)
            if self.chance(0.7):
                off = rng.choice((0, room - top - size, room - top - size, 0))
                if self.slip():
                    off += rng.choice((-1, 1))
                self.put(0x61 | SIZES[size], rng.choice((0, 2, 3)), to, off)

    def context_access(self) -> None:
        if self.regs.get(6) != CTX:
            return
        rng = self.rng
        size = rng.choice((1, 2, 4, 4, 4, 8))
        if self.ctx is not None and self.chance(0.9):
            member = rng.choice(self.ctx.members)
            if self.chance(0.7):
                size = min(8, member.size // max(member.count, 1))
                if size not in SIZES:
                    size = 4
            off = member.offset + rng.choice((0, 0, 0, 0, 0, 0, 1, 2, 4, -1)) * (1 if self.chance(0.8) else size)
        else:
            off = rng.choice((0, 4, 8, rng.randint(-4, 240)))
        pick = rng.random()
        if pick < 0.75:
            to = self.any_reg()
            self.put(0x61 | SIZES[size], to, 6, off)
            self.regs.pop(to, None)
            if size < 8:
                self.set(to, NUMBER)
        elif pick < 0.9:
            self.put(0x63 | SIZES[size], 6, self.get_number(), off)
        elif pick < 0.97:
            self.put(0x62 | SIZES[size], 6, 0, off, number(rng))
        else:
            self.put(0xDB, 6, self.get_number(), off)

    def compare_pointers(self) -> None:
        pointers = [r for r, kind in self.regs.items() if kind.name != "number"]
        if len(pointers) < 2:
            return
        over = Label()
        a, b = self.rng.choice(pointers), self.rng.choice(pointers)
        self.jump(self.rng.choice((0x1D, 0x5D, 0x2D, 0xAD, 0x3D, 0xBD)), a, b, 0, over)
        if self.chance(0.5):
            self.load()
        self.place(over)

    def statements(self) -> list[tuple[float, Callable[[], None]]]:
        return [
            (3, self.load), (3, self.store), (1, self.atomic), (1, self.spill), (1, self.fill), (2, self.move_pointer),
            (0.25, self.context_access), (1, self.arithmetic), (0.8, self.copy), (0.3, self.compare_pointers),
            (1.2 if self.depth < 3 else 0, self.branch), (0.25 if self.depth < 1 else 0, self.loop),
        ]  # fmt: skip


def memory_generator(world: World, prog_types: Sequence[int], topic: str) -> Callable[[random.Random], Case]:
    def generate(rng: random.Random) -> Case:
        prog_type, attach_type = choose_type(rng, prog_types)
        w = MemoryWriter(rng, world, prog_type, attach_type, rng.choice((0, 0, 0.02, 0.05)))
        w.main(rng.randint(2, 9))
        return finish(w, topic, prog_type, attach_type)

    return generate


class ContextWriter(MemoryWriter):
    """Mostly accesses of the context."""

    def statements(self) -> list[tuple[float, Callable[[], None]]]:
        return [(5, self.context_access), (0.5, self.load), (0.3, self.arithmetic), (0.3, self.branch)]


def context_generator(world: World) -> Callable[[random.Random], Case]:
    def generate(rng: random.Random) -> Case:
        prog_type, attach_type = choose_type(rng, PROG_TYPES)
        w = ContextWriter(rng, world, prog_type, attach_type, 0.01)
        w.main(rng.randint(1, 2))
        return finish(w, "context", prog_type, attach_type)

    return generate
