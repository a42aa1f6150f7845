# ruff: noqa: RET503 -- Checker.wrong never returns
"""Expressions: values, conditions and what they tell about None, places in memory."""

from __future__ import annotations

import ast
from collections.abc import Callable
from enum import IntEnum, IntFlag
from types import FunctionType, ModuleType
from typing import Any, Final

from bombus.bpf.context import Context, PacketContext
from bombus.bpf.ints import Scalar
from bombus.bpf.layout import ArrayType, PointerType, name_of
from bombus.bpf.maps import Map
from bombus.bpf.struct import Struct
from bombus.compiler import suggest, tree
from bombus.compiler.check import Checker, merge
from bombus.compiler.contexts import check_access
from bombus.compiler.operators import compare, operate
from bombus.compiler.types import BOOL, NONE, S64, IntT, LitT, ObjectT, RefT, TupleT, Type, same

# Programs whose pointers in the context the verifier knows by BTF: memory behind them is read directly.
BTF_CONTEXTS: Final = frozenset({
    "BPF_PROG_TYPE_TRACING", "BPF_PROG_TYPE_LSM", "BPF_PROG_TYPE_STRUCT_OPS", "BPF_PROG_TYPE_EXT",
    "BPF_PROG_TYPE_NETFILTER",
})  # fmt: skip
REFUSED: Final[dict[type[ast.expr], tuple[str, str]]] = {
    ast.List: ("lists are not part of the language", "constants are a tuple, (22, 80); else use bpf.zeros(u8, 64), "
               "or an array in a struct"),
    ast.Dict: ("dicts are not part of the language", "declare a map: map.hash(u32, u64, max_entries=1024)"),
    ast.Set: ("sets are not part of the language", "declare a map: map.hash(u32, u8, max_entries=1024)"),
    ast.ListComp: ("comprehensions are not part of the language", "write a for loop"),
    ast.SetComp: ("comprehensions are not part of the language", "write a for loop"),
    ast.DictComp: ("comprehensions are not part of the language", "write a for loop"),
    ast.GeneratorExp: ("generators are not part of the language", "write a for loop"),
    ast.Lambda: ("lambda is not part of the language", "define a function at module level"),
    ast.Await: ("await is not part of the language", ""),
    ast.Yield: ("yield is not part of the language", "call a function with the value"),
    ast.YieldFrom: ("yield is not part of the language", "call a function with the value"),
    ast.Starred: ("* in front of a value is not part of the language", "write the values out"),
    ast.Slice: ("slices are not part of the language", "use a loop, or a helper that takes a length"),
    ast.JoinedStr: ("an f-string can only be printed", 'write it in place: bpf.printk(f"...")'),
}
_RELATIONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
}  # fmt: skip


def expression(c: Checker, node: ast.expr) -> tree.Expr:
    """A value, or a compile-time object. Reports and raises Wrong for anything else."""
    handler = _HANDLERS.get(type(node))
    if handler is None:
        message, hint = REFUSED.get(type(node), (f"{type(node).__name__} is not part of the language", ""))
        c.wrong(node, message, hint)
    return handler(c, node)


def value_of(c: Checker, node: ast.expr) -> tree.Expr:
    """A value that a variable can hold."""
    value = expression(c, node)
    if isinstance(value.type, TupleT):
        c.wrong(node, "a variable holds one value", "take the tuple apart: a, b = ...")
    return value


def _number_of(c: Checker, node: ast.expr, kind: Type) -> str:
    """What makes a number of a value of another type."""
    text = c.text(node)
    if isinstance(kind, RefT) and not kind.is_struct and not kind.is_array:
        return f"take its value: {text}.value"
    if kind == BOOL:
        return f"convert it: u32({text})"
    return "take a member or an element of it" if isinstance(kind, RefT) else "write an integer"


def integer(c: Checker, node: ast.expr) -> tree.Expr:
    value = expression(c, node)
    if not isinstance(value.type, (IntT, LitT)):
        c.wrong(node, f"a number is wanted here, this is {value.type}", _number_of(c, node, value.type))
    return value


