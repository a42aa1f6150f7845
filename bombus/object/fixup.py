"""What compilers leave open in the BTF of an object, filled in.

clang leaves the sizes of data sections 0 and the offsets of their global variables too: they stand in the ELF file.
Kernels also refuse what describes externs, which is rewritten before the BTF is loaded.
Facts: Linux 6.12 tools/lib/bpf/libbpf.c (btf_fixup_datasec, bpf_object__collect_externs).
"""

from __future__ import annotations

from bombus.btf.build import Builder
from bombus.btf.parse import Btf
from bombus.btf.types import EXTERN, GLOBAL, STATIC, DataSec, Func, FuncProto, Int, Kind, Param, SecVar, Var
from bombus.elf.model import STB_LOCAL, STT_FUNC, STT_SECTION, Elf
from bombus.object.model import Extern

_HIDDEN = (1, 2)  # STV_INTERNAL, STV_HIDDEN
_INT_SIZE = 4


def with_places(btf: Btf, elf: Elf) -> Btf:
    """The BTF with sizes and offsets of data sections as the ELF file has them, and hidden functions static: the
    verifier then follows calls of them instead of taking them as global ones."""
    open_sections = [
        (type_id, type_)
        for type_id, type_ in btf.items()
        if isinstance(type_, DataSec) and type_.size == 0 and type_.name not in (".kconfig", ".ksyms")
    ]
    hidden = {s.name for s in elf.symbols if s.type == STT_FUNC and s.bind != STB_LOCAL and s.visibility in _HIDDEN}
    functions = [
        (type_id, type_)
        for type_id, type_ in btf.items()
        if hidden and isinstance(type_, Func) and type_.name in hidden and type_.linkage == GLOBAL
    ]
    if not open_sections and not functions:
        return btf
    sizes = {section.name: section for section in elf.sections}
    by_name = {
        (symbol.section, symbol.name): symbol
        for symbol in elf.symbols
        if symbol.name and symbol.type != STT_SECTION and symbol.bind != STB_LOCAL
    }
    builder = Builder.from_btf(btf)
    for type_id, func in functions:
        builder.replace(type_id, Func(func.name, func.type, STATIC))
    for type_id, type_ in open_sections:
        section = sizes.get(type_.name)
        if section is None:
            continue
        places: list[SecVar] = []
        for place in type_.vars:
            var = btf.type(place.type)
            symbol = by_name.get((section.index, var.name))
            if isinstance(var, Var) and var.linkage not in (STATIC, EXTERN) and symbol is not None:
                place = place._replace(offset=symbol.value)
                if symbol.visibility in _HIDDEN:
                    builder.replace(place.type, Var(var.name, var.type, STATIC))
            places.append(place)
        builder.replace(type_id, DataSec(type_.name, section.size, tuple(sorted(places, key=lambda p: p.offset))))
    return builder.build()


def for_kernel(btf: Btf, externs: tuple[Extern, ...]) -> Btf:
    """The BTF as kernels take it: externs become plain variables and functions."""
    sections = [i for i in (btf.find(".kconfig", Kind.DATASEC), btf.find(".ksyms", Kind.DATASEC)) if i is not None]
    functions = [i for i, t in btf.items() if isinstance(t, Func) and t.linkage == EXTERN]
    if not sections and not functions:
        return btf
    builder = Builder.from_btf(btf)
    known = {extern.name: extern for extern in externs}
    int_id = _an_int(btf, builder)
    dummy = 0
    for type_id in functions:
        func = btf.type(type_id)
        assert isinstance(func, Func)
        builder.replace(type_id, Func(func.name, func.type, GLOBAL))
        proto = btf.type(func.type)
        if isinstance(proto, FuncProto) and any(not p.name and p.type for p in proto.params):
            named = tuple(p if p.name or not p.type else Param("arg", p.type) for p in proto.params)
            builder.replace(func.type, FuncProto(proto.type, named))
    for section_id in sections:
        section = btf.type(section_id)
        assert isinstance(section, DataSec)
        places: list[SecVar] = []
        for i, place in enumerate(section.vars):
            var = btf.type(place.type)
            extern = known.get(var.name)
            if section.name == ".kconfig" and isinstance(var, Var):
                builder.replace(place.type, Var(var.name, var.type, GLOBAL))
                if extern is not None:
                    places.append(SecVar(place.type, extern.offset, extern.size))
                continue
            if isinstance(var, Var):
                builder.replace(place.type, Var(var.name, int_id, GLOBAL))
                places.append(SecVar(place.type, i * _INT_SIZE, _INT_SIZE))
            else:
                if not dummy:
                    dummy = builder.add(Var("dummy_ksym", int_id, GLOBAL))
                places.append(SecVar(dummy, i * _INT_SIZE, _INT_SIZE))
        places.sort(key=lambda p: p.offset)
        size = max((p.offset + p.size for p in places), default=0)
        builder.replace(section_id, DataSec(section.name, size, tuple(places)))
    return builder.build()


def _an_int(btf: Btf, builder: Builder) -> int:
    for type_id, type_ in btf.items():
        if isinstance(type_, Int) and type_.size == _INT_SIZE and not type_.boolean:
            return type_id
    return builder.add(Int("int", _INT_SIZE, 1))
