# ruff: noqa: RET503 -- Checker.wrong never returns
"""Checks one function: names, types, None, flow. Makes its tree or says what is wrong, everything at once.

Statements are in `statements`, expressions in `expressions`, calls in `calls`; this module holds what they share.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from types import FunctionType, UnionType
from typing import Annotated, Any, NewType, NoReturn, Self, Union, get_args, get_origin

from bombus.bpf import core
from bombus.bpf.core import KernelEnum
from bombus.bpf.ints import Scalar
from bombus.bpf.struct import Array, Ref, Struct
from bombus.compiler import suggest, tree
from bombus.compiler.diagnostics import Diagnostic, at_node
from bombus.compiler.source import SourceFile, names_of
from bombus.compiler.types import BOOL, NONE, IntT, LitT, ObjectT, RefT, TupleT, Type, literal_fits


class Wrong(Exception):
    """Leaves the statement that is being checked. The diagnostic is already written; none for consequences of
    another error."""


@dataclass(slots=True)
class State:
    """What is known at a point of the flow. present: names of references that are (True) or are not (False) None's
    opposite; assigned: variables that surely have a value."""

    assigned: set[str] = field(default_factory=set)
    present: dict[str, bool] = field(default_factory=dict)
    reachable: bool = True

    def copy(self) -> State:
        return State(set(self.assigned), dict(self.present), self.reachable)

    def knowing(self, facts: dict[str, bool]) -> State:
        """With the facts of a condition: "name" about None, "=name" that the name has a value."""
        state = self.copy()
        for name, known in facts.items():
            if name.startswith("="):
                state.assigned.add(name[1:])
            else:
                state.present[name] = known
        return state


def merge(states: Iterable[State]) -> State:
    """What holds when one of several ways was taken."""
    live = [state for state in states if state.reachable]
    if not live:
        return State(reachable=False)
    first = live[0]
    assigned = set.intersection(*(state.assigned for state in live))
    present = {
        name: known for name, known in first.present.items() if all(s.present.get(name) is known for s in live)
    }
    return State(assigned, present)


@dataclass(slots=True)
class Loop:
    """breaks: states at `break`; continues: at `continue`."""

    breaks: list[State] = field(default_factory=list)
    continues: list[State] = field(default_factory=list)


class Checker:
    """One function under check."""

    def __init__(self, program: Any, function: tree.Function, file: SourceFile, node: ast.FunctionDef) -> None:
        self.program = program  # program.Builder: other functions, globals, maps
        self.function = function
        self.file = file
        self.node = node
        self.names = names_of(function.python)
        self.state = State()
        self.variables: dict[str, tree.Variable] = {}
        self.constants: dict[str, Any] = {}  # names that stand for a value in an unrolled loop
        self.broken: set[str] = set()  # variables whose assignment was wrong
        self.loops: list[Loop] = []
        self.locks = 0
        self.scopes = 0  # sections and iterators around
        self.diagnostics: list[Diagnostic] = []
        self.stores: dict[str, int] = {}
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                self.stores[part.id] = self.stores.get(part.id, 0) + 1

    # Saying what is wrong

    def report(self, node: ast.AST, message: str, hint: str) -> None:
        """hint: what to write instead."""
        found = at_node(self.file.path, self.file.lines, node, message, hint)
        if found not in self.diagnostics:
            self.diagnostics.append(found)

    def wrong(self, node: ast.AST, message: str, hint: str) -> NoReturn:
        self.report(node, message, hint)
        raise Wrong

    def at(self, node: ast.AST) -> tree.Place:
        return tree.Place(getattr(node, "lineno", self.node.lineno), getattr(node, "col_offset", 0) + 1)

    def text(self, node: ast.AST) -> str:
        """The source of a piece, for messages."""
        return ast.unparse(node)

    # Names

    def lookup(self, node: ast.Name) -> Any:
        """What a name that is no local variable stands for."""
        if node.id in self.constants:
            return self.constants[node.id]
        if node.id in self.names:
            return self.names[node.id]
        if hasattr(builtins, node.id):
            return getattr(builtins, node.id)
        known = [*self.variables, *self.names]
        self.wrong(node, f"there is no name {node.id!r}", suggest.closest(node.id, known))

    def constant(self, node: ast.AST, value: Any) -> tree.Expr:
        """A value that exists when compiling, as an expression."""
        at = self.at(node)
        if isinstance(value, Scalar):
            return tree.Const(at, IntT(type(value)), int(value))
        if isinstance(value, bool):
            return tree.Const(at, BOOL, int(value))
        if isinstance(value, KernelEnum):  # enum_has and enum_value want to know which
            return tree.Named(at, LitT(int(value), int(value)), int(value), value)
        if type(value) is int or isinstance(value, (IntEnum, IntFlag)):
            return tree.Const(at, LitT(int(value), int(value)), int(value))
        if value is None:
            return tree.Const(at, NONE, 0)
        if isinstance(value, (float, complex)):
            self.wrong(node, "BPF has no floating point", "calculate with integers")
        if id(value) in core.GLOBALS and core.GLOBALS[id(value)].view is value:
            row = core.GLOBALS[id(value)]
            name = self.program.global_name(value, node, self)
            return tree.GlobalRef(at, RefT(row.type, "config" if row.config else "global"), name)
        if isinstance(value, tuple):
            items = [self.constant(node, item) for item in value]
            return tree.Tuple(at, TupleT(tuple(item.type for item in items)), items)
        return tree.Object(at, ObjectT(value), value)

    def variable(self, node: ast.AST, name: str, kind: Type) -> tree.Variable:
        """The local variable that a value of a type is assigned to."""
        known = self.variables.get(name)
        if known is None:
            self._refuse_shadow(node, name)
            known = self.variables[name] = tree.Variable(name, kind)
            return known
        old = known.type
        if isinstance(old, RefT) and isinstance(kind, RefT) and old.target == kind.target:
            if kind.nullable and not old.nullable:
                known.type = RefT(old.target, old.space, True)
        elif isinstance(old, LitT) and isinstance(kind, LitT):
            known.type = LitT(min(old.low, kind.low), max(old.high, kind.high))
        elif old != kind:
            self.wrong(node, f"{name} is {old}, this value is {kind}", self.conversion(old, name))
        return known

    def _refuse_shadow(self, node: ast.AST, name: str) -> None:
        """Python would make a local variable of a name that is assigned, whatever the module means by it."""
        value = self.names.get(name)
        if id(value) in core.GLOBALS and core.GLOBALS[id(value)].view is value:
            hint = f"{name}.value = ..." if isinstance(value, Ref) else f"{name}.assign(...)"
            self.wrong(node, f"{name} is a global of the module, and this would be another variable", f"write {hint}")
        if hasattr(value, "MAP_TYPE"):
            self.wrong(node, f"{name} is a map of the module, and this would be another variable", "use another name")

    def conversion(self, kind: Type, what: str) -> str:
        if isinstance(kind, IntT):
            return f"convert the value: {kind}(...)"
        return f"use another name than {what}"

    def assigned(self, name: str, value: Type) -> None:
        """Note that a variable has a value now."""
        self.state.assigned.add(name)
        self.state.present.pop(name, None)
        if isinstance(value, RefT):
            if not value.nullable:
                self.state.present[name] = True
        elif value == NONE:
            self.state.present[name] = False
        self.broken.discard(name)

    # Types

    def coerce(self, expr: tree.Expr, kind: Type, node: ast.AST, what: str) -> tree.Expr:
        """The expression as a value of a type; reports when it is none. `what` is for the message: "this argument"."""
        given = expr.type
        if isinstance(kind, IntT):
            if isinstance(given, IntT) and given == kind:
                return expr
            if isinstance(given, LitT):
                if literal_fits(given, kind.kind):
                    return tree.Cast(expr.at, kind, expr) if not isinstance(expr, tree.Const) else tree.Const(
                        expr.at, kind, expr.value
                    )  # fmt: skip
                shown = given.low if given.low == given.high else f"{given.low} to {given.high}"
                self.wrong(
                    node, f"{shown} does not fit {kind} ({kind.kind.MIN} to {kind.kind.MAX})",
                    f"to keep the low {kind.bits} bits, write {kind}({self.text(node)})",
                )  # fmt: skip
            if isinstance(given, (IntT, type(BOOL))):
                self.wrong(node, f"{what} is {given}, wanted is {kind}", f"write {kind}({self.text(node)})")
        if given == kind:
            return expr
        if isinstance(kind, RefT):
            if given == NONE and kind.nullable:
                return tree.Const(expr.at, kind, 0)
            if isinstance(given, RefT) and given.target == kind.target:
                if given.nullable and not kind.nullable:
                    self.maybe_none(node, given)
                if given.space == "arena" and kind.space not in ("arena", "any"):
                    self.wrong(node, f"{what} lies in an arena, and {kind} does not",
                               f"declare it for arenas: class {kind.present()}(Struct, arena=True)")  # fmt: skip
                return expr
        if isinstance(kind, TupleT) and isinstance(expr, tree.Tuple) and len(expr.items) == len(kind.items):
            items = [self.coerce(item, want, node, what) for item, want in zip(expr.items, kind.items, strict=True)]
            return tree.Tuple(expr.at, kind, items)
        if kind == BOOL and isinstance(given, (IntT, LitT)):
            self.wrong(node, f"{what} is {given}, wanted is bool", f"write {self.text(node)} != 0")
        hint = "a condition is wanted" if kind == BOOL else f"give {kind}"
        if isinstance(kind, IntT):
            hint = self.conversion(kind, "")
        self.wrong(node, f"{what} is {given}, wanted is {kind}", hint)

    def maybe_none(self, node: ast.AST, given: RefT) -> NoReturn:
        text = self.text(node)
        name = text if isinstance(node, ast.Name) else "it"
        self.wrong(
            node, f"{name} may be None here",
            f"test it first: if {text} is None: return ..." if isinstance(node, ast.Name)
            else f"give it a name and test that: if (found := {text}) is None: return ...",
        )  # fmt: skip

    def annotation(self, node: ast.expr) -> Any:
        """The Python object that an annotation means."""
        if isinstance(node, ast.Name) and node.id in self.names and not isinstance(self.names[node.id], str):
            return self.names[node.id]  # most are
        scope = {**vars(builtins), **self.names}
        try:
            value = eval(compile(ast.Expression(node), self.file.path, "eval"), scope)
            return eval(value, scope) if isinstance(value, str) else value
        except Exception as error:  # whatever the user's expression does
            self.wrong(node, f"this annotation has no meaning: {error}",
                       "a type is u8 to u64, s8 to s64, bool, a Struct class or Ref[...]")  # fmt: skip

    def type_of(self, node: ast.expr, space: str = "mem") -> Type:
        """The type that an annotation names."""
        return self.meaning(node, self.annotation(node), space)

    def meaning(self, node: ast.expr | ast.arg, value: Any, space: str) -> Type:
        while get_origin(value) is Annotated or isinstance(value, NewType):
            value = value.__supertype__ if isinstance(value, NewType) else get_args(value)[0]
        if value is Self:
            value = core.struct_of(self.function.python) or value
        if value is bool:
            return BOOL
        if value is None or value is type(None):
            return NONE
        if isinstance(value, type) and issubclass(value, Scalar) and value.BITS:
            return IntT(value)
        if isinstance(value, type) and issubclass(value, Struct) and value.LAYOUT.members:
            return RefT(value, "arena" if value.ARENA else space)
        origin = get_origin(value)
        if origin is Ref:
            (target,) = get_args(value)
            return RefT(target, space)
        if origin is tuple:
            return TupleT(tuple(self.meaning(node, item, space) for item in get_args(value)))
        if origin in (UnionType, Union):
            rest = [item for item in get_args(value) if item is not type(None)]
            if len(rest) == 1 and len(get_args(value)) == 2:
                kind = self.meaning(node, rest[0], space)
                if isinstance(kind, RefT):
                    return RefT(kind.target, kind.space, True)
                self.wrong(node, f"{kind} cannot be None", "only references (structs, Ref[...]) can")
        hints = {
            int: "say how wide it is: u8 to u64 or s8 to s64", float: "BPF has no floating point",
            str: "texts are constants: use them in place, or Array[u8] in a struct",
            bytes: "use Array[u8] in a struct",
        }  # fmt: skip
        try:
            hint = hints.get(value, "")
        except TypeError:
            hint = ""
        if value is Array or origin is Array:
            hint = "put the array into a struct: its length is part of its type"
        self.wrong(node, f"{self.text(node)} is no type of values", hint or "use u8 to u64, s8 to s64, bool, a Struct "
                   "class, Ref[...] or such a type | None")  # fmt: skip


def check_function(program: Any, function: tree.Function, file: SourceFile, node: ast.FunctionDef) -> list[Diagnostic]:
    """Fill in a function's body. Its parameters and result are known already."""
    from bombus.compiler.statements import body

    checker = Checker(program, function, file, node)
    for variable in function.params:
        checker.variables[variable.name] = variable
        checker.assigned(variable.name, variable.type)
    first: list[tree.Stmt] = []
    for variable, compute in function.computed:
        checker.variables[variable.name] = variable
        checker.assigned(variable.name, variable.type)
        first.append(tree.Set(checker.at(node), variable, compute(checker)))
    start = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    function.body = [*first, *body(checker, start)]
    if checker.state.reachable and function.result != NONE and not checker.diagnostics:
        checker.report(
            node.body[-1], f"{function.name} may end without a value; it returns {function.result}",
            "end every way with a return",
        )  # fmt: skip
    return checker.diagnostics


def python_function(value: Any) -> FunctionType | None:
    """The function behind a program, or a function itself."""
    inner = getattr(value, "function", value)
    return inner if isinstance(inner, FunctionType) else None
