"""The state of one assembly: sections being filled, labels, symbols, and what waits for labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from bombus.asm.code import Code, Ref
from bombus.asm.expression import Scope, Value
from bombus.asm.model import SLOT, Binding, MapDefinition, Relocation, SymbolType
from bombus.asm.tokens import Statement
from bombus.errors import AsmError
from bombus.isa import opcodes as op
from bombus.isa.insn import ByteOrder, encode

MAX_SIZE = 32 << 20  # bytes of all sections together: `.zero 1 << 60` is an error, not a swap storm

_DEFAULT_FLAGS = {
    ".text": ("ax", "progbits"),
    ".data": ("aw", "progbits"),
    ".rodata": ("a", "progbits"),
    ".bss": ("aw", "nobits"),
}


class Where(NamedTuple):
    """A place in the source, for errors that are found at the end."""

    line: int
    column: int
    source: str

    def error(self, message: str) -> AsmError:
        return AsmError(message, line=self.line, column=self.column, text=self.source)

    def fail(self, message: str) -> NoReturn:
        raise self.error(message)


class Label(NamedTuple):
    section: SectionBuilder
    offset: int
    line: int


class CodeFixup(NamedTuple):
    offset: int
    ref: Ref
    where: Where


class DataFixup(NamedTuple):
    offset: int
    size: int
    value: Value
    where: Where


@dataclass(slots=True, eq=False)
class SectionBuilder:
    name: str
    flags: str
    type: str
    entry_size: int = 0
    align: int = 1
    data: bytearray = field(default_factory=bytearray)
    code: list[CodeFixup] = field(default_factory=list)
    words: list[DataFixup] = field(default_factory=list)
    relocations: list[Relocation] = field(default_factory=list)
    lines: dict[int, int] = field(default_factory=dict)
    exits: list[int] = field(default_factory=list)
    has_code: bool = False


@dataclass(slots=True)
class SymbolBuilder:
    name: str
    binding: Binding = "local"
    type: SymbolType = "notype"
    visibility: str = "default"
    size: Value | None = None
    size_where: Where | None = None
    common: tuple[int, int] | None = None  # size, alignment
    declared: bool = False


class Builder:
    """Collects statements' effects; `bombus.asm.resolve` makes numbers of what waits."""

    def __init__(self, byteorder: ByteOrder, is_gnu: bool) -> None:
        self.byteorder = byteorder
        self.is_gnu = is_gnu  # written by gcc
        self.sections: dict[str, SectionBuilder] = {}
        self.symbols: dict[str, SymbolBuilder] = {}
        self.labels: dict[str, Label] = {}
        self.numbers: dict[str, Value] = {}
        self.numeric: dict[str, int] = {}
        self.maps: list[MapDefinition] = []
        self.stack: list[tuple[SectionBuilder, SectionBuilder]] = []
        self.size = 0
        self.anonymous = 0
        self.current = self.enter(".text")
        self.previous = self.current
        self.scope = Scope(self.numbers, self._here, self._numeric_label)

    def enter(self, name: str) -> SectionBuilder:
        """The section called `name`, made with the usual flags when it is new."""
        found = self.sections.get(name)
        if found is None:
            base = "." + name[1:].split(".")[0] if name.startswith(".") else name
            flags, type_ = _DEFAULT_FLAGS.get(base, ("", "progbits"))
            found = self.sections[name] = SectionBuilder(name, flags, type_)
        return found

    def switch(self, section: SectionBuilder) -> None:
        self.previous, self.current = self.current, section

    def symbol(self, name: str) -> SymbolBuilder:
        found = self.symbols.get(name)
        if found is None:
            found = self.symbols[name] = SymbolBuilder(name)
        return found

    # Labels

    def define(self, name: str, s: Statement, column: int = 1) -> None:
        """A label here. AsmError when it exists."""
        old = self.labels.get(name)
        if old is not None:
            self._fail(s, column, f"label {name!r} is already defined in line {old.line}")
        if name in self.numbers:
            self._fail(s, column, f"{name!r} is already a number")
        self.labels[name] = Label(self.current, len(self.current.data), s.line)
        self.symbol(name)

    def define_numeric(self, digits: str, s: Statement) -> None:
        """`1:`, which may come again; `1b` and `1f` find the nearest."""
        count = self.numeric.get(digits, 0) + 1
        self.numeric[digits] = count
        self.labels[f".L{digits}\x01{count}"] = Label(self.current, len(self.current.data), s.line)

    def _numeric_label(self, reference: str) -> str:
        digits, direction = reference[:-1], reference[-1]
        digits = str(int(digits))
        return f".L{digits}\x01{self.numeric.get(digits, 0) + (direction == 'f')}"

    def _here(self) -> str:
        self.anonymous += 1
        name = f".L\x01{self.anonymous}"
        self.labels[name] = Label(self.current, len(self.current.data), 0)
        return name

    @staticmethod
    def _fail(s: Statement, column: int, message: str) -> NoReturn:
        raise AsmError(message, line=s.line, column=column, text=s.source)

    # Bytes

    def emit(self, data: bytes, s: Statement) -> None:
        self.grow(len(data), s)
        self.current.data += data

    def grow(self, count: int, s: Statement) -> None:
        """Account for `count` more bytes before they are made."""
        self.size += count
        if self.size > MAX_SIZE:
            s.fail(f"the program is larger than {MAX_SIZE >> 20} MiB")

    def emit_code(self, code: Code, s: Statement) -> None:
        section = self.current
        offset = len(section.data)
        section.lines[offset] = s.line
        section.has_code = True
        if section.align < SLOT:
            section.align = SLOT
        if "x" not in section.flags and not section.flags:
            section.flags = "ax"
        if code.ref is not None:
            section.code.append(CodeFixup(offset, code.ref, Where(s.line, code.ref.column, s.source)))
        if code.insns[0].opcode == op.EXIT:
            section.exits.append(offset)
        self.emit(encode(code.insns, self.byteorder), s)

    def emit_word(self, value: Value, size: int, s: Statement, column: int) -> None:
        """A `size`-byte number, or room for one that a label decides."""
        section = self.current
        where = Where(s.line, column, s.source)
        section.lines.setdefault(len(section.data), s.line)
        if not value.is_number:
            section.words.append(DataFixup(len(section.data), size, value, where))
        constant = value.constant if value.is_number else 0
        self.emit(self.word(constant, size, where), s)

    def word(self, value: int, size: int, where: Where) -> bytes:
        low, high = -(1 << 8 * size - 1), (1 << 8 * size) - 1
        if not low <= value <= high:
            where.fail(f"{value} does not fit into {size} bytes")
        return (value & high).to_bytes(size, self.byteorder)
