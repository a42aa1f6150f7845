"""Types as `bpftool btf dump format raw` prints them, as text and as JSON rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bombus.bits import s32, u64
from bombus.btf.parse import Btf
from bombus.btf.types import (
    INT_BOOL,
    INT_CHAR,
    INT_SIGNED,
    Array,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)

ENCODING = {0: "(none)", INT_SIGNED: "SIGNED", INT_CHAR: "CHAR", INT_BOOL: "BOOL"}
LINKAGE = {0: "static", 1: "global", 2: "extern"}

Row = dict[str, Any]


def row(type_id: int, type_: Type) -> Row:
    """One type with the field names of `bpftool -j btf dump`."""
    out: Row = {"id": type_id, "kind": type_.kind.name, "name": type_.name or "(anon)"}
    match type_:
        case Int():
            out["size"] = type_.size
            out["bits_offset"] = type_.offset
            out["nr_bits"] = type_.bits
            out["encoding"] = ENCODING.get(type_.encoding, "UNKN")
        case Ptr() | Const() | Volatile() | Restrict() | Typedef() | TypeTag():
            out["type_id"] = type_.type
        case Array():
            out["type_id"] = type_.type
            out["index_type_id"] = type_.index_type
            out["nr_elems"] = type_.nelems
        case Struct() | Union():
            out["size"] = type_.size
            out["vlen"] = len(type_.members)
            members: list[Row] = []
            for name, member_type, offset, bits in type_.members:
                member: Row = {"name": name or "(anon)", "type_id": member_type, "bits_offset": offset}
                if bits:
                    member["bitfield_size"] = bits
                members.append(member)
            out["members"] = members
        case Enum() | Enum64():
            out["encoding"] = "SIGNED" if type_.signed else "UNSIGNED"
            out["size"] = type_.size
            out["vlen"] = len(type_.values)
            out["values"] = [
                {"name": name or "(anon)", "val": _json_value(type_, value)} for name, value in type_.values
            ]
        case Fwd():
            out["fwd_kind"] = "union" if type_.union else "struct"
        case Func():
            out["type_id"] = type_.type
            out["linkage"] = LINKAGE.get(type_.linkage, "(unknown)")
        case FuncProto():
            out["ret_type_id"] = type_.type
            out["vlen"] = len(type_.params)
            out["params"] = [{"name": name or "(anon)", "type_id": param} for name, param in type_.params]
        case Var():
            out["type_id"] = type_.type
            out["linkage"] = LINKAGE.get(type_.linkage, "(unknown)")
        case DataSec():
            out["size"] = type_.size
            out["vlen"] = len(type_.vars)
            out["vars"] = [{"type_id": var, "offset": offset, "size": size} for var, offset, size in type_.vars]
        case Float():
            out["size"] = type_.size
        case DeclTag():
            out["type_id"] = type_.type
            out["component_idx"] = type_.component
    return out


def _json_value(type_: Enum | Enum64, value: int) -> int:
    # bpftool hands its signed 32-bit field to a 64-bit unsigned printer.
    return u64(s32(value)) if isinstance(type_, Enum) and not type_.signed else value


def rows(btf: Btf) -> Iterator[Row]:
    """Rows of a blob's own types in order of ids. Raises BtfError where a type is broken."""
    return (row(type_id, type_) for type_id, type_ in btf.items())


def text(btf: Btf, type_id: int) -> str:
    """One type in bpftool's raw text; several lines for types with members."""
    type_ = btf.type(type_id)
    lines: list[str] = []
    head: list[str] = []
    for key, value in row(type_id, type_).items():
        if not isinstance(value, list):
            head.append(f"{key}={value}")
        elif key == "vars":
            for var in value:
                target = btf.type(var["type_id"])
                line = f"\ttype_id={var['type_id']} offset={var['offset']} size={var['size']}"
                lines.append(f"{line} ({target.kind.name} '{target.name or '(anon)'}')")
        elif isinstance(type_, (Enum, Enum64)):
            suffix = ("LL" if type_.signed else "ULL") if isinstance(type_, Enum64) else ""
            lines += [f"\t'{name or '(anon)'}' val={number}{suffix}" for name, number in type_.values]
        else:
            for item in value:
                name = item.pop("name")
                lines.append(f"\t'{name}' " + " ".join(f"{k}={v}" for k, v in item.items()))
    fields = head[3:]
    separator = ", " if type_.kind == Kind.VAR else " "
    first = f"[{type_id}] {type_.kind.name} '{type_.name or '(anon)'}'"
    if fields:
        first += " " + separator.join(fields)
    return "\n".join([first, *lines])


def dump(btf: Btf) -> Iterator[str]:
    """The text of each of a blob's own types, in order of ids."""
    return (text(btf, type_id) for type_id in btf.ids())
