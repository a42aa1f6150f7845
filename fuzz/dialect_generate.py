"""Random programs of the dialect: every type, operator and kind of statement, with results in a map.

A program reads 16 bytes of its packet, calculates, and stores numbers in the map `out`; all are accepted by the checker
and are small enough for the verifier.
"""

from __future__ import annotations

import random

import dialect_more as more

INTS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64, "s8": 8, "s16": 16, "s32": 32, "s64": 64}
HEAD = '''\
from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NewType

from bombus import bpf
from bombus.bpf import Array, Ref, SpinLock, Struct, Union, array, be16, be32, be64, bits, helpers, map
from bombus.bpf import s8, s16, s32, s64, u8, u16, u32, u64, xdp

LICENSE = bpf.license("GPL")
out = map.array(u32, u64, max_entries=16)


class Names(IntEnum):
    ZERO = 0
    SEVEN = 7
    MANY = 100


class Data(Struct):
    a: u8
    b: s8
    c: u16
    d: u32
    e: u64


class Mix(Struct):
    x: u32
    y: s16
    z: u64
    low: u16 = bits(5)
    mid: s16 = bits(6)
    net: be32
    flag: bool
    row: Array[u16] = array(4)


total = bpf.var(u64(7))
start = bpf.var(s32(-3))
fixed = bpf.config(u16(1000))


class Half(Struct):
    first: u32
    second: s16


class Work(Struct):
    sum: u64
    step: s32


def put(index: u32, value: u64) -> None:
    slot = out.lookup(index)
    if slot is not None:
        slot.value = slot.value * 31 + value


def split(value: u64) -> tuple[u32, u16]:
    return u32(value >> 13), u16(value)


def fill(mix: Mix, value: u32) -> None:
    mix.x += value
    mix.y = s16(value)
    mix.row[value & 3] += u16(value >> 7)


@bpf.noinline
def weigh(mix: Mix, by: u64) -> u64:
    return u64(mix.x) * by + u64(mix.y) - u64(mix.row[1]) + u64(mix.low)


@bpf.global_function
def public(a: u32, b: s32) -> u64:
    return u64(a) * 3 ^ u64(b // 5)


@bpf.global_function
def blend(mix: Mix, by: u32) -> u64:
    mix.z += u64(by)
    return mix.z ^ u64(mix.row[by & 3])


def each(index: u32, work: Work) -> s64:
    work.sum = work.sum * 7 + u64(index) + u64(work.step)
    work.step -= 3
    return s64(index > 5)
'''


