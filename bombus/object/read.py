"""ELF bytes to an `Object`.

Facts: Linux 6.12 tools/lib/bpf/libbpf.c (bpf_object__elf_collect, bpf_object__collect_relos, internal_map_name).
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from typing import Any, Literal

from bombus.btf.ext import BtfExt
from bombus.btf.parse import Btf
from bombus.elf.model import (
    EM_BPF,
    SHF_EXECINSTR,
    SHN_LORESERVE,
    SHT_NOBITS,
    SHT_PROGBITS,
    STB_LOCAL,
    STT_FUNC,
    STT_SECTION,
    Elf,
    Relocation,
    Section,
    Symbol,
)
from bombus.elf.read import read_elf
from bombus.errors import FormatError, ObjectError, RelocationError
from bombus.isa.insn import Insn, decode
from bombus.isa.opcodes import BPF_CALL, BPF_JMP
from bombus.object import structops
from bombus.object.fixup import with_places
from bombus.object.maps import data_map, kconfig_map, legacy_maps, read_btf_maps
from bombus.object.model import Extern, Function, MapSpec, Object, ProgramSpec, Reference
from bombus.spec.maptypes import MAP_TYPE
from bombus.spec.sections import resolve

CALL = BPF_JMP | BPF_CALL
PSEUDO_CALL = 1
_MAX_DATA = 64 << 20  # .bss may claim any size


def open_object(path: str | os.PathLike[str], *, name: str = "", relaxed_maps: bool = False) -> Object:
    """Read a file. ElfError, BtfError, ObjectError; OSError when it cannot be read. Options as of `read_object`."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        return read_object(data, name=name or os.path.basename(path), relaxed_maps=relaxed_maps)
    except FormatError as error:
        if error.path is not None:
            raise
        raise type(error)(error.message, offset=error.offset, path=os.fspath(path)) from None
    except ObjectError as error:
        if error.path:
            raise
        raise type(error)(
            error.message, section=error.section, symbol=error.symbol, path=os.fspath(path)
        ) from None


def read_object(data: bytes | Elf, *, name: str = "object", relaxed_maps: bool = False) -> Object:
    """Read an object. `name` (up to its first dot) becomes part of the names of data maps. relaxed_maps: take legacy
    map definitions with fields that are not known.

    Raises ElfError, BtfError, ObjectError.
    """
    elf = data if isinstance(data, Elf) else read_elf(data)
    # libbpf takes machine 0 too: old LLVM wrote it.
    if elf.machine not in (0, EM_BPF) or elf.bits != 64:
        raise ObjectError(f"machine {elf.machine} with {elf.bits} bits is not BPF")
    return _Reader(elf, name.split(".")[0], relaxed_maps).read()


_ARENA_SECTION = ".addr_space.1"
_ARENA = MAP_TYPE["BPF_MAP_TYPE_ARENA"].id


def is_data(name: str) -> bool:
    """Whether a section's content becomes a map."""
    return name == ".bss" or any(
        name == base or name.startswith(base + ".") for base in (".data", ".rodata", ".bss")
    )


