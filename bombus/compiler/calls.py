# ruff: noqa: RET503 -- Checker.wrong never returns
"""Calls: who is called, conversions, struct construction, methods, functions of the program."""

from __future__ import annotations

import ast
from types import FunctionType
from typing import Any, NewType

from bombus.bpf import core, helpers, maps
from bombus.bpf.context import REACH, Context, PacketContext
from bombus.bpf.ints import Scalar
from bombus.bpf.layout import name_of
from bombus.bpf.objects import Place
from bombus.bpf.program import Program
from bombus.bpf.struct import Ref, Struct
from bombus.compiler import suggest, tree
from bombus.compiler.arguments import bind, no_keywords
from bombus.compiler.check import Checker, Wrong, python_function
from bombus.compiler.expressions import condition, expression, integer, is_struct_class, kind_type
from bombus.compiler.helpercalls import helper, loose_argument, map_call
from bombus.compiler.objectwords import place_call
from bombus.compiler.types import BOOL, NONE, IntT, LitT, ObjectT, RefT
from bombus.compiler.words import WORDS
from bombus.spec.helpers import HELPER

_NO_CLASS_METHOD = "make it a @staticmethod, which names its class itself"


def call(c: Checker, node: ast.Call) -> tree.Expr:
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            c.wrong(argument, "* in a call is not part of the language", "write the arguments out")
    for keyword in node.keywords:
        if keyword.arg is None:
            c.wrong(keyword.value, "** in a call is not part of the language", "write the arguments out")
    if isinstance(node.func, ast.Attribute):
        method = _method(c, node, node.func)
        if method is not None:
            return method
    callee = expression(c, node.func)
    if not isinstance(callee, tree.Object):
        c.wrong(node.func, f"{c.text(node.func)} is {callee.type} and cannot be called",
                "take the ( ) away, or call a function")  # fmt: skip
    return _call_object(c, node, callee.value)


def _call_object(c: Checker, node: ast.Call, value: Any) -> tree.Expr:
    if isinstance(value, type):
        if issubclass(value, Scalar) and value.BITS:
            return _convert(c, node, value)
        if is_struct_class(value):
            return _new(c, node, value)
        if value is bool:
            return _truth(c, node)
        c.wrong(node.func, f"{value.__name__}(...) is not part of the language", suggest.for_class(value))
    if isinstance(value, NewType):
        no_keywords(c, node, 1)
        given, kind = expression(c, node.args[0]), c.meaning(node.func, value, "mem")
        if isinstance(given.type, LitT):
            c.wrong(node.args[0], f"a plain int is not {kind}: Python would keep it unbounded",
                    f"write {kind}({c.text(node.args[0])})")  # fmt: skip
        return c.coerce(given, kind, node.args[0], "this value")
    try:
        word = WORDS.get(value)
    except TypeError:
        word = None
    if word is not None:
        return word(c, node)
    owner = getattr(value, "__self__", None)
    if isinstance(owner, maps.Map):
        return map_call(c, node, owner, value.__name__)
    if isinstance(value, FunctionType) and value.__module__ == helpers.__name__:
        return helper(c, node, HELPER[value.__name__])
    if isinstance(value, Program):
        c.wrong(node, f"{value.__name__} is a program; programs are not called", "put what both need into a function")
    if core.is_python_only(value):
        c.wrong(node.func, f"{c.text(node.func)} is for Python only", "take @bpf.python_only away")
    if core.is_kfunc(value):
        return _user_call(c, node, value.__wrapped__, kfunc=True)
    function = python_function(value)
    if function is not None and not function.__module__.startswith("bombus.bpf"):
        return _user_call(c, node, function)
    text = c.text(node.func)
    hint = _NO_CLASS_METHOD if is_struct_class(owner) else suggest.for_call(value, text)
    c.wrong(node.func, f"{text} cannot be called in a program", hint)


