"""The few questions that the verifier asks a program's BTF."""

from __future__ import annotations

from bombus.btf.parse import Btf
from bombus.btf.types import DeclTag, Enum, Enum64, Func, FuncProto, Int, Kind, Type
from bombus.errors import BtfError

_CALLBACK = "exception_callback:"


def type_or_none(btf: Btf, type_id: int) -> Type | None:
    try:
        return btf.type(type_id)
    except BtfError:
        return None


def is_func(btf: Btf, type_id: int) -> bool:
    return isinstance(type_or_none(btf, type_id), Func)


def proto_of(btf: Btf, type_id: int) -> int:
    found = btf.type(type_id)
    return found.type if isinstance(found, Func) else 0


def is_func_proto(btf: Btf, type_id: int) -> bool:
    return isinstance(type_or_none(btf, type_id), FuncProto)


def function(btf: Btf, type_id: int) -> tuple[str, int]:
    """Name and linkage."""
    found = btf.type(type_id)
    assert isinstance(found, Func)
    return found.name, found.linkage


def argument_words(btf: Btf, proto: FuncProto) -> int:
    """How many registers the arguments take: structs may need two."""
    return sum(-(-getattr(btf.resolved(param.type), "size", 8) // 8) for param in proto.params)


def returns_scalar(btf: Btf, type_id: int) -> bool:
    proto = btf.type(proto_of(btf, type_id))
    assert isinstance(proto, FuncProto)
    result = btf.resolved(proto.type)
    return isinstance(result, (Int, Enum, Enum64)) and result.size <= 8


def argument_tags(btf: Btf, func_id: int) -> dict[int, list[str]]:
    """Declaration tags of a function's arguments that begin with "arg:", by argument number."""
    found: dict[int, list[str]] = {}
    for type_id in btf.ids():
        if btf.kind(type_id) != Kind.DECL_TAG:
            continue
        tag = btf.type(type_id)
        assert isinstance(tag, DeclTag)
        if tag.type == func_id and tag.component >= 0 and tag.name.startswith("arg:"):
            found.setdefault(tag.component, []).append(tag.name.removeprefix("arg:"))
    return found


def exception_callbacks(btf: Btf, func_id: int) -> list[str]:
    """The names of the functions that declaration tags of the main program make its callback for exceptions."""
    found = []
    for type_id in btf.ids():
        if btf.kind(type_id) == Kind.DECL_TAG:
            tag = btf.type(type_id)
            assert isinstance(tag, DeclTag)
            if tag.type == func_id and tag.component < 0 and tag.name.startswith(_CALLBACK):
                found.append(tag.name.removeprefix(_CALLBACK))
    return found
