# ruff: noqa: RET503 -- Checker.wrong never returns
"""Calls: conversions, struct construction, the words of bombus.bpf, maps, helpers, other functions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

from bombus.bpf import contexts, core, helpers, ints, struct
from bombus.bpf import map as maps
from bombus.bpf.context import REACH, Context, PacketContext
from bombus.bpf.ints import Scalar, s32, s64, u32, u64
from bombus.bpf.layout import ArrayType, is_member_type, name_of, size_of
from bombus.bpf.program import Program
from bombus.bpf.special import SpinLock
from bombus.bpf.struct import Ref, Struct
from bombus.compiler import tree
from bombus.compiler.check import Checker, Wrong, python_function
from bombus.compiler.expressions import (
    compare,
    condition,
    expression,
    integer,
    is_struct_class,
    kind_type,
    spot,
)
from bombus.compiler.prototypes import argument_kinds, int_type, may_be_null, parameters, result_kind
from bombus.compiler.types import BOOL, NONE, S64, IntT, LitT, ObjectT, RefT, Type
from bombus.spec.helpers import HELPER, Helper

U64: Final = IntT(u64)
U32: Final = IntT(u32)


def call(c: Checker, node: ast.Call) -> tree.Expr:
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            c.wrong(argument, "* in a call is not part of the language", "write the arguments out")
    for keyword in node.keywords:
        if keyword.arg is None:
            c.wrong(keyword.value, "** in a call is not part of the language", "write the arguments out")
    if isinstance(node.func, ast.Attribute) and not isinstance(node.func.value, ast.Call):
        method = _method(c, node, node.func)
        if method is not None:
            return method
    callee = expression(c, node.func)
    if not isinstance(callee, tree.Object):
        c.wrong(node.func, f"{c.text(node.func)} is {callee.type} and cannot be called")
    return _call_object(c, node, callee.value)


def _call_object(c: Checker, node: ast.Call, value: Any) -> tree.Expr:
    if isinstance(value, type):
        if issubclass(value, Scalar) and value.BITS:
            return _convert(c, node, value)
        if is_struct_class(value):
            return _new(c, node, value)
        if value is bool:
            return _truth(c, node)
        hints = {int: "say how wide it is: s64(...)", str: 'texts are printed in place: bpf.printk(f"...")'}
        c.wrong(node.func, f"{value.__name__}(...) is not part of the language", hints.get(value, ""))
    try:
        word = _WORDS.get(value)
    except TypeError:
        word = None
    if word is not None:
        return word(c, node)
    owner = getattr(value, "__self__", None)
    if isinstance(owner, maps.Map):
        return _map_call(c, node, owner, value.__name__)
    if isinstance(value, FunctionType) and value.__module__ == helpers.__name__:
        return _helper(c, node, HELPER[value.__name__])
    if isinstance(value, Program):
        c.wrong(node, f"{value.__name__} is a program; programs are not called", "put what both need into a function")
    function = python_function(value)
    if function is not None and not function.__module__.startswith("bombus.bpf"):
        return _user_call(c, node, function)
    c.wrong(node.func, f"{c.text(node.func)} cannot be called in a program")


def _no_keywords(c: Checker, node: ast.Call, *counts: int) -> None:
    name = c.text(node.func)
    if node.keywords:
        c.wrong(node.keywords[0].value, f"{name} takes no named arguments", "give them in order")
    if len(node.args) not in counts:
        wanted = " or ".join(map(str, counts))
        c.wrong(node, f"{name} takes {wanted} argument{'s' * (wanted != '1')}, not {len(node.args)}")


def _bind(c: Checker, node: ast.Call, names: list[str], optional: int = 0) -> list[ast.expr | None]:
    """Arguments in the order of `names`; the last `optional` may be missing."""
    name = c.text(node.func)
    if len(node.args) > len(names):
        c.wrong(node, f"{name} takes {len(names)} arguments ({', '.join(names)}), not {len(node.args)}")
    found: list[ast.expr | None] = [*node.args, *[None] * (len(names) - len(node.args))]
    for keyword in node.keywords:
        if keyword.arg not in names:
            c.wrong(keyword.value, f"{name} has no parameter {keyword.arg!r}", f"it has {', '.join(names)}")
        index = names.index(keyword.arg)
        if found[index] is not None:
            c.wrong(keyword.value, f"{keyword.arg} is given twice")
        found[index] = keyword.value
    for index in range(len(names) - optional):
        if found[index] is None:
            c.wrong(node, f"{name} wants {names[index]}", f"{name}({', '.join(names)})")
    return found


# ------------------------------------------------------------------------------------------------ values


def _convert(c: Checker, node: ast.Call, kind: type[Scalar]) -> tree.Expr:
    _no_keywords(c, node, 0, 1)
    at = c.at(node)
    wanted = IntT(kind)
    if not node.args:
        return tree.Const(at, wanted, 0)
    value = expression(c, node.args[0])
    given = value.type
    if not isinstance(given, (IntT, LitT)) and given != BOOL:
        hint = f"take its value: {kind.__name__}({c.text(node.args[0])}.value)" if (
            isinstance(given, RefT) and not given.is_struct and not given.is_array
        ) else ""  # fmt: skip
        c.wrong(node.args[0], f"{given} is not converted to {kind.__name__}", hint)
    if isinstance(value, tree.Const):
        return tree.Const(at, wanted, int(kind._make(value.value)))
    return tree.Cast(at, wanted, value)


def _truth(c: Checker, node: ast.Call) -> tree.Expr:
    _no_keywords(c, node, 1)
    return condition(c, node.args[0])[0]


def _new(c: Checker, node: ast.Call, kind: type[Struct]) -> tree.Expr:
    if node.args:
        c.wrong(node.args[0], f"{kind.__name__} takes its members by name", f"{kind.__name__}(member=...)")
    if issubclass(kind, Context) or kind.CORE:
        c.wrong(node, f"{kind.__name__} is made by the kernel")
    members = []
    for keyword in node.keywords:
        member = kind.LAYOUT.members.get(keyword.arg or "")
        if member is None:
            names = ", ".join(name for name in kind.LAYOUT.members if not name.startswith("_"))
            c.wrong(keyword.value, f"{kind.__name__} has no member {keyword.arg!r}", f"it has {names}")
        value = expression(c, keyword.value)
        members.append((member, c.coerce(value, kind_type(member.type, "mem"), keyword.value, f"{member.name}")))
    if kind.LAYOUT.size > 512:
        c.wrong(node, f"{kind.__name__} has {kind.LAYOUT.size} bytes, the stack 512", "keep it in a per-CPU array")
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
        c.wrong(func, f"{kind} has no method {func.attr!r}")
    if kind.nullable:
        c.maybe_none(func.value, kind)
    at = c.at(node)
    if kind.is_struct and issubclass(kind.target, PacketContext) and func.attr == "parse":
        return _parse(c, node, base)
    if kind.is_struct and func.attr == "copy":
        _no_keywords(c, node, 0)
        return tree.Clone(at, RefT(kind.target, "stack"), base)
    if kind.is_struct and func.attr == "assign":
        _no_keywords(c, node, 1)
        value = c.coerce(expression(c, node.args[0]), kind.present(), node.args[0], "this value")
        if kind.space == "config":
            c.wrong(func, "a setting of bpf.config(...) is constant for the program", "use bpf.var(...)")
        return tree.CopyTo(at, NONE, base, value)
    c.wrong(func, f"{kind} has no method {func.attr!r}")


def _parse(c: Checker, node: ast.Call, ctx: tree.Expr) -> tree.Expr:
    kind_node, offset_node = _bind(c, node, ["kind", "at"], optional=1)
    assert kind_node is not None
    target = expression(c, kind_node)
    if not isinstance(target, tree.Object) or not is_struct_class(target.value):
        c.wrong(kind_node, "parse wants a Struct class")
    at = c.at(node)
    zero: tree.Expr = tree.Const(at, LitT(0, 0), 0)
    offset = integer(c, offset_node) if offset_node is not None else zero
    kind = offset.type
    if isinstance(kind, LitT) and (kind.low < 0 or kind.high > REACH):
        assert offset_node is not None
        c.wrong(offset_node, f"offsets of packets are 0 to {REACH}, not {kind.high if kind.high > REACH else kind.low}")
    if isinstance(kind, IntT) and kind.kind.NETWORK:
        assert offset_node is not None
        c.wrong(offset_node, f"{kind} is no offset", "convert it: u32(...)")
    return tree.Parse(at, RefT(target.value, "packet", True), ctx, offset)


# ------------------------------------------------------------------------------------------------ words


def _sizeof(c: Checker, node: ast.Call) -> tree.Expr:
    _no_keywords(c, node, 1)
    kind = expression(c, node.args[0])
    if not isinstance(kind, tree.Object) or not is_member_type(kind.value):
        c.wrong(node.args[0], "sizeof wants a type")
    return c.constant(node, size_of(kind.value))


def _offsetof(c: Checker, node: ast.Call) -> tree.Expr:
    _no_keywords(c, node, 2)
    kind, member = (expression(c, arg) for arg in node.args)
    if not isinstance(kind, tree.Object) or not is_struct_class(kind.value):
        c.wrong(node.args[0], "offsetof wants a Struct class")
    if not isinstance(member, tree.Object) or member.value not in kind.value.LAYOUT.members:
        c.wrong(node.args[1], f"offsetof wants the name of a member of {kind.value.__name__}")
    return c.constant(node, kind.value.LAYOUT.members[member.value].offset)


def _kernel_has(c: Checker, node: ast.Call) -> tree.Expr:
    _no_keywords(c, node, 1, 2)
    kind, *rest = (expression(c, arg) for arg in node.args)
    if not isinstance(kind, tree.Object) or not is_struct_class(kind.value) or not kind.value.CORE:
        c.wrong(node.args[0], "kernel_has wants a kernel struct", "class task_struct(Struct, core=True): ...")
    member = rest[0].value if rest and isinstance(rest[0], tree.Object) else ""
    if rest and member not in kind.value.LAYOUT.members:
        c.wrong(node.args[1], f"kernel_has wants the name of a member of {kind.value.__name__}")
    return tree.KernelHas(c.at(node), BOOL, kind.value, member)


def _len(c: Checker, node: ast.Call) -> tree.Expr:
    _no_keywords(c, node, 1)
    value = expression(c, node.args[0])
    if isinstance(value, tree.Tuple):
        return c.constant(node, len(value.items))
    if isinstance(value.type, RefT) and value.type.is_array:
        return c.constant(node, value.type.target.count)
    c.wrong(node.args[0], f"{value.type} has no length", "arrays and tuples have")


def _extreme(relation: str) -> Callable[[Checker, ast.Call], tree.Expr]:
    def word(c: Checker, node: ast.Call) -> tree.Expr:
        if node.keywords or len(node.args) != 2:
            c.wrong(node, f"{c.text(node.func)} takes two numbers", f"{c.text(node.func)}(a, b)")
        left, right = (integer(c, arg) for arg in node.args)
        at = c.at(node)
        if isinstance(left.type, LitT) and isinstance(right.type, LitT):
            if isinstance(left, tree.Const) and isinstance(right, tree.Const):
                pick = min if relation == "lt" else max
                return c.constant(node, pick(left.value, right.value))
            c.wrong(node, "say how wide these ints are", "u64(...)")
        if isinstance(left.type, LitT):
            left = c.coerce(left, right.type, node.args[0], "this argument")
        if isinstance(right.type, LitT):
            right = c.coerce(right, left.type, node.args[1], "this argument")
        kept: list[tree.Expr] = []
        reads: list[tree.Expr] = []
        for side in (left, right):
            if isinstance(side, (tree.Const, tree.Read)):
                kept.append(side)
                reads.append(side)
            else:
                hidden = tree.Variable(f"side.{node.lineno}.{node.col_offset}.{len(kept)}", side.type)
                kept.append(tree.Assigned(side.at, side.type, hidden, side))
                reads.append(tree.Read(side.at, side.type, hidden))
        # Python's min and max give the first of equal values: no difference between equal integers
        test = compare(c, node, relation, kept[0], kept[1], node.args[0], node.args[1])
        return tree.Choice(at, left.type, test, reads[0], reads[1])

    return word


def _swap(c: Checker, node: ast.Call, *, bits: int = 0) -> tree.Expr:
    _no_keywords(c, node, 1)
    value = expression(c, node.args[0])
    if not isinstance(value.type, IntT):
        c.wrong(node.args[0], f"the bytes of {value.type} are not swapped", "say how wide it is: u16(...)")
    if bits and (value.type.bits != bits or value.type.signed or value.type.kind.NETWORK):
        c.wrong(node.args[0], f"this is {value.type}, wanted is u{bits}", f"write u{bits}({c.text(node.args[0])})")
    if value.type.bits == 8:
        return value
    return tree.Unary(c.at(node), value.type, "swap", value)


def _zeros(c: Checker, node: ast.Call) -> tree.Expr:
    _no_keywords(c, node, 2)
    element = expression(c, node.args[0])
    count = expression(c, node.args[1])
    if not isinstance(element, tree.Object) or not is_member_type(element.value):
        c.wrong(node.args[0], "zeros wants a type")
    if not isinstance(count, tree.Const) or not 0 < count.value <= 512:
        c.wrong(node.args[1], "zeros wants a constant number of elements, as many as the stack of 512 bytes holds")
    kind = ArrayType(element.value, count.value)
    if size_of(kind) > 512:
        c.wrong(node, f"{kind} has {size_of(kind)} bytes, the stack 512", "keep it in a per-CPU array")
    return tree.New(c.at(node), RefT(kind, "stack"), [])


def _local(c: Checker, node: ast.Call) -> tree.Expr:
    _no_keywords(c, node, 1)
    value = expression(c, node.args[0])
    if not isinstance(value.type, IntT):
        c.wrong(node.args[0], f"local wants an integer with a width, not {value.type}", "local(u64(...))")
    return tree.Slot(c.at(node), RefT(value.type.kind, "stack"), value)


def _ref(c: Checker, node: ast.Call) -> tree.Expr:
    _no_keywords(c, node, 3)
    owner = expression(c, node.args[0])
    member_name = expression(c, node.args[1])
    kind = expression(c, node.args[2])
    if not isinstance(owner.type, RefT) or not owner.type.is_struct:
        c.wrong(node.args[0], f"ref wants a struct, not {owner.type}")
    if owner.type.nullable:
        c.maybe_none(node.args[0], owner.type)
    name = member_name.value if isinstance(member_name, tree.Object) else ""
    member = owner.type.target.LAYOUT.members.get(name)
    if member is None or member.bits or not isinstance(kind, tree.Object) or member.type is not kind.value:
        c.wrong(node, f"{name_of(owner.type.target)} has no integer member {name!r} of this type")
    return tree.Inside(c.at(node), RefT(member.type, owner.type.space), tree.Spot(member.type, owner, member=member))


_ATOMIC_KINDS: Final = (u32, u64, s32, s64)
_ATOMIC_STEPS: Final = {ast.Add: "add", ast.Sub: "sub", ast.BitOr: "or", ast.BitAnd: "and", ast.BitXor: "xor"}


def atomic_change(c: Checker, node: ast.AugAssign) -> tree.Expr | None:
    """`bpf.atomic(x).y += v`; None when the statement is another one."""
    target = node.target
    inner = target.value if isinstance(target, (ast.Attribute, ast.Subscript)) else None
    if not isinstance(inner, ast.Call):
        return None
    callee = expression(c, inner.func) if not (
        isinstance(inner.func, ast.Attribute) and isinstance(inner.func.value, ast.Name)
        and inner.func.value.id in c.variables
    ) else None  # fmt: skip
    if not isinstance(callee, tree.Object) or callee.value is not core.atomic:
        return None
    _no_keywords(c, inner, 1)
    step = _ATOMIC_STEPS.get(type(node.op))
    if step is None:
        c.wrong(node, "this is no atomic operation", "+=, -=, |=, &= and ^= are")
    bare: ast.expr
    if isinstance(target, ast.Attribute):
        bare = ast.Attribute(inner.args[0], target.attr, ast.Store())
    else:
        assert isinstance(target, ast.Subscript)
        bare = ast.Subscript(inner.args[0], target.slice, ast.Store())
    place = spot(c, ast.copy_location(bare, target), store=True)
    kind = _atomic_kind(c, target, place)
    value = c.coerce(expression(c, node.value), kind, node.value, "this value")
    at = c.at(node)
    if step == "sub":
        step, value = "add", tree.Unary(at, kind, "neg", value)
    return tree.Atomic(at, kind, step, place, value, fetch=False)


def _atomic_kind(c: Checker, node: ast.AST, place: tree.Spot) -> IntT:
    if place.kind not in _ATOMIC_KINDS or (place.member is not None and place.member.bits):
        c.wrong(node, f"{name_of(place.kind)} is not changed atomically", "u32, u64, s32 and s64 are")
    return IntT(place.kind)


def _atomic_word(c: Checker, node: ast.Call) -> tree.Expr:
    c.wrong(node, "bpf.atomic(...) stands on the left of +=, -=, |=, &= or ^=", "bpf.atomic(slot).value += 1")


def _fetch(operation: str) -> Callable[[Checker, ast.Call], tree.Expr]:
    def word(c: Checker, node: ast.Call) -> tree.Expr:
        _no_keywords(c, node, 3 if operation == "cmpxchg" else 2)
        place_ref = expression(c, node.args[0])
        kind = place_ref.type
        if not isinstance(kind, RefT) or kind.is_struct or kind.is_array:
            c.wrong(node.args[0], f"a reference to an integer is wanted, not {kind}",
                    'take one: bpf.ref(stats, "packets", u64)')  # fmt: skip
        if kind.nullable:
            c.maybe_none(node.args[0], kind)
        if kind.space == "config":
            c.wrong(node.args[0], "a setting of bpf.config(...) is constant for the program", "use bpf.var(...)")
        place = tree.Spot(kind.target, place_ref)
        number = _atomic_kind(c, node.args[0], place)
        values = [c.coerce(expression(c, arg), number, arg, "this value") for arg in node.args[1:]]
        expected = values[0] if operation == "cmpxchg" else None
        return tree.Atomic(c.at(node), number, operation, place, values[-1], expected)

    return word


# ------------------------------------------------------------------------------------------------ printing


def _printk(c: Checker, node: ast.Call) -> tree.Expr:
    _no_keywords(c, node, 1)
    text = node.args[0]
    parts: list[str] = []
    args: list[tree.Expr] = []
    if isinstance(text, ast.Constant) and isinstance(text.value, str):
        parts.append(text.value.replace("%", "%%"))
    elif isinstance(text, ast.JoinedStr):
        for piece in text.values:
            if isinstance(piece, ast.Constant):
                parts.append(str(piece.value).replace("%", "%%"))
            else:
                assert isinstance(piece, ast.FormattedValue)
                shown, value = _format(c, piece)
                parts.append(shown)
                if value is not None:
                    args.append(value)
    else:
        c.wrong(text, "printk wants a text in place", 'bpf.printk(f"port {port}")')
    if len(args) > 12:
        c.wrong(node, f"printk takes 12 values, not {len(args)}", "print two lines")
    raw = "".join(parts)
    if not raw.isascii() or "\0" in raw:
        c.wrong(text, "the kernel prints ASCII only")
    return tree.Print(c.at(node), NONE, raw.encode() + b"\0", args)


def _format(c: Checker, piece: ast.FormattedValue) -> tuple[str, tree.Expr | None]:
    """One {...} of an f-string as a conversion of the kernel's printf."""
    if piece.conversion != -1:
        c.wrong(piece, "!r, !s and !a are not part of the language", "leave it out")
    spec = ""
    if piece.format_spec is not None:
        if not isinstance(piece.format_spec, ast.JoinedStr) or not all(
            isinstance(part, ast.Constant) for part in piece.format_spec.values
        ):  # fmt: skip
            c.wrong(piece, "a format is constant")
        spec = "".join(str(part.value) for part in piece.format_spec.values if isinstance(part, ast.Constant))
    value = expression(c, piece.value)
    if isinstance(value, tree.Const) and isinstance(value.type, LitT):
        return format(value.value, spec).replace("%", "%%"), None
    kind = value.type
    if isinstance(kind, LitT):
        value = tree.Cast(value.at, S64, value)
        kind = S64
    if not isinstance(kind, IntT):
        c.wrong(piece.value, f"{kind} is not printed", "print integers: u32(flag), or the members of a struct")
    if spec and not all(ch in "0123456789xXd#" for ch in spec):
        c.wrong(piece, f"the format {spec!r} is not part of the language", "d, x, X, #x and a width such as 08x are")
    letter = "d" if kind.signed else "u"
    width = spec
    if spec and spec[-1] in "xXd":
        letter = spec[-1] if spec[-1] != "d" else letter
        width = spec[:-1]
    if kind.signed and letter in "xX":
        c.wrong(piece, f"{kind} may be negative: Python and the kernel write its hexadecimal differently",
                f"convert it: u{kind.bits}({c.text(piece.value)})")  # fmt: skip
    if "#" in width and (letter not in "xX" or any(ch.isdigit() for ch in width)):
        c.wrong(piece, f"the format {spec!r} is not part of the language", "#x stands without a width")
    if width.lstrip("#").isdigit() is False and width.lstrip("#"):
        c.wrong(piece, f"the format {spec!r} is not part of the language", "d, x, X, #x and a width such as 08x are")
    if "#" in width:  # the kernel writes 0 as "0", Python as "0x0"
        return f"0{letter}%{'ll' if kind.bits == 64 else ''}{letter}", value
    return f"%{width}{'ll' if kind.bits == 64 else ''}{letter}", value


