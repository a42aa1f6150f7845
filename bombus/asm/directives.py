"""Assembler directives that clang -S writes for BPF, and those that people write by hand.

`.loc`, `.file`, `.cfi_*`, `.ident` and `.addrsig*` are read and make nothing: they describe DWARF line tables,
unwinding and linker hints, which no BPF loader reads. (BTF, which loaders do read, comes as plain data.)
"""

from __future__ import annotations

from collections.abc import Callable

from bombus.asm.builder import Builder, SymbolBuilder, Where
from bombus.asm.code import number, small
from bombus.asm.expression import Value, expression
from bombus.asm.model import MapDefinition
from bombus.asm.tokens import Statement, Token
from bombus.isa import build as b
from bombus.isa.insn import encode

_Directive = Callable[[Builder, Statement], None]

MAPS = ".maps"
MAP_MEMBERS = 5  # of the struct that describes a map: type, key_size, value_size, max_entries, map_flags

_TYPES = {"function": "func", "object": "object", "notype": "notype", "STT_FUNC": "func", "STT_OBJECT": "object"}
_ESCAPES = {"n": 10, "t": 9, "r": 13, "b": 8, "f": 12, "\\": 92, '"': 34, "'": 39}


def is_directive(token: Token) -> bool:
    return token.kind == "name" and token.text[0] == "." and len(token.text) > 1


def run(builder: Builder, s: Statement) -> None:
    """Carry out the directive that `s` begins with. AsmError."""
    token = s.next()
    action = _DIRECTIVES.get(token.text)
    if action is None:
        if token.text in _NOTHING or token.text.startswith(".cfi_"):
            return
        s.fail(f"unknown directive {token.text!r}", token)
    action(builder, s)
    s.done()


def _name(s: Statement) -> str:
    token = s.next()
    if token.kind == "name":
        return token.text
    if token.kind == "string":
        return _string(s, token).decode("utf-8", "surrogateescape")
    raise s.error("expected a name", token)


def _names(s: Statement) -> list[str]:
    names = [_name(s)]
    while s.accept(","):
        names.append(_name(s))
    return names


def _string(s: Statement, token: Token) -> bytes:
    """The bytes of a quoted string with C escapes."""
    body = token.text[1:-1].encode("utf-8", "surrogateescape")
    out = bytearray()
    at = 0
    while at < len(body):
        byte = body[at]
        at += 1
        if byte != 0x5C:
            out.append(byte)
            continue
        escape = chr(body[at])
        if escape in "01234567":
            end = at + 1
            while end < len(body) and end < at + 3 and chr(body[end]) in "01234567":
                end += 1
            digits = body[at:end]
            out.append(int(digits, 8) & 0xFF)
            at = end
        elif escape == "x":
            end = at + 1
            while end < len(body) and chr(body[end]) in "0123456789abcdefABCDEF":
                end += 1
            if end == at + 1:
                s.fail("\\x without hexadecimal digits", token)
            out.append(int(body[at + 1 : end][-2:], 16))
            at = end
        elif escape in _ESCAPES:
            out.append(_ESCAPES[escape])
            at += 1
        else:
            s.fail(f"unknown escape \\{escape}", token)
    return bytes(out)


# Sections


def _plain_section(name: str) -> _Directive:
    def switch(builder: Builder, s: Statement) -> None:
        builder.switch(builder.enter(name))

    return switch


def _section(builder: Builder, s: Statement) -> None:
    """`.section name[, "flags"[, @type[, entry size]]]`."""
    known = set(builder.sections)
    token = s.peek()
    name = _section_name(s)
    section = builder.enter(name)
    if s.accept(","):
        flags_token = s.next()
        if flags_token.kind != "string":
            s.fail("expected the section's flags in quotes", flags_token)
        flags = flags_token.text[1:-1]
        bad = set(flags) - set("awxMSeoR")
        if bad:
            s.fail(f"section flag {sorted(bad)[0]!r} is not supported", flags_token)
        if name in known and section.flags not in ("", flags) and len(section.data):
            s.fail(f"section {name} has the flags {section.flags!r} already", token)
        section.flags = flags
        if s.accept(","):
            if not s.accept("@"):
                s.expect("%")
            section.type = _name(s)
            if "M" in flags:
                s.expect(",")
                section.entry_size = small(s, builder.scope, 0xFFFF, "the entry size")
            elif s.accept(","):  # clang's `,unique,1` and link-order names change nothing that BPF sees
                while s.peek().kind != "end":
                    s.next()
    builder.switch(section)


def _section_name(s: Statement) -> str:
    """Names like `xdp/prog` and `maps` unquoted: everything up to the comma."""
    if s.peek().kind == "string":
        return _name(s)
    first = s.peek()
    end = first.column
    while s.peek().kind != "end" and not s.is_op(","):
        token = s.next()
        end = token.column + len(token.text)
    name = s.source[first.column - 1 : end - 1]
    if not name:
        s.fail("expected the section's name", first)
    return name


def _push(builder: Builder, s: Statement) -> None:
    builder.stack.append((builder.current, builder.previous))
    _section(builder, s)