def _constant(c: Checker, node: ast.Constant) -> tree.Expr:
    value = node.value
    if isinstance(value, (float, complex)):
        c.wrong(node, "BPF has no floating point", "calculate with integers")
    if value is ...:
        c.wrong(node, "... is not a value", "write a number")
    return c.constant(node, value)


def _name(c: Checker, node: ast.Name) -> tree.Expr:
    name = node.id
    variable = c.variables.get(name)
    if variable is None:
        if name in c.broken:
            from bombus.compiler.check import Wrong

            raise Wrong
        if name == "_" and name in c.stores:
            c.wrong(node, "_ is for values that nobody reads", "give it another name")
        if name in c.stores and name in c.function.python.__globals__ and name not in c.variables:
            c.wrong(node, f"{name} is assigned in this function and is not the {name} of the module here",
                    f"use another name; for state that stays, {name} = bpf.var(u64(0)) and {name}.value")  # fmt: skip
        if name in c.stores and name not in c.constants:
            c.wrong(node, f"{name} has no value yet", "assign it before this line")
        return c.constant(node, c.lookup(node))
    if name not in c.state.assigned:
        if name in c.broken:
            from bombus.compiler.check import Wrong

            raise Wrong
        if c.state.reachable:
            c.broken.add(name)
            c.wrong(node, f"{name} may have no value here", "assign it on every way that leads here")
    kind = variable.type
    if isinstance(kind, RefT):
        known = c.state.present.get(name)
        if known is True:
            kind = kind.present()
        elif known is False:
            kind = RefT(kind.target, kind.space, True)
    return tree.Read(c.at(node), kind, variable)


def _attribute(c: Checker, node: ast.Attribute) -> tree.Expr:
    base = expression(c, node.value)
    if isinstance(base, tree.Object):
        return c.constant(node, _static(c, node, base.value))
    known = _known(c, node.value) if isinstance(base.type, (TupleT, LitT)) else None
    if isinstance(known, (tuple, IntEnum, IntFlag)):  # of named tuples and enums
        return c.constant(node, _static(c, node, known))
    if isinstance(base.type, IntT) and node.attr in ("MIN", "MAX"):
        return c.constant(node, getattr(base.type.kind, node.attr))
    if isinstance(base.type, RefT) and isinstance(base.type.target, type) and issubclass(
        base.type.target, PacketContext
    ) and node.attr == "length":  # fmt: skip
        from bombus.bpf.ints import u32

        return tree.PacketLength(c.at(node), IntT(u32), base)
    return load_place(c, node, _member(c, node, base))


def _known(c: Checker, node: ast.expr) -> Any:
    """The compile-time object that `a.b.c` names, None when there is none."""
    if isinstance(node, ast.Name):
        return None if node.id in c.variables else c.constants.get(node.id, c.names.get(node.id))
    return getattr(_known(c, node.value), node.attr, None) if isinstance(node, ast.Attribute) else None


def _static(c: Checker, node: ast.Attribute, owner: Any) -> Any:
    """An attribute of a module, a class or another compile-time object."""
    if isinstance(owner, (ModuleType, type)) or not isinstance(owner, Map):
        try:
            return getattr(owner, node.attr)
        except AttributeError:
            what = f"module {owner.__name__}" if isinstance(owner, ModuleType) else c.text(node.value)
            hint = suggest.closest(node.attr, dir(owner), "see its documentation")
            c.wrong(node, f"{what} has no {node.attr!r}", hint)
    if not callable(getattr(type(owner), node.attr, None)) or node.attr.startswith("_"):
        hint = suggest.for_map(owner, c.text(node.value), node.attr)
        c.wrong(node, f"this {type(owner).__name__} map has no {node.attr!r}", hint)
    return getattr(owner, node.attr)


