"""What the two instruction syntaxes hand to the assembler, and the range checks that they share."""

from __future__ import annotations

from typing import Literal, NamedTuple

from bombus.asm.expression import Scope, Value, expression
from bombus.asm.tokens import Statement, Token
from bombus.bits import s32
from bombus.isa.insn import Insn


class Ref(NamedTuple):
    """A label or symbol that one instruction waits for. `column` is where the text names it.

    jump: 16-bit distance in off. jump32: 32-bit distance in imm. call: a subprogram. imm64: an address.
    """

    kind: Literal["jump", "jump32", "call", "imm64"]
    target: Value
    column: int


class Code(NamedTuple):
    """One instruction: its one or two slots, and what its first slot waits for."""

    insns: list[Insn]
    ref: Ref | None = None


def register(s: Statement, what: str = "a register") -> tuple[int, int, Token]:
    """Number, width (64 for r, 32 for w) and token of the register that is next; a `%` before it is allowed."""
    percent = s.accept("%")
    token = s.peek()
    if percent and token.text == "fp":  # gas's name of r10
        s.next()
        return 10, 64, token
    found = as_register(token)
    if found is None:
        s.fail(f"expected {what}, found {s.shown()}")
    s.next()
    number, bits = found
    if number > 10:
        s.fail(f"there is no register {token.text}; they are {token.text[0]}0 to {token.text[0]}10", token)
    return number, bits, token


def as_register(token: Token) -> tuple[int, int] | None:
    """Number and width if the token is spelled as a register (whether that register exists or not)."""
    text = token.text
    if token.kind == "name" and text.isascii() and 2 <= len(text) <= 4 and text[0] in "rwRW" and text[1:].isdecimal():
        return int(text[1:]), 64 if text[0] in "rR" else 32
    return None


def number(s: Statement, scope: Scope, low: int, high: int, what: str) -> int:
    """A constant expression between low and high; AsmError naming `what` and the limits."""
    token = s.peek()
    value = expression(s, scope)
    if not value.is_number:
        s.fail(f"{what} must be a number, not the label {value.plus or value.minus!r}", token)
    if not low <= value.constant <= high:
        s.fail(f"{what} {value.constant} is out of range, {low} to {high}", token)
    return value.constant


def imm32(s: Statement, scope: Scope, what: str = "the immediate") -> int:
    """A 32-bit immediate, written signed or unsigned."""
    return s32(number(s, scope, -0x8000_0000, 0xFFFF_FFFF, what))


def off16(s: Statement, scope: Scope) -> int:
    return number(s, scope, -0x8000, 0x7FFF, "the offset")


def small(s: Statement, scope: Scope, high: int, what: str) -> int:
    return number(s, scope, 0, high, what)