# ------------------------------------------------------------------------------------------------ helpers and maps


def helper_call(
    c: Checker, node: ast.AST, row: Helper, args: list[tree.Expr], result: Type, result_name: str = ""
) -> tree.Expr:  # fmt: skip
    """A call with checked arguments, of which integers have the width of the helper's parameters."""
    if row.gpl_only:
        c.program.needs_gpl(c, node, row.name)
    if not c.program.allows(c.function, row):
        c.wrong(node, f"{c.function.prog_type.removeprefix('BPF_PROG_TYPE_').lower()} programs may not call {row.name}")
    widths = [arg.type.bits if isinstance(arg.type, IntT) else 0 for arg in args]
    return tree.HelperCall(c.at(node), result, row.id, args, widths, result_name or result_kind(row))


def _pointer(c: Checker, node: ast.expr, value: tree.Expr, nullable: bool) -> tree.Expr:
    """An argument that is an address."""
    if isinstance(value.type, RefT):
        if value.type.nullable and not nullable:
            c.maybe_none(node, value.type)
        return value
    if value.type == NONE and nullable:
        return tree.Const(value.at, RefT(u64, "mem", True), 0)
    if isinstance(value, tree.Object) and isinstance(value.value, bytes):
        return tree.Bytes(value.at, RefT(ArrayType(ints.u8, len(value.value)), "config"), value.value)
    if isinstance(value.type, (IntT, LitT)):
        c.wrong(node, f"an address is wanted here, this is {value.type}", f"bpf.local({c.text(node)}) has one")
    c.wrong(node, f"memory is wanted here, this is {value.type}")


