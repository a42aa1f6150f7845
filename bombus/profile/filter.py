"""Sample filters in the grammar of `perf record --filter` for BPF.

    filter     = group { "," group }            every group must hold
    group      = condition { "||" condition }   one condition must hold
    condition  = TERM OPERATOR VALUE
    OPERATOR   = "==" | "!=" | ">" | ">=" | "<" | "<=" | "&"    ("&": one of these bits is set)
    VALUE      = decimal or 0x number, a name that the term has (`load` for mem_op), for cgroup also a path

All numbers are unsigned, of 64 bits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bombus.errors import UsageError
from bombus.spec.samples import SNOOP_BITS, SNOOPX_BITS, SNOOPX_SHIFT, TERM, TERMS, Term

_U64 = (1 << 64) - 1
_OPERATORS = ("==", "!=", ">=", "<=", ">", "<", "&")
_TOKEN = re.compile(r"\s*(?:(\|\||==|!=|>=|<=|[<>&,|=!])|(/[^\s,|]*)|([A-Za-z0-9_]+)|(\S))")
_CGROUPS = "/sys/fs/cgroup"
_MOST = 256  # conditions


class FilterError(UsageError):
    """An expression that is none. `column` counts from 1."""

    def __init__(self, message: str, text: str, column: int) -> None:
        self.message = message
        self.text = text
        self.column = column
        super().__init__(f"filter: {message}\n  {text}\n  {' ' * (column - 1)}^")


@dataclass(frozen=True, slots=True)
class Condition:
    term: Term
    operator: str
    value: int

    def __str__(self) -> str:
        return f"{self.term.name} {self.operator} {self.value}"

    def holds(self, number: int) -> bool:
        """What the condition says of a term's value."""
        value = self.value
        match self.operator:
            case "==":
                return number == value
            case "!=":
                return number != value
            case ">":
                return number > value
            case ">=":
                return number >= value
            case "<":
                return number < value
            case "<=":
                return number <= value
        return bool(number & value)


@dataclass(frozen=True, slots=True)
class Filter:
    """groups: all must hold; of each group one condition."""

    text: str
    groups: tuple[tuple[Condition, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Filter:
        """FilterError with the place of the first mistake."""
        return _Parser(text).filter()

    @property
    def sample_type(self) -> int:
        """Bits of perf_event_attr.sample_type that the terms need."""
        bits = 0
        for group in self.groups:
            for condition in group:
                bits |= condition.term.sample
        return bits

    def terms(self) -> list[Term]:
        """Each term once, in order."""
        return list({c.term.name: c.term for group in self.groups for c in group}.values())

    def holds(self, sample: Mapping[str, int]) -> bool:
        """What the filter says of a sample: values by the names of terms."""
        return all(any(c.holds(sample[c.term.name]) for c in group) for group in self.groups)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []  # kind, text, column
        at = 0
        while match := _TOKEN.match(text, at):
            kind = ("sign", "path", "word", "bad")[match.lastindex - 1] if match.lastindex else "bad"
            start = match.start(match.lastindex or 0)
            self.tokens.append((kind, match[match.lastindex or 0], start + 1))
            at = match.end()
        self.tokens.append(("end", "", len(text.rstrip()) + 1))
        self.at = 0
        self.count = 0

    def fail(self, message: str, column: int | None = None) -> FilterError:
        return FilterError(message, self.text, column if column is not None else self.tokens[self.at][2])

    def take(self, what: str) -> bool:
        if self.tokens[self.at][:2] == ("sign", what):
            self.at += 1
            return True
        return False

    def filter(self) -> Filter:
        groups = [self.group()]
        while self.take(","):
            groups.append(self.group())
        kind, text, _ = self.tokens[self.at]
        if kind != "end":
            raise self.fail(f"{text!r} after a condition; write , (and) or || (or) between conditions")
        return Filter(self.text, tuple(groups))

    def group(self) -> tuple[Condition, ...]:
        found = [self.condition()]
        while self.take("||"):
            found.append(self.condition())
        return tuple(found)

    def condition(self) -> Condition:
        kind, name, _ = self.tokens[self.at]
        self.count += 1
        if self.count > _MOST:
            raise self.fail(f"more than {_MOST} conditions")
        if kind != "word":
            raise self.fail("a term is missing" if kind == "end" else f"{name!r} where a term should be")
        if name not in TERM:
            raise self.fail(f"no term {name!r}; there are {', '.join(term.name for term in TERMS)}")
        term = TERM[name]
        self.at += 1
        kind, operator, _ = self.tokens[self.at]
        if operator not in _OPERATORS or kind != "sign":
            raise self.fail(f"an operator is missing after {name}; it is one of {' '.join(_OPERATORS)}")
        self.at += 1
        value = self.value(term)
        self.at += 1
        return Condition(term, operator, value)

    def value(self, term: Term) -> int:
        kind, text, _ = self.tokens[self.at]
        if kind == "path" and term.name == "cgroup":
            return self.cgroup(text)
        if kind != "word":
            raise self.fail(f"a value for {term.name} is missing" if kind == "end" else f"{text!r} is no value")
        if text in term.values:
            return term.values[text]
        if not re.fullmatch(r"[0-9]+|0[xX][0-9a-fA-F]+", text):
            names = f"{', '.join(term.values)} or a number" if term.values else "a number, decimal or 0x..."
            raise self.fail(f"{text!r} is no value of {term.name}; it takes {names}")
        number = int(text, 16 if text[:2] in ("0x", "0X") else 10)
        if number > _U64:
            raise self.fail(f"{text} does not fit 64 bits")
        return number

    def cgroup(self, path: str) -> int:
        """The id of a cgroup, by its path in the hierarchy or in the file system."""
        places = [path] if path.startswith(_CGROUPS) else [f"{_CGROUPS}{path}", f"{_CGROUPS}/unified{path}", path]
        for place in places:
            try:
                if os.path.isdir(place):
                    return os.stat(place).st_ino
            except OSError:
                continue
        raise self.fail(f"no cgroup {path!r}")


def snoop_text(register: str, spare: str) -> list[str]:
    """Assembly: mem_snoop with mem_snoopx above it, out of a whole data_src in `register`."""
    return [
        f"{spare} = {register}",
        f"{register} >>= {TERM['mem_snoop'].shift}",
        f"{register} &= {(1 << SNOOP_BITS) - 1}",
        f"{spare} >>= {SNOOPX_SHIFT}",
        f"{spare} &= {(1 << SNOOPX_BITS) - 1}",
        f"{spare} <<= {SNOOP_BITS}",
        f"{register} |= {spare}",
    ]
