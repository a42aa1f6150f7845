"""Types in one line, as bpftool prints the signatures of functions.

Source: Linux 6.12 tools/bpf/bpftool/btf_dumper.c (btf_dumper_type_only), behaviour.
"""

from __future__ import annotations

from bombus.btf.parse import Btf
from bombus.btf.query import MAX_DEPTH
from bombus.btf.types import (
    Array,
    Const,
    DataSec,
    Enum,
    Enum64,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    Union,
    Var,
    Volatile,
)
from bombus.errors import BtfError


def signature(btf: Btf, type_id: int) -> str:
    """The type as text with bpftool's spaces: "int traffic(struct xdp_md * ctx)". "" where bpftool knows no text."""
    try:
        return _text(btf, type_id, 0)
    except BtfError:
        return ""


def _text(btf: Btf, type_id: int, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise BtfError(f"type {type_id} is nested more than {MAX_DEPTH} deep")
    if not type_id:
        return "void "
    deeper = depth + 1
    match type_ := btf.type(type_id):
        case Int() | Typedef() | Float():
            return f"{type_.name} "
        case Struct() | Union():
            return f"{type_.kind.name.lower()} {type_.name} "
        case Enum() | Enum64():
            return f"enum {type_.name} "
        case Fwd():
            return f"{'union' if type_.union else 'struct'} {type_.name} "
        case Array():
            return f"{_text(btf, type_.type, deeper)}[{type_.nelems}]"
        case Ptr():
            return f"{_text(btf, type_.type, deeper)}* "
        case Volatile() | Const() | Restrict():
            return f"{type_.kind.name.lower()} {_text(btf, type_.type, deeper)}"
        case FuncProto():
            return _function(btf, type_, "", deeper)
        case Func():
            proto = btf.type(type_.type)
            if not isinstance(proto, FuncProto):
                raise BtfError(f"function {type_.name} has no prototype")
            return _function(btf, proto, type_.name, deeper)
        case Var():
            static = "static " if type_.linkage == 0 else ""
            return f"{static}{_text(btf, type_.type, deeper)} {type_.name}"
        case DataSec():
            return f'section ("{type_.name}") '
    raise BtfError(f"type {type_id} has no text")


def _function(btf: Btf, proto: FuncProto, name: str, depth: int) -> str:
    parts = []
    for param in proto.params:
        if not param.type:
            parts.append("...")
            continue
        text = _text(btf, param.type, depth)
        parts.append(text + param.name if param.name else text.removesuffix(" "))
    return f"{_text(btf, proto.type, depth)}{name}({', '.join(parts)})"