def _pop(builder: Builder, s: Statement) -> None:
    if not builder.stack:
        s.fail(".popsection without .pushsection")
    builder.current, builder.previous = builder.stack.pop()


def _previous(builder: Builder, s: Statement) -> None:
    builder.switch(builder.previous)


# Symbols


def _each_symbol(change: Callable[[SymbolBuilder], None]) -> _Directive:
    def apply(builder: Builder, s: Statement) -> None:
        for name in _names(s):
            symbol = builder.symbol(name)
            symbol.declared = True
            change(symbol)

    return apply


def _set_global(symbol: SymbolBuilder) -> None:
    if symbol.binding == "local":
        symbol.binding = "global"


def _set_weak(symbol: SymbolBuilder) -> None:
    symbol.binding = "weak"


def _set_local(symbol: SymbolBuilder) -> None:
    symbol.binding = "local"


def _set_visibility(visibility: str) -> Callable[[SymbolBuilder], None]:
    def change(symbol: SymbolBuilder) -> None:
        symbol.visibility = visibility

    return change


def _type(builder: Builder, s: Statement) -> None:
    symbol = builder.symbol(_name(s))
    s.accept(",")
    if not s.accept("@"):
        s.accept("%")
    token = s.peek()
    kind = _name(s)
    if kind not in _TYPES:
        s.fail(f"symbol type {kind!r} is not known; use @function, @object or @notype", token)
    symbol.type = _TYPES[kind]  # type: ignore[assignment]


def _size(builder: Builder, s: Statement) -> None:
    symbol = builder.symbol(_name(s))
    s.expect(",")
    token = s.peek()
    symbol.size = expression(s, builder.scope)
    symbol.size_where = Where(s.line, token.column, s.source)


def _comm(builder: Builder, s: Statement) -> None:
    token = s.peek()
    symbol = builder.symbol(_name(s))
    if symbol.name in builder.labels:
        s.fail(f"{symbol.name!r} is already defined", token)
    s.expect(",")
    size = small(s, builder.scope, (1 << 63) - 1, "the size")
    align = small(s, builder.scope, 1 << 20, "the alignment") if s.accept(",") else 1
    if symbol.declared and symbol.binding == "local":  # `.local x` before `.comm x`: room in .bss
        here = builder.current
        builder.current = builder.enter(".bss")
        _align_to(builder, s, max(align, 1), None)
        builder.define(symbol.name, s, token.column)
        _zeros(builder, s, size, 0)
        builder.current = here
        symbol.size, symbol.size_where = Value(size), Where(s.line, token.column, s.source)
    else:
        symbol.common, symbol.binding = (size, align), "global"
    symbol.type = "object"


def _set(builder: Builder, s: Statement) -> None:
    token = s.peek()
    name = _name(s)
    s.expect(",")
    assign(builder, s, name, token)


def assign(builder: Builder, s: Statement, name: str, token: Token) -> None:
    """`name = expression`, `.set name, expression`."""
    if name in builder.labels:
        s.fail(f"{name!r} is already a label", token)
    builder.numbers[name] = expression(s, builder.scope)


# Maps


def _map(builder: Builder, s: Statement) -> None:
    """`.map name, type, key size, value size, entries[, flags]`; type as in array, lru_hash, BPF_MAP_TYPE_RINGBUF."""
    column = s.peek().column
    name = _name(s)
    s.expect(",")
    token = s.peek()
    kind = _map_type(s)
    numbers = []
    for what in ("the key's size", "the value's size", "the number of entries"):
        s.expect(",")
        numbers.append(small(s, builder.scope, 0xFFFF_FFFF, what))
    flags = small(s, builder.scope, 0xFFFF_FFFF, "the flags") if s.accept(",") else 0
    here = builder.current
    builder.current = builder.enter(MAPS)
    builder.current.flags = "aw"
    _align_to(builder, s, 8, None)
    builder.define(name, s, column)
    builder.maps.append(MapDefinition(name, kind, numbers[0], numbers[1], numbers[2], flags))
    size = MAP_MEMBERS * 8
    _zeros(builder, s, size, 0)
    builder.current = here
    symbol = builder.symbol(name)
    symbol.binding, symbol.type = "global", "object"
    symbol.size, symbol.size_where = Value(size), Where(s.line, token.column, s.source)


def _map_type(s: Statement) -> int:
    from bombus.spec.maptypes import MAP_TYPES

    token = s.next()
    if token.kind == "number":
        return int(token.text, 0)
    wanted = token.text.upper()
    for row in MAP_TYPES:
        if wanted in (row.name, row.name.removeprefix("BPF_MAP_TYPE_")):
            return row.id
    raise s.error(f"{token.text!r} is no type of map, such as array, hash or ringbuf", token)


# Data


def _words(size: int) -> _Directive:
    def words(builder: Builder, s: Statement) -> None:
        if s.peek().kind == "end":
            return
        while True:
            column = s.peek().column
            builder.emit_word(expression(s, builder.scope), size, s, column)
            if not s.accept(","):
                return

    return words


