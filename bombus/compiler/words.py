# ruff: noqa: RET503 -- Checker.wrong never returns
"""Calls of the words of bombus.bpf that become code of their own: sizes, atomics, swaps, printing."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Final

from bombus.bpf import core, flow, ints, struct
from bombus.bpf.ints import s32, s64, u32, u64
from bombus.bpf.layout import ArrayType, is_member_type, name_of, size_of
from bombus.compiler import suggest, tree
from bombus.compiler.arguments import may_call, no_keywords
from bombus.compiler.check import Checker
from bombus.compiler.expressions import expression, integer, is_struct_class, spot
from bombus.compiler.flow import can_loop, throw
from bombus.compiler.objectwords import WORDS as OBJECT_WORDS
from bombus.compiler.operators import SIGNS, compare
from bombus.compiler.rawwords import WORDS as RAW_WORDS
from bombus.compiler.types import BOOL, NONE, S64, IntT, LitT, RefT
from bombus.spec.helpers import HELPER


def _sizeof(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 1)
    kind = expression(c, node.args[0])
    if not isinstance(kind, tree.Object) or not is_member_type(kind.value):
        c.wrong(node.args[0], "sizeof wants a type", "bpf.sizeof(Event), bpf.sizeof(u32)")
    return c.constant(node, size_of(kind.value))


def _offsetof(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 2)
    kind, member = (expression(c, arg) for arg in node.args)
    if not isinstance(kind, tree.Object) or not is_struct_class(kind.value):
        c.wrong(node.args[0], "offsetof wants a Struct class", 'bpf.offsetof(Event, "pid")')
    if not isinstance(member, tree.Object) or member.value not in kind.value.LAYOUT.members:
        hint = suggest.members_of(kind.value)
        c.wrong(node.args[1], f"offsetof wants the name of a member of {kind.value.__name__}", hint)
    return c.constant(node, kind.value.LAYOUT.members[member.value].offset)


def _kernel_has(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 1, 2)
    kind, *rest = (expression(c, arg) for arg in node.args)
    if not isinstance(kind, tree.Object) or not is_struct_class(kind.value) or not kind.value.CORE:
        c.wrong(node.args[0], "kernel_has wants a kernel struct", "class task_struct(Struct, core=True): ...")
    member = rest[0].value if rest and isinstance(rest[0], tree.Object) else ""
    if rest and member not in kind.value.LAYOUT.members:
        c.wrong(node.args[1], f"kernel_has wants the name of a member of {kind.value.__name__}",
                suggest.members_of(kind.value))  # fmt: skip
    return tree.KernelHas(c.at(node), BOOL, kind.value, member)


def _kernel_struct(c: Checker, node: ast.expr, word: str) -> Any:
    kind = expression(c, node)
    if not isinstance(kind, tree.Object) or not is_struct_class(kind.value) or not kind.value.CORE:
        c.wrong(node, f"{word} wants a kernel struct", "class task_struct(Struct, core=True): ...")
    return kind.value


def _kernel_fact(fact: str) -> Callable[[Checker, ast.Call], tree.Expr]:
    word = f"kernel_{fact}"

    def make(c: Checker, node: ast.Call) -> tree.Expr:
        no_keywords(c, node, *{"size": (1, 2), "offset": (2,), "matches": (1,)}[fact])
        kind = _kernel_struct(c, node.args[0], word)
        member = ""
        if len(node.args) > 1:
            given = expression(c, node.args[1])
            member = given.value if isinstance(given, tree.Object) else ""
            if member not in kind.LAYOUT.members:
                c.wrong(node.args[1], f"{word} wants the name of a member of {kind.__name__}", suggest.members_of(kind))
            if kind.LAYOUT.members[member].bits:
                c.wrong(node.args[1], f"{member} is a bit-field, which has no {fact} in bytes",
                        "ask for the member before it")  # fmt: skip
        return tree.KernelFact(c.at(node), BOOL if fact == "matches" else IntT(u32), fact, kind, member)

    return make


def _enum_fact(fact: str) -> Callable[[Checker, ast.Call], tree.Expr]:
    def make(c: Checker, node: ast.Call) -> tree.Expr:
        no_keywords(c, node, 1)
        value = expression(c, node.args[0])
        if not isinstance(value, tree.Named):
            c.wrong(node.args[0], f"enum_{fact} wants a value of an enum of the kernel",
                    "class bpf_map_type(KernelEnum): BPF_MAP_TYPE_RINGBUF = 27")  # fmt: skip
        kind = BOOL if fact == "has" else IntT(u64)
        return tree.KernelFact(c.at(node), kind, fact, type(value.python), value.python.name)

    return make


def _recast(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 2)
    value = expression(c, node.args[0])
    kind = expression(c, node.args[1])
    given = value.type
    if not isinstance(given, RefT) or hasattr(given.target, "MAP_TYPE"):
        c.wrong(node.args[0], f"cast wants a reference, not {given}", "bpf.cast(header, Other)")
    if given.nullable:
        c.maybe_none(node.args[0], given)
    if not isinstance(kind, tree.Object) or not is_struct_class(kind.value):
        c.wrong(node.args[1], "cast wants a Struct class", "bpf.cast(header, Other), with class Other(Struct)")
    of_kernel = given.space in ("btf", "kernel", "sock")
    if given.space == "ctx":
        c.wrong(node.args[0], "a context is not cast", "name the context's struct in the program's parameter")
    if kind.value.CORE and not of_kernel:
        c.wrong(node.args[1], f"{kind.value.__name__} is a struct of the kernel, and this is memory of the program",
                "kernel structs are cast to each other")  # fmt: skip
    if not of_kernel and size_of(kind.value) > size_of(given.target):
        c.wrong(node, f"{kind.value.__name__} has {size_of(kind.value)} bytes, {given} {size_of(given.target)}",
                "cast to a struct that is no larger")  # fmt: skip
    return tree.Recast(c.at(node), RefT(kind.value, given.space), value)


def _len(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 1)
    value = expression(c, node.args[0])
    if isinstance(value, tree.Tuple):
        return c.constant(node, len(value.items))
    if isinstance(value.type, RefT) and value.type.is_array:
        return c.constant(node, value.type.target.count)
    if isinstance(value, tree.Object) and isinstance(value.value, (bytes, str)):
        return c.constant(node, len(value.value))
    c.wrong(node.args[0], f"{value.type} has no length", suggest.for_length(value.type, c.text(node.args[0])))


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
    no_keywords(c, node, 1)
    value = expression(c, node.args[0])
    if not isinstance(value.type, IntT):
        c.wrong(node.args[0], f"the bytes of {value.type} are not swapped", "say how wide it is: u16(...)")
    if bits and (value.type.bits != bits or value.type.signed or value.type.kind.NETWORK):
        c.wrong(node.args[0], f"this is {value.type}, wanted is u{bits}", f"write u{bits}({c.text(node.args[0])})")
    if value.type.bits == 8:
        return value
    return tree.Unary(c.at(node), value.type, "swap", value)


def _zeros(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 2)
    element = expression(c, node.args[0])
    count = expression(c, node.args[1])
    if not isinstance(element, tree.Object) or not is_member_type(element.value):
        c.wrong(node.args[0], "zeros wants a type", "bpf.zeros(u8, 64)")
    room = c.program.stack_room()
    if not isinstance(count, tree.Const) or not 0 < count.value <= room:
        c.wrong(node.args[1], f"zeros wants a constant number of elements, as many as the stack of {room} bytes holds",
                "keep what is larger in a per-CPU array: map.percpu_array(u32, Room, max_entries=1)")  # fmt: skip
    kind = ArrayType(element.value, count.value)
    if size_of(kind) > room:
        c.wrong(node, f"{kind} has {size_of(kind)} bytes, the stack {room}", "keep it in a per-CPU array")
    return tree.New(c.at(node), RefT(kind, "stack"), [])


def _local(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 1)
    value = expression(c, node.args[0])
    if not isinstance(value.type, IntT):
        c.wrong(node.args[0], f"local wants an integer with a width, not {value.type}", "local(u64(...))")
    return tree.Slot(c.at(node), RefT(value.type.kind, "stack"), value)


def _context_address(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 1)
    return tree.AddressOf(c.at(node), IntT(u64), expression(c, node.args[0]))


def _ref(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 3)
    owner = expression(c, node.args[0])
    member_name = expression(c, node.args[1])
    kind = expression(c, node.args[2])
    if not isinstance(owner.type, RefT) or not owner.type.is_struct:
        c.wrong(node.args[0], f"ref wants a struct, not {owner.type}", 'bpf.ref(stats, "packets", u64)')
    if owner.type.nullable:
        c.maybe_none(node.args[0], owner.type)
    name = member_name.value if isinstance(member_name, tree.Object) else ""
    member = owner.type.target.LAYOUT.members.get(name)
    if member is None or member.bits or not isinstance(kind, tree.Object) or member.type is not kind.value:
        c.wrong(node, f"{name_of(owner.type.target)} has no integer member {name!r} of this type",
                suggest.members_of(owner.type.target))  # fmt: skip
    return tree.Inside(c.at(node), RefT(member.type, owner.type.space), tree.Spot(member.type, owner, member=member))


_ATOMIC_KINDS: Final = (u32, u64, s32, s64)
_FETCHES: Final = {"xchg": "exchange", "cmpxchg": "compare_exchange"}
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
    no_keywords(c, inner, 1)
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
    if step not in ("add", "sub") and kind.bits == 32:
        c.program.needs_cpu(c, node, f"an atomic {SIGNS[step]}= of 32 bits", "v3")
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
        no_keywords(c, node, 3 if operation == "cmpxchg" else 2)
        name = _FETCHES.get(operation, f"fetch_{operation}")
        c.program.needs_cpu(c, node, f"{name}, which gives the old value,", "v3")
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
    no_keywords(c, node, 1)
    raw, args = _text(c, node, node.args[0], "printk")
    may_call(c, node, HELPER["trace_printk" if len(args) <= 3 else "trace_vprintk"])
    return tree.Print(c.at(node), NONE, raw, args, None)


def _snprintf(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 2)
    into = expression(c, node.args[0])
    kind = into.type
    if not isinstance(kind, RefT) or not kind.is_array or kind.target.element is not ints.u8:
        c.wrong(node.args[0], f"snprintf writes into an Array[u8], not into {kind}",
                "class Line(Struct): text: Array[u8] = array(64)")  # fmt: skip
    if kind.nullable:
        c.maybe_none(node.args[0], kind)
    may_call(c, node, HELPER["snprintf"])
    raw, args = _text(c, node, node.args[1], "snprintf")
    return tree.Print(c.at(node), S64, raw, args, into)


def _text(c: Checker, node: ast.Call, text: ast.expr, word: str) -> tuple[bytes, list[tree.Expr]]:
    """A text or f-string as the kernel's format and its values."""
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
        given = expression(c, text) if isinstance(text, (ast.Name, ast.Attribute)) else None
        if not isinstance(given, tree.Object) or not isinstance(given.value, str):
            c.wrong(text, f"{word} wants a text in place", f'bpf.{word}(f"port {{port}}")')
        parts.append(given.value.replace("%", "%%"))
    if len(args) > 12:
        c.wrong(node, f"{word} takes 12 values, not {len(args)}", "print two lines")
    raw = "".join(parts)
    if not raw.isascii() or "\0" in raw:
        c.wrong(text, "the kernel prints ASCII only", "write it in ASCII")
    return raw.encode() + b"\0", args