def _helper(c: Checker, node: ast.Call, row: Helper) -> tree.Expr:
    if row.name == "tail_call":
        c.wrong(node, "tail calls are made through a map", "jumps.tail_call(ctx, index)")
    result = result_kind(row)
    given = parameters(row)
    names = [name for name, c_type in given if c_type != "..."]
    kind: Any = None
    if result == "pointer":
        names = ["kind", *names]
    if any(c_type == "..." for _name, c_type in given):
        c.wrong(node, f"{row.name} is not called directly", 'write bpf.printk(f"...")')
    nodes = _bind(c, node, names)
    if result == "pointer":
        first = nodes.pop(0)
        assert first is not None
        chosen = expression(c, first)
        if not isinstance(chosen, tree.Object) or not is_struct_class(chosen.value):
            c.wrong(first, f"{row.name} wants the type of its result first, a Struct class")
        kind = chosen.value
    args: list[tree.Expr] = []
    for (name, c_type), arg_kind, arg in zip(given, argument_kinds(row), nodes, strict=True):
        assert arg is not None
        args.append(_helper_argument(c, row, name, c_type, arg_kind, arg))
    spaces = {"pointer": "mem", "bpf_sock": "sock", "bpf_tcp_sock": "sock"}
    kinds: dict[str, Any] = {"bpf_sock": contexts.BpfSock, "bpf_tcp_sock": contexts.BpfTcpSock, "pointer": kind}
    if result == "void":
        return helper_call(c, node, row, args, NONE)
    if result in kinds:
        space = "btf" if "BTF_ID" in row.ret else spaces[result]
        return helper_call(c, node, row, args, RefT(kinds[result], space, may_be_null(row)))
    return helper_call(c, node, row, args, IntT(getattr(ints, result)))


