"""The checked program: what the checker makes and every lowering reads. Nothing is left to look up or to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bombus.bpf.layout import Member
from bombus.compiler.types import Type


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the source: line from 1, column from 1."""

    line: int
    column: int


# ------------------------------------------------------------------------------------------------ expressions


@dataclass(slots=True)
class Expr:
    at: Place
    type: Type


@dataclass(slots=True)
class Const(Expr):
    """A number, a truth value (0, 1), or None."""

    value: int


@dataclass(slots=True)
class Object(Expr):
    """A compile-time object; only arguments and calls contain it, no value does."""

    value: Any


@dataclass(slots=True)
class Read(Expr):
    """The value of a local variable."""

    variable: Variable


@dataclass(slots=True)
class Assigned(Expr):
    """(name := value)."""

    variable: Variable
    value: Expr


@dataclass(slots=True)
class Binary(Expr):
    """operation: "add", "sub", "mul", "div", "mod", "and", "or", "xor", "shl", "shr"; operands have the result's type
    (the amount of a shift too)."""

    operation: str
    left: Expr
    right: Expr


@dataclass(slots=True)
class Unary(Expr):
    """operation: "neg", "not" (bits), "swap" (bytes)."""

    operation: str
    value: Expr


@dataclass(slots=True)
class Compare(Expr):
    """relation: "eq", "ne", "lt", "le", "gt", "ge"; both sides have one integer type (its sign decides) or bool."""

    relation: str
    left: Expr
    right: Expr


@dataclass(slots=True)
class Logic(Expr):
    """`and`, `or` of truth values, evaluated from the left until decided."""

    conjunction: bool
    values: Sequence[Expr]


@dataclass(slots=True)
class Not(Expr):
    value: Expr


@dataclass(slots=True)
class IsNone(Expr):
    value: Expr


@dataclass(slots=True)
class Choice(Expr):
    """a if test else b."""

    test: Expr
    then: Expr
    other: Expr


@dataclass(slots=True)
class Cast(Expr):
    """Between integers, from bool, and to bool (not zero)."""

    value: Expr


@dataclass(slots=True)
class Load(Expr):
    """The value in memory."""

    place: Spot


@dataclass(slots=True)
class Inside(Expr):
    """A reference to memory inside of other memory: a nested struct, an array, an element, a member."""

    place: Spot


@dataclass(slots=True)
class GlobalRef(Expr):
    """A reference to a global variable."""

    name: str


@dataclass(slots=True)
class New(Expr):
    """A zeroed struct, array or integer on the stack with some members set."""

    members: Sequence[tuple[Member, Expr]]


@dataclass(slots=True)
class Clone(Expr):
    """A struct on the stack with the contents of another one."""

    source: Expr


@dataclass(slots=True)
class CopyTo(Expr):
    """Overwrite the struct that `target` refers to."""

    target: Expr
    source: Expr


@dataclass(slots=True)
class Bytes(Expr):
    """A reference to constant bytes."""

    data: bytes


@dataclass(slots=True)
class Parse(Expr):
    """A bounds-checked view of the packet."""

    ctx: Expr
    offset: Expr


@dataclass(slots=True)
class PacketLength(Expr):
    ctx: Expr


@dataclass(slots=True)
class Call(Expr):
    function: Function
    args: Sequence[Expr]


@dataclass(slots=True)
class HelperCall(Expr):
    """args: values, references (their address), maps (Object), callbacks (Object with a Function), None (a null).

    result: as `bindings.result_kind`. widths: bits of each integer argument, 0 for pointers.
    """

    number: int
    args: Sequence[Expr]
    widths: Sequence[int]
    result: str


@dataclass(slots=True)
class Slot(Expr):
    """The address of a fresh stack slot with a value in it: how integers are given to helpers by address."""

    value: Expr


@dataclass(slots=True)
class Atomic(Expr):
    """operation: "add", "and", "or", "xor", "xchg", "cmpxchg". fetch: whether the old value is wanted."""

    operation: str
    place: Spot
    value: Expr
    expected: Expr | None = None
    fetch: bool = True


@dataclass(slots=True)
class Print(Expr):
    """printk: format as the kernel takes it."""

    format: bytes
    args: Sequence[Expr]


@dataclass(slots=True)
class Tuple(Expr):
    items: Sequence[Expr]


# ------------------------------------------------------------------------------------------------ places in memory


@dataclass(slots=True)
class Spot:
    """Memory that can be read and, mostly, written. kind: the Python type of what lies there."""

    kind: Any
    base: Expr
    member: Member | None = None  # a member of the struct that `base` refers to
    index: Expr | None = None  # an element of the array that `base` refers to
    volatile: bool = False


# ------------------------------------------------------------------------------------------------ statements


@dataclass(slots=True)
class Stmt:
    at: Place


@dataclass(slots=True)
class Set(Stmt):
    """variable = value."""

    variable: Variable
    value: Expr


@dataclass(slots=True)
class Store(Stmt):
    """place = value; a struct or array is copied from what `value` refers to."""

    place: Spot
    value: Expr


@dataclass(slots=True)
class Unpack(Stmt):
    """a, b = tuple."""

    variables: Sequence[Variable]
    value: Expr


@dataclass(slots=True)
class Evaluate(Stmt):
    value: Expr


@dataclass(slots=True)
class If(Stmt):
    test: Expr
    then: list[Stmt]
    other: list[Stmt]


@dataclass(slots=True)
class While(Stmt):
    """other: runs when the test fails, not after a break."""

    test: Expr
    body: list[Stmt]
    other: list[Stmt]


@dataclass(slots=True)
class For(Stmt):
    """Counts in s64 from start towards stop (not reached) by step."""

    variable: Variable
    start: Expr
    stop: Expr
    step: int
    body: list[Stmt]
    other: list[Stmt]


@dataclass(slots=True)
class Unrolled(Stmt):
    """The body of a loop over constants, once for each."""

    bodies: list[list[Stmt]]
    other: list[Stmt]


@dataclass(slots=True)
class Break(Stmt):
    pass


@dataclass(slots=True)
class Continue(Stmt):
    pass


@dataclass(slots=True)
class Return(Stmt):
    value: Expr | None


@dataclass(slots=True)
class Scope(Stmt):
    """body, then `leave` however the body is left. leave runs only if `guard` (a reference) is not None."""

    enter: list[Stmt]
    body: list[Stmt]
    leave: Expr
    guard: Variable | None


# ------------------------------------------------------------------------------------------------ declarations


@dataclass(eq=False, slots=True)
class Variable:
    """A local variable or parameter. type: of the declaration, nullable if it ever is."""

    name: str
    type: Type


@dataclass(eq=False, slots=True)
class Function:
    """linkage: "program", "static", "noinline", "inline", "global", "callback"."""

    name: str
    path: str
    line: int
    params: list[Variable]
    result: Type
    linkage: str
    section: str = ""
    prog_type: str = ""
    body: list[Stmt] = field(default_factory=list)
    python: Any = None
    calls: set[str] = field(default_factory=set)


@dataclass(slots=True)
class GlobalVariable:
    """initial: its bytes; config: constant for the program."""

    name: str
    kind: Any
    initial: bytes
    config: bool


@dataclass(slots=True)
class MapVariable:
    name: str
    map: Any


@dataclass(slots=True)
class Unit:
    """A whole program file. Functions in the order that they were met."""

    path: str
    functions: list[Function] = field(default_factory=list)
    globals: dict[str, GlobalVariable] = field(default_factory=dict)
    maps: dict[str, MapVariable] = field(default_factory=dict)
    license: str = ""
