"""Assembly text to statements: tokens with columns, comments removed, `;` separating where it does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from bombus.errors import AsmError


class Token(NamedTuple):
    """`kind`: name, number, string, char, op, opcode (a log's `(bf)`, with the index before it left out) or end."""

    kind: str
    text: str
    column: int  # from 1


# Operators that begin with the letter s come before names: `r1 s>>= 3`.
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<space>\Z)
      | (?P<rest>//)
      | (?P<block>/\*)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<char>'(?:[^'\\]|\\.)'?)
      | (?P<number>0[xX][0-9a-fA-F]+|0[bB][01]+|[0-9]+[bf]?(?![\w.$]))
      | (?P<badnumber>[0-9][\w.$]*)
      | (?P<op>s(?:>>=|>=|<=|/=|%=|>|<)|>>=|<<=|<<|>>|[-+*/%&|^=!<>]=|[-+*/%&|^~!=<>()\[\]{},:;@\#?\\])
      | (?P<name>[A-Za-z_.$][\w.$]*)
      | (?P<bad>.)
    )""",
    re.VERBOSE,
)
_KERNEL_PREFIX = re.compile(r"\s*(?:\d+:\s*)?\(([0-9a-f]{2})\)\s")


class Statement:
    """One statement's tokens, read from left to right. `line` from 1, `source` the whole line's text."""

    __slots__ = ("at", "line", "source", "tokens")

    def __init__(self, tokens: list[Token], line: int, source: str) -> None:
        last = tokens[-1]
        tokens.append(Token("end", "", last.column + len(last.text)))
        self.tokens = tokens
        self.line = line
        self.source = source
        self.at = 0

    def peek(self, ahead: int = 0) -> Token:
        position = self.at + ahead
        tokens = self.tokens
        return tokens[position] if position < len(tokens) else tokens[-1]

    def next(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def is_op(self, text: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.kind == "op" and token.text == text

    def accept(self, text: str) -> bool:
        """Step over an operator if it is next."""
        if self.is_op(text):
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            self.fail(f"expected {text!r}, found {self.shown()}")

    def accept_name(self, text: str) -> bool:
        token = self.peek()
        if token.kind == "name" and token.text == text:
            self.at += 1
            return True
        return False

    def shown(self) -> str:
        token = self.peek()
        return "the end of the statement" if token.kind == "end" else repr(token.text)

    def done(self) -> None:
        """AsmError when anything follows."""
        if self.peek().kind != "end":
            self.fail(f"unexpected {self.shown()} after the statement")

    def error(self, message: str, token: Token | None = None) -> AsmError:
        """An error at `token`, or at the next one."""
        token = token or self.peek()
        return AsmError(message, line=self.line, column=token.column, text=self.source)

    def fail(self, message: str, token: Token | None = None) -> NoReturn:
        raise self.error(message, token)


def statements(text: str, semicolon_comments: bool) -> Iterator[Statement]:
    """All statements of `text`, empty ones left out. Block comments may span lines.

    `;` separates statements, except that it begins a comment where a line starts with it, after a kernel log's
    `(xx)` opcode, and everywhere when `semicolon_comments`. `#` begins a comment unless it clings to a call's
    name: `call bpf_map_lookup_elem#1`.
    """
    in_block = 0  # the line where an open block comment began
    for number, source in enumerate(text.split("\n"), 1):
        position = 0
        if in_block:
            close = source.find("*/")
            if close < 0:
                continue
            position, in_block = close + 2, 0
        stripped = source.lstrip()
        if not stripped or (stripped[0] in ";#" and not position):
            continue
        comments = semicolon_comments
        tokens: list[Token] = []
        prefix = _KERNEL_PREFIX.match(source, position)
        if prefix is not None:
            comments = True
            tokens.append(Token("opcode", prefix[1], prefix.start(1) + 1))
            position = prefix.end()
        while position < len(source):
            match = _TOKEN.match(source, position)
            assert match is not None and match.lastgroup is not None  # `bad` takes any character
            kind = match.lastgroup
            value, column, position = match[kind], match.start(kind) + 1, match.end()
            if kind in ("space", "rest"):
                break
            if kind == "block":
                close = source.find("*/", position)
                if close < 0:
                    in_block = number
                    break
                position = close + 2
                continue
            if value == "#" and not _is_call_number(tokens, column):
                break
            if value == ";":
                if comments:
                    break
                if tokens:
                    yield Statement(tokens, number, source)
                tokens = []
                continue
            if kind.startswith("bad"):
                what = "number" if kind == "badnumber" else "character"
                raise AsmError(f"{value!r} is no {what}", line=number, column=column, text=source)
            tokens.append(Token(kind, value, column))
        if tokens:
            yield Statement(tokens, number, source)
    if in_block:
        raise AsmError("this comment has no end", line=in_block, column=1)


def _is_call_number(tokens: list[Token], column: int) -> bool:
    if not tokens or tokens[-1].column + len(tokens[-1].text) != column:
        return False
    return any(token.text == "call" for token in tokens[:7])