class Generator:
    """One module of programs."""

    def __init__(self, seed: int, *, kfuncs: bool = True, cpu: str = "v3") -> None:
        """kfuncs: whether programs may use words that are functions of the kernel. cpu: what they are built for."""
        self.kfuncs = kfuncs
        self.cpu = cpu
        self.held = 0  # loops by iterators around
        self.functional = False  # inside of a function that is no program
        self.rng = random.Random(seed)
        self.lines: list[str] = []
        self.variables: dict[str, str] = {}  # name -> type
        self.functions: dict[str, tuple[str, list[str]]] = {}
        self.depth = 0
        self.loops = 0
        self.count = 0
        self.structs: list[str] = []
        self.arrays: list[str] = []
        self.wholes: list[str] = []
        self.texts = 0  # arrays for texts: the stack is small
        self.data = False
        self.inside = 0  # loops around
        self.budget = 0

    def module(self, programs: int) -> str:
        """The text of a module with programs p0, p1, ..."""
        self.lines = [HEAD + more.HEAD]
        for index in range(programs):
            for _ in range(self.rng.randrange(3)):
                self.function()
            self.program(f"p{index}")
        return "\n".join(self.lines) + "\n"

    # Types and literals

    def kind(self) -> str:
        return self.rng.choice(list(INTS))

    def number(self, kind: str) -> int:
        bits = INTS[kind]
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)
        rng = self.rng
        pick = rng.randrange(4)
        if pick == 0:
            return rng.choice([low, high, 0, 1, high - 1, high >> 1, 2])
        if pick == 1:
            return rng.randint(0, min(high, 16))
        if pick == 2:
            return rng.randint(low, high)
        return max(low, min(high, (1 << rng.randrange(bits)) - rng.randrange(2)))

    def literal(self, kind: str) -> str:
        return f"{kind}({self.number(kind)})"

    # Expressions

    def expression(self, kind: str, depth: int = 3) -> str:
        rng = self.rng
        names = [name for name, of in self.variables.items() if of == kind]
        if depth <= 0 or rng.random() < 0.15:
            if names and rng.random() < 0.8:
                return rng.choice(names)
            return self.member(kind) or self.literal(kind)
        pick = rng.randrange(15)
        if pick == 14:
            return self.word(kind, depth)
        if pick < 6:
            sign = rng.choice(["+", "-", "*", "//", "%", "&", "|", "^"])
            left, right = self.expression(kind, depth - 1), self.expression(kind, depth - 1)
            if rng.random() < 0.25:
                right = str(self.number(kind))
                right = f"({right})" if right[0] == "-" else right
            return f"({left} {sign} {right})"
        if pick == 6:
            amount = self.expression(self.kind(), depth - 2) if rng.random() < 0.5 else str(rng.randrange(INTS[kind]))
            return f"({self.expression(kind, depth - 1)} {rng.choice(['<<', '>>'])} {amount})"
        if pick == 7:
            return f"{rng.choice(['-', '~'])}{self.expression(kind, depth - 1)}"
        if pick in (8, 9):
            return f"{kind}({self.expression(self.kind(), depth - 1)})"
        if pick == 10:
            then, other = self.expression(kind, depth - 1), self.expression(kind, depth - 1)
            return f"({then} if {self.condition(depth - 1)} else {other})"
        if pick == 11:
            name = rng.choice(["min", "max"])
            return f"{name}({self.expression(kind, depth - 1)}, {self.expression(kind, depth - 1)})"
        if pick == 12:
            calls = [name for name, (of, _) in self.functions.items() if of == kind]
            if calls and self.inside < 2:
                name = rng.choice(calls)
                args = ", ".join(self.expression(of, depth - 2) for of in self.functions[name][1])
                return f"{name}({args})"
            return f"{kind}({self.condition(depth - 1)})"
        if kind in ("u16", "u32", "u64") and rng.random() < 0.5:
            return f"bpf.bswap({self.expression(kind, depth - 1)})"
        return self.member(kind) or self.literal(kind)

    def word(self, kind: str, depth: int) -> str:
        """A word about bytes, order or names."""
        rng = self.rng
        if kind == "s64" and len(self.structs) > 1:
            return f"bpf.compare({self.structs[0]}, {self.structs[1]}, {rng.randrange(33)})"
        if kind == "s64" and self.structs:
            return f"bpf.compare({self.structs[0]}.row, {self.structs[-1]}, {rng.randrange(9)})"
        if kind == "u64":
            return "bpf.read_once(total)"
        if kind == "u32" and self.structs:
            return f"bpf.cast({rng.choice(self.structs)}, Half).first"
        if kind in ("u8", "u16", "s32"):
            return f"({self.expression(kind, depth - 1)} + Names.{rng.choice(['ZERO', 'SEVEN', 'MANY'])})"
        return self.member(kind) or self.literal(kind)

    def member(self, kind: str) -> str:
        """A member or element of this type."""
        found: list[str] = []
        if self.data:
            found += {"u8": ["data.a"], "s8": ["data.b"], "u16": ["data.c", "fixed.value"], "u32": ["data.d"],
                      "u64": ["data.e", "total.value"], "s32": ["start.value"]}.get(kind, [])  # fmt: skip
        for name in self.structs:
            found += {"u32": [f"{name}.x", f"u32({name}.net)"], "s16": [f"{name}.y", f"{name}.mid"],
                      "u64": [f"{name}.z"],
                      "u16": [f"{name}.low", f"{name}.row[{self.rng.randrange(4)}]"]}.get(kind, [])  # fmt: skip
        if self.wholes or self.rng.random() < 0.1:
            found.append(more.member(self, self.rng.choice([*self.wholes, "kept"]), kind))
        if kind == "u32":
            found += [f"{name}[{self.index(8)}]" for name in self.arrays]
        return self.rng.choice(found) if found else ""

    def index(self, count: int) -> str:
        if self.rng.random() < 0.5:
            return str(self.rng.randrange(count))
        names = [name for name, of in self.variables.items() if of == "u32"]
        names += [f"{name}.x" for name in self.structs] + (["data.d"] if self.data else [])
        return f"{self.rng.choice(names)} & {count - 1}" if names else "1"

    def condition(self, depth: int = 2) -> str:
        rng = self.rng
        if depth > 0 and rng.random() < 0.3:
            joined = f" {rng.choice(['and', 'or'])} ".join(self.condition(depth - 1) for _ in range(2))
            return f"({'not ' if rng.random() < 0.2 else ''}({joined}))"
        flags = [f"{name}.flag" for name in self.structs] + [f"{name}.set" for name in self.wholes]
        flags += [name for name, of in self.variables.items() if of == "bool"]
        if flags and rng.random() < 0.15:
            return f"{'not ' if rng.random() < 0.3 else ''}{rng.choice(flags)}"
        if self.structs and rng.random() < 0.06:
            first, second = rng.choice(self.structs), rng.choice(self.structs)
            return f"bpf.equal({first}, {second}, {rng.randrange(33)})"
        kind = self.kind()
        left, right = self.expression(kind, depth - 1), self.expression(kind, depth - 1)
        if rng.random() < 0.3:
            right = str(self.number(kind))
        if rng.random() < 0.1:
            items = ", ".join(str(self.number(kind)) for _ in range(3))
            return f"({left} {rng.choice(['in', 'not in'])} ({items}))"
        if rng.random() < 0.1:
            third = self.expression(kind, depth - 1)
            return f"({left} {rng.choice(['<', '<='])} {right} {rng.choice(['<', '<='])} {third})"
        return f"({left} {rng.choice(['==', '!=', '<', '<=', '>', '>='])} {right})"

    # Statements

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def block(self, size: int) -> None:
        """Statements one level in; names that are first assigned there are forgotten afterwards."""
        before = dict(self.variables), list(self.structs), list(self.arrays), list(self.wholes)
        self.depth += 1
        for _ in range(size):
            self.statement()
        self.depth -= 1
        self.variables, self.structs, self.arrays, self.wholes = before

    def statement(self) -> None:
        rng = self.rng
        self.budget -= 1
        simple = self.budget < 0 or self.depth > 3
        if not simple and rng.random() < 0.4:
            more.statement(self, rng)
            return None
        pick = rng.randrange(9 if simple else 22)
        if pick < 2:
            kind = self.kind()
            name = self.fresh()
            self.line(f"{name} = {self.typed(kind)}")
            self.variables[name] = kind
        elif pick < 4 and self.variables:
            name = rng.choice(list(self.variables))
            kind = self.variables[name]
            if kind == "bool":
                self.line(f"{name} = {self.condition()}")
            elif rng.random() < 0.5:
                self.line(f"{name} {rng.choice(['+', '-', '*', '//', '%', '&', '|', '^'])}= {self.expression(kind, 2)}")
            else:
                self.line(f"{name} = {self.typed(kind)}")
        elif pick == 4:
            self.line(f"put(u32({rng.randrange(16)}), u64({self.expression(self.kind())}))")
        elif pick == 5 and self.structs:
            self.store(rng.choice(self.structs))
        elif pick == 6 and self.arrays:
            self.line(f"{rng.choice(self.arrays)}[{self.index(8)}] = {self.typed('u32')}")
        elif pick == 7:
            place, kind = rng.choice([("total.value", "u64"), ("start.value", "s32")])
            self.line(f"{place} {rng.choice(['', '+', '^'])}= {self.typed(kind)}")
        elif pick == 8 and not self.inside and len(self.structs) < 2:
            name = self.fresh()
            self.line(f"{name} = Mix(x={self.typed('u32')}, y={self.typed('s16')}, flag={self.condition(1)})")
            self.structs.append(name)
        elif pick == 9 and not self.inside and len(self.arrays) < 2:
            name = self.fresh()
            self.line(f"{name} = bpf.zeros(u32, 8)")
            self.arrays.append(name)
        elif pick in (10, 11):
            self.line(f"if {self.condition()}:")
            self.block(rng.randrange(1, 4))
            if rng.random() < 0.3:
                self.line(f"elif {self.condition()}:")
                self.block(rng.randrange(1, 3))
            if rng.random() < 0.6:
                self.line("else:")
                self.block(rng.randrange(1, 3))
        elif pick == 12 and self.loops < 3 and self.inside < 2:
            self.loop()
        elif pick == 13:
            self.match()
        elif pick == 14 and len(self.variables) > 1:
            kinds = [(name, of) for name, of in self.variables.items() if of != "bool"]
            if len(kinds) < 2:
                return self.line(f"put(u32(0), {self.expression('u64', 1)})")
            a, b = rng.sample(kinds, 2)
            self.line(f"{a[0]}, {b[0]} = {self.typed(a[1])}, {self.typed(b[1])}")
        elif pick == 15:
            wide, narrow = self.fresh(), self.fresh()
            self.line(f"{wide}, {narrow} = split({self.expression('u64', 2)})")
            self.variables |= {wide: "u32", narrow: "u16"}
        elif pick == 16 and self.structs:
            name = rng.choice(self.structs)
            self.line(f"fill({name}, {self.expression('u32', 2)})")
            self.line(f"put(u32({rng.randrange(16)}), weigh({name}, {self.expression('u64', 2)}))")
        elif pick == 17:
            first, second = self.expression("u32", 2), self.expression("s32", 2)
            self.line(f"put(u32({rng.randrange(16)}), public({first}, {second}))")
        elif pick == 18 and not self.inside:
            name = self.fresh()
            self.line(f"{name} = Work(sum={self.expression('u64', 2)}, step={self.expression('s32', 1)})")
            rounds = str(rng.randrange(1, 9)) if rng.random() < 0.7 else f"{self.expression('u32', 1)} & 7"
            self.line(f"put(u32({rng.randrange(16)}), u64(helpers.loop({rounds}, each, {name}, 0)) + {name}.sum)")
        elif pick == 19:
            self.bytes_statement()
        elif pick == 20 and self.structs:
            self.line(f"put(u32({rng.randrange(16)}), blend({rng.choice(self.structs)}, {self.expression('u32', 2)}))")
        elif pick == 21 and self.kfuncs and not self.held and not self.functional:
            self.line(f"if {self.condition(2)} and {self.condition(2)} and {self.condition(1)}:")
            self.line(f"    bpf.throw({rng.randrange(5)})")
        else:
            self.line(f"put(u32({rng.randrange(16)}), u64({self.expression(self.kind(), 2)}))")
        return None

    def bytes_statement(self) -> None:
        """Copies, fills, copies of structs."""
        rng = self.rng
        if self.arrays and rng.random() < 0.5:
            name = rng.choice(self.arrays)
            if rng.random() < 0.5 or not self.structs:
                self.line(f"bpf.fill({name}, {self.expression('u8', 1)}, {rng.randrange(33)})")
            else:
                self.line(f"bpf.copy({name}, {rng.choice(self.structs)}.row, {rng.randrange(9)})")
        elif self.structs and not self.inside and len(self.structs) < 2:
            name = self.fresh()
            self.line(f"{name} = {rng.choice(self.structs)}.copy()")
            self.structs.append(name)
        elif len(self.structs) > 1:
            first, second = self.structs[:2]
            self.line(rng.choice([f"{first}.assign({second})", f"bpf.copy({second}, {first}, {rng.randrange(33)})"]))
        else:
            self.line(f"bpf.write_once(total, {self.expression('u64', 2)})")

    def typed(self, kind: str) -> str:
        """An expression that has its type whatever it consists of."""
        return self.expression(kind)

    def store(self, name: str) -> None:
        member, kind = self.rng.choice([("x", "u32"), ("y", "s16"), ("z", "u64"), ("low", "u16"), ("mid", "s16"),
                                        ("row", "u16"), ("net", ""), ("flag", "bool")])  # fmt: skip
        if member == "net":
            self.line(f"{name}.net = be32({self.expression('u32', 2)})")
        elif member == "flag":
            self.line(f"{name}.flag = {self.condition()}")
        elif member == "row":
            self.line(f"{name}.row[{self.index(4)}] {self.rng.choice(['', '+', '-'])}= {self.expression(kind, 2)}")
        else:
            self.line(f"{name}.{member} {self.rng.choice(['', '+', '^', '*'])}= {self.expression(kind, 2)}")

    def loop(self) -> None:
        rng = self.rng
        self.loops += 1
        self.inside += 1
        pick = rng.randrange(6)
        walked = pick == 5 and self.kfuncs and not self.functional
        if pick < 2 or pick == 5:
            name = self.fresh()
            bounds = rng.choice([f"{rng.randrange(1, 5)}", f"{rng.randrange(3)}, {rng.randrange(2, 6)}", "6, 0, -2"])
            if walked:
                bounds = f"{rng.randrange(3)}, {self.expression('u8', 1)} & 7"
            self.line(f"for {name} in {'bpf.iterate(' * walked}range({bounds}){')' * walked}:")
            self.held += walked
            self.depth += 1
            kind = self.kind()
            self.line(f"put(u32({rng.randrange(16)}), u64({self.expression(kind, 1)}) + {name})")
            self.depth -= 1
        elif pick in (2, 4):
            name = self.fresh()
            self.line(f"for {name} in {'(1, 5, 77)' if pick == 2 else 'bpf.unroll(range(7, 0, -3))'}:")
            self.depth += 1
            self.line(f"put(u32({rng.randrange(16)}), {self.expression('u64', 1)} * {name})")
            self.depth -= 1
        else:
            name = self.fresh()
            self.line(f"{name} = u32(0)")
            ends = [f"{name} < {rng.randrange(1, 5)}", self.condition(1)]
            if rng.random() < 0.4:
                ends.insert(rng.randrange(3), "bpf.can_loop()")
            self.line(f"while {' and '.join(ends)}:")
            self.depth += 1
            self.line(f"{name} += 1")
            self.depth -= 1
        before = dict(self.variables), list(self.structs), list(self.arrays), list(self.wholes)
        self.depth += 1
        if rng.random() < 0.4:
            self.line(f"if {self.condition(1)}:")
            self.line(f"    {rng.choice(['break', 'continue'])}")
        for _ in range(rng.randrange(1, 3)):
            self.statement()
        self.depth -= 1
        self.variables, self.structs, self.arrays, self.wholes = before
        if rng.random() < 0.3:
            self.line("else:")
            self.block(1)
        self.held -= walked
        self.inside -= 1

    def match(self) -> None:
        kind = self.kind()
        self.line(f"match {self.expression(kind, 2)}:")
        self.depth += 1
        seen: set[int] = set()
        for _ in range(self.rng.randrange(1, 4)):
            number = self.number(kind)
            if number in seen:
                continue
            seen.add(number)
            guard = f" if {self.condition(1)}" if self.rng.random() < 0.2 else ""
            self.line(f"case {number}{guard}:")
            self.block(1)
        if self.rng.random() < 0.7:
            self.line("case _:")
            self.block(1)
        self.depth -= 1

    # Functions

    def function(self) -> None:
        rng = self.rng
        name = f"f{len(self.functions)}"
        kinds = [self.kind() for _ in range(rng.randrange(1, 4))]
        result = self.kind()
        saved = self.begin()
        self.variables = {f"a{i}": kind for i, kind in enumerate(kinds)}
        how = rng.choice(["", "@bpf.noinline\n", "@bpf.inline\n", ""])
        given = ", ".join(f"{arg}: {kind}" for arg, kind in self.variables.items())
        self.lines.append(f"\n\n{how}def {name}({given}) -> {result}:")
        self.depth = 1
        self.functional = True
        self.budget = 4
        for _ in range(rng.randrange(1, 4)):
            self.statement()
        if rng.random() < 0.4:
            self.line(f"if {self.condition()}:")
            self.line(f"    return {self.typed(result)}")
        self.line(f"return {self.typed(result)}")
        self.functional = False
        self.restore(saved)
        self.functions[name] = (result, kinds)

    def begin(self) -> tuple[dict[str, str], list[str], list[str], list[str]]:
        saved = self.variables, self.structs, self.arrays, self.wholes
        self.variables, self.structs, self.arrays, self.wholes = {}, [], [], []
        self.loops = self.inside = self.texts = 0
        self.data = False
        return saved

    def restore(self, saved: tuple[dict[str, str], list[str], list[str], list[str]]) -> None:
        self.variables, self.structs, self.arrays, self.wholes = saved

    def program(self, name: str) -> None:
        saved = self.begin()
        self.lines.append(f"\n\n@xdp\ndef {name}(ctx: xdp.Context) -> xdp.Action:")
        self.depth = 1
        self.line("data = ctx.parse(Data)")
        self.line("if data is None:")
        self.line("    return xdp.ABORTED")
        self.data = True
        self.budget = 14
        for _ in range(self.rng.randrange(4, 12)):
            self.statement()
        for index, (variable, _kind) in enumerate(list(self.variables.items())[:8]):
            self.line(f"put(u32({index}), u64({variable}))")
        for struct in self.structs:
            self.line(f"put(u32(9), u64({struct}.x) + u64({struct}.y) + {struct}.z + u64({struct}.low))")
            self.line(f"put(u32(10), u64({struct}.mid) + u64(u32({struct}.net)) + u64({struct}.flag))")
        self.line("data.d ^= 0x5A5A")
        self.line(f"return xdp.Action({self.expression(self.kind())})")
        self.restore(saved)
        self.data = False
