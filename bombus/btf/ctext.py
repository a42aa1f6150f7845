"""Types written down as C, for data whose BTF nobody kept: `struct event { u64 ts; pid_t pid; char comm[16]; }`.

Taken are structs and unions (nested, anonymous, `__attribute__((packed))`), arrays, pointers, bit-fields and the usual
names of numbers; laid out as a 64-bit little-endian C compiler does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bombus.bits import align_up
from bombus.btf.build import Builder
from bombus.btf.parse import Btf
from bombus.btf.types import INT_BOOL, INT_SIGNED, Array, Float, Int, Member, Ptr, Struct, Union
from bombus.errors import UsageError

_TOKEN = re.compile(r"\s+|//[^\n]*|/\*.*?\*/|([A-Za-z_]\w*|0[xX][0-9a-fA-F]+|\d+|.)", re.S)
_WORDS = frozenset(
    {"unsigned", "signed", "char", "short", "int", "long", "float", "double", "_Bool", "bool", "__int128"}
)
_IGNORED = frozenset({"const", "volatile"})
# name -> bytes, signed
_NAMES: dict[str, tuple[int, bool]] = {
    f"{prefix}{sign}{bits}{suffix}": (bits // 8, sign in ("s", "int"))
    for bits in (8, 16, 32, 64)
    for prefix, sign, suffix in (("", "u", ""), ("", "s", ""), ("__", "u", ""), ("__", "s", ""), ("", "uint", "_t"),
                                 ("", "int", "_t"))
} | {
    "__be16": (2, False), "__be32": (4, False), "__be64": (8, False), "__le16": (2, False), "__le32": (4, False),
    "__le64": (8, False), "pid_t": (4, True), "uid_t": (4, False), "gid_t": (4, False), "size_t": (8, False),
    "ssize_t": (8, True), "off_t": (8, True), "loff_t": (8, True), "dev_t": (4, False), "mode_t": (2, False),
    "umode_t": (2, False), "uintptr_t": (8, False), "uint": (4, False), "ulong": (8, False), "ino_t": (8, False),
    "sector_t": (8, False),
}  # fmt: skip
_MOST = 4096  # tokens
_DEPTH = 16


@dataclass(frozen=True, slots=True)
class _Kind:
    """A type: its id, size and alignment in bytes."""

    id: int
    size: int
    align: int
    integer: bool = False


def type_of(text: str) -> tuple[Btf, int]:
    """The BTF of one struct or union and its id. UsageError with the place of a mistake."""
    parser = _Parser(text)
    kind = parser.composite(0)
    parser.skip(";")
    if parser.peek():
        raise parser.fail("more after the type")
    return Btf.parse(parser.builder.to_bytes()), kind.id


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [(m[1], m.start(1)) for m in _TOKEN.finditer(text) if m[1]]
        self.tokens.append(("", len(text)))
        self.at = 0
        self.builder = Builder()
        self.known: dict[object, _Kind] = {}
        if len(self.tokens) > _MOST:
            raise UsageError(f"a type of more than {_MOST} words")

    def peek(self) -> str:
        return self.tokens[self.at][0]

    def next(self) -> str:
        token = self.peek()
        self.at += token != ""
        return token

    def skip(self, token: str) -> bool:
        if self.peek() == token:
            self.at += 1
            return True
        return False

    def fail(self, message: str) -> UsageError:
        place = self.tokens[self.at][1]
        line = self.text[:place].rpartition("\n")[2] + self.text[place:].partition("\n")[0]
        column = len(self.text[:place].rpartition("\n")[2])
        return UsageError(f"type: {message}\n  {line}\n  {' ' * column}^")

    def want(self, token: str) -> None:
        if not self.skip(token):
            raise self.fail(f"{token!r} is missing")

    def number(self) -> int:
        token = self.peek()
        if not token[:1].isdigit():
            raise self.fail("a number is missing")
        self.at += 1
        return int(token, 0) if token[:2] in ("0x", "0X") else int(token)

    def composite(self, depth: int) -> _Kind:
        """struct NAME { ... } or { ... }"""
        if depth > _DEPTH:
            raise self.fail(f"nested more than {_DEPTH} deep")
        union = self.peek() == "union"
        if self.peek() in ("struct", "union"):
            self.at += 1
        name = self.next() if self.peek() and self.peek() not in "{" else ""
        self.want("{")
        members: list[tuple[str, _Kind, int]] = []  # name, type, bits
        while not self.skip("}"):
            if not self.peek():
                raise self.fail("'}' is missing")
            members += self.declaration(depth)
        packed = False
        if self.skip("__attribute__"):
            for token in ("(", "(", "packed", ")", ")"):
                self.want(token)
            packed = True
        return self.laid_out(name, members, union=union, packed=packed)

    def declaration(self, depth: int) -> list[tuple[str, _Kind, int]]:
        base = self.base(depth)
        found: list[tuple[str, _Kind, int]] = []
        if self.skip(";"):
            return [("", base, 0)]  # an anonymous struct or union
        while True:
            kind = base
            while self.skip("*"):
                kind = self.made("*", lambda: _Kind(self.builder.add(Ptr(0)), 8, 8))
            name = self.next()
            if not name.isidentifier():
                self.at -= 1
                raise self.fail("a member's name is missing")
            counts: list[int] = []
            while self.skip("["):
                counts.append(0 if self.peek() == "]" and not counts else self.number())
                self.want("]")
            bits = 0
            if self.skip(":"):
                bits = self.number()
                if not kind.integer or counts or not 0 < bits <= kind.size * 8:
                    raise self.fail(f"no bit-field of {bits} bits")
            for count in reversed(counts):
                kind = self.array(kind, count)
            found.append((name, kind, bits))
            if self.skip(";"):
                return found
            self.want(",")

    def base(self, depth: int) -> _Kind:
        while self.peek() in _IGNORED:
            self.at += 1
        if self.peek() in ("struct", "union"):
            return self.composite(depth + 1)
        words: list[str] = []
        while self.peek() in _WORDS or self.peek() in _IGNORED:
            words.append(self.next())
        words = [word for word in words if word not in _IGNORED]
        if words:
            return self.named_by(words)
        name = self.peek()
        if name == "void" and self.tokens[self.at + 1][0] == "*":
            self.at += 1
            return _Kind(0, 0, 1)
        if name not in _NAMES:
            raise self.fail(f"no type {name!r} is known here")
        self.at += 1
        size, signed = _NAMES[name]
        return self.integer(name, size, signed=signed)

    def named_by(self, words: list[str]) -> _Kind:
        if words in (["float"], ["double"]):
            size = 4 if words == ["float"] else 8
            return self.made(words[0], lambda: _Kind(self.builder.add(Float(words[0], size)), size, size))
        if words in (["bool"], ["_Bool"]):
            return self.made("bool", lambda: _Kind(self.builder.add(Int("_Bool", 1, INT_BOOL)), 1, 1, True))
        signed = "unsigned" not in words
        rest = [word for word in words if word not in ("signed", "unsigned", "int")]
        sizes = {"": 4, "char": 1, "short": 2, "long": 8, "long long": 8, "__int128": 16}
        key = " ".join(rest)
        if key not in sizes:
            self.at -= 1
            raise self.fail(f"no type {' '.join(words)!r} is known here")
        name = ("" if signed else "unsigned ") + (key or "int")
        return self.integer(name, sizes[key], signed=signed)

    def integer(self, name: str, size: int, *, signed: bool) -> _Kind:
        encoding = INT_SIGNED if signed else 0
        return self.made((name, size), lambda: _Kind(self.builder.add(Int(name, size, encoding)), size, size, True))

    def made(self, key: object, make: object) -> _Kind:
        if key not in self.known:
            assert callable(make)
            self.known[key] = make()
        return self.known[key]

    def array(self, kind: _Kind, count: int) -> _Kind:
        if kind.size * count > 1 << 24:
            raise self.fail(f"an array of {count} elements is too large")
        index = self.integer("unsigned int", 4, signed=False)
        return _Kind(self.builder.add(Array(kind.id, index.id, count)), kind.size * count, kind.align)

    def laid_out(
        self, name: str, members: list[tuple[str, _Kind, int]], *, union: bool, packed: bool
    ) -> _Kind:  # fmt: skip
        """Members at their places, as the System V ABI has them."""
        at = size = 0  # bits
        align = 1
        fields = any(bits for _, _, bits in members)
        rows: list[Member] = []
        for member, kind, bits in members:
            if kind.id == 0:
                raise self.fail("void has no values")
            unit = kind.size * 8
            place = 0 if union else at
            if bits:
                # A bit-field does not cross a unit of its type.
                if not packed and place // unit != (place + bits - 1) // unit:
                    place = align_up(place, unit)
            else:
                place = align_up(place, 8 if packed else kind.align * 8)
            rows.append(Member(member, kind.id, place, bits))
            at = place + (bits or unit)
            size = max(size, at)
            align = max(align, 1 if packed else kind.align)
        total = align_up(align_up(size, 8) // 8, align)
        make = Union if union else Struct
        return _Kind(self.builder.add(make(name, total, tuple(rows), fields)), total, align)