def _member(c: Checker, node: ast.Attribute, base: tree.Expr) -> tree.Spot:
    """The place that `base.attr` names."""
    kind = base.type
    if not isinstance(kind, RefT):
        c.wrong(node, f"{kind} has no member {node.attr!r}", "structs have members")
    if kind.nullable:
        c.maybe_none(node.value, kind)
    if kind.space in ("percpu", "percpu_own"):
        hint = f"take this CPU's: bpf.this_cpu({c.text(node.value)}).{node.attr}"
        c.wrong(node, f"each CPU has its own {kind}", hint)
    if kind.is_struct:
        member = kind.target.LAYOUT.members.get(node.attr)
        if member is None:
            more = ("length", "parse") if issubclass(kind.target, PacketContext) else ()
            hint = suggest.members_of(kind.target, node.attr, more)
            found = vars(kind.target).get(node.attr)
            if isinstance(found, FunctionType):
                hint = f"it is a method: {c.text(node)}()"
            elif isinstance(found, property):
                hint = f"only its members are there; write a function: def {node.attr}(this: {kind.present()}) -> ..."
            elif found is not None:
                hint = f"it is the class's: {name_of(kind.target)}.{node.attr}"
            c.wrong(node, f"{name_of(kind.target)} has no member {node.attr!r}", hint)
        return tree.Spot(member.type, base, member=member, volatile=kind.space == "config")
    if not kind.is_array and node.attr == "value":
        return tree.Spot(kind.target, base, volatile=kind.space == "config")
    hint = "a reference to an integer has .value" if not kind.is_array else "take an element: [index]"
    c.wrong(node, f"{kind} has no member {node.attr!r}", hint)


def _element(c: Checker, node: ast.Subscript) -> tree.Spot:
    base = expression(c, node.value)
    kind = base.type
    if not isinstance(kind, RefT) or not kind.is_array:
        if isinstance(base, tree.Object) and isinstance(base.value, Map):
            name = c.text(node.value)
            hint = f"look the key up: slot = {name}.lookup(key)"
            if isinstance(node.ctx, ast.Store):
                hint = f"{name}.update(key, value), or slot = {name}.lookup(key) and slot.value += 1"
            c.wrong(node, "a map has no [ ]", hint)
        hint = "only arrays have"
        if isinstance(base, tree.Object) and isinstance(base.value, list):
            hint = f"make it a tuple: {c.text(node.value)} = (...)"
        if isinstance(base.type, TupleT):
            hint = "take the tuple apart: a, b = ..."
        c.wrong(node, f"{kind} has no elements", hint)
    if kind.nullable:
        c.maybe_none(node.value, kind)
    index = integer(c, node.slice)
    array: ArrayType = kind.target
    if isinstance(index, tree.Binary) and index.operation == "and" and isinstance(index.right, tree.Const):
        index.proof = True
    if isinstance(index.type, LitT):
        if index.type.low < 0 or index.type.high >= array.count:
            shown = index.type.low if index.type.low == index.type.high else f"{index.type.low} to {index.type.high}"
            c.wrong(node.slice, f"index {shown} of an array of {array.count}", "count from 0")
    elif index.type.kind.NETWORK:  # type: ignore[union-attr]
        c.wrong(node.slice, f"{index.type} is no index", "convert it: u32(...)")
    return tree.Spot(array.element, base, index=index, volatile=kind.space == "config")


def spot(c: Checker, node: ast.expr, *, store: bool = False) -> tree.Spot:
    """The place in memory that an expression names."""
    if isinstance(node, ast.Attribute):
        found = _member(c, node, expression(c, node.value))
    elif isinstance(node, ast.Subscript):
        found = _element(c, node)
    else:
        c.wrong(node, f"{c.text(node)} cannot be assigned", "names, members and elements are")
    if store:
        assert isinstance(found.base.type, RefT)
        if found.base.type.space == "config":
            c.wrong(node, "a setting of bpf.config(...) is constant for the program", "use bpf.var(...)")
        if found.base.type.space == "ctx":
            check_access(c, node, found, write=True)
        direct = found.base.type.space == "btf" and c.function.prog_type in ("BPF_PROG_TYPE_STRUCT_OPS", "")
        if found.base.type.space in ("kernel", "btf") and not direct:  # of a sock, struct_ops may write some members
            c.wrong(node, "kernel memory cannot be written",
                    "copy it into a struct of your own; helpers and kernel functions change the kernel")  # fmt: skip
        if found.member is not None and found.member.bits and found.base.type.target.CORE:
            c.wrong(node, "bit-fields of kernel structs cannot be written",
                    "helpers and kernel functions change the kernel")  # fmt: skip
        if isinstance(found.kind, PointerType) and not found.kind.target().ARENA:
            c.wrong(node, "a pointer member cannot be assigned", "pointers to structs of an arena can")
    return found


