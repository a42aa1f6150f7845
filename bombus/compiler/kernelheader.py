"""vmlinux.h: a kernel's types, and its functions that programs may call, as a C header.

Facts: `bpftool btf dump file F format c` of bpftool 7.1 (types, in this order) and 7.5 (prototypes of kfuncs).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from bombus.btf.declare import Declarer
from bombus.btf.dump_c import FOOTER, HEADER, CDumper
from bombus.btf.parse import Btf
from bombus.btf.refs import references
from bombus.btf.types import (
    Array,
    Const,
    DeclTag,
    Enum,
    Enum64,
    Func,
    FuncProto,
    Fwd,
    Kind,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Volatile,
)
from bombus.elf.read import MAGIC, read_elf
from bombus.errors import ObjectError, UsageError

_KSYM: Final = """\
#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

"""
_NAMED: Final = (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.TYPEDEF, Kind.FUNC)


def read_btf(data: bytes) -> Btf:
    """BTF from raw bytes or from an ELF file. BtfError, ElfError, ObjectError when an ELF file has none."""
    if data[:4] == MAGIC:
        section = read_elf(data).section(".BTF")
        if section is None:
            raise ObjectError("no section .BTF")
        data = section.data
    return Btf.parse(data)


def header_text(btf: Btf, names: Iterable[str] = ()) -> str:
    """The header. names: only these types and functions, and what they need; UsageError for unknown ones."""
    return "".join(_pieces(btf, tuple(names)))


def _pieces(btf: Btf, names: tuple[str, ...]) -> Iterator[str]:
    dumper = CDumper(btf)
    functions = dict(_kfuncs(btf))
    types: Iterable[int] = range(1, len(btf))
    if names:
        types, functions = _chosen(btf, names, functions)
    yield HEADER + _KSYM
    for type_id in types:
        yield dumper.dump(type_id)
    if functions:
        declarer = Declarer(btf, dumper.named)
        if names:
            yield "".join(_needed(btf, dumper, functions.values()))
        yield "#ifndef BPF_NO_KFUNC_PROTOTYPES\n"
        for name in sorted(functions):
            yield f"extern {declarer.declare(functions[name], name)} __weak __ksym;\n"
        yield "#endif\n\n"
    yield FOOTER


def _needed(btf: Btf, dumper: CDumper, prototypes: Iterable[int]) -> Iterator[str]:
    """What prototypes name: structs behind pointers are declared, all else is defined."""
    todo = list(prototypes)
    seen: set[int] = set()
    while todo:
        type_id = todo.pop(0)
        if not type_id or type_id in seen:
            continue
        seen.add(type_id)
        match btf.type(type_id):
            case FuncProto() as proto:
                todo += references(proto)
            case Ptr() as pointer if isinstance(target := btf.resolved(pointer.type), (Struct, Union, Fwd)) and (
                target.name and not isinstance(btf.type(_unqualified(btf, pointer.type)), Typedef)
            ):
                yield f"{dumper.named(btf.resolve(pointer.type), target, 0)};\n\n"
            case Ptr() | Const() | Volatile() | Restrict() | TypeTag() | Array() as link:
                todo.append(link.type)
            case _:
                yield dumper.dump(type_id)


def _unqualified(btf: Btf, type_id: int) -> int:
    while isinstance(kind := btf.type(type_id), (Const, Volatile, Restrict, TypeTag)):
        type_id = kind.type
    return type_id


def _kfuncs(btf: Btf) -> Iterator[tuple[str, int]]:
    """Names and prototypes of the functions with the tag bpf_kfunc (6.10 on; pahole 1.26)."""
    for type_id in range(1, len(btf)):
        if btf.kind(type_id) == Kind.DECL_TAG and btf.name(type_id) == "bpf_kfunc":
            tag = btf.type(type_id)
            assert isinstance(tag, DeclTag)
            function = btf.type(tag.type)
            if tag.component == -1 and isinstance(function, Func):
                yield function.name, function.type


def _chosen(btf: Btf, names: tuple[str, ...], functions: dict[str, int]) -> tuple[list[int], dict[str, int]]:
    types: list[int] = []
    chosen: dict[str, int] = {}
    for name in names:
        if name in functions:
            chosen[name] = functions[name]
            continue
        found = []
        for type_id in btf.find_all(name, _NAMED):
            type_ = btf.type(type_id)
            if isinstance(type_, (Struct, Union, Typedef)) or (isinstance(type_, (Enum, Enum64)) and type_.values):
                found.append(type_id)
            elif isinstance(type_, Func):
                chosen[name] = type_.type
        if not found and name not in chosen:
            found = _enumerations(btf, name)
        if not found and name not in chosen:
            raise UsageError(f"this kernel has no type, enumerator or function {name}")
        types += found[:1]
    return types, chosen


def _enumerations(btf: Btf, enumerator: str) -> list[int]:
    """Enums, anonymous ones too, that have such an enumerator."""
    for type_id in range(1, len(btf)):
        if btf.kind(type_id) in (Kind.ENUM, Kind.ENUM64):
            type_ = btf.type(type_id)
            assert isinstance(type_, (Enum, Enum64))
            if any(name == enumerator for name, _value in type_.values):
                return [type_id]
    return []