def _strings(end: bytes) -> _Directive:
    def strings(builder: Builder, s: Statement) -> None:
        while True:
            token = s.next()
            if token.kind != "string":
                s.fail("expected a string in quotes", token)
            builder.emit(_string(s, token) + end, s)
            if not s.accept(","):
                return

    return strings


def _zeros(builder: Builder, s: Statement, count: int, fill: int) -> None:
    builder.grow(count, s)
    builder.current.data += bytes([fill]) * count


def _zero(builder: Builder, s: Statement) -> None:
    count = small(s, builder.scope, (1 << 63) - 1, "the size")
    fill = number(s, builder.scope, -0x80, 0xFF, "the fill byte") & 0xFF if s.accept(",") else 0
    _zeros(builder, s, count, fill)


def _fill(builder: Builder, s: Statement) -> None:
    """`.fill count[, size[, value]]`."""
    count = small(s, builder.scope, (1 << 63) - 1, "the count")
    size = small(s, builder.scope, 8, "the size") if s.accept(",") else 1
    column = s.peek().column
    value = number(s, builder.scope, -(1 << 63), (1 << 64) - 1, "the value") if s.accept(",") else 0
    builder.grow(count * size, s)
    if size:
        builder.current.data += builder.word(value, size, Where(s.line, column, s.source)) * count


def _align_to(builder: Builder, s: Statement, alignment: int, fill: int | None) -> None:
    section = builder.current
    section.align = max(section.align, alignment)
    missing = -len(section.data) % alignment
    if fill is None and section.has_code and missing % 8 == 0:
        builder.emit(encode([b.ja(0)], builder.byteorder) * (missing // 8), s)
    else:
        _zeros(builder, s, missing, fill or 0)


def _align(is_power: bool | None) -> _Directive:
    """`.p2align 3` and `.balign 8`; None for `.align`, which clang counts in bytes, gcc and gas in powers of two."""

    def align(builder: Builder, s: Statement) -> None:
        power = builder.is_gnu if is_power is None else is_power
        token = s.peek()
        value = small(s, builder.scope, 16 if power else 1 << 16, "the alignment")
        alignment = 1 << value if power else max(value, 1)
        if alignment & (alignment - 1):
            s.fail(f"the alignment {alignment} is no power of two", token)
        fill = None
        if s.accept(",") and not s.is_op(","):
            fill = number(s, builder.scope, -0x80, 0xFF, "the fill byte") & 0xFF
        if s.accept(","):
            limit = small(s, builder.scope, 1 << 16, "the most bytes to skip")
            if -len(builder.current.data) % alignment > limit:
                return
        _align_to(builder, s, alignment, fill)

    return align


def _leb128(signed: bool) -> _Directive:
    def leb128(builder: Builder, s: Statement) -> None:
        while True:
            token = s.peek()
            value = expression(s, builder.scope)
            constant = value.constant
            if not value.is_number:
                plus, minus = builder.labels.get(value.plus), builder.labels.get(value.minus)
                if plus is None or minus is None or plus.section is not minus.section:
                    s.fail("the value must be known here", token)
                constant += plus.offset - minus.offset
            if not signed and constant < 0:
                s.fail(f"{constant} is negative", token)
            builder.emit(_leb128_bytes(constant, signed), s)
            if not s.accept(","):
                return

    return leb128


def _leb128_bytes(value: int, signed: bool) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        last = value in (0, -1) and bool(byte & 0x40) == (value < 0) if signed else value == 0
        out.append(byte if last else byte | 0x80)
        if last:
            return bytes(out)


_NOTHING = {".file", ".loc", ".ident", ".addrsig", ".addrsig_sym", ".end"}

_DIRECTIVES: dict[str, _Directive] = {
    **{name: _plain_section(name) for name in (".text", ".data", ".bss")},
    ".section": _section,
    ".pushsection": _push,
    ".popsection": _pop,
    ".previous": _previous,
    ".globl": _each_symbol(_set_global),
    ".global": _each_symbol(_set_global),
    ".extern": _each_symbol(_set_global),
    ".weak": _each_symbol(_set_weak),
    ".local": _each_symbol(_set_local),
    **{f".{kind}": _each_symbol(_set_visibility(kind)) for kind in ("hidden", "internal", "protected")},
    ".type": _type,
    ".size": _size,
    ".comm": _comm,
    ".map": _map,
    ".set": _set,
    ".equ": _set,
    **dict.fromkeys((".byte", ".1byte"), _words(1)),
    **dict.fromkeys((".short", ".half", ".hword", ".value", ".2byte"), _words(2)),
    **dict.fromkeys((".long", ".int", ".word", ".4byte"), _words(4)),
    **dict.fromkeys((".quad", ".dword", ".8byte"), _words(8)),
    ".ascii": _strings(b""),
    ".asciz": _strings(b"\0"),
    ".string": _strings(b"\0"),
    **dict.fromkeys((".zero", ".skip", ".space"), _zero),
    ".fill": _fill,
    ".p2align": _align(is_power=True),
    ".align": _align(is_power=None),
    ".balign": _align(is_power=False),
    ".uleb128": _leb128(signed=False),
    ".sleb128": _leb128(signed=True),
}