def kind_type(kind: Any, space: str) -> Type:
    """The type of what lies in memory as an expression."""
    if kind is bool:
        return BOOL
    if isinstance(kind, type) and issubclass(kind, Scalar):
        return IntT(kind)
    if isinstance(kind, PointerType):
        return RefT(kind.target(), "arena", True)
    return RefT(kind, space)


def load_place(c: Checker, node: ast.AST, place: tree.Spot) -> tree.Expr:
    """The value of a place; for structs and arrays a reference to it."""
    base = place.base.type
    assert isinstance(base, RefT)
    if isinstance(place.kind, PointerType):
        target = place.kind.target()
        if target.ARENA:
            return tree.Load(c.at(node), RefT(target, "arena", True), place)
        if base.space == "ctx" and issubclass(base.target, Context):
            check_access(c, node, place, write=False)
        if issubclass(target, Context):
            return tree.Load(c.at(node), RefT(target, "sock", True), place)
        direct = base.space == "btf" or (base.space == "ctx" and c.function.prog_type in BTF_CONTEXTS)
        if base.space == "kernel":
            _probes(c, node)
        return tree.Load(c.at(node), RefT(target, "btf" if direct else "kernel", True), place)
    kind = kind_type(place.kind, base.space)
    if isinstance(kind, RefT):
        return tree.Inside(c.at(node), kind, place)
    if base.space == "kernel":
        _probes(c, node)
    if base.space == "ctx":
        check_access(c, node, place, write=False)
    return tree.Load(c.at(node), kind, place)


def _probes(c: Checker, node: ast.AST) -> None:
    """Reading through a plain kernel pointer is a call of probe_read_kernel."""
    c.program.needs_gpl(c, node, "reading kernel memory (probe_read_kernel)")


def _subscript(c: Checker, node: ast.Subscript) -> tree.Expr:
    if isinstance(node.value, ast.Name) and node.value.id not in c.variables:
        base = expression(c, node.value)
        if isinstance(base, tree.Object) and isinstance(base.value, bytes) and base.value:
            index = integer(c, node.slice)
            if isinstance(index, tree.Const) and 0 <= index.value < len(base.value):
                return c.constant(node, base.value[index.value])
            c.wrong(node.slice, f"the index of constant bytes is a constant from 0 to {len(base.value) - 1}",
                    "loop with bpf.unroll(range(n)), or keep the bytes in a map")  # fmt: skip
        if isinstance(base, tree.Tuple):
            index = integer(c, node.slice)
            if isinstance(index, tree.Const) and 0 <= index.value < len(base.items):
                return base.items[index.value]
            c.wrong(node.slice, f"the index of a tuple is a constant from 0 to {len(base.items) - 1}",
                    "take the tuple apart: a, b = ...")  # fmt: skip
    return load_place(c, node, _element(c, node))


def _binary(c: Checker, node: ast.BinOp) -> tree.Expr:
    return operate(c, node, expression(c, node.left), node.op, expression(c, node.right), node.left, node.right)


def _unary(c: Checker, node: ast.UnaryOp) -> tree.Expr:
    if isinstance(node.op, ast.Not):
        return condition(c, node)[0]
    value = expression(c, node.operand)
    if value.type == BOOL:
        text = c.text(node.operand)
        hint = f"write not ({text})" if isinstance(node.op, ast.Invert) else f"convert it: s32({text})"
        c.wrong(node.operand, "a number is wanted here, this is bool", hint)
    if not isinstance(value.type, (IntT, LitT)):
        c.wrong(node.operand, f"a number is wanted here, this is {value.type}", _number_of(c, node.operand, value.type))
    at = c.at(node)
    if isinstance(value.type, LitT):
        if not isinstance(value, tree.Const):
            low, high = -value.type.high, -value.type.low
            if isinstance(node.op, ast.USub) and high <= S64.kind.MAX:
                minus = tree.Unary(at, S64, "neg", tree.Cast(at, S64, value))
                return tree.Cast(at, LitT(low, high), minus)
            c.wrong(node, "say how wide this int is", "s64(...)")
        number = {ast.USub: -value.value, ast.UAdd: value.value, ast.Invert: ~value.value}[type(node.op)]
        return tree.Const(at, LitT(number, number), number)
    assert isinstance(value.type, IntT)
    if isinstance(node.op, ast.UAdd):
        return value
    if isinstance(node.op, ast.USub) and value.type.kind.NETWORK:
        c.wrong(node, f"{value.type} does not calculate", f"convert it: u{value.type.bits}(...)")
    return tree.Unary(at, value.type, "neg" if isinstance(node.op, ast.USub) else "not", value)


