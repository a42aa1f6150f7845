"""Integer expressions of assembly text: C operators, `.set` symbols, labels, `.`, `1b`/`1f`.

A value is `constant + plus - minus`, where plus and minus are names of labels or "".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from bombus.asm.tokens import Statement

_LIMIT = 1 << 128
_MAX_DEPTH = 60

_ESCAPES = {"n": 10, "t": 9, "r": 13, "b": 8, "f": 12, "0": 0, "\\": 92, "'": 39, '"': 34}

# Binary operators by how tightly they bind, loosest first (as GNU and LLVM assemblers bind them for ELF).
_LEVELS: tuple[tuple[str, ...], ...] = (("|", "^", "&"), ("+", "-"), ("*", "/", "%", "<<", ">>"))


class Value(NamedTuple):
    constant: int
    plus: str = ""
    minus: str = ""

    @property
    def is_number(self) -> bool:
        return not self.plus and not self.minus


class Scope(NamedTuple):
    """Where names get their meaning: `.set` numbers, and labels for `.` and numeric label references."""

    numbers: Mapping[str, Value]
    here: Callable[[], str]
    numeric: Callable[[str], str]


def expression(s: Statement, scope: Scope) -> Value:
    """Parse one expression at the statement's position. AsmError when there is none."""
    return _binary(s, scope, 0, 0)


def _binary(s: Statement, scope: Scope, level: int, depth: int) -> Value:
    if level == len(_LEVELS):
        return _unary(s, scope, depth)
    left = _binary(s, scope, level + 1, depth)
    while s.peek().kind == "op" and s.peek().text in _LEVELS[level]:
        operator = s.next()
        right = _binary(s, scope, level + 1, depth)
        combined = _combine(operator.text, left, right)
        if isinstance(combined, str):
            s.fail(combined, operator)
        left = combined
    return left


def _combine(operator: str, left: Value, right: Value) -> Value | str:
    """The result, or what is wrong."""
    if operator == "+":
        if (left.plus and right.plus) or (left.minus and right.minus):
            return "two labels cannot be added"
        return Value(left.constant + right.constant, left.plus or right.plus, left.minus or right.minus)
    if operator == "-":
        if (left.plus and right.minus) or (left.minus and right.plus):
            return "two labels cannot be added"
        if left.plus and left.plus == right.plus:
            return Value(left.constant - right.constant)
        return Value(left.constant - right.constant, left.plus or right.minus, left.minus or right.plus)
    if not left.is_number or not right.is_number:
        return f"{operator!r} needs numbers, not labels"
    a, b = left.constant, right.constant
    if operator in ("<<", ">>") and not 0 <= b < 64:
        return f"shift by {b}"
    if operator in "/%" and b == 0:
        return "division by zero"
    match operator:
        case "*":
            result = a * b
        case "/":
            result = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        case "%":
            result = abs(a) % abs(b) * (-1 if a < 0 else 1)
        case "<<":
            result = a << b
        case ">>":
            result = a >> b
        case "&":
            result = a & b
        case "|":
            result = a | b
        case _:
            result = a ^ b
    return Value(result) if -_LIMIT < result < _LIMIT else "the number is too large"


def _unary(s: Statement, scope: Scope, depth: int) -> Value:
    if depth > _MAX_DEPTH:
        s.fail("the expression is nested too deeply")
    token = s.peek()
    if token.kind == "op" and token.text in ("-", "+", "~"):
        s.next()
        value = _unary(s, scope, depth + 1)
        if token.text == "+":
            return value
        if not value.is_number:
            if token.text == "~":
                s.fail("'~' needs a number, not a label", token)
            return Value(-value.constant, value.minus, value.plus)
        return Value(-value.constant if token.text == "-" else ~value.constant)
    if s.accept("("):
        value = _binary(s, scope, 0, depth + 1)
        s.expect(")")
        return value
    if token.kind == "number":
        s.next()
        if token.text[-1] in "bf" and token.text[:2].lower() != "0x" and token.text[:-1].isdigit():
            return Value(0, scope.numeric(token.text))
        return Value(_number(s, token.text))
    if token.kind == "char":
        s.next()
        return Value(_character(token.text))
    if token.kind in ("name", "string"):
        s.next()
        name = token.text.strip('"')
        if name == ".":
            return Value(0, scope.here())
        if name in scope.numbers:
            return scope.numbers[name]
        return Value(0, name)
    raise s.error(f"expected a number or a name, found {s.shown()}")


def _number(s: Statement, text: str) -> int:
    if len(text) > 40:
        s.fail("the number is too large", s.peek(-1))
    prefix = text[:2].lower()
    if prefix == "0x":
        return int(text, 16)
    if prefix == "0b":
        return int(text, 2)
    if text[0] == "0" and len(text) > 1:
        if not set(text) <= set("01234567"):
            s.fail(f"{text!r} is no octal number", s.peek(-1))
        return int(text, 8)
    return int(text)


def _character(text: str) -> int:
    body = text[1:].removesuffix("'") if len(text) > 2 else text[1:]
    if body.startswith("\\") and len(body) > 1:
        return _ESCAPES.get(body[1], ord(body[1]))
    return ord(body)