def _convert(c: Checker, node: ast.Call, kind: type[Scalar]) -> tree.Expr:
    no_keywords(c, node, 0, 1)
    at = c.at(node)
    wanted = IntT(kind)
    if not node.args:
        return tree.Const(at, wanted, 0)
    value = expression(c, node.args[0])
    given = value.type
    if not isinstance(given, (IntT, LitT)) and given != BOOL:
        hint = f"take its value: {kind.__name__}({c.text(node.args[0])}.value)" if (
            isinstance(given, RefT) and not given.is_struct and not given.is_array
        ) else "numbers and bool are converted"  # fmt: skip
        c.wrong(node.args[0], f"{given} is not converted to {kind.__name__}", hint)
    if isinstance(value, tree.Const):
        return tree.Const(at, wanted, int(kind._make(value.value)))
    return tree.Cast(at, wanted, value)


def _truth(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 1)
    return condition(c, node.args[0])[0]


def _new(c: Checker, node: ast.Call, kind: type[Struct]) -> tree.Expr:
    if node.args:
        c.wrong(node.args[0], f"{kind.__name__} takes its members by name", f"{kind.__name__}(member=...)")
    if kind.ARENA:
        c.wrong(node, f"{kind.__name__} lies in an arena", f"heap.alloc({kind.__name__}) makes one")
    if issubclass(kind, Context) or kind.CORE:
        c.wrong(node, f"{kind.__name__} is made by the kernel", "take it as a parameter, or from a helper")
    members = []
    for keyword in node.keywords:
        member = kind.LAYOUT.members.get(keyword.arg or "")
        if member is None:
            hint = suggest.members_of(kind, keyword.arg or "")
            c.wrong(keyword.value, f"{kind.__name__} has no member {keyword.arg!r}", hint)
        value = expression(c, keyword.value)
        members.append((member, c.coerce(value, kind_type(member.type, "mem"), keyword.value, f"{member.name}")))
    if kind.LAYOUT.size > (room := c.program.stack_room()):
        c.wrong(node, f"{kind.__name__} has {kind.LAYOUT.size} bytes, the stack {room}", "keep it in a per-CPU array")
    return tree.New(c.at(node), RefT(kind, "stack"), members)


def _method(c: Checker, node: ast.Call, func: ast.Attribute) -> tree.Expr | None:
    """A call of a method of a value: None when the callee is a compile-time object."""
    if isinstance(func.value, ast.Name) and func.value.id not in c.variables:
        known = c.constants.get(func.value.id, c.names.get(func.value.id))
        if not isinstance(known, (Struct, Ref, Scalar)):
            return None
    base = expression(c, func.value)
    if isinstance(base, tree.Object):
        return None
    kind = base.type
    if not isinstance(kind, RefT):
        c.wrong(func, f"{kind} has no method {func.attr!r}", "write a function that takes it")
    if kind.is_struct and func.attr in kind.target.LAYOUT.members:
        c.wrong(func, f"{c.text(func)} is a member, which cannot be called", f"read it without ( ): {c.text(func)}")
    if kind.nullable:
        c.maybe_none(func.value, kind)
    at = c.at(node)
    if isinstance(kind.target, maps.Map):
        return map_call(c, node, kind.target, func.attr, base)
    if kind.is_struct and issubclass(kind.target, PacketContext) and func.attr == "parse":
        return _parse(c, node, base)
    if kind.is_struct and issubclass(kind.target, Place):
        return place_call(c, node, func.attr, base)
    if kind.is_struct and func.attr == "copy":
        no_keywords(c, node, 0)
        if kind.target.ARENA:
            c.wrong(func, f"{kind} lies in an arena and has no copy on the stack", "copy its members")
        return tree.Clone(at, RefT(kind.target, "stack"), base)
    if kind.is_struct and func.attr == "assign":
        no_keywords(c, node, 1)
        value = c.coerce(expression(c, node.args[0]), kind.present(), node.args[0], "this value")
        if kind.space == "config":
            c.wrong(func, "a setting of bpf.config(...) is constant for the program", "use bpf.var(...)")
        return tree.CopyTo(at, NONE, base, value)
    found = vars(kind.target).get(func.attr) if kind.is_struct else None
    if isinstance(found, FunctionType) and not core.is_python_only(found):
        return _user_call(c, node, found, this=base)
    static = found.__func__ if isinstance(found, staticmethod) else None
    if isinstance(static, FunctionType):
        return _user_call(c, node, static)
    hint = "write a function that takes it"
    if isinstance(found, FunctionType):
        hint = "take @bpf.python_only away"
    elif isinstance(found, classmethod):
        hint = _NO_CLASS_METHOD
    elif found is not None:
        hint = f"write it as def {func.attr}(self) -> ..., without @"
    elif kind.is_struct and hasattr(kind.target, func.attr):
        hint = f"methods stand in the struct itself: def {func.attr}(self) -> ... in {name_of(kind.target)}"
    elif kind.is_struct:
        methods = [name for name, value in vars(kind.target).items() if isinstance(value, FunctionType)]
        hint = suggest.closest(func.attr, methods, hint)
    c.wrong(func, f"{kind} has no method {func.attr!r}", hint)


