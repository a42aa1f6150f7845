# ruff: noqa: RET503 -- Checker.wrong never returns
"""Calls of the words of bombus.bpf.raw: bytes, addresses, loads and stores with an order."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Final

from bombus.bpf import raw
from bombus.bpf.ints import Int, Scalar, u8, u64
from bombus.bpf.layout import ArrayType, align_of, name_of, size_of
from bombus.compiler import tree
from bombus.compiler.arguments import bind, no_keywords
from bombus.compiler.check import Checker
from bombus.compiler.expressions import expression, integer, is_struct_class
from bombus.compiler.types import BOOL, NONE, S64, IntT, LitT, RefT

U64: Final = IntT(u64)
_OVERLAPPING: Final = 64  # bytes that a copy holds in registers and on the stack
_FARTHEST: Final = 1 << 59  # elements of a span: nothing is known of its length


def _native_only(c: Checker, node: ast.Call, word: str) -> None:
    if not c.program.native:
        hint = "programs reach memory by look-ups, .parse(...), helpers and bpf.var(...)"
        c.wrong(node, f"bpf.{word} is for native code", hint)


def _at(c: Checker, node: ast.Call) -> tree.Expr:
    _native_only(c, node, "at")
    address, kind_node = bind(c, node, ["address", "kind"])
    kind = _kind(c, kind_node, "at")
    return tree.At(c.at(node), RefT(kind, "raw"), _address(c, address))


def _span(c: Checker, node: ast.Call) -> tree.Expr:
    _native_only(c, node, "span")
    address, kind_node, count = bind(c, node, ["address", "kind", "count"])
    kind = _kind(c, kind_node, "span")
    if is_struct_class(kind):
        c.wrong(kind_node or node, "span wants an integer type", f"use bpf.at(address + i * {size_of(kind)}, "
                f"{name_of(kind)})")  # fmt: skip
    assert count is not None
    number = integer(c, count)
    whole = number.value if isinstance(number, tree.Const) else _FARTHEST
    if not isinstance(number, tree.Const):
        c.coerce(number, U64, count, "count")
    return tree.At(c.at(node), RefT(ArrayType(kind, whole), "raw"), _address(c, address))


def _kind(c: Checker, node: ast.expr | None, word: str) -> Any:
    assert node is not None
    kind = expression(c, node)
    value = kind.value if isinstance(kind, tree.Object) else None
    if is_struct_class(value) or (isinstance(value, type) and issubclass(value, Scalar) and value.BITS):
        return value
    c.wrong(node, f"{word} wants a type, a Struct class or u8 to s64", f"{word}(address, u32)")


def _address(c: Checker, node: ast.expr | None) -> tree.Expr:
    assert node is not None
    return c.coerce(expression(c, node), U64, node, "an address")


def _address_of(c: Checker, node: ast.Call) -> tree.Expr:
    _native_only(c, node, "address")
    (place,) = bind(c, node, ["place"])
    assert place is not None
    value = expression(c, place)
    if not isinstance(value.type, RefT):
        c.wrong(place, f"{value.type} has no address", f"bpf.local({c.text(place)}) has one")
    if value.type.nullable:
        c.maybe_none(place, value.type)
    return tree.AddressOf(c.at(node), U64, value)


# ------------------------------------------------------------------------------------------------ bytes


def _bytes_word(operation: str, names: list[str], result: Any) -> Callable[[Checker, ast.Call], tree.Expr]:
    def word(c: Checker, node: ast.Call) -> tree.Expr:
        *places, size_node = bind(c, node, [*names, "size"])
        assert size_node is not None
        given = integer(c, size_node)
        size = tree.Const(given.at, U64, given.value) if isinstance(given, tree.Const) else given
        if not isinstance(size, tree.Const):
            size = c.coerce(size, U64, size_node, "the size")
            if not c.program.native:
                c.wrong(size_node, f"{operation} wants a constant size", "in BPF, copy what varies with a loop")
        elif size.value < 0:
            c.wrong(size_node, f"a size of {size.value}", "a size is above 0")
        args: list[tree.Expr] = []
        alignments: list[int] = []
        for name, place in zip(names, places, strict=True):
            assert place is not None
            if name == "byte":
                args.append(c.coerce(expression(c, place), IntT(u8), place, "byte"))
                continue
            value = _place(c, place, operation, name, size)
            args.append(value)
            alignments.append(_alignment(value))
        if operation == "copy" and not c.program.native and isinstance(size, tree.Const):
            spaces = {arg.type.space for arg in args if isinstance(arg.type, RefT)}
            if size.value > _OVERLAPPING and (len(spaces) == 1 or "mem" in spaces):
                c.wrong(node, f"copies of more than {_OVERLAPPING} bytes between places that may overlap",
                        "copy in pieces")  # fmt: skip
        return tree.BytesCall(c.at(node), result, operation, args, size, alignments)

    return word


def _place(c: Checker, node: ast.expr, operation: str, name: str, size: tree.Expr) -> tree.Expr:
    value = expression(c, node)
    kind = value.type
    if kind == U64 and c.program.native:
        return value
    if not isinstance(kind, RefT) or hasattr(kind.target, "MAP_TYPE"):
        c.wrong(node, f"{operation} works on memory, this is {kind}", "a struct, an array or a reference is")
    if kind.nullable:
        c.maybe_none(node, kind)
    if name == "target":
        if kind.space == "config":
            c.wrong(node, "a setting of bpf.config(...) is constant for the program", "use bpf.var(...)")
        if kind.space in ("kernel", "btf"):
            c.wrong(node, "kernel memory cannot be written", "copy what you need into a struct of your own")
    if kind.space in ("ctx", "kernel", "btf"):
        c.wrong(node, f"{operation} does not work on {'a context' if kind.space == 'ctx' else 'kernel memory'}",
                "read its members one by one")  # fmt: skip
    if isinstance(size, tree.Const) and size.value > size_of(kind.target):
        c.wrong(node, f"{operation} of {size.value} bytes of {size_of(kind.target)}", f"at most {size_of(kind.target)}")
    return value


def _alignment(value: tree.Expr) -> int:
    kind = value.type
    if not isinstance(kind, RefT):
        return 1
    if kind.is_struct and kind.target.LAYOUT.packed:
        return 1
    place = value
    while isinstance(place, tree.Inside):  # a member of a packed struct may lie anywhere
        place = place.place.base
        if isinstance(place.type, RefT) and place.type.is_struct and place.type.target.LAYOUT.packed:
            return 1
    return align_of(kind.target)


# ------------------------------------------------------------------------------------------------ order


def _reference(c: Checker, node: ast.expr) -> tuple[tree.Spot, IntT]:
    value = expression(c, node)
    kind = value.type
    if not isinstance(kind, RefT) or kind.is_struct or kind.is_array:
        c.wrong(node, f"a reference to an integer is wanted, not {kind}", 'take one: bpf.ref(stats, "packets", u64)')
    if kind.nullable:
        c.maybe_none(node, kind)
    if not (isinstance(kind.target, type) and issubclass(kind.target, Int)):
        c.wrong(node, f"{name_of(kind.target)} has no such access", "u8 to u64 and s8 to s64 have")
    if kind.space in ("ctx", "kernel", "btf"):
        c.wrong(node, f"no such access to {'a context' if kind.space == 'ctx' else 'kernel memory'}", "read it plainly")
    return tree.Spot(kind.target, value), IntT(kind.target)


def _load(order: str) -> Callable[[Checker, ast.Call], tree.Expr]:
    def word(c: Checker, node: ast.Call) -> tree.Expr:
        no_keywords(c, node, 1)
        place, kind = _reference(c, node.args[0])
        if order == "acquire":
            c.program.needs_cpu(c, node, "load_acquire", "v4")
        return tree.OrderedLoad(c.at(node), kind, place, order)

    return word


def _store(order: str) -> Callable[[Checker, ast.Call], tree.Expr]:
    def word(c: Checker, node: ast.Call) -> tree.Expr:
        no_keywords(c, node, 2)
        place, kind = _reference(c, node.args[0])
        if isinstance(place.base.type, RefT) and place.base.type.space == "config":
            c.wrong(node.args[0], "a setting of bpf.config(...) is constant for the program", "use bpf.var(...)")
        if order == "release":
            c.program.needs_cpu(c, node, "store_release", "v4")
        value = c.coerce(expression(c, node.args[1]), kind, node.args[1], "this value")
        return tree.OrderedStore(c.at(node), NONE, place, value, order)

    return word


def _unroll(c: Checker, node: ast.Call) -> tree.Expr:
    no_keywords(c, node, 1)
    call = node.args[0]
    hint = "for i in bpf.unroll(range(4)):"
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"):
        c.wrong(call, "unroll wants a range in place", hint)
    no_keywords(c, call, 1, 2, 3)
    bounds = [expression(c, arg) for arg in call.args]
    numbers: list[int] = []
    for bound, arg in zip(bounds, call.args, strict=True):
        if not isinstance(bound, tree.Const) or not isinstance(bound.type, (IntT, LitT)):
            c.wrong(arg, "unroll wants constant bounds", "without unroll, a range may have others")
        numbers.append(bound.value)
    if len(numbers) == 3 and not numbers[2]:
        c.wrong(call.args[2], "the step of a range is a constant other than 0", "range(a, b, 1)")
    values = range(*numbers)
    if len(values) > 1024:
        c.wrong(node, f"{len(values)} copies of the body are too many", "1024 are the most; use range without unroll")
    return c.constant(node, tuple(values))


WORDS: Final[dict[Any, Callable[[Checker, ast.Call], tree.Expr]]] = {
    raw.at: _at,
    raw.span: _span,
    raw.address: _address_of,
    raw.copy: _bytes_word("copy", ["target", "source"], NONE),
    raw.fill: _bytes_word("fill", ["target", "byte"], NONE),
    raw.equal: _bytes_word("equal", ["left", "right"], BOOL),
    raw.compare: _bytes_word("compare", ["left", "right"], S64),
    raw.load_acquire: _load("acquire"),
    raw.store_release: _store("release"),
    raw.read_once: _load("volatile"),
    raw.write_once: _store("volatile"),
    raw.unroll: _unroll,
}