# ------------------------------------------------------------------------------------------------ conditions

Facts = dict[str, bool]


def condition(c: Checker, node: ast.expr) -> tuple[tree.Expr, Facts, Facts]:
    """A truth value, and which references are known to be there (or None) when it holds and when it does not."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        test, yes, no = condition(c, node.operand)
        return negate(test), no, yes
    if isinstance(node, ast.BoolOp):
        return _logic(c, node)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], (ast.Is, ast.IsNot)):
        return _is_none(c, node)
    value = expression(c, node)
    kind = value.type
    at = c.at(node)
    if kind == BOOL:
        return value, {}, {}
    if isinstance(kind, (IntT, LitT)):
        if isinstance(value, tree.Const):
            return tree.Folded(at, BOOL, int(value.value != 0)), {}, {}
        return tree.Cast(at, BOOL, value), {}, {}
    if isinstance(kind, RefT):
        name = _named(node)
        found: tree.Expr = tree.Not(at, BOOL, tree.IsNone(at, BOOL, value))
        if not kind.nullable:
            c.wrong(node, f"{c.text(node)} is never None", "remove the test")
        return found, {name: True} if name else {}, {name: False} if name else {}
    called = isinstance(value, tree.Object) and callable(value.value)
    hint = f"call it: {c.text(node)}(...)" if called else ""
    c.wrong(node, f"{c.text(node)} is {kind}, which is neither true nor false", hint)


def _named(node: ast.expr) -> str:
    """The variable whose None-ness a test tells about."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.NamedExpr):
        return node.target.id
    return ""


def negate(test: tree.Expr) -> tree.Expr:
    if isinstance(test, tree.Const):
        return tree.Const(test.at, BOOL, int(not test.value))
    return test.value if isinstance(test, tree.Not) else tree.Not(test.at, BOOL, test)


def _is_none(c: Checker, node: ast.Compare) -> tuple[tree.Expr, Facts, Facts]:
    other = node.comparators[0]
    if not (isinstance(other, ast.Constant) and other.value is None):
        c.wrong(node, "`is` compares with None only", "compare values with ==")
    value = expression(c, node.left)
    at = c.at(node)
    if isinstance(value, tree.Const) and value.type == NONE:
        return tree.Const(at, BOOL, int(isinstance(node.ops[0], ast.Is))), {}, {}
    if not isinstance(value.type, RefT) and _known(c, node.left) is not None:  # a constant of the module
        return tree.Const(at, BOOL, int(isinstance(node.ops[0], ast.IsNot))), {}, {}
    if not isinstance(value.type, RefT):
        c.wrong(node.left, f"{value.type} is never None", "compare it with a number")
    name = _named(node.left)
    test: tree.Expr = tree.IsNone(at, BOOL, value)
    yes, no = ({name: False}, {name: True}) if name else ({}, {})
    if not value.type.nullable:
        variable = c.variables.get(node.left.id) if isinstance(node.left, ast.Name) else None
        if variable is not None and isinstance(variable.type, RefT) and variable.type.nullable:
            test = tree.Const(at, BOOL, 0)  # tested before: harmless
        else:
            c.wrong(node, f"{c.text(node.left)} is never None", "remove the test")
    if isinstance(node.ops[0], ast.IsNot):
        return negate(test), no, yes
    return test, yes, no


