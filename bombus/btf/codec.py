"""One BTF type record to and from 32-bit words in host byte order. Strings stay offsets here.

Facts: Linux 6.12 Documentation/bpf/btf.rst section 2.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from bombus.bits import U32, s32, sign_extend
from bombus.btf.types import (
    MAX_VLEN,
    Array,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Member,
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
from bombus.errors import BtfError


def decode(words: array[int] | memoryview, at: int, string: Callable[[int], str], type_count: int) -> Type:
    """The record that starts at word `at`. The caller has checked that it lies inside `words` whole.

    Raises BtfError for string offsets and type ids out of range and for impossible sizes.
    """
    name_off, info, size = words[at], words[at + 1], words[at + 2]
    kind = info >> 24 & 0x1F
    vlen = info & MAX_VLEN
    flag = bool(info >> 31)
    name = string(name_off) if name_off else ""
    body = at + 3

    def ref(type_id: int) -> int:
        if type_id >= type_count:
            raise BtfError(f"type id {type_id} is beyond the last one ({type_count - 1})", offset=at * 4)
        return type_id

    match kind:
        case Kind.INT:
            return _int(name, size, words[body], at)
        case Kind.PTR:
            return Ptr(ref(size), name)
        case Kind.ARRAY:
            return Array(ref(words[body]), ref(words[body + 1]), words[body + 2], name)
        case Kind.STRUCT | Kind.UNION:
            raw = words[body : body + 3 * vlen]
            if flag:
                members = tuple(
                    [
                        Member(string(n) if n else "", t, o & 0xFFFFFF, o >> 24)
                        for n, t, o in zip(raw[::3], raw[1::3], raw[2::3], strict=True)
                    ]
                )
            else:
                members = tuple(
                    [
                        Member(string(n) if n else "", t, o)
                        for n, t, o in zip(raw[::3], raw[1::3], raw[2::3], strict=True)
                    ]
                )
            if vlen:
                ref(max(raw[1::3]))
            return Struct(name, size, members, flag) if kind == Kind.STRUCT else Union(name, size, members, flag)
        case Kind.ENUM:
            raw = words[body : body + 2 * vlen]
            if flag:
                values = tuple([Enumerator(string(n), s32(v)) for n, v in zip(raw[::2], raw[1::2], strict=True)])
            else:
                values = tuple([Enumerator(string(n), v) for n, v in zip(raw[::2], raw[1::2], strict=True)])
            return Enum(name, _enum_size(size, at), values, flag)
        case Kind.ENUM64:
            raw = words[body : body + 3 * vlen]
            wide = [(n, hi << 32 | lo) for n, lo, hi in zip(raw[::3], raw[1::3], raw[2::3], strict=True)]
            values = tuple([Enumerator(string(n), sign_extend(v, 64) if flag else v) for n, v in wide])
            return Enum64(name, _enum_size(size, at), values, flag)
        case Kind.FWD:
            return Fwd(name, flag)
        case Kind.TYPEDEF:
            return Typedef(name, ref(size))
        case Kind.VOLATILE:
            return Volatile(ref(size), name)
        case Kind.CONST:
            return Const(ref(size), name)
        case Kind.RESTRICT:
            return Restrict(ref(size), name)
        case Kind.FUNC:
            return Func(name, ref(size), vlen)
        case Kind.FUNC_PROTO:
            raw = words[body : body + 2 * vlen]
            params = [Param(string(n) if n else "", ref(t)) for n, t in zip(raw[::2], raw[1::2], strict=True)]
            return FuncProto(ref(size), tuple(params), name)
        case Kind.VAR:
            return Var(name, ref(size), words[body])
        case Kind.DATASEC:
            raw = words[body : body + 3 * vlen]
            rows = [SecVar(ref(t), o, s) for t, o, s in zip(raw[::3], raw[1::3], raw[2::3], strict=True)]
            return DataSec(name, size, tuple(rows))
        case Kind.FLOAT:
            return Float(name, size)
        case Kind.DECL_TAG:
            return DeclTag(name, ref(size), s32(words[body]), flag)
        case Kind.TYPE_TAG:
            return TypeTag(name, ref(size), flag)
    raise BtfError(f"unknown kind {kind}", offset=at * 4)


def _int(name: str, size: int, data: int, at: int) -> Int:
    encoding, offset, bits = data >> 24 & 0xF, data >> 16 & 0xFF, data & 0xFF
    if not 1 <= size <= 16:
        raise BtfError(f"integer {name!r} of {size} bytes", offset=at * 4)
    if bits + offset > size * 8:
        raise BtfError(f"integer {name!r}: {bits} bits at bit {offset} do not fit {size} bytes", offset=at * 4)
    return Int(name, size, encoding, offset, bits)


def _enum_size(size: int, at: int) -> int:
    if size not in (1, 2, 4, 8):
        raise BtfError(f"enum of {size} bytes", offset=at * 4)
    return size


def encode(type_: Type, string: Callable[[str], int]) -> list[int]:
    """The words of one record; `string` gives the offset of a name. BtfError for what does not fit."""
    kind = type_.kind
    name = string(type_.name) if type_.name else 0
    flag = False
    vlen = 0
    size = 0
    body: list[int] = []
    match type_:
        case Int():
            size = type_.size
            body = [type_.encoding << 24 | type_.offset << 16 | type_.bits]
        case Ptr() | Typedef() | Volatile() | Const() | Restrict():
            size = type_.type
        case TypeTag():
            size, flag = type_.type, type_.kind_flag
        case Array():
            body = [type_.type, type_.index_type, type_.nelems]
        case Struct() | Union():
            size, flag, vlen = type_.size, type_.kind_flag, len(type_.members)
            for m in type_.members:
                if m.bits and not flag:
                    raise BtfError(f"{type_.name or 'anonymous type'}: bit-field {m.name!r} needs kind_flag")
                if flag and (m.offset > 0xFFFFFF or m.bits > 0xFF):
                    raise BtfError(f"{type_.name or 'anonymous type'}: member {m.name!r} lies too far for kind_flag")
                body += (string(m.name) if m.name else 0, m.type, m.bits << 24 | m.offset)
        case Enum():
            size, flag, vlen = type_.size, type_.signed, len(type_.values)
            for e in type_.values:
                body += (string(e.name), e.value & U32)
        case Enum64():
            size, flag, vlen = type_.size, type_.signed, len(type_.values)
            for e in type_.values:
                body += (string(e.name), e.value & U32, e.value >> 32 & U32)
        case Fwd():
            flag = type_.union
        case Func():
            size, vlen = type_.type, type_.linkage
        case FuncProto():
            size, vlen = type_.type, len(type_.params)
            for p in type_.params:
                body += (string(p.name) if p.name else 0, p.type)
        case Var():
            size, body = type_.type, [type_.linkage]
        case DataSec():
            size, vlen = type_.size, len(type_.vars)
            for v in type_.vars:
                body += v
        case Float():
            size = type_.size
        case DeclTag():
            size, body, flag = type_.type, [type_.component & U32], type_.kind_flag
        case _:
            raise BtfError("void has no record")
    if not 0 <= vlen <= MAX_VLEN:
        raise BtfError(f"{type_.name or 'anonymous type'} has {vlen} elements; a record holds {MAX_VLEN}")
    return [name, flag << 31 | kind << 24 | vlen, size, *body]