def _helper_argument(
    c: Checker, row: Helper, name: str, c_type: str, arg_kind: str, node: ast.expr
) -> tree.Expr:  # fmt: skip
    number = int_type(c_type)
    value = expression(c, node)
    if number is not None:
        return c.coerce(value, IntT(getattr(ints, number)), node, name)
    if arg_kind.startswith("ARG_CONST_MAP_PTR") or c_type == "struct bpf_map *":
        if not isinstance(value, tree.Object) or not isinstance(value.value, maps.Map):
            c.wrong(node, f"{name} is a map, not {value.type}")
        c.program.map_name(value.value, node, c)
        return value
    if arg_kind.startswith("ARG_PTR_TO_FUNC"):
        function = python_function(value.value) if isinstance(value, tree.Object) else None
        if function is None:
            c.wrong(node, f"{name} is a function, not {value.type}")
        return tree.Object(value.at, value.type, c.program.function(function, c, node, linkage="callback"))
    if arg_kind == "ARG_ANYTHING" and value.type == U64:
        return value
    if arg_kind.startswith("ARG_PTR_TO_CTX") and (
        not isinstance(value.type, RefT) or value.type.space not in ("ctx", "mem")
    ):  # fmt: skip
        c.wrong(node, f"{row.name} wants the program's context")
    return _pointer(c, node, value, "PTR_MAYBE_NULL" in arg_kind or arg_kind == "ARG_ANYTHING" or "MEM" not in arg_kind)