class _Reader:
    def __init__(self, elf: Elf, name: str, relaxed_maps: bool = False) -> None:
        self.elf = elf
        self.name = name
        self.relaxed_maps = relaxed_maps
        self.btf: Btf | None = None
        self.ext: BtfExt | None = None
        self.maps: list[MapSpec] = []
        self.map_at: dict[tuple[int, int], str] = {}
        self.data_of: dict[int, str] = {}
        self.functions: dict[tuple[int, int], Function] = {}
        self.externs: dict[str, Extern] = {}

    def read(self) -> Object:
        self.read_btf()
        self.read_externs()
        self.read_maps()
        self.read_functions()
        license_ = self.elf.section("license")
        version = self.elf.section("version")
        order: Literal["little", "big"] = "little" if self.elf.byteorder == "little" else "big"
        return Object(
            self.name,
            order,
            tuple(self.programs()),
            tuple(self.maps),
            {f.name: f for f in self.functions.values()},
            tuple(self.externs.values()),
            license_.data.split(b"\0")[0].decode(errors="replace") if license_ else "",
            int.from_bytes(version.data[:4], order) if version else 0,
            self.btf,
            self.ext,
        )

    def read_btf(self) -> None:
        section = self.elf.section(".BTF")
        if section is None or not section.data:
            return
        self.btf = with_places(Btf.parse(section.data), self.elf)
        more = self.elf.section(".BTF.ext")
        if more is not None and more.data:
            self.ext = BtfExt.parse(more.data)

    def read_externs(self) -> None:
        if self.btf is None:
            return
        undefined = {s.name: s for s in self.elf.symbols if s.section == 0 and s.name}
        from bombus.object.externs import read_externs

        for extern in read_externs(self.btf, undefined):
            self.externs[extern.name] = extern

    def read_maps(self) -> None:
        by_section: dict[int, list[Symbol]] = defaultdict(list)
        for symbol in self.elf.symbols:
            if symbol.type != STT_SECTION and symbol.section < SHN_LORESERVE:
                by_section[symbol.section].append(symbol)
        for section in self.elf.sections:
            if section.name == "maps":
                for offset, spec in legacy_maps(
                    section, by_section[section.index], self.elf.byteorder, relaxed=self.relaxed_maps
                ):
                    self.maps.append(spec)
                    self.map_at[section.index, offset] = spec.name
            elif section.name == ".maps":
                if self.btf is None:
                    raise ObjectError("maps are defined by BTF, but there is no BTF", section=".maps")
                links = {r.offset: self.elf.symbols[r.symbol] for r in self.elf.relocations.get(section.index, ())}
                for offset, spec in read_btf_maps(self.btf, by_section[section.index], links):
                    self.maps.append(spec)
                    self.map_at[section.index, offset] = spec.name
        self.read_struct_ops()
        self.read_arena()
        for section in self.elf.sections:
            if is_data(section.name) and section.type in (SHT_PROGBITS, SHT_NOBITS) and section.size:
                if section.size > _MAX_DATA:
                    raise ObjectError(f"{section.size} bytes of data", section=section.name)
                made = data_map(self.name, section, self.btf)
                self.maps.append(made)
                self.data_of[section.index] = made.name
        config = [e for e in self.externs.values() if e.kind == "kconfig"]
        if config and self.btf is not None:
            self.maps.append(kconfig_map(self.name, config, self.btf))

    def read_struct_ops(self) -> None:
        for section in self.elf.sections:
            if section.name in structops.SECTIONS and section.type == SHT_PROGBITS and section.data:
                if self.btf is None:
                    raise ObjectError("struct_ops without BTF", section=section.name)
                links = {r.offset: self.elf.symbols[r.symbol] for r in self.elf.relocations.get(section.index, ())}
                self.maps += structops.struct_ops_maps(section, self.btf, links)

    def read_arena(self) -> None:
        """Globals in an arena: their initial values lie in a section of their own."""
        section = self.elf.section(_ARENA_SECTION)
        if section is None or not section.size:
            return
        for i, spec in enumerate(self.maps):
            if spec.type == _ARENA:
                self.maps[i] = replace(spec, data=section.data or bytes(section.size))
                self.data_of[section.index] = spec.name
                return
        raise ObjectError("globals in an arena, but no arena map", section=section.name)

    def read_functions(self) -> None:
        infos = self.infos()
        seen = set()
        for section in self.elf.sections:
            if section.type != SHT_PROGBITS or not section.flags & SHF_EXECINSTR or not section.data:
                continue
            if section.size % 8:
                raise ObjectError(f"{section.size} bytes are no whole instructions", section=section.name)
            slots = decode(section.data, "little" if self.elf.byteorder == "little" else "big")
            symbols = sorted(
                (s for s in self.elf.symbols if s.section == section.index and s.type == STT_FUNC),
                key=lambda s: (s.value, s.bind == STB_LOCAL),
            )
            end = 0
            found = []
            for symbol in symbols:
                whole = symbol.size and not symbol.value % 8 and not symbol.size % 8
                if not whole or symbol.value + symbol.size > section.size:
                    raise ObjectError("function is no part of its section", section=section.name, symbol=symbol.name)
                if symbol.value < end:
                    raise ObjectError("functions overlap", section=section.name, symbol=symbol.name)
                end = symbol.value + symbol.size
                found.append(symbol)
            links = {r.offset // 8: r for r in self.elf.relocations.get(section.index, ())}
            for symbol in found:
                start, count = symbol.value // 8, symbol.size // 8
                name = symbol.name
                if name in seen:  # static functions of several linked files may share a name
                    name = f"{name}@{section.name}+{symbol.value}"
                seen.add(name)
                code = slots[start : start + count]
                refs = self.references(section, start, code, links)
                rows = infos.get(section.name, ((), (), ()))
                parts = [
                    tuple(
                        r._replace(insn_off=r.insn_off // 8 - start)
                        for r in part
                        if symbol.value <= r.insn_off < symbol.value + symbol.size
                    )
                    for part in rows
                ]
                self.functions[section.index, start] = Function(
                    name, section.name, start, tuple(code), tuple(refs), parts[0], parts[1], parts[2]
                )
        self.link_calls()

    def infos(self) -> dict[str, tuple[tuple, tuple, tuple]]:  # type: ignore[type-arg]
        if self.ext is None or self.btf is None:
            return {}
        found: dict[str, list[tuple]] = defaultdict(lambda: [(), (), ()])  # type: ignore[type-arg]
        parts: tuple[Any, ...] = (self.ext.func_info, self.ext.line_info, self.ext.core_relo)
        for which, part in enumerate(parts):
            for section in part:
                found[self.btf.string(section.name)][which] += section.records
        return {name: (rows[0], rows[1], rows[2]) for name, rows in found.items()}

    def references(
        self, section: Section, start: int, code: list[Insn], links: dict[int, Relocation]
    ) -> list[Reference]:
        refs = []
        for index, insn in enumerate(code):
            link = links.get(start + index)
            if link is not None:
                refs.append(self.reference(section, start + index, index, insn, self.elf.symbols[link.symbol]))
            elif insn.opcode == CALL and insn.src == PSEUDO_CALL:
                refs.append(Reference(index, "call", f"{section.index}", start + index + insn.imm + 1))
        return refs

    def reference(self, section: Section, at: int, index: int, insn: Insn, symbol: Symbol) -> Reference:
        def bad(text: str) -> RelocationError:
            return RelocationError(f"instruction {at}: {text}", section=section.name, symbol=symbol.name)

        if insn.opcode == CALL:
            if symbol.section == 0:
                if symbol.name not in self.externs:
                    raise bad("call of an unknown extern function")
                return Reference(index, "extern", symbol.name)
            if insn.src != PSEUDO_CALL:
                raise bad("relocation of a call that is not to a subprogram")
            return Reference(index, "call", f"{symbol.section}", symbol.value // 8 + insn.imm + 1)
        if not insn.is_ld_imm64:
            raise bad(f"no relocation fits opcode {insn.opcode:#x}")
        if symbol.section == 0:
            if symbol.name not in self.externs:
                raise bad("unknown extern")
            return Reference(index, "extern", symbol.name)
        if symbol.section in self.data_of:
            return Reference(index, "data", self.data_of[symbol.section], symbol.value + insn.imm)
        name = self.map_at.get((symbol.section, symbol.value + (insn.imm if symbol.type == STT_SECTION else 0)))
        if name is not None:
            return Reference(index, "map", name)
        target = self.elf.sections[symbol.section] if symbol.section < len(self.elf.sections) else None
        if target is not None and target.flags & SHF_EXECINSTR:
            return Reference(index, "func", f"{symbol.section}", symbol.value // 8 + insn.imm // 8)
        raise bad("the target is neither map, data nor function")

    def link_calls(self) -> None:
        """References to functions name them, now that all are known."""
        for key, function in self.functions.items():
            refs = []
            for ref in function.references:
                if ref.kind in ("call", "func"):
                    target = self.functions.get((int(ref.name), ref.offset))
                    if target is None:
                        raise RelocationError(
                            f"no function starts at instruction {ref.offset} of section {ref.name}",
                            section=function.section, symbol=function.name,
                        )  # fmt: skip
                    ref = Reference(ref.insn, ref.kind, target.name)
                refs.append(ref)
            self.functions[key] = Function(
                function.name, function.section, function.start, function.insns, tuple(refs),
                function.func_info, function.line_info, function.core,
            )  # fmt: skip

    def programs(self) -> list[ProgramSpec]:
        local = {(s.section, s.value // 8) for s in self.elf.symbols if s.type == STT_FUNC and s.bind == STB_LOCAL}
        found = []
        for key in sorted(self.functions):
            function = self.functions[key]
            # With more than one function, those in .text are subprograms.
            if function.section == ".text" and len(self.functions) > 1:
                continue
            if function.section != ".text" and key in local:
                raise ObjectError("static programs are not supported", section=function.section, symbol=function.name)
            section = function.section.removeprefix("?")
            match = resolve(section)
            row = match.section if match is not None else None
            found.append(
                ProgramSpec(
                    function.name, section, row.prog_type if row else "", row.attach_type if row else "",
                    match.rest if match is not None else "", row.prog_flags if row else 0, function,
                    not function.section.startswith("?"), row is not None and row.attach_btf,
                    row.attach if row else "",
                )
            )  # fmt: skip
        return found