def _format(c: Checker, piece: ast.FormattedValue) -> tuple[str, tree.Expr | None]:
    """One {...} of an f-string as a conversion of the kernel's printf."""
    if piece.conversion != -1:
        c.wrong(piece, "!r, !s, !a and {x=} are not part of the language", "write {x} alone")
    spec = ""
    if piece.format_spec is not None:
        if not isinstance(piece.format_spec, ast.JoinedStr) or not all(
            isinstance(part, ast.Constant) for part in piece.format_spec.values
        ):  # fmt: skip
            c.wrong(piece, "a format is constant", "write the width in place: {x:8d}")
        spec = "".join(str(part.value) for part in piece.format_spec.values if isinstance(part, ast.Constant))
    value = expression(c, piece.value)
    if isinstance(value, tree.Const) and isinstance(value.type, LitT):
        return format(value.value, spec).replace("%", "%%"), None
    if isinstance(value, tree.Object) and isinstance(value.value, str) and not spec:
        return value.value.replace("%", "%%"), None
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


WORDS: Final[dict[Any, Callable[[Checker, ast.Call], tree.Expr]]] = {
    core.sizeof: _sizeof,
    core.offsetof: _offsetof,
    core.local: _local,
    core.kernel_has: _kernel_has,
    core.kernel_size: _kernel_fact("size"),
    core.kernel_offset: _kernel_fact("offset"),
    core.kernel_matches: _kernel_fact("matches"),
    core.enum_has: _enum_fact("has"),
    core.enum_value: _enum_fact("value"),
    core.cast: _recast,
    core.context_address: _context_address,
    core.ref: _ref,
    core.atomic: _atomic_word,
    core.fetch_add: _fetch("add"),
    core.fetch_and: _fetch("and"),
    core.fetch_or: _fetch("or"),
    core.fetch_xor: _fetch("xor"),
    core.exchange: _fetch("xchg"),
    core.compare_exchange: _fetch("cmpxchg"),
    core.printk: _printk,
    core.snprintf: _snprintf,
    core.htons: lambda c, node: _swap(c, node, bits=16),
    core.htonl: lambda c, node: _swap(c, node, bits=32),
    ints.bswap: _swap,
    struct.zeros: _zeros,
    len: _len,
    flow.throw: throw,
    flow.can_loop: can_loop,
    **RAW_WORDS,
    **OBJECT_WORDS,
    min: _extreme("lt"),
    max: _extreme("gt"),
}