def _key(c: Checker, node: ast.expr | None, kind: Any, what: str) -> tree.Expr:
    """A key or value as the address of one."""
    assert node is not None
    value = expression(c, node)
    wanted = kind_type(kind, "mem")
    if isinstance(wanted, RefT):
        return c.coerce(value, wanted, node, what)
    if isinstance(value.type, RefT) and value.type.target == kind:
        c.wrong(node, f"{what} is a reference", f"give its value: {c.text(node)}.value")
    return tree.Slot(c.at(node), RefT(kind, "stack"), c.coerce(value, wanted, node, what))


def _map_call(c: Checker, node: ast.Call, owner: maps.Map, name: str) -> tree.Expr:
    c.program.map_name(owner, node.func, c)
    at = c.at(node)
    this = tree.Object(at, ObjectT(owner), owner)
    if isinstance(owner, maps.RingBuf) and name == "reserve":
        c.wrong(node, "reserve stands in a with", "with events.reserve(Event) as event:")
    maker = _MAP_CALLS.get((_family(owner), name))
    if maker is None:
        c.wrong(node.func, f"{name} of a {type(owner).__name__} map is not called in programs")
    return maker(c, node, this, owner)


def _family(owner: maps.Map) -> str:
    families = (
        maps.Table, maps.Queue, maps.ProgArray, maps.Redirect, maps.PerfEventArray, maps.StackTrace, maps.RingBuf,
    )  # fmt: skip
    for kind in families:
        if isinstance(owner, kind):
            return kind.__name__
    return ""


