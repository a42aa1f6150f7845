
"""Operators on checked values: which types go together, and what plain ints stay within."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final

from bombus.bpf.ints import quotient, remainder
from bombus.compiler import suggest, tree
from bombus.compiler.check import Checker
from bombus.compiler.types import BOOL, NONE, S64, IntT, LitT, ObjectT, RefT

_OPERATIONS: Final[dict[type[ast.operator], str]] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "div", ast.Mod: "mod", ast.BitAnd: "and",
    ast.BitOr: "or", ast.BitXor: "xor", ast.LShift: "shl", ast.RShift: "shr",
}  # fmt: skip
SIGNS: Final[dict[str, str]] = {
    "add": "+", "sub": "-", "mul": "*", "div": "//", "mod": "%", "and": "&", "or": "|", "xor": "^", "shl": "<<",
    "shr": ">>",
}  # fmt: skip
_ON_NUMBERS: Final[dict[str, Callable[[int, int], int]]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "and": lambda a, b: a & b,
    "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b, "shl": lambda a, b: a << b, "shr": lambda a, b: a >> b,
    "div": quotient, "mod": remainder,
}  # fmt: skip


_ON_TRUTH: Final = {"and": "write `and`", "or": "write `or`", "xor": "write !="}


def operate(
    c: Checker, node: ast.AST, left: tree.Expr, operator: ast.operator, right: tree.Expr, left_node: ast.AST,
    right_node: ast.AST,
) -> tree.Expr:  # fmt: skip
    """left operator right."""
    operation = _OPERATIONS.get(type(operator))
    if operation is None:
        hints: dict[type[ast.operator], str] = {
            ast.Div: "write // for the quotient", ast.Pow: "multiply or shift", ast.MatMult: "write a loop",
        }  # fmt: skip
        shown = {ast.Div: "/", ast.Pow: "**", ast.MatMult: "@"}[type(operator)]
        c.wrong(node, f"{shown} is not part of the language", hints[type(operator)])
    a, b = left.type, right.type
    for kind, part in ((a, left_node), (b, right_node)):
        if not isinstance(kind, (IntT, LitT)):
            hint = "take a number: a member, an element, or u32(...)"
            if isinstance(kind, RefT) and not kind.is_struct and not kind.is_array:
                hint = f"use {c.text(part)}.value"
            elif isinstance(kind, ObjectT):
                hint = suggest.for_text(kind.value)
            if kind == BOOL:
                hint = f"convert it: u32({c.text(part)})"
                if a == b:
                    hint = _ON_TRUTH.get(operation, hint)
            c.wrong(part, f"{SIGNS[operation]} calculates with numbers, not with {kind}", hint)
    at = c.at(node)
    if isinstance(a, LitT) and isinstance(b, LitT):
        return _on_literals(c, node, operation, left, right)
    if operation in ("shl", "shr"):
        return _shift(c, node, operation, left, right, right_node)
    if isinstance(a, LitT):
        left = c.coerce(left, b, left_node, "the left side")
    elif isinstance(b, LitT):
        right = c.coerce(right, a, right_node, "the right side")
    elif a != b:
        wider = a if a.bits >= b.bits else b  # type: ignore[union-attr]
        narrow = right_node if wider == a else left_node
        c.wrong(
            node, f"{a} and {b} do not mix", f"convert one: {wider}({c.text(narrow)})"
        )  # fmt: skip
    kind = left.type
    assert isinstance(kind, IntT)
    if kind.kind.NETWORK and operation not in ("and", "or", "xor"):
        plain = f"u{kind.bits}"
        c.wrong(node, f"{kind} does not calculate", f"convert it: {plain}({c.text(left_node)})")
    return tree.Binary(at, kind, operation, left, right)


def _on_literals(c: Checker, node: ast.AST, operation: str, left: tree.Expr, right: tree.Expr) -> tree.Expr:
    a, b = left.type, right.type
    assert isinstance(a, LitT) and isinstance(b, LitT)
    at = c.at(node)
    if isinstance(left, tree.Const) and isinstance(right, tree.Const):
        if operation in ("div", "mod") and right.value == 0:
            c.wrong(node, "division by zero", "divide by another number")
        if operation in ("div", "mod") and (left.value < 0 or right.value < 0):
            c.wrong(node, "Python and C divide negative ints differently", "say how wide they are: s64(...)")
        if operation in ("shl", "shr") and not 0 <= right.value < 64:
            c.wrong(node, f"a shift by {right.value} bits", "0 to 63 are possible")
        value = _ON_NUMBERS[operation](left.value, right.value)
        return tree.Const(at, LitT(value, value), value)
    if operation in ("div", "mod") and (a.low < 0 or b.low <= 0):
        c.wrong(node, "Python and C divide negative ints differently", "say how wide they are: s64(...)")
    if operation in ("shl", "shr") and not (b.low >= 0 and b.high < 64):
        c.wrong(node, f"a shift by {b.low} to {b.high} bits", "0 to 63 are possible")
    low, high = _interval(operation, a, b)
    if low < S64.kind.MIN or high > S64.kind.MAX:
        c.wrong(node, f"this int may reach {high if high > S64.kind.MAX else low}", "say how wide it is: u64(...)")
    sides = [tree.Cast(at, S64, side) if not isinstance(side, tree.Const) else tree.Const(at, S64, side.value)
             for side in (left, right)]  # fmt: skip
    whole = tree.Binary(at, S64, operation, sides[0], sides[1])
    return tree.Cast(at, LitT(low, high), whole)


def _interval(operation: str, a: LitT, b: LitT) -> tuple[int, int]:
    if operation in ("and", "or", "xor"):
        if a.low < 0 or b.low < 0:
            return S64.kind.MIN, S64.kind.MAX
        if operation == "and":
            return 0, min(a.high, b.high)
        return 0, (1 << max(a.high.bit_length(), b.high.bit_length())) - 1
    if operation == "mod":
        return 0, min(a.high, b.high - 1)
    corners = [_ON_NUMBERS[operation](x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return min(corners), max(corners)


def _shift(
    c: Checker, node: ast.AST, operation: str, left: tree.Expr, right: tree.Expr, right_node: ast.AST
) -> tree.Expr:
    kind = left.type
    if isinstance(kind, LitT):
        c.wrong(node, "a plain int shifted by a variable amount", "say how wide it is: u64(...) << ...")
    assert isinstance(kind, IntT)
    if kind.kind.NETWORK or (isinstance(right.type, IntT) and right.type.kind.NETWORK):
        c.wrong(node, f"{kind} is not shifted", f"convert it: u{kind.bits}(...)")
    if isinstance(right.type, LitT) and not (right.type.low >= 0 and right.type.high < kind.bits):
        shown = right.type.low if right.type.low == right.type.high else f"{right.type.low} to {right.type.high}"
        c.wrong(right_node, f"{kind} is shifted by 0 to {kind.bits - 1} bits, not {shown}",
                "convert it first: u64(...)")  # fmt: skip
    amount = right if right.type == kind else tree.Cast(right.at, kind, right)
    if isinstance(right, tree.Const):
        amount = tree.Const(right.at, kind, right.value & (kind.bits - 1))
    elif isinstance(right.type, IntT):
        # only the low bits of the amount count, so narrowing it loses nothing
        amount = tree.Binary(right.at, kind, "and", amount, tree.Const(right.at, kind, kind.bits - 1))
    return tree.Binary(c.at(node), kind, operation, left, amount)


def compare(
    c: Checker, node: ast.AST, relation: str, left: tree.Expr, right: tree.Expr, left_node: ast.expr,
    right_node: ast.expr,
) -> tree.Expr:  # fmt: skip
    a, b = left.type, right.type
    at = c.at(node)
    if NONE in (a, b):
        c.wrong(node, "None is not compared with ==", f"write {c.text(left_node)} is None")
    for kind, part in ((a, left_node), (b, right_node)):
        if isinstance(kind, RefT) and not kind.is_struct and not kind.is_array:
            c.wrong(part, f"{c.text(part)} is a reference", f"compare what it refers to: {c.text(part)}.value")
        if not isinstance(kind, (IntT, LitT)) and kind != BOOL:
            hint = suggest.for_comparison(kind, c.text(left_node), c.text(right_node))
            c.wrong(part, f"{kind} is not compared", hint)
    if isinstance(left, tree.Const) and isinstance(right, tree.Const) and isinstance(a, LitT) and isinstance(b, LitT):
        result = {"eq": left.value == right.value, "ne": left.value != right.value, "lt": left.value < right.value,
                  "le": left.value <= right.value, "gt": left.value > right.value, "ge": left.value >= right.value}
        return tree.Const(at, BOOL, int(result[relation]))
    if isinstance(a, LitT) and isinstance(b, LitT):
        left, right = (tree.Cast(x.at, S64, x) for x in (left, right))
    elif isinstance(a, LitT) and isinstance(b, IntT):
        left = c.coerce(left, b, left_node, "the left side")
    elif isinstance(b, LitT) and isinstance(a, IntT):
        right = c.coerce(right, a, right_node, "the right side")
    elif a != b:
        if isinstance(a, IntT) and isinstance(b, IntT):
            wider = a if a.bits >= b.bits else b
            narrow = right_node if wider == a else left_node
            c.wrong(node, f"{a} and {b} are not compared", f"convert one: {wider}({c.text(narrow)})")
        c.wrong(node, f"{a} and {b} are not compared", "a truth value is compared with True and False only")
    kind = left.type
    if relation not in ("eq", "ne"):
        if kind == BOOL:
            c.wrong(node, "truth values have no order", "use == or `and`, `or`")
        if isinstance(kind, IntT) and kind.kind.NETWORK:
            c.wrong(node, f"{kind} has no order", f"convert it: u{kind.bits}({c.text(left_node)})")
    return tree.Compare(at, BOOL, relation, left, right)