def _logic(c: Checker, node: ast.BoolOp) -> tuple[tree.Expr, Facts, Facts]:
    conjunction = isinstance(node.op, ast.And)
    before = c.state
    values: list[tree.Expr] = []
    sure: Facts = {}  # what holds when all were taken
    exits: list[Facts] = []
    states = []
    for part in node.values:
        test, yes, no = condition(c, part)
        go, leave = (yes, no) if conjunction else (no, yes)
        values.append(test)
        exits.append({**sure, **leave})
        sure = {**sure, **go}
        states.append(c.state.copy())
        c.state = c.state.knowing(go)
    c.state = merge(states) if before.reachable else before
    sure.update({f"={name}": True for name in states[-1].assigned - before.assigned})
    common = {name: known for name, known in exits[0].items() if all(e.get(name) is known for e in exits)}
    whole = tree.Logic(c.at(node), BOOL, conjunction, values)
    return (whole, sure, common) if conjunction else (whole, common, sure)


def _bool_value(c: Checker, node: ast.BoolOp) -> tree.Expr:
    """As a value: Python gives one of the operands, so they must be truth values."""
    whole = condition(c, node)[0]
    if isinstance(whole, tree.Logic):
        for part, test in zip(node.values, whole.values, strict=True):
            reference = isinstance(test, tree.Not) and isinstance(part, (ast.Name, ast.NamedExpr, ast.Call))
            if isinstance(test, (tree.Cast, tree.Folded)) or reference:
                text = c.text(part)
                hint = f"write {text} != 0, or use if"
                if isinstance(node.op, ast.Or) and part is node.values[0] and isinstance(test, tree.Cast):
                    hint = f"write {text} != 0, or {text} if {text} != 0 else {c.text(node.values[1])}"
                c.wrong(part, "`and` and `or` as values want truth values", hint)
    return whole


