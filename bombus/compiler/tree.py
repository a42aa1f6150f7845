"""The checked program: what the checker makes and every lowering reads. Nothing is left to look up or to decide."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import get_annotations
from typing import Any, ClassVar, dataclass_transform

from bombus.bpf.layout import Member
from bombus.compiler.types import Type


@dataclass_transform()
class Node:
    """Records with the annotated members in order, as dataclasses make them; these are there at once, while 60
    dataclasses cost 20 ms at each start."""

    FIELDS: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.FIELDS = (*cls.FIELDS, *(name for name in get_annotations(cls) if name not in cls.FIELDS))

    def __init__(self, *args: Any, **named: Any) -> None:
        self.__dict__.update(zip(self.FIELDS, args, strict=False))
        self.__dict__.update(named)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.FIELDS)
        return f"{type(self).__name__}({inside})"


class Place(Node):
    """Where in the source: line from 1, column from 1."""

    line: int
    column: int


# ------------------------------------------------------------------------------------------------ expressions


class Expr(Node):
    at: Place
    type: Type


class Const(Expr):
    """A number, a truth value (0, 1), or None."""

    value: int


class Named(Const):
    """A value of an enum of the kernel; as a number it is what was declared."""

    python: Any


class Folded(Const):
    """A constant int as a condition."""


class Object(Expr):
    """A compile-time object; only arguments and calls contain it, no value does."""

    value: Any


class Read(Expr):
    """The value of a local variable."""

    variable: Variable


class Assigned(Expr):
    """(name := value)."""

    variable: Variable
    value: Expr


class Binary(Expr):
    """operation: "add", "sub", "mul", "div", "mod", "and", "or", "xor", "shl", "shr"; operands have the result's type
    (the amount of a shift too). proof: a mask of an index, which verifiers have to see."""

    operation: str
    left: Expr
    right: Expr
    proof: bool = False


class Unary(Expr):
    """operation: "neg", "not" (bits), "swap" (bytes)."""

    operation: str
    value: Expr


class Compare(Expr):
    """relation: "eq", "ne", "lt", "le", "gt", "ge"; both sides have one integer type (its sign decides) or bool."""

    relation: str
    left: Expr
    right: Expr


class Logic(Expr):
    """`and`, `or` of truth values, evaluated from the left until decided."""

    conjunction: bool
    values: Sequence[Expr]


class Not(Expr):
    value: Expr


class IsNone(Expr):
    value: Expr


class Choice(Expr):
    """a if test else b."""

    test: Expr
    then: Expr
    other: Expr


class Cast(Expr):
    """Between integers, from bool, and to bool (not zero)."""

    value: Expr


class Load(Expr):
    """The value in memory."""

    place: Spot


class Inside(Expr):
    """A reference to memory inside of other memory: a nested struct, an array, an element, a member."""

    place: Spot


class GlobalRef(Expr):
    """A reference to a global variable."""

    name: str


class New(Expr):
    """A zeroed struct, array or integer on the stack with some members set."""

    members: Sequence[tuple[Member, Expr]]


class Clone(Expr):
    """A struct on the stack with the contents of another one."""

    source: Expr


class CopyTo(Expr):
    """Overwrite the struct that `target` refers to."""

    target: Expr
    source: Expr


class KernelHas(Expr):
    """Whether the kernel has a struct or (member not "") a member of it."""

    kind: Any
    member: str


class KernelFact(Expr):
    """A number about the kernel that loads the program. fact: "size", "offset" (member), "matches"; of an enum's value
    "has" and "value"."""

    fact: str
    kind: Any
    member: str


class Recast(Expr):
    """Memory as another struct."""

    value: Expr


class Around(Expr):
    """The struct around a member that a reference leads to, `offset` bytes before it; None when that is None."""

    value: Expr
    offset: int


class Bytes(Expr):
    """A reference to constant bytes."""

    data: bytes


class Parse(Expr):
    """A bounds-checked view of the packet."""

    ctx: Expr
    offset: Expr


class PacketLength(Expr):
    ctx: Expr


class CanLoop(Expr):
    """Whether the function's budget of rounds is not used up; one less is left then."""


class Call(Expr):
    function: Function
    args: Sequence[Expr]


class HelperCall(Expr):
    """args: values, references (their address), maps (Object), callbacks (Object with a Function), None (a null).

    result: as `bindings.result_kind`. widths: bits of each integer argument, 0 for pointers.
    """

    number: int
    args: Sequence[Expr]
    widths: Sequence[int]
    result: str


class Slot(Expr):
    """The address of a fresh stack slot with a value in it: how integers are given to helpers by address."""

    value: Expr


class Atomic(Expr):
    """operation: "add", "and", "or", "xor", "xchg", "cmpxchg". fetch: whether the old value is wanted."""

    operation: str
    place: Spot
    value: Expr
    expected: Expr | None = None
    fetch: bool = True


