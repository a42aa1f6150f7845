"""More of the language for random programs: structs of every shape, maps, tuples, references, texts, walrus.

What the programs of dialect_generate.py have above them, and statements for them, in one table.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dialect_generate import Generator

HEAD = '''

class Level(IntFlag):
    LOW = 1
    HIGH = 4


Port = NewType("Port", u16)


class Point(Struct):
    x: s16
    y: s16


class Packed(Struct, packed=True):
    kind: u8
    size: u32
    tag: s16
    wide: u64


class Either(Union):
    word: u32
    halves: Array[u16] = array(2)
    bytes: Array[u8] = array(4)


class Fields(Struct):
    low: u32 = bits(3)
    middle: s32 = bits(7)
    high: u32 = bits(22)
    sign: s8 = bits(2)
    wide: u64 = bits(40)
    rest: s64 = bits(20)


class Whole(Struct):
    points: Array[Point] = array(3)
    packed: Packed
    either: Either
    fields: Fields
    set: bool
    grid: Array[Array[u16]] = array(2, 3)
    net: be64
    half: be16


class Pair(Struct):
    a: u32
    b: s16
    gap: u16


class Locked(Struct):
    lock: SpinLock
    value: u32


class Record(Struct):
    number: u64
    kind: s16
    text: Array[u8] = array(6)


table = map.hash(u32, u64, max_entries=8)
wholes = map.array(u32, Whole, max_entries=2)
pairs = map.hash(Pair, Point, max_entries=4)
recent = map.lru_hash(u32, u32, max_entries=64)
sums = map.percpu_array(u32, u64, max_entries=4)
line = map.queue(u32, max_entries=3)
pile = map.stack(u64, max_entries=3)
locked = map.array(u32, Locked, max_entries=1)
events = map.ringbuf(max_entries=4096)
kept = bpf.var(Whole)
yes = bpf.config(True)


def maybe(mix: Mix | None, by: u32) -> u64:
    if mix is None:
        return u64(by) * 5
    mix.x ^= by
    return u64(mix.x) + u64(mix.y)


@bpf.noinline
def find(key: u32) -> Ref[u64] | None:
    return table.lookup(key & 15)


def triple(value: u64, by: s32) -> tuple[u64, s32, bool]:
    return value * 3, by // 7, value > u64(by)


def bump(count: Ref[u64], by: u64) -> u64:
    count.value += by
    return count.value


@bpf.noinline
def reach(whole: Whole, by: u32) -> s64:
    whole.points[1].x += s16(by)
    whole.fields.middle = s32(by)
    whole.either.bytes[by & 3] ^= u8(by >> 3)
    return s64(whole.fields.middle) + s64(whole.points[1].x) - s64(whole.either.word)


def scale(value: u32, by: u32 = u32(7), plus: s16 = s16(-3), on: bool = True) -> u64:
    return u64(value * by) + u64(plus) if on else u64(value)


def is_low(port: Port) -> bool:
    return port < 1024


def every(_map: u64, key: Ref[u32], value: Ref[u64], work: Work) -> s64:
    work.sum += value.value ^ u64(key.value)
    work.step += 1
    return s64(0)
'''

# Members of Whole by their types, for reading and writing
MEMBERS = {
    "u8": ("packed.kind", "either.bytes[{0..3}]"),
    "s8": ("fields.sign",),
    "u16": ("either.halves[{0..1}]", "grid[{0..1}][{0..2}]"),
    "s16": ("points[{0..2}].x", "points[{0..2}].y", "packed.tag"),
    "u32": ("packed.size", "either.word", "fields.low", "fields.high"),
    "s32": ("fields.middle",),
    "u64": ("packed.wide", "fields.wide"),
    "s64": ("fields.rest",),
}
FORMATS = ("", ":d", ":5d", ":x", ":#x", ":08x", ":X")


def member(g: Generator, whole: str, kind: str) -> str:
    """A member of a Whole with a type."""
    text: str = g.rng.choice(MEMBERS[kind])
    while "{" in text:
        before, _, rest = text.partition("{0..")
        most, _, after = rest.partition("}")
        text = f"{before}{g.rng.randrange(int(most) + 1)}{after}"
    return f"{whole}.{text}"


def _put(g: Generator, text: str) -> None:
    g.line(f"put(u32({g.rng.randrange(16)}), {text})")


def _key(g: Generator) -> str:
    return f"{g.expression('u32', 1)} & {g.rng.choice([3, 15])}"


def whole(g: Generator) -> None:
    """A struct of every shape: on the stack, in a map, a global."""
    pick = g.rng.randrange(3)
    if pick == 0 and not g.inside and not g.wholes:
        name = g.fresh()
        g.line(f"{name} = Whole(set={g.condition(1)}, half=be16({g.expression('u16', 1)}))")
        g.wholes.append(name)
    elif pick == 1:
        name = g.fresh()
        g.line(f"{name} = wholes.lookup({g.rng.randrange(2)})")
        g.line(f"if {name} is not None:")
        g.wholes.append(name)
        g.depth += 1
        change(g)
        change(g)
        g.depth -= 1
        g.wholes.remove(name)
    else:
        change(g, "kept")


def change(g: Generator, name: str = "") -> None:
    name = name or (g.rng.choice(g.wholes) if g.wholes else "kept")
    pick = g.rng.randrange(9)
    if pick < 4:
        kind = g.kind()
        g.line(f"{member(g, name, kind)} {g.rng.choice(['', '+', '^', '-', '|', '*'])}= {g.expression(kind, 2)}")
    elif pick == 4:
        g.line(f"{name}.points[{g.rng.randrange(3)}] = Point(x={g.expression('s16', 1)}, y={g.expression('s16', 1)})")
    elif pick == 5:
        g.line(f"{name}.half = be16({g.expression('u16', 1)}) {g.rng.choice('&|^')} {name}.half")
        _put(g, f"u64(u16(~{name}.half)) + u64({name}.half == {g.number('u16')})")
    elif pick == 6:
        g.line(f"{name}.net = be64({g.expression('u64', 1)})")
        _put(g, f"u64({name}.net)")
    elif pick == 7:
        point = g.fresh()
        if name == "kept":
            g.line(f"for {point} in {name}.points:")
            g.line(f"    {point}.x = {point}.x * 3 + {point}.y")
        else:  # a part of a struct on the stack has no second name
            g.line(f"for {point} in range(3):")
            g.line(f"    {name}.points[{point}].x = {name}.points[{point}].x * 3 + {name}.points[{point}].y")
    else:
        _put(g, f"u64(reach({name}, {g.expression('u32', 1)}))")


def walrus(g: Generator) -> None:
    kind, name = g.kind(), g.fresh()
    sign = g.rng.choice(["==", "<", ">=", "!="])
    g.line(f"if ({name} := {g.expression(kind, 2)}) {sign} {g.number(kind)} and {g.condition(1)}:")
    g.variables[name] = kind
    g.block(g.rng.randrange(1, 3))


def table(g: Generator) -> None:
    """Look-ups, updates and deletions of a hash that gets full."""
    pick = g.rng.randrange(7)
    if pick < 2:
        how = g.rng.choice(["map.ANY", "0", "map.NOEXIST"])
        _put(g, f"u64(table.update({_key(g)}, {g.expression('u64', 2)}, {how}))")
    elif pick == 2:
        _put(g, f"u64(table.delete({_key(g)}))")
    elif pick == 3:
        slot = g.fresh()
        g.line(f"{slot} = {g.rng.choice(['table.lookup', 'find'])}({_key(g)})")
        g.line(f"if {slot} is not None:")
        g.line(f"    {slot}.value = {slot}.value * 5 + {g.expression('u64', 1)}")
        g.line("else:")
        g.line(f"    put(u32(3), u64({g.expression('u64', 1)}))")
    elif pick == 4:
        slot = g.fresh()
        g.line(f"if ({slot} := table.lookup({_key(g)})) is not None and {slot}.value > {g.number('u32')}:")
        g.line(f"    {slot}.value -= {g.expression('u64', 1)}")
    elif pick == 5 and not g.inside:
        work = g.fresh()
        g.line(f"{work} = Work(sum={g.expression('u64', 1)})")
        _put(g, f"u64(table.for_each(every, {work})) + {work}.sum + u64({work}.step)")
    else:
        slot = g.fresh()
        g.line(f"{slot} = recent.lookup({_key(g)})")
        g.line(f"if not {slot}:")
        g.line(f"    recent.update({_key(g)}, {g.expression('u32', 1)})")
        g.line("else:")
        g.line(f"    {slot}.value ^= {g.expression('u32', 1)}")


def struct_keys(g: Generator) -> None:
    if g.inside:
        return
    key = g.fresh()
    g.line(f"{key} = Pair(a={g.expression('u32', 1)} & 1, b={g.expression('s16', 1)} & 1)")
    if g.rng.random() < 0.6:
        _put(g, f"u64(pairs.update({key}, Point(x={g.expression('s16', 1)}, y={g.expression('s16', 1)})))")
    else:
        found = g.fresh()
        g.line(f"{found} = pairs.lookup({key})")
        g.line(f"if {found} is not None:")
        g.line(f"    {found}.y += {found}.x // 3")
        g.line(f"    put(u32(2), u64({found}.y))")


def queues(g: Generator) -> None:
    kind, name = g.rng.choice([("u32", "line"), ("u64", "pile")])
    if g.rng.random() < 0.5 or g.inside:
        _put(g, f"u64({name}.push({g.expression(kind, 2)}{g.rng.choice(['', ', 2'])}))")
        return
    word = g.fresh()
    g.line(f"{word} = bpf.local({kind}({g.number(kind)}))")
    _put(g, f"u64({name}.{g.rng.choice(['pop', 'peek'])}({word}))")
    _put(g, f"u64({word}.value)")


def percpu(g: Generator) -> None:
    slot = g.fresh()
    g.line(f"{slot} = sums.lookup({g.rng.randrange(4)})")
    g.line(f"if {slot} is not None:")
    g.line(f"    {slot}.value {g.rng.choice('+-')}= {g.expression('u64', 2)}")


def lock(g: Generator) -> None:
    """No calls are allowed between."""
    names = [name for name, of in g.variables.items() if of == "u32"]
    slot = g.fresh()
    g.line(f"{slot} = locked.lookup(0)")
    g.line(f"if {slot} is not None:")
    g.line(f"    with {slot}.lock:")
    g.line(f"        {slot}.value = {slot}.value * 3 + {g.rng.choice(names) if names else g.literal('u32')}")
    g.line(f"    put(u32(4), u64({slot}.value))")


def record(g: Generator) -> None:
    name = g.fresh()
    g.line(f"with events.reserve(Record) as {name}:")
    g.line(f"    if {name} is not None:")
    g.line(f"        {name}.number = {g.expression('u64', 1)}")
    g.line(f"        {name}.kind = {g.expression('s16', 1)}")
    g.line(f"        bpf.fill({name}.text, {g.expression('u8', 1)}, 6)")
    if g.rng.random() < 0.2:
        g.line(f"        if {g.condition(1)}:")
        g.line(f"            events.discard({name})")


def references(g: Generator) -> None:
    if g.rng.random() < 0.4 or g.inside:
        _put(g, f"bump(total, {g.expression('u64', 2)})")
        return
    name = g.fresh()
    g.line(f"{name} = bpf.local({g.expression('u64', 2)})")
    g.line(f"{name}.value {g.rng.choice(['+', '*', '>>'])}= {g.rng.randrange(1, 60)}")
    _put(g, f"bump({name}, {g.expression('u64', 1)}) ^ {name}.value")


def nullable(g: Generator) -> None:
    if not g.structs:
        return
    _put(g, f"maybe({g.rng.choice([*g.structs, 'None'])}, {g.expression('u32', 2)})")


def tuples(g: Generator) -> None:
    names = [g.fresh() for _ in range(3)]
    skip = g.rng.randrange(4)
    shown = ["_" if index == skip else name for index, name in enumerate(names)]
    g.line(f"{', '.join(shown)} = triple({g.expression('u64', 2)}, {g.expression('s32', 2)})")
    kinds = dict(zip(names, ("u64", "s32", "bool"), strict=True))
    g.variables |= {name: kind for index, (name, kind) in enumerate(kinds.items()) if index != skip}


def rotate(g: Generator) -> None:
    """Several names of one type change places."""
    kind = g.kind()
    names = [name for name, of in g.variables.items() if of == kind]
    if len(names) > 2:
        a, b, c = g.rng.sample(names, 3)
        g.line(f"{a}, {b}, {c} = {c}, {a}, {b}")
    elif len(names) == 2:
        g.line(f"{names[0]}, {names[1]} = {names[1]}, {names[0]}")


def flags(g: Generator) -> None:
    name = g.fresh()
    g.line(f"{name} = {g.condition()}")
    g.variables[name] = "bool"


def atomics(g: Generator) -> None:
    """Statements that every cpu has."""
    g.line(f"bpf.atomic(total).value {g.rng.choice(['+', '-', '|', '&', '^'])}= {g.expression('u64', 2)}")


def fetches(g: Generator) -> None:
    if g.cpu < "v3":
        return
    word = g.rng.choice(["fetch_add", "fetch_or", "fetch_and", "fetch_xor", "exchange"])
    if g.rng.random() < 0.2:
        _put(g, f"bpf.compare_exchange(total, {g.expression('u64', 1)}, {g.expression('u64', 1)})")
    else:
        _put(g, f"bpf.{word}(total, {g.expression('u64', 1)})")


def text(g: Generator) -> None:
    if g.inside or g.texts > 1:
        return
    g.texts += 1
    name = g.fresh()
    g.line(f"{name} = bpf.zeros(u8, 24)")
    parts = []
    for _ in range(g.rng.randrange(1, 4)):
        kind = g.kind()
        form = g.rng.choice(FORMATS if kind[0] == "u" else FORMATS[:3])
        parts.append(f"{{{g.expression(kind, 1)}{form}}}")
    _put(g, f'u64(bpf.snprintf({name}, f"{" a%b ".join(parts)}"))')
    for index in g.rng.sample(range(24), 3):
        _put(g, f"u64({name}[{index}])")


def pairs_of_constants(g: Generator) -> None:
    a, b = g.fresh(), g.fresh()
    rows = ", ".join(f"({g.rng.randrange(9)}, {g.rng.randrange(200)})" for _ in range(g.rng.randrange(1, 4)))
    g.line(f"for {a}, {b} in ({rows},):")
    _put_in(g, f"{g.expression('u64', 1)} * {a} + {b}")


def over_array(g: Generator) -> None:
    if not g.arrays:
        return
    name = g.fresh()
    g.line(f"for {name} in {g.rng.choice(g.arrays)}:")
    g.line(f"    if {name} > {g.number('u32')}:")
    g.line(f"        {g.rng.choice(['break', 'continue'])}")
    _put_in(g, f"u64({name})")


def forever(g: Generator) -> None:
    if g.inside > 1 or g.loops > 2:
        return
    g.loops += 1
    name = g.fresh()
    g.line(f"{name} = u32({g.rng.randrange(3)})")
    g.line("while True:")
    g.line(f"    {name} += 1")
    g.line(f"    if {name} > {g.rng.randrange(2, 6)} or {g.condition(1)}:")
    g.line("        break")
    _put_in(g, f"u64({name}) * 7")


def _put_in(g: Generator, value: str) -> None:
    g.depth += 1
    _put(g, value)
    g.depth -= 1


def names_of_numbers(g: Generator) -> None:
    g.line(f"match {g.expression('u32', 2)}:")
    g.line(f"    case Names.SEVEN | Level.HIGH{g.rng.choice(['', ' | 11', ' | Level.LOW'])}:")
    g.line(f"        put(u32(5), {g.expression('u64', 1)})")
    g.line(f"    case Names.MANY if {g.condition(1)}:")
    g.line(f"        put(u32(6), u64({g.expression('s32', 1)}))")


def kinds_of_numbers(g: Generator) -> None:
    _put(g, f"u64(is_low(Port({g.expression('u16', 1)}))) + u64(bpf.sizeof(Whole)) * u64(yes.value)")


def default_values(g: Generator) -> None:
    given = [g.expression("u32", 2)]
    if g.rng.random() < 0.5:
        given.append(g.expression("u32", 1))
    if g.rng.random() < 0.4:
        given.append(f"on={g.condition(1)}")
    _put(g, f"scale({', '.join(given)})")


def shift(g: Generator) -> None:
    names = [name for name, of in g.variables.items() if of != "bool"]
    if not names:
        return
    name = g.rng.choice(names)
    amount = g.expression(g.kind(), 1) if g.rng.random() < 0.4 else str(g.rng.randrange(8))
    g.line(f"{name} {g.rng.choice(['<<', '>>'])}= {amount}")


def leave(g: Generator) -> None:
    if g.functional or g.held:
        return
    g.line(f"if {g.condition(2)} and {g.condition(1)}:")
    g.line(f"    return xdp.Action({g.rng.choice([g.expression('u32', 1), 'xdp.TX'])})")


STATEMENTS = (
    whole, whole, change, change, walrus, table, table, table, struct_keys, queues, percpu, lock, record, references,
    nullable, tuples, rotate, flags, atomics, fetches, text, pairs_of_constants, over_array, forever, names_of_numbers,
    kinds_of_numbers, default_values, shift, leave,
)  # fmt: skip


def statement(g: Generator, rng: random.Random) -> None:
    """One of these; some write nothing where they cannot stand."""
    before = len(g.lines)
    rng.choice(STATEMENTS)(g)
    if len(g.lines) == before:
        _put(g, f"u64({g.expression(g.kind(), 2)})")