def _compare(c: Checker, node: ast.Compare) -> tree.Expr:
    if any(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
        if len(node.ops) > 1:
            c.wrong(node, "`is` in a chain of comparisons", "write the comparisons one by one with `and`")
        return _is_none(c, node)[0]
    tests: list[tree.Expr] = []
    left_node, left = node.left, expression(c, node.left)
    for index, (op, right_node) in enumerate(zip(node.ops, node.comparators, strict=True)):
        if isinstance(op, (ast.In, ast.NotIn)):
            tests.append(_in(c, node, left, left_node, right_node, isinstance(op, ast.NotIn)))
            continue
        right = expression(c, right_node)
        if index + 1 < len(node.ops) and not isinstance(right, (tree.Const, tree.Read)):
            right = _remember(c, right_node, right)
        tests.append(compare(c, node, _RELATIONS[type(op)], left, right, left_node, right_node))
        left_node, left = right_node, right if not isinstance(right, tree.Assigned) else tree.Read(
            right.at, right.type, right.variable
        )  # fmt: skip
    return tests[0] if len(tests) == 1 else tree.Logic(c.at(node), BOOL, True, tests)


def _remember(c: Checker, node: ast.expr, value: tree.Expr) -> tree.Expr:
    """The middle of a < b < c is computed once."""
    hidden = tree.Variable(f"middle.{getattr(node, 'lineno', 0)}.{getattr(node, 'col_offset', 0)}", value.type)
    return tree.Assigned(value.at, value.type, hidden, value)


def _in(
    c: Checker, node: ast.Compare, left: tree.Expr, left_node: ast.expr, right_node: ast.expr, negated: bool
) -> tree.Expr:  # fmt: skip
    text = c.text(right_node)
    if isinstance(right_node, (ast.List, ast.Set)):
        c.wrong(right_node, "`in` wants a tuple of constants", f"write ({text[1:-1]})")
    if isinstance(right_node, ast.Call) and isinstance(right_node.func, ast.Name) and right_node.func.id == "range":
        ends = [c.text(arg) for arg in right_node.args]
        low = ends[0] if len(ends) == 2 else "0"
        hint = f"write {low} <= {c.text(left_node)} < {ends[-1]}" if 0 < len(ends) < 3 else ""
        c.wrong(right_node, "`in` wants a tuple of constants", hint)
    items = expression(c, right_node)
    if isinstance(items, tree.Object) and isinstance(items.value, Map):
        c.wrong(node, "`in` does not look into maps", f"look the key up: {c.text(right_node)}.lookup(key) is not None")
    if not isinstance(items, tree.Tuple) or not all(isinstance(item, tree.Const) for item in items.items):
        hint = "write the comparisons with `or`"
        if isinstance(items.type, RefT) and items.type.is_array:
            hint = "write a loop"
        if isinstance(items, tree.Object) and isinstance(items.value, (list, set, frozenset)):
            hint = f"make it a tuple: {c.text(right_node)} = (...)"
        c.wrong(right_node, "`in` wants a tuple of constants", hint)
    if not isinstance(left, (tree.Const, tree.Read)):
        left = _remember(c, left_node, left)
    tests: list[tree.Expr] = []
    for item in items.items:
        tests.append(compare(c, node, "eq", left, item, left_node, right_node))
        if isinstance(left, tree.Assigned):
            left = tree.Read(left.at, left.type, left.variable)
    whole: tree.Expr = tree.Logic(c.at(node), BOOL, False, tests) if tests else tree.Const(c.at(node), BOOL, 0)
    return negate(whole) if negated else whole


def _choice(c: Checker, node: ast.IfExp) -> tree.Expr:
    test, yes, no = condition(c, node.test)
    before = c.state
    c.state = before.knowing(yes)
    then = expression(c, node.body)
    after = c.state
    c.state = before.knowing(no)
    other = expression(c, node.orelse)
    c.state = merge([after, c.state]) if before.reachable else before
    return tree.Choice(c.at(node), *_meet(c, node, test, then, other))


def _meet(
    c: Checker, node: ast.IfExp, test: tree.Expr, then: tree.Expr, other: tree.Expr
) -> tuple[Type, tree.Expr, tree.Expr, tree.Expr]:
    a, b = then.type, other.type
    if isinstance(a, LitT) and isinstance(b, LitT):
        if isinstance(then, tree.Const) and isinstance(other, tree.Const):
            for side, part in ((then, node.body), (other, node.orelse)):
                if not S64.kind.MIN <= side.value <= S64.kind.MAX:
                    c.wrong(part, "say how wide this int is", f"u64({c.text(part)})")
        return LitT(min(a.low, b.low), max(a.high, b.high)), test, then, other
    if isinstance(a, LitT) and isinstance(b, IntT):
        return b, test, c.coerce(then, b, node.body, "this value"), other
    if isinstance(b, LitT) and isinstance(a, IntT):
        return a, test, then, c.coerce(other, a, node.orelse, "this value")
    if isinstance(a, RefT) and b == NONE:
        kind = RefT(a.target, a.space, True)
        return kind, test, then, tree.Const(other.at, kind, 0)
    if isinstance(b, RefT) and a == NONE:
        kind = RefT(b.target, b.space, True)
        return kind, test, tree.Const(then.at, kind, 0), other
    loose = isinstance(a, TupleT) and not all(isinstance(item, IntT) or item == BOOL for item in a.items)
    if not same(a, b) or isinstance(a, ObjectT) or a == NONE or loose:
        c.wrong(node, f"one way gives {a}, the other {b}", "both ways give one type")
    if isinstance(a, RefT) and isinstance(b, RefT):
        return RefT(a.target, a.space, a.nullable or b.nullable), test, then, other
    return a, test, then, other


def _walrus(c: Checker, node: ast.NamedExpr) -> tree.Expr:
    from bombus.compiler.assignments import set_variable

    value = value_of(c, node.value)
    made = set_variable(c, node.target, value, node.value)
    assert isinstance(made, tree.Set)
    return tree.Assigned(c.at(node), made.value.type, made.variable, made.value)


def _tuple(c: Checker, node: ast.Tuple) -> tree.Expr:
    items = [expression(c, item) for item in node.elts]
    return tree.Tuple(c.at(node), TupleT(tuple(item.type for item in items)), items)


def _call(c: Checker, node: ast.Call) -> tree.Expr:
    from bombus.compiler.calls import call

    return call(c, node)


def is_struct_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Struct) and bool(value.LAYOUT.members)


_HANDLERS: dict[type[ast.expr], Callable[[Checker, Any], tree.Expr]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _bool_value,
    ast.Compare: _compare,
    ast.IfExp: _choice,
    ast.NamedExpr: _walrus,
    ast.Tuple: _tuple,
    ast.Call: _call,
}
