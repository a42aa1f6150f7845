"""Assembly sources to BPF objects.

What clang -S writes says all of itself: symbols, sizes, BTF. Assembly of people's hands need not: labels in code
sections become functions, with sizes, where the text says nothing else. DWARF is left out: no BPF loader reads it, and
its line table, which `.loc` would make, is missing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bombus.asm.assembler import InputStyle, assemble
from bombus.asm.model import COMMON, R_BPF_64_32, SLOT, Assembled, Section, Symbol
from bombus.btf.build import Builder
from bombus.btf.types import INT_SIGNED, Array, DataSec, Int, Member, Ptr, SecVar, Struct, Var
from bombus.elf import model as elf
from bombus.elf.write import ElfWriter
from bombus.errors import AsmError, UsageError
from bombus.isa.opcodes import CALL

_FLAGS: Final = {"a": elf.SHF_ALLOC, "w": elf.SHF_WRITE, "x": elf.SHF_EXECINSTR, "M": 0x10, "S": 0x20, "o": 0x80,
                 "e": 0x8000_0000, "R": 0x20_0000}  # fmt: skip
_TYPES: Final = {"progbits": elf.SHT_PROGBITS, "nobits": elf.SHT_NOBITS, "note": 7, "init_array": 14,
                 "fini_array": 15, "llvm_addrsig": 0x6FFF_4C03}  # fmt: skip
_BINDINGS: Final = {"local": elf.STB_LOCAL, "global": elf.STB_GLOBAL, "weak": elf.STB_WEAK}
_SYMBOL_TYPES: Final = {"notype": elf.STT_NOTYPE, "func": elf.STT_FUNC, "object": elf.STT_OBJECT,
                        "section": elf.STT_SECTION}  # fmt: skip
_VISIBILITY: Final = {"default": 0, "internal": 1, "hidden": 2, "protected": 3}
_ORDERS: Final = {"bpfel": "little", "bpfeb": "big"}


def build_file(path: str, *, target: str = "bpfel", syntax: InputStyle = "auto") -> bytes:
    """The object of an assembly file. AsmError with file, line and column, OSError."""
    with open(path, "rb") as file:
        raw = file.read()
    try:
        return build_source(raw.decode("utf-8", "surrogateescape"), target=target, syntax=syntax)
    except AsmError as error:
        raise error.in_file(path) from None


def build_source(text: str, *, target: str = "bpfel", syntax: InputStyle = "auto") -> bytes:
    """As `build_file` for a text. syntax: see `asm.assemble`."""
    if target not in _ORDERS:
        raise UsageError(f"{target!r} is no target: {', '.join(_ORDERS)} are")
    assembled = assemble(text, syntax, _ORDERS[target])  # type: ignore[arg-type]
    if not any(section.data for section in assembled.sections):
        raise AsmError("there is neither code nor data", line=1)
    return object_bytes(assembled)


def object_bytes(assembled: Assembled) -> bytes:
    """An ELF object of what was assembled. AsmError for section types that are not known."""
    writer = ElfWriter(assembled.byteorder)
    numbers: dict[str, int] = {}
    functions = {symbol.name: symbol for symbol in _functions(assembled)}
    sections = [
        section for section in assembled.sections
        if not section.name.startswith(".debug_") and (section.data or section.name != ".text")
    ]  # fmt: skip
    for section in sections:
        numbers[section.name] = _add_section(writer, section)
    if assembled.maps:
        _add_map_types(writer, assembled)
    known: dict[str, int] = {}
    for symbol in functions.values():
        known[symbol.name] = _add_symbol(writer, symbol, numbers)
    for section in sections:
        for relocation in section.relocations:
            name = relocation.symbol
            if name not in known:  # a section, as clang names places of local symbols
                known[name] = writer.add_symbol("", type=elf.STT_SECTION, section=numbers[name])
            writer.add_relocation(numbers[section.name], relocation.offset, known[name], relocation.type)
    return writer.to_bytes()


def _add_map_types(writer: ElfWriter, assembled: Assembled) -> None:
    """BTF as clang makes it of a map's definition: a struct of pointers to arrays of so many ints."""
    if any(section.name == ".BTF" for section in assembled.sections):
        raise AsmError(".map makes BTF, but the text has a section .BTF of its own", line=1)
    builder = Builder(byteorder=assembled.byteorder)
    number = builder.add(Int("int", 4, INT_SIGNED))
    variables = []
    places = {symbol.name: symbol.value for symbol in assembled.symbols if symbol.section == ".maps"}
    for row in assembled.maps:
        values = {"type": row.type, "key_size": row.key_size, "value_size": row.value_size,
                  "max_entries": row.max_entries, "map_flags": row.flags}  # fmt: skip
        members = tuple(
            Member(name, builder.add(Ptr(builder.add(Array(number, number, value)))), index * 64)
            for index, (name, value) in enumerate(values.items()) if value or name != "map_flags"
        )  # fmt: skip
        struct = builder.add(Struct("", len(members) * 8, members))
        variable = builder.add(Var(row.name, struct, 1))
        variables.append(SecVar(variable, places[row.name], len(members) * 8))
    size = next(len(section.data) for section in assembled.sections if section.name == ".maps")
    builder.add(DataSec(".maps", size, tuple(variables)))
    writer.add_section(".BTF", builder.to_bytes(), align=4)


