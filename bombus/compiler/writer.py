"""What the rooms of lowering share: writing lines, blocks, slots of variables, and asking for values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bombus.bits import bswap
from bombus.compiler import tree
from bombus.compiler.types import BOOL, IntT, LitT, ObjectT, RefT, TupleT, Type

if TYPE_CHECKING:
    from bombus.compiler.module import ModuleText


def type_text(kind: Type) -> str:
    """The LLVM type of a value."""
    if isinstance(kind, IntT):
        return f"i{kind.bits}"
    if kind == BOOL:
        return "i1"
    if isinstance(kind, LitT):
        return "i64"
    if isinstance(kind, (RefT, ObjectT)):
        return "ptr"
    if isinstance(kind, TupleT):
        return "{ " + ", ".join(map(type_text, kind.items)) + " }"
    return "void"


def extension(kind: Type) -> str:
    """How narrow integers fill their registers: clang's rule for BPF."""
    if kind == BOOL:
        return "zeroext "
    if isinstance(kind, IntT) and kind.bits < 32:
        return "signext " if kind.signed else "zeroext "
    return ""


class Writer:
    """Text of one function. Values are LLVM operands: "%t5", "7", "@name".

    `of_X` of the rooms below write an expression X of `tree` and give its operand; `pair_X`, where there is one, gives
    the address and the None flag of a reference.
    """

    def __init__(self, module: ModuleText, function: tree.Function, attributes: str) -> None:
        self.module = module
        self.function = function
        # LLVM's BPF target returns one register; several results are for callers that take the function in
        self.attributes = "alwaysinline" if isinstance(function.result, TupleT) else attributes
        self.scope = module.debug.subprogram(function)
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.slots: dict[tree.Variable, tuple[str, str]] = {}  # variable -> slot, slot of its None flag
        self.count = 0
        self.block = "entry"
        self.ended = False
        self.loops: list[tuple[str, str, int]] = []  # break label, continue label, number of scopes around
        self.scopes: list[tree.Scope] = []
        self.dbg = ""
        self.params: dict[tree.Variable, str] = {}

    # Writing

    def fresh(self) -> str:
        self.count += 1
        return f"%t{self.count}"

    def emit(self, text: str) -> str:
        name = self.fresh()
        self.lines.append(f"  {name} = {text}{self.dbg}")
        return name

    def do(self, text: str) -> None:
        self.lines.append(f"  {text}{self.dbg}")

    def label(self) -> str:
        self.count += 1
        return f"b{self.count}"

    def begin(self, label: str) -> None:
        if not self.ended:
            self.do(f"br label %{label}")
        self.lines.append(f"{label}:")
        self.block = label
        self.ended = False

    def jump(self, label: str) -> None:
        if not self.ended:
            self.do(f"br label %{label}")
            self.ended = True

    def branch_on(self, value: str, yes: str, no: str) -> None:
        self.do(f"br i1 {value}, label %{yes}, label %{no}")
        self.ended = True

    def at(self, place: tree.Place) -> None:
        if place.line and self.module.debug.on:
            self.dbg = f", !dbg {self.module.debug.location(place, self.scope)}"

    def alloca(self, kind: str, alignment: int) -> str:
        name = self.fresh()
        self.allocas.append(f"  {name} = alloca {kind}, align {alignment}")
        return name

    def slot(self, variable: tree.Variable) -> tuple[str, str]:
        known = self.slots.get(variable)
        if known is None:
            kind = variable.type
            flag = self.alloca("i1", 1) if isinstance(kind, RefT) and kind.nullable else ""
            known = self.slots[variable] = (self.alloca(type_text(kind), 8), flag)
        return known

    def assign(self, variable: tree.Variable, value: tree.Expr) -> str:
        place, flag = self.slot(variable)
        if flag:
            address, null = self.pair(value)
            self.do(f"store ptr {address}, ptr {place}")
            self.do(f"store i1 {null}, ptr {flag}")
            return address
        text = self.value(value)
        self.do(f"store {type_text(variable.type)} {text}, ptr {place}")
        return text

    # Values

    def value(self, e: tree.Expr) -> str:
        """The operand that holds a value; of a reference its address."""
        if isinstance(e.type, RefT) and e.type.nullable and not isinstance(e, tree.Const):
            return self.pair(e)[0]
        self.at(e.at)
        text = getattr(self, f"of_{type(e).__name__.lower()}")(e)
        assert isinstance(text, str)
        return text

    def pair(self, e: tree.Expr) -> tuple[str, str]:
        """Address and whether it is None."""
        self.at(e.at)
        special = getattr(self, f"pair_{type(e).__name__.lower()}", None)
        if special is not None:
            address, null = special(e)
            return address, null
        if isinstance(e.type, RefT) and e.type.nullable:
            address = getattr(self, f"of_{type(e).__name__.lower()}")(e)
            return address, self.emit(f"icmp eq ptr {address}, null")
        return self.value(e), "false"

    def reference(self, e: tree.Expr) -> str:
        """A reference as one pointer, null for None."""
        if not (isinstance(e.type, RefT) and e.type.nullable):
            return self.value(e)
        address, null = self.pair(e)
        return self.emit(f"select i1 {null}, ptr null, ptr {address}")

    def evaluate(self, value: tree.Expr) -> None:
        if isinstance(value.type, RefT) and value.type.nullable:
            self.pair(value)
        else:
            self.value(value)

    def pair_const(self, e: tree.Const) -> tuple[str, str]:
        return "null", "true"

    def pair_read(self, e: tree.Read) -> tuple[str, str]:
        place, flag = self.slot(e.variable)
        address = self.emit(f"load ptr, ptr {place}")
        return address, self.emit(f"load i1, ptr {flag}") if flag else "false"

    def pair_assigned(self, e: tree.Assigned) -> tuple[str, str]:
        address, null = self.pair(e.value)
        place, flag = self.slot(e.variable)
        self.do(f"store ptr {address}, ptr {place}")
        if flag:
            self.do(f"store i1 {null}, ptr {flag}")
        return address, null

    def number(self, value: int, kind: Type) -> str:
        """A constant as it lies in memory."""
        if isinstance(kind, IntT) and kind.kind.NETWORK and not self.module.big:
            value = bswap(value, kind.bits)
        return str(value)

    def of_const(self, e: tree.Const) -> str:
        if isinstance(e.type, RefT):
            return "null"
        if e.type == BOOL:
            return "true" if e.value else "false"
        return self.number(e.value, e.type)

    of_folded = of_const
    of_named = of_const

    def of_object(self, e: tree.Object) -> str:
        if isinstance(e.value, tree.Function):
            return f"@{e.value.name}"
        return f"@{self.module.map_names[id(e.value)]}"

    def of_read(self, e: tree.Read) -> str:
        if e.variable in self.params:
            return self.params[e.variable]
        place, _flag = self.slot(e.variable)
        return self.emit(f"load {type_text(e.type)}, ptr {place}")

    def of_assigned(self, e: tree.Assigned) -> str:
        return self.assign(e.variable, e.value)
