"""Rust's second mangling ("v0", names that begin with _R). Facts: Rust RFC 2603."""

from __future__ import annotations

_BASIC = {
    "a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8", "i": "isize", "j": "usize",
    "l": "i32", "m": "u32", "n": "i128", "o": "u128", "s": "i16", "t": "u16", "u": "()", "v": "...", "x": "i64",
    "y": "u64", "z": "!", "p": "_",
}  # fmt: skip
_DEPTH = 128
_LENGTH = 1 << 14  # of a result; back references could make it exponential


class _Bad(Exception):
    pass


def demangle_v0(name: str) -> str:
    """The readable path; "" for what is none."""
    text = name[2:]
    if not text or not text[0].isupper() or not text.isascii():
        return ""
    parser = _Parser(text)
    try:
        return parser.path(0)
    except (_Bad, ValueError, IndexError, RecursionError):
        return ""


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.made = 0

    def next(self) -> str:
        letter = self.text[self.at]
        self.at += 1
        return letter

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def eat(self, letter: str) -> bool:
        if self.peek() == letter:
            self.at += 1
            return True
        return False

    def out(self, text: str, depth: int) -> str:
        self.made += len(text)
        if self.made > _LENGTH or depth > _DEPTH:
            raise _Bad
        return text

    def base62(self) -> int:
        if self.eat("_"):
            return 0
        value = 0
        while not self.eat("_"):
            letter = self.next()
            if letter.isdigit():
                digit = int(letter)
            elif "a" <= letter <= "z":
                digit = ord(letter) - ord("a") + 10
            elif "A" <= letter <= "Z":
                digit = ord(letter) - ord("A") + 36
            else:
                raise _Bad
            value = value * 62 + digit
            if value > 1 << 64:
                raise _Bad
        return value + 1

    def identifier(self) -> tuple[str, int]:
        """(name, disambiguator)"""
        number = self.base62() + 1 if self.eat("s") else 0
        coded = self.eat("u")
        start = self.at
        while self.peek().isdigit():
            self.at += 1
            if self.at - start > 6:
                raise _Bad
        size = int(self.text[start : self.at])
        self.eat("_")
        raw = self.text[self.at : self.at + size]
        if len(raw) < size:
            raise _Bad
        self.at += size
        if coded:
            plain, _, extra = raw.rpartition("_")
            raw = (f"{plain}-{extra}" if plain else extra).encode("ascii").decode("punycode")
        return raw, number

    def back(self, depth: int, what: str) -> str:
        start = self.at - 1
        target = self.base62()
        if target >= start:
            raise _Bad
        saved, self.at = self.at, target
        try:
            return self.path(depth + 1) if what == "path" else self.type(depth + 1)
        finally:
            self.at = saved

    def path(self, depth: int) -> str:
        kind = self.next()
        if depth > _DEPTH:
            raise _Bad
        if kind == "C":
            return self.out(self.identifier()[0], depth)
        if kind in "MX":
            if self.eat("s"):
                self.base62()
            self.path(depth + 1)  # where the impl stands
            of = self.type(depth + 1)
            return self.out(f"<{of}>" if kind == "M" else f"<{of} as {self.path(depth + 1)}>", depth)
        if kind == "Y":
            of = self.type(depth + 1)
            return self.out(f"<{of} as {self.path(depth + 1)}>", depth)
        if kind == "N":
            space = self.next()
            inner = self.path(depth + 1)
            name, number = self.identifier()
            if space.isupper():
                word = {"C": "closure", "S": "shim"}.get(space, space)
                name = f"{{{word}{':' + name if name else ''}#{number}}}"
            return self.out(f"{inner}::{name}" if name else inner, depth)
        if kind == "I":
            inner = self.path(depth + 1)
            return self.out(f"{inner}<{', '.join(self.arguments(depth))}>", depth)
        if kind == "B":
            return self.out(self.back(depth, "path"), depth)
        raise _Bad

    def arguments(self, depth: int) -> list[str]:
        found: list[str] = []
        while not self.eat("E"):
            if self.eat("L"):
                self.base62()
                continue
            found.append(self.constant(depth + 1) if self.eat("K") else self.type(depth + 1))
        return found

    def constant(self, depth: int) -> str:
        if self.eat("p"):
            return "_"
        if self.eat("B"):
            start = self.at - 1
            target = self.base62()
            if target >= start:
                raise _Bad
            saved, self.at = self.at, target
            try:
                return self.constant(depth + 1)
            finally:
                self.at = saved
        kind = self.next()
        sign = "-" if self.eat("n") else ""
        start = self.at
        while self.next() != "_":
            pass
        number = int(self.text[start : self.at - 1] or "0", 16)
        if kind == "b":
            return "true" if number else "false"
        if kind == "c":
            return repr(chr(number)) if number < 0x110000 else str(number)
        return f"{sign}{number}"

    def type(self, depth: int) -> str:
        if depth > _DEPTH:
            raise _Bad
        kind = self.next()
        if kind in _BASIC:
            return self.out(_BASIC[kind], depth)
        if kind == "A":
            of = self.type(depth + 1)
            return self.out(f"[{of}; {self.constant(depth + 1)}]", depth)
        if kind == "S":
            return self.out(f"[{self.type(depth + 1)}]", depth)
        if kind == "T":
            parts = self.arguments(depth)
            return self.out(f"({', '.join(parts)}{',' if len(parts) == 1 else ''})", depth)
        if kind in "RQ":
            if self.eat("L"):
                self.base62()
            return self.out(("&mut " if kind == "Q" else "&") + self.type(depth + 1), depth)
        if kind in "PO":
            return self.out(("*const " if kind == "P" else "*mut ") + self.type(depth + 1), depth)
        if kind == "F":
            return self.out(self.function(depth), depth)
        if kind == "D":
            return self.out(self.bounds(depth), depth)
        if kind == "B":
            return self.out(self.back(depth, "type"), depth)
        self.at -= 1
        return self.path(depth + 1)

    def function(self, depth: int) -> str:
        if self.eat("G"):
            self.base62()
        unsafe = "unsafe " if self.eat("U") else ""
        if self.eat("K"):
            abi = "C" if self.eat("C") else self.identifier()[0].replace("_", "-")
            unsafe += f'extern "{abi}" '
        takes: list[str] = []
        while not self.eat("E"):
            takes.append(self.type(depth + 1))
        gives = self.type(depth + 1)
        return f"{unsafe}fn({', '.join(takes)})" + ("" if gives == "()" else f" -> {gives}")

    def bounds(self, depth: int) -> str:
        if self.eat("G"):
            self.base62()
        found: list[str] = []
        while not self.eat("E"):
            text = self.path(depth + 1)
            while self.eat("p"):
                name = self.identifier()[0]
                text += f"<{name} = {self.type(depth + 1)}>"
            found.append(text)
        if self.eat("L"):
            self.base62()
        return "dyn " + " + ".join(found)