def _add_section(writer: ElfWriter, section: Section) -> int:
    kind = _TYPES.get(section.type)
    if kind is None:
        try:
            kind = int(section.type, 0)
        except ValueError:
            line = min(section.lines.values(), default=1)
            raise AsmError(f"section {section.name} has the unknown type {section.type!r}", line=line) from None
    flags = 0
    for letter in section.flags:
        flags |= _FLAGS[letter]
    no_bits = kind == elf.SHT_NOBITS
    return writer.add_section(
        section.name, b"" if no_bits else section.data, type=kind, flags=flags, align=section.align,
        entsize=section.entry_size, size=len(section.data),
    )  # fmt: skip


def _add_symbol(writer: ElfWriter, symbol: Symbol, numbers: dict[str, int]) -> int:
    special = {"": elf.SHN_UNDEF, COMMON: elf.SHN_COMMON, "*ABS*": elf.SHN_ABS}
    section = special[symbol.section] if symbol.section in special else numbers[symbol.section]
    return writer.add_symbol(
        symbol.name, value=symbol.value, size=symbol.size, bind=_BINDINGS[symbol.binding],
        type=_SYMBOL_TYPES[symbol.type], visibility=_VISIBILITY[symbol.visibility], section=section,
    )  # fmt: skip


def _functions(assembled: Assembled) -> list[Symbol]:
    """The symbols; labels become functions where the text does not say which ones are.

    In .text those that are called and the global ones; in other code sections, which hold programs, the global ones or,
    when there is none, the first, which is made global ("prog" where there is no label). Functions reach to the next
    one or to the end. AsmError for calls of a label among programs: loaders know functions in .text only.
    """
    symbols = list(assembled.symbols)
    called = _called(assembled)
    for section in assembled.sections:
        if not section.is_code or not section.data:
            continue
        mine = [symbol for symbol in symbols if symbol.section == section.name]
        functions = [symbol for symbol in mine if symbol.type == "func"]
        if not functions:
            functions = [s for s in mine if s.binding != "local" or (s.name in called and section.name == ".text")]
            if not functions:
                first = next((s for s in mine if s.value == 0), None) or Symbol(_free_name(symbols), section.name, 0)
                functions = [replace(first, binding="global")]
            elif all(symbol.value for symbol in functions):  # code before the first of them
                functions += [replace(s, binding="global") for s in mine if s.value == 0][:1]
        starts = sorted({symbol.value for symbol in functions})
        for symbol in mine:
            if symbol.name in called and symbol.value not in starts:
                raise AsmError(
                    f"{symbol.name!r} is called, but it is no function; functions that programs call go into section "
                    ".text", line=called[symbol.name],
                )  # fmt: skip
        ends = dict(zip(starts, [*starts[1:], len(section.data)], strict=True))
        named = {
            s.name: replace(s, type="func", size=s.size or ends[s.value] - s.value) for s in functions
        }
        symbols = [named.pop(symbol.name, symbol) for symbol in symbols] + list(named.values())
    return symbols


def _called(assembled: Assembled) -> dict[str, int]:
    """Labels that are called, with the line of the first call."""
    labels = {(s.section, s.value): s.name for s in reversed(assembled.symbols) if s.section}
    names = {section.name for section in assembled.sections}
    found: dict[str, int] = {}
    for section in assembled.sections:
        if not section.is_code:
            continue
        relocated = {r.offset: r.symbol for r in section.relocations if r.type == R_BPF_64_32}
        for slot, insn in enumerate(assembled.slots(section.name)):
            if insn.opcode != CALL or insn.src != 1:
                continue
            name = relocated.get(slot * SLOT, section.name)
            if name in names:  # a place in a section
                at = insn.imm + 1 + (0 if slot * SLOT in relocated else slot)
                name = labels.get((name, at * SLOT), "")
            found.setdefault(name, section.lines.get(slot * SLOT, 1))
    return found


def _free_name(symbols: list[Symbol]) -> str:
    taken = {symbol.name for symbol in symbols}
    name, number = "prog", 1
    while name in taken:
        number += 1
        name = f"prog{number}"
    return name