def _parse(c: Checker, node: ast.Call, ctx: tree.Expr) -> tree.Expr:
    kind_node, offset_node = bind(c, node, ["kind", "at"], optional=1)
    assert kind_node is not None
    target = expression(c, kind_node)
    if not isinstance(target, tree.Object) or not is_struct_class(target.value):
        c.wrong(kind_node, "parse wants a Struct class", "ctx.parse(Ethernet, 14), with class Ethernet(Struct)")
    at = c.at(node)
    zero: tree.Expr = tree.Const(at, LitT(0, 0), 0)
    offset = integer(c, offset_node) if offset_node is not None else zero
    kind = offset.type
    if isinstance(kind, LitT) and (kind.high < 0 or kind.low > REACH):
        assert offset_node is not None
        worst = kind.high if kind.high > REACH else kind.low
        c.wrong(offset_node, f"offsets of packets are 0 to {REACH}, not {worst}",
                "helpers.skb_load_bytes and xdp_load_bytes reach further")  # fmt: skip
    if isinstance(kind, IntT) and kind.kind.NETWORK:
        assert offset_node is not None
        c.wrong(offset_node, f"{kind} is no offset", "convert it: u32(...)")
    return tree.Parse(at, RefT(target.value, "packet", True), ctx, offset)


def _user_call(
    c: Checker, node: ast.Call, function: FunctionType, *, kfunc: bool = False, this: tree.Expr | None = None
) -> tree.Expr:
    """this: what a method is called of."""
    target = c.program.function(function, c, node, linkage="kfunc" if kfunc else "")
    if target.wrong:
        raise Wrong
    params = target.params
    args: list[tree.Expr] = []
    if this is not None:
        assert isinstance(node.func, ast.Attribute)
        if not params:
            c.wrong(node, f"{c.text(node.func)} takes no self", f"def {node.func.attr}(self) -> ...")
        args.append(c.coerce(this, params[0].type, node.func.value, params[0].name))
        params = params[1:]
    given = bind(c, node, [variable.name for variable in params], optional=len(target.defaults))
    for variable, arg in zip(params, given, strict=True):
        if arg is None:
            args.append(target.defaults[variable.name])
            continue
        loose = variable.type
        if isinstance(loose, ObjectT) or (isinstance(loose, RefT) and loose.space == "any"):
            args.append(loose_argument(c, variable.name, loose, arg))
            continue
        value = expression(c, arg)
        if isinstance(variable.type, IntT) and isinstance(value.type, LitT):
            c.wrong(
                arg, f"a plain int is not {variable.type}: Python would keep it unbounded",
                f"write {variable.type}({c.text(arg)})",
            )  # fmt: skip
        args.append(c.coerce(value, variable.type, arg, variable.name))
    c.function.calls.add(target.name)
    return tree.Call(c.at(node), target.result, target, args)