def _flags(c: Checker, node: ast.expr | None, default: int = 0) -> tree.Expr:
    if node is None:
        return tree.Const(tree.Place(0, 0), U64, default)
    return c.coerce(expression(c, node), U64, node, "flags")


def _lookup(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    (key,) = _bind(c, node, ["key"])
    args = [this, _key(c, key, owner.key, "the key")]
    return helper_call(c, node, HELPER["map_lookup_elem"], args, RefT(owner.value, "map", True))


def _lookup_percpu(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    key, cpu = _bind(c, node, ["key", "cpu"])
    if "PERCPU" not in owner.MAP_TYPE:
        c.wrong(node.func, f"this {type(owner).__name__} map has no values of their own for CPUs", "use lookup")
    assert cpu is not None
    args = [this, _key(c, key, owner.key, "the key"), c.coerce(expression(c, cpu), U32, cpu, "cpu")]
    return helper_call(c, node, HELPER["map_lookup_percpu_elem"], args, RefT(owner.value, "map", True))


def _update(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    key, value, flags = _bind(c, node, ["key", "value", "flags"], optional=1)
    args = [this, _key(c, key, owner.key, "the key"), _key(c, value, owner.value, "the value"), _flags(c, flags)]
    return helper_call(c, node, HELPER["map_update_elem"], args, S64)


def _delete(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    (key,) = _bind(c, node, ["key"])
    return helper_call(c, node, HELPER["map_delete_elem"], [this, _key(c, key, owner.key, "the key")], S64)


def _for_each(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    function, ctx, flags = _bind(c, node, ["function", "ctx", "flags"], optional=2)
    row = HELPER["for_each_map_elem"]
    assert function is not None
    callback = _helper_argument(c, row, "function", "void *", "ARG_PTR_TO_FUNC", function)
    given: tree.Expr = tree.Const(c.at(node), RefT(u64, "mem", True), 0)
    if ctx is not None:
        given = _pointer(c, ctx, expression(c, ctx), True)
    return helper_call(c, node, row, [this, callback, given, _flags(c, flags)], S64)


def _push(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    value, flags = _bind(c, node, ["value", "flags"], optional=1)
    args = [this, _key(c, value, owner.value, "the value"), _flags(c, flags)]
    return helper_call(c, node, HELPER["map_push_elem"], args, S64)


def _take(helper: str) -> Callable[[Checker, ast.Call, tree.Expr, maps.Map], tree.Expr]:
    def made(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
        (into,) = _bind(c, node, ["into"])
        assert into is not None
        value = expression(c, into)
        target = c.coerce(value, RefT(owner.value, "mem"), into, "where the value goes")
        return helper_call(c, node, HELPER[helper], [this, target], S64)

    return made


def _has(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    if not isinstance(owner, maps.Bloom):
        c.wrong(node.func, "only bloom filters have `has`")
    (value,) = _bind(c, node, ["value"])
    found = helper_call(c, node, HELPER["map_peek_elem"], [this, _key(c, value, owner.value, "the value")], S64)
    return tree.Compare(found.at, BOOL, "eq", found, tree.Const(found.at, S64, 0))


def _context(c: Checker, node: ast.expr | None) -> tree.Expr:
    assert node is not None
    value = expression(c, node)
    if not isinstance(value.type, RefT) or value.type.space not in ("ctx", "mem"):
        c.wrong(node, "the program's context is wanted here")
    return value


def _tail_call(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    ctx, index = _bind(c, node, ["ctx", "index"])
    assert index is not None
    args = [_context(c, ctx), this, c.coerce(expression(c, index), U32, index, "index")]
    return helper_call(c, node, HELPER["tail_call"], args, NONE, "s64")


def _redirect(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    key, flags = _bind(c, node, ["key", "flags"], optional=1)
    assert key is not None
    wide = HELPER["redirect_map"]
    kind = IntT(getattr(ints, int_type(parameters(wide)[1][1]) or "u64"))
    value = c.coerce(expression(c, key), U32, key, "key")
    number = tree.Cast(value.at, kind, value) if kind != U32 else value
    return helper_call(c, node, wide, [this, number, _flags(c, flags)], S64)


def _perf_output(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    ctx, data, flags = _bind(c, node, ["ctx", "data", "flags"], optional=1)
    record = _record(c, data)
    assert isinstance(record.type, RefT)
    size = tree.Const(record.at, U64, size_of(record.type.target))
    args = [_context(c, ctx), this, _flags(c, flags, 0xFFFF_FFFF), record, size]
    return helper_call(c, node, HELPER["perf_event_output"], args, S64)


def _record(c: Checker, node: ast.expr | None) -> tree.Expr:
    assert node is not None
    record = expression(c, node)
    if not isinstance(record.type, RefT) or not record.type.is_struct:
        c.wrong(node, f"a record is a struct, not {record.type}")
    return _pointer(c, node, record, False)


def _ring_output(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    data, flags = _bind(c, node, ["data", "flags"], optional=1)
    record = _record(c, data)
    assert isinstance(record.type, RefT)
    size = tree.Const(record.at, U64, size_of(record.type.target))
    return helper_call(c, node, HELPER["ringbuf_output"], [this, record, size, _flags(c, flags)], S64)


def _ring_query(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    (what,) = _bind(c, node, ["what"])
    return helper_call(c, node, HELPER["ringbuf_query"], [this, _flags(c, what)], U64)


def _ring_discard(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    c.wrong(node, "discard is a statement of its own", "events.discard(record)")


def discard(c: Checker, node: ast.Call) -> tuple[tree.Expr, tree.Variable] | None:
    """`events.discard(record)`: the call, and the record's variable, which is None from then on. None for other
    calls."""
    if not isinstance(node.func, ast.Attribute) or node.func.attr != "discard":
        return None
    if not isinstance(node.func.value, ast.Name) or node.func.value.id in c.variables:
        return None
    owner = expression(c, node.func.value)
    if not isinstance(owner, tree.Object) or not isinstance(owner.value, maps.RingBuf):
        return None
    (record,) = _bind(c, node, ["record"])
    if not isinstance(record, ast.Name) or record.id not in c.variables:
        c.wrong(node, "discard wants the name of a reserved record", "with events.reserve(Event) as record:")
    value = expression(c, record)
    if not isinstance(value.type, RefT) or value.type.space != "ringbuf":
        c.wrong(record, f"{record.id} is no reserved record")
    if value.type.nullable:
        c.maybe_none(record, value.type)
    call = helper_call(c, node, HELPER["ringbuf_discard"], [value, tree.Const(c.at(node), U64, 0)], NONE)
    return call, c.variables[record.id]


def _stack_id(c: Checker, node: ast.Call, this: tree.Expr, owner: maps.Map) -> tree.Expr:
    ctx, flags = _bind(c, node, ["ctx", "flags"], optional=1)
    return helper_call(c, node, HELPER["get_stackid"], [_context(c, ctx), this, _flags(c, flags)], S64)


_MAP_CALLS: Final[dict[tuple[str, str], Callable[[Checker, ast.Call, tree.Expr, maps.Map], tree.Expr]]] = {
    ("Table", "lookup"): _lookup,
    ("Table", "lookup_percpu"): _lookup_percpu,
    ("Table", "update"): _update,
    ("Table", "delete"): _delete,
    ("Table", "for_each"): _for_each,
    ("Queue", "push"): _push,
    ("Queue", "pop"): _take("map_pop_elem"),
    ("Queue", "peek"): _take("map_peek_elem"),
    ("Queue", "has"): _has,
    ("ProgArray", "tail_call"): _tail_call,
    ("Redirect", "redirect"): _redirect,
    ("PerfEventArray", "output"): _perf_output,
    ("StackTrace", "stack_id"): _stack_id,
    ("RingBuf", "output"): _ring_output,
    ("RingBuf", "query"): _ring_query,
    ("RingBuf", "discard"): _ring_discard,
}


def enter_scope(c: Checker, node: ast.expr) -> tuple[tree.Expr, tree.Expr, Any, Any]:
    """What a `with` begins and ends with: (enter, leave, leave of a variable, kind)."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reserve":
        callee = expression(c, node.func)
        owner = getattr(callee.value, "__self__", None) if isinstance(callee, tree.Object) else None
        if isinstance(owner, maps.RingBuf):
            return _reserve(c, node, owner)
    value = expression(c, node)
    if isinstance(value.type, RefT) and value.type.target is SpinLock:
        if value.type.nullable:
            c.maybe_none(node, value.type)
        locks = [helper_call(c, node, HELPER[name], [value], NONE) for name in ("spin_lock", "spin_unlock")]
        return locks[0], locks[1], None, SpinLock
    c.wrong(node, "with works on ring buffer records and spin locks", "with events.reserve(Event) as event:")


def _reserve(c: Checker, node: ast.Call, owner: maps.RingBuf) -> tuple[tree.Expr, tree.Expr, Any, Any]:
    kind_node, flags = _bind(c, node, ["kind", "flags"], optional=1)
    assert kind_node is not None
    c.program.map_name(owner, node.func, c)
    kind = expression(c, kind_node)
    if not isinstance(kind, tree.Object) or not is_struct_class(kind.value):
        c.wrong(kind_node, "reserve wants a Struct class")
    at = c.at(node)
    this = tree.Object(at, ObjectT(owner), owner)
    size = tree.Const(at, U64, size_of(kind.value))
    zero = tree.Const(at, U64, 0)
    enter = helper_call(
        c, node, HELPER["ringbuf_reserve"], [this, size, zero], RefT(kind.value, "ringbuf", True)
    )  # fmt: skip
    wake = _flags(c, flags)

    def leave(guard: tree.Variable) -> tree.Expr:
        record = tree.Read(at, RefT(kind.value, "ringbuf"), guard)
        return helper_call(c, node, HELPER["ringbuf_submit"], [record, wake], NONE)

    return enter, zero, leave, maps.Reservation


# ------------------------------------------------------------------------------------------------ functions


def _user_call(c: Checker, node: ast.Call, function: FunctionType) -> tree.Expr:
    target = c.program.function(function, c, node)
    if target.wrong:
        raise Wrong
    names = [variable.name for variable in target.params]
    args: list[tree.Expr] = []
    for variable, arg in zip(target.params, _bind(c, node, names), strict=True):
        assert arg is not None
        value = expression(c, arg)
        if isinstance(variable.type, IntT) and isinstance(value.type, LitT):
            c.wrong(
                arg, f"a plain int is not {variable.type}: Python would keep it unbounded",
                f"write {variable.type}({c.text(arg)})",
            )  # fmt: skip
        args.append(c.coerce(value, variable.type, arg, variable.name))
    c.function.calls.add(target.name)
    return tree.Call(c.at(node), target.result, target, args)


_WORDS: Final[dict[Any, Callable[[Checker, ast.Call], tree.Expr]]] = {
    core.sizeof: _sizeof,
    core.offsetof: _offsetof,
    core.local: _local,
    core.kernel_has: _kernel_has,
    core.ref: _ref,
    core.atomic: _atomic_word,
    core.fetch_add: _fetch("add"),
    core.fetch_and: _fetch("and"),
    core.fetch_or: _fetch("or"),
    core.fetch_xor: _fetch("xor"),
    core.exchange: _fetch("xchg"),
    core.compare_exchange: _fetch("cmpxchg"),
    core.printk: _printk,
    core.htons: lambda c, node: _swap(c, node, bits=16),
    core.htonl: lambda c, node: _swap(c, node, bits=32),
    ints.bswap: _swap,
    struct.zeros: _zeros,
    len: _len,
    min: _extreme("lt"),
    max: _extreme("gt"),
}
