"""Which other types a type refers to, and the same type with those references changed."""

from __future__ import annotations

from collections.abc import Callable

from bombus.btf.types import (
    Array,
    Const,
    DataSec,
    DeclTag,
    Func,
    FuncProto,
    Param,
    Ptr,
    Restrict,
    SecVar,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)


def references(type_: Type) -> list[int]:
    """Ids that a type refers to, in the order of its record; with repetitions, 0 for void."""
    match type_:
        case Struct() | Union():
            return [member.type for member in type_.members]
        case FuncProto():
            return [type_.type, *(param.type for param in type_.params)]
        case DataSec():
            return [var.type for var in type_.vars]
        case Array():
            return [type_.type, type_.index_type]
        case Ptr() | Typedef() | Const() | Volatile() | Restrict() | TypeTag() | Func() | Var() | DeclTag():
            return [type_.type]
    return []


def with_references(type_: Type, new: Callable[[int], int]) -> Type:
    """The type with every reference `i` replaced by `new(i)`."""
    match type_:
        case Struct() | Union():
            members = tuple([member._replace(type=new(member.type)) for member in type_.members])
            return type_._replace(members=members)
        case FuncProto():
            params = tuple([Param(param.name, new(param.type)) for param in type_.params])
            return type_._replace(type=new(type_.type), params=params)
        case DataSec():
            return type_._replace(vars=tuple([SecVar(new(var), offset, size) for var, offset, size in type_.vars]))
        case Array():
            return type_._replace(type=new(type_.type), index_type=new(type_.index_type))
        case Ptr() | Typedef() | Const() | Volatile() | Restrict() | TypeTag() | Func() | Var() | DeclTag():
            return type_._replace(type=new(type_.type))
    return type_