class At(Expr):
    """What lies at an address: native code only."""

    address: Expr


class AddressOf(Expr):
    """The address of what a reference refers to, as u64: native code only."""

    value: Expr


class BytesCall(Expr):
    """operation: "copy" (target, source), "fill" (target, byte), "equal" and "compare" (left, right). Places are
    references, or addresses (u64) in native code. alignment: of each place, 1 when nothing is known."""

    operation: str
    args: Sequence[Expr]
    size: Expr
    alignments: Sequence[int]


class OrderedLoad(Expr):
    """order: "acquire", or "volatile" for a load that is done exactly once, here."""

    place: Spot
    order: str


class OrderedStore(Expr):
    """order: "release" or "volatile"."""

    place: Spot
    value: Expr
    order: str


class Print(Expr):
    """printk, or snprintf into an array: format as the kernel takes it."""

    format: bytes
    args: Sequence[Expr]
    into: Expr | None = None


class Tuple(Expr):
    items: Sequence[Expr]


# ------------------------------------------------------------------------------------------------ places in memory


class Spot(Node):
    """Memory that can be read and, mostly, written. kind: the Python type of what lies there."""

    kind: Any
    base: Expr
    member: Member | None = None  # a member of the struct that `base` refers to
    index: Expr | None = None  # an element of the array that `base` refers to
    volatile: bool = False


# ------------------------------------------------------------------------------------------------ statements


class Stmt(Node):
    at: Place


class Set(Stmt):
    """variable = value."""

    variable: Variable
    value: Expr


class Store(Stmt):
    """place = value; a struct or array is copied from what `value` refers to."""

    place: Spot
    value: Expr


class Unpack(Stmt):
    """a, b = tuple."""

    variables: Sequence[Variable]
    value: Expr


class Evaluate(Stmt):
    value: Expr


class If(Stmt):
    test: Expr
    then: list[Stmt]
    other: list[Stmt]


class While(Stmt):
    """other: runs when the test fails, not after a break."""

    test: Expr
    body: list[Stmt]
    other: list[Stmt]


class For(Stmt):
    """Counts in s64 from start towards stop (not reached) by step."""

    variable: Variable
    start: Expr
    stop: Expr
    step: int
    body: list[Stmt]
    other: list[Stmt]


class Unrolled(Stmt):
    """The body of a loop over constants, once for each."""

    bodies: list[list[Stmt]]
    other: list[Stmt]


class Break(Stmt):
    pass


class Continue(Stmt):
    pass


class Return(Stmt):
    value: Expr | None


class Leave(Stmt):
    """Control does not come here: a call before ends the program."""


class Scope(Stmt):
    """body, then `leave` however the body is left. leave runs only if `guard` (a reference) is not None."""

    enter: list[Stmt]
    body: list[Stmt]
    leave: Expr
    guard: Variable | None


# ------------------------------------------------------------------------------------------------ declarations


class Variable(Node):
    """A local variable or parameter. type: of the declaration, nullable if it ever is."""

    name: str
    type: Type


class Function(Node):
    """linkage: "program", "static", "noinline", "inline", "global", "callback", "kfunc" (no body)."""

    name: str
    path: str
    line: int
    params: list[Variable]
    result: Type
    linkage: str
    section: str = ""
    prog_type: str = ""
    attach_type: str = ""
    python: Any = None

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.body: list[Stmt] = []
        self.calls: set[str] = set()
        self.defaults: dict[str, Expr] = {}  # of its last parameters: constants
        self.tags: dict[int, list[str]] = {}  # of a global function: what the verifier is told of parameters
        self.loads: list[int] = []  # of a program with typed arguments: where in its context each lies, -1: the context
        # of a program whose arguments are computed: each with what gives it
        self.computed: list[tuple[Variable, Any]] = []
        self.around = 0  # of a callback: its references lead to a member so many bytes behind the struct's start
        self.wrong = False  # its signature is: who calls it cannot be checked


class GlobalVariable(Node):
    """initial: its bytes; config: constant for the program."""

    name: str
    kind: Any
    initial: bytes
    config: bool
    view: Any


class MapVariable(Node):
    name: str
    map: Any


class OpsVariable(Node):
    """A struct of operations. data: its bytes; functions: by byte offset."""

    name: str
    kind: Any
    data: bytes
    functions: dict[int, Function]
    link: bool


class Unit:
    """A whole program file. Functions in the order that they were met."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.functions: list[Function] = []
        self.globals: dict[str, GlobalVariable] = {}
        self.maps: dict[str, MapVariable] = {}
        self.ops: list[OpsVariable] = []
        self.events: dict[str, list[Any]] = {}  # structs that go into buffers, by the map's name
        self.license = ""
