"""A static linker for BPF objects: several relocatable files to one, as `bpftool gen object` makes it.

Facts: Linux 6.12 tools/lib/bpf/linker.c. Sections of one name are laid one behind the other, global symbols of one
name become one, BTF is merged and deduplicated, .BTF.ext follows the instructions to their new places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bombus.bits import align_up
from bombus.btf.build import Builder
from bombus.btf.dedup import dedup
from bombus.btf.ext import BtfExt, CoreRelo, FuncInfo, LineInfo
from bombus.btf.ext import Section as ExtSection
from bombus.btf.parse import Btf
from bombus.btf.refs import with_references
from bombus.btf.types import DataSec, Func, FuncProto, Param, SecVar, Type, Var
from bombus.elf.model import (
    EM_BPF,
    ET_REL,
    SHF_EXECINSTR,
    SHN_LORESERVE,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_RELA,
    STB_GLOBAL,
    STB_LOCAL,
    STB_WEAK,
    STT_NOTYPE,
    STT_OBJECT,
    STT_SECTION,
    STV_DEFAULT,
    STV_HIDDEN,
    Elf,
    Section,
    Symbol,
)
from bombus.elf.read import read_elf
from bombus.elf.write import ElfWriter
from bombus.errors import BtfError, ElfError, LinkError
from bombus.object.linktypes import map_difference, type_difference

CALL = 0x85
STATIC, GLOBAL, EXTERN = 0, 1, 2  # linkage of VAR and FUNC
_MAX_ALIGN = 4096
_MAX_BSS = 1 << 32
_ONCE = ("license", "version")


def link(inputs: Sequence[tuple[str, bytes]]) -> bytes:
    """Link files, given by name (for messages) and content. One file alone is fine, and so is a linked file.

    Raises LinkError naming symbol, section and file; ElfError and BtfError for broken files.
    """
    if not inputs:
        raise LinkError("nothing to link")
    linker = _Linker()
    for name, data in inputs:
        linker.add(name, data)
    return linker.finish()


@dataclass(slots=True)
class _Out:
    """An output section. Those without `real` exist in BTF only (.kconfig, .ksyms)."""

    name: str
    real: bool = True
    type: int = SHT_PROGBITS
    flags: int = 0
    entsize: int = 0
    align: int = 1
    size: int = 0
    data: bytearray = field(default_factory=bytearray)
    symbol: int = 0
    has_btf: bool = False
    vars: list[SecVar] = field(default_factory=list)
    func_info: list[FuncInfo] = field(default_factory=list)
    line_info: list[tuple[LineInfo, str, str]] = field(default_factory=list)
    core: list[tuple[CoreRelo, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Symbol:
    name: str
    value: int
    size: int
    bind: int
    type: int
    visibility: int
    section: str | int  # an output section's name or a special index


@dataclass(slots=True)
class _Global:
    """A global symbol: its number, the section its BTF lists it in, its VAR or FUNC."""

    symbol: int
    section: str
    extern: bool
    weak: bool
    btf_id: int = 0
    renew: bool = True  # the next VAR or FUNC of this name gives the type
    var: int = -1


@dataclass(slots=True)
class _Input:
    name: str
    elf: Elf
    btf: Btf | None
    ext: BtfExt | None
    places: dict[int, tuple[str, int]] = field(default_factory=dict)  # section index: output section, offset
    by_name: dict[str, tuple[str, int]] = field(default_factory=dict)
    symbols: dict[int, int] = field(default_factory=dict)
    types: dict[int, int] = field(default_factory=dict)
    datasecs: dict[str, DataSec] = field(default_factory=dict)
    section_of: dict[int, str] = field(default_factory=dict)  # VAR or FUNC id: DATASEC name
    globals: dict[tuple[str, bool], int] = field(default_factory=dict)  # name, is extern: VAR or FUNC id


class _Linker:
    __slots__ = ("builder", "flags", "globals", "has_ext", "order", "relocations", "sections", "symbols")

    def __init__(self) -> None:
        self.order: Literal["little", "big"] | None = None
        self.flags = 0
        self.builder = Builder()
        self.sections: dict[str, _Out] = {}
        self.symbols: list[_Symbol] = []
        self.globals: dict[str, _Global] = {}
        self.relocations: list[tuple[str, int, int, int]] = []
        self.has_ext = False

    def add(self, name: str, data: bytes) -> None:
        try:
            one = self.open(name, data)
            self.index_btf(one)
            self.add_data(one)
            for symbol in one.elf.symbols[1:]:
                self.add_symbol(one, symbol)
            self.add_relocations(one)
            self.add_btf(one)
            self.add_ext(one)
        except ElfError as error:
            raise ElfError(error.message, offset=error.offset, path=error.path or name) from None
        except BtfError as error:
            raise LinkError(str(error), section=".BTF", path=name) from None

    def open(self, name: str, data: bytes) -> _Input:
        elf = read_elf(data, name)
        if elf.machine != EM_BPF or elf.bits != 64 or elf.type != ET_REL:
            raise LinkError("not a relocatable BPF object", path=name)
        order: Literal["little", "big"] = "little" if elf.byteorder == "little" else "big"
        if self.order not in (None, order):
            raise LinkError(f"{order} endian, the files before it are not", path=name)
        if self.order is None:
            self.order, self.flags = order, elf.flags
            self.builder = Builder(byteorder=order)
        if not elf.symbols:
            raise LinkError("no symbol table", path=name)
        raw, more = elf.section(".BTF"), elf.section(".BTF.ext")
        btf = Btf.parse(raw.data) if raw is not None and raw.data else None
        ext = BtfExt.parse(more.data) if btf is not None and more is not None and more.data else None
        return _Input(name, elf, btf, ext)

    def index_btf(self, one: _Input) -> None:
        """Sections that only BTF has, offsets of variables, and where each VAR or FUNC is listed."""
        if one.btf is None:
            return
        objects = {(s.section, s.name): s.value for s in one.elf.symbols if s.type == STT_OBJECT and s.bind}
        sections: dict[str, Section] = {}
        for section in one.elf.sections:
            sections.setdefault(section.name, section)
        for type_id, type_ in one.btf.items():
            if isinstance(type_, (Var, Func)) and type_.linkage != STATIC:
                one.globals.setdefault((type_.name, type_.linkage == EXTERN), type_id)
            if not isinstance(type_, DataSec):
                continue
            found = sections.get(type_.name)
            rows = []
            for row in type_.vars:
                var = one.btf.type(row.type)
                one.section_of.setdefault(row.type, type_.name)
                if isinstance(var, Var) and var.linkage == GLOBAL:
                    at = objects.get((found.index if found else 0, var.name))
                    if at is None:
                        raise LinkError("no symbol for this variable", section=type_.name, symbol=var.name,
                                        path=one.name)  # fmt: skip
                    row = row._replace(offset=at)
                rows.append(row)
            one.datasecs[type_.name] = type_._replace(vars=tuple(rows))

    def add_data(self, one: _Input) -> None:
        for section in one.elf.sections[1:]:
            if section.type not in (SHT_PROGBITS, SHT_NOBITS) or _ignored(section):
                continue
            out = self.sections.get(section.name)
            if out is None or not out.real:  # known from BTF only: its variables stay
                out = self.sections.setdefault(section.name, _Out(section.name))
                out.real, out.type, out.flags, out.entsize = True, section.type, section.flags, section.entsize
            else:
                for what in ("type", "flags", "entsize"):
                    if getattr(out, what) != getattr(section, what):
                        raise LinkError(f"section {what} differs from the files before", section=section.name,
                                        path=one.name)  # fmt: skip
                if section.name in _ONCE and section.index not in one.places:
                    if bytes(out.data) != section.data:
                        raise LinkError("content differs from the files before", section=section.name, path=one.name)
                    continue
            align = max(section.align, 1)
            if align > _MAX_ALIGN or align & (align - 1):
                raise LinkError(f"alignment {align}", section=section.name, path=one.name)
            if section.flags & SHF_EXECINSTR and section.size % 8:
                raise LinkError(f"{section.size} bytes are no whole instructions", section=section.name, path=one.name)
            start = align_up(out.size, align)
            if start + section.size > _MAX_BSS:
                raise LinkError(f"{start + section.size} bytes are too many", section=section.name, path=one.name)
            if section.type != SHT_NOBITS:
                out.data += bytes(start - len(out.data)) + section.data
            out.align, out.size = max(out.align, align), start + section.size
            one.places[section.index] = one.by_name[section.name] = (section.name, start)
        names = {s.name for s in one.elf.sections}
        for name in one.datasecs:
            if name not in names and name != ".extern":
                self.sections.setdefault(name, _Out(name, real=False))
                one.by_name[name] = (name, 0)

    # Symbols

    def add_symbol(self, one: _Input, symbol: Symbol) -> None:
        def bad(text: str) -> LinkError:
            return LinkError(text, symbol=symbol.name, path=one.name)

        if symbol.bind not in (STB_LOCAL, STB_GLOBAL, STB_WEAK):
            raise bad(f"symbol {symbol.index} has binding {symbol.bind}")
        if symbol.visibility not in (STV_DEFAULT, STV_HIDDEN):
            raise bad(f"symbol {symbol.index} has visibility {symbol.visibility}")
        extern = symbol.section == 0
        if extern and (symbol.type != STT_NOTYPE or symbol.bind == STB_LOCAL or symbol.value or symbol.size):
            raise bad(f"symbol {symbol.index} is no valid extern")
        where, start = "", 0
        if extern:
            if one.btf is None:
                raise bad("externs need BTF")
        elif symbol.section < SHN_LORESERVE:
            if symbol.section >= len(one.elf.sections):
                raise bad(f"symbol {symbol.index} is in section {symbol.section} of {len(one.elf.sections)}")
            if symbol.section not in one.places:
                return
            where, start = one.places[symbol.section]
            if symbol.type == STT_SECTION and self.sections[where].symbol:
                one.symbols[symbol.index] = self.sections[where].symbol
                return
        btf_id = 0
        if symbol.bind != STB_LOCAL:
            btf_id = one.globals.get((symbol.name, extern), 0)
            if not btf_id:
                raise bad("no BTF for this global symbol")
            listed = one.section_of.get(btf_id, "")
            if extern and listed and listed != ".extern":
                if listed not in one.by_name:
                    raise bad(f"no section {listed!r}")
                where = listed
            known = self.globals.get(symbol.name)
            if known is not None:
                self.merge(one, symbol, known, btf_id, where, start)
                return
        value = 0 if symbol.type == STT_SECTION else start + symbol.value
        place: str | int = symbol.section if extern or symbol.section >= SHN_LORESERVE else where
        self.symbols.append(
            _Symbol(symbol.name, value, symbol.size, symbol.bind, symbol.type, symbol.visibility, place)
        )
        number = one.symbols[symbol.index] = len(self.symbols)
        if symbol.type == STT_SECTION and where:
            self.sections[where].symbol = number
        if symbol.bind != STB_LOCAL:
            self.globals[symbol.name] = _Global(number, where, extern, symbol.bind == STB_WEAK)

    def merge(self, one: _Input, symbol: Symbol, known: _Global, btf_id: int, where: str, start: int) -> None:
        """A global symbol that an earlier file (or this one) has too."""
        extern = symbol.section == 0
        one.symbols[symbol.index] = known.symbol
        if not (extern or known.extern or known.weak or symbol.bind == STB_WEAK):
            raise LinkError("defined twice, and neither definition is weak", symbol=symbol.name, path=one.name)
        if not known.btf_id or not btf_id or one.btf is None:
            raise LinkError("no BTF for a symbol of several files", symbol=symbol.name, path=one.name)
        compare = map_difference if known.section == ".maps" else type_difference
        text = compare(self.builder, known.btf_id, one.btf, btf_id)
        if text:
            raise LinkError(f"declared differently: {text}", section=known.section, symbol=symbol.name, path=one.name)
        target = self.symbols[known.symbol - 1]
        if symbol.bind == STB_GLOBAL:
            target.bind = STB_GLOBAL
        target.visibility = max(target.visibility, symbol.visibility)
        loses = extern or (not known.extern and symbol.bind == STB_WEAK)
        if symbol.bind == STB_GLOBAL:
            known.weak = False
        if loses:
            return
        target.type, target.size, target.value, target.section = (
            symbol.type, symbol.size, start + symbol.value, where if where else symbol.section,
        )  # fmt: skip
        known.section, known.extern, known.renew = where, False, True
        self.define(known, one.btf, btf_id)

    def define(self, known: _Global, btf: Btf, btf_id: int) -> None:
        """An extern's VAR or FUNC becomes that of a definition, with the parameter names of that."""
        mine, theirs = self.builder[known.btf_id], btf.type(btf_id)
        if isinstance(mine, (Var, Func)):
            self.builder.replace(known.btf_id, mine._replace(linkage=GLOBAL))
        if isinstance(mine, Func) and isinstance(theirs, Func):
            old, new = self.builder[mine.type], btf.type(theirs.type)
            if isinstance(old, FuncProto) and isinstance(new, FuncProto):
                params = tuple(Param(b.name or a.name, a.type) for a, b in zip(old.params, new.params, strict=True))
                self.builder.replace(mine.type, old._replace(params=params))

    def add_relocations(self, one: _Input) -> None:
        for section in one.elf.sections:
            if section.type == SHT_RELA and section.info in one.places:
                raise LinkError("relocations with addends", section=section.name, path=one.name)
        for index, rows in one.elf.relocations.items():
            if index not in one.places:
                continue
            name, start = one.places[index]
            out, source = self.sections[name], one.elf.sections[index]
            for row in rows:
                symbol = one.elf.symbols[row.symbol]
                number = one.symbols.get(row.symbol)
                if number is None:
                    raise LinkError(f"relocation at {row.offset} against a symbol that is not linked", section=name,
                                    symbol=symbol.name, path=one.name)  # fmt: skip
                if row.offset + 8 > source.size:
                    raise LinkError(f"relocation at {row.offset} behind the end", section=name, path=one.name)
                if symbol.type == STT_SECTION:
                    if not source.flags & SHF_EXECINSTR or source.type == SHT_NOBITS:
                        raise LinkError(f"relocation at {row.offset} of data against a section", section=name,
                                        path=one.name)  # fmt: skip
                    self.move(out, start + row.offset, one.places[symbol.section][1])
                self.relocations.append((name, start + row.offset, number, row.type))

    def move(self, out: _Out, at: int, by: int) -> None:
        """Add a section's new place to the immediate of an instruction."""
        order = self.order or "little"
        imm = int.from_bytes(out.data[at + 4 : at + 8], order)
        imm += by // 8 if out.data[at] == CALL else by
        out.data[at + 4 : at + 8] = (imm & 0xFFFFFFFF).to_bytes(4, order)

    # BTF

    def add_btf(self, one: _Input) -> None:
        if one.btf is None:
            return
        added: list[int] = []
        renewed: list[tuple[_Global, int]] = []
        for type_id, type_ in one.btf.items():
            if isinstance(type_, DataSec):
                continue
            known = None
            if isinstance(type_, (Var, Func)) and type_.linkage != STATIC:
                known = self.globals.get(type_.name)
                if known is None:
                    continue
                if known.renew:
                    known.renew = False
                    renewed.append((known, type_.type))
                if known.btf_id:
                    one.types[type_id] = known.btf_id
                    continue
            one.types[type_id] = new = self.builder.add(type_)
            added.append(new)
            if known is not None:
                known.btf_id = new

        def moved(old: int) -> int:
            new = one.types.get(old, 0)
            if old and not new:
                raise LinkError(f"a type refers to type {old}, which is not linked", section=".BTF", path=one.name)
            return new

        for new in added:
            self.builder.replace(new, with_references(self.builder[new], moved))
        for known, old in renewed:
            mine = self.builder[known.btf_id]
            if isinstance(mine, (Var, Func)):
                self.builder.replace(known.btf_id, mine._replace(type=moved(old)))
        for name, rows in one.datasecs.items():
            if name in one.by_name:
                self.add_datasec(one, name, rows)

    def add_datasec(self, one: _Input, name: str, rows: DataSec) -> None:
        out, start = self.sections[name], one.by_name[name][1]
        out.has_btf = True
        for row in rows.vars:
            new = one.types.get(row.type, 0)
            if not new:
                raise LinkError(f"a data section lists type {row.type}, which is not linked", section=name,
                                path=one.name)  # fmt: skip
            made = SecVar(new, start + row.offset, row.size)
            type_: Type = self.builder[new]
            if isinstance(type_, (Var, Func)) and type_.linkage != STATIC:
                known = self.globals[type_.name]
                if known.section != name:
                    raise LinkError(f"in section {known.section!r} elsewhere", section=name, symbol=type_.name,
                                    path=one.name)  # fmt: skip
                if known.var >= 0:
                    symbol = self.symbols[known.symbol - 1]
                    if symbol.section == name:
                        out.vars[known.var] = SecVar(new, symbol.value, symbol.size or row.size)
                    continue
                known.var = len(out.vars)
            out.vars.append(made)

    def add_ext(self, one: _Input) -> None:
        if one.ext is None or one.btf is None:
            return
        self.has_ext = True
        text = one.btf.string
        parts: tuple[Any, ...] = (one.ext.func_info, one.ext.line_info, one.ext.core_relo)
        for which, part in enumerate(parts):
            for section in part:
                name = text(section.name)
                if name not in one.by_name:
                    raise LinkError(".BTF.ext speaks of a section that is not linked", section=name, path=one.name)
                start, out = one.by_name[name][1], self.sections[name]
                for record in section.records:
                    record = record._replace(insn_off=record.insn_off + start, tail=b"")
                    if which == 1:
                        out.line_info.append((record, text(record.file), text(record.line)))
                        continue
                    new = one.types.get(record.type_id, 0)
                    if record.type_id and not new:
                        raise LinkError(f".BTF.ext names type {record.type_id}", section=name, path=one.name)
                    record = record._replace(type_id=new)
                    if which == 0:
                        out.func_info.append(record)
                    else:
                        out.core.append((record, text(record.access)))

    # Output

    def finish(self) -> bytes:
        writer = ElfWriter(self.order or "little", flags=self.flags)
        number: dict[str, int] = {}
        for out in self.sections.values():
            if out.real:
                number[out.name] = writer.add_section(
                    out.name, bytes(out.data), type=out.type, flags=out.flags, align=out.align, entsize=out.entsize,
                    size=out.size,
                )  # fmt: skip
        for s in self.symbols:
            section = s.section if isinstance(s.section, int) else number[s.section]
            writer.add_symbol(s.name, value=s.value, size=s.size, bind=s.bind, type=s.type, visibility=s.visibility,
                              section=section)  # fmt: skip
        for name, offset, symbol, kind in self.relocations:
            writer.add_relocation(number[name], offset, symbol, kind)
        if self.builder.types:
            self.finish_btf(writer)
        return writer.to_bytes()

    def finish_btf(self, writer: ElfWriter) -> None:
        for out in self.sections.values():
            if out.has_btf:
                self.builder.add(DataSec(out.name, out.size, tuple(out.vars)))
        builder, ids = dedup(self.builder)
        add = builder.add_string
        funcs, lines, relos = [], [], []
        for out in self.sections.values():
            if out.func_info:
                rows = tuple(r._replace(type_id=ids[r.type_id]) for r in out.func_info)
                funcs.append(ExtSection(add(out.name), rows))
            if out.line_info:
                infos = tuple(r._replace(file=add(file), line=add(line)) for r, file, line in out.line_info)
                lines.append(ExtSection(add(out.name), infos))
            if out.core:
                found = tuple(r._replace(type_id=ids[r.type_id], access=add(text)) for r, text in out.core)
                relos.append(ExtSection(add(out.name), found))
        writer.add_section(".BTF", builder.to_bytes(), align=8)
        if self.has_ext:
            ext = BtfExt(tuple(funcs), tuple(lines), tuple(relos), byteorder=self.order or "little")
            writer.add_section(".BTF.ext", ext.to_bytes(), align=8)


def _ignored(section: Section) -> bool:
    if section.name == ".text" and not section.size and section.type == SHT_PROGBITS:
        return True
    return section.name in (".BTF", ".BTF.ext") or section.name.startswith(".debug_")
