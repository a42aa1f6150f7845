"""Values by their BTF type as bpftool prints them: for JSON, or as the JSON-like text of people.

Source: Linux 6.1 tools/bpf/bpftool/btf_dumper.c, behaviour. The two differ in how pointers, characters and wide
numbers look.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any

from bombus.btf.layouts import AnonymousKey
from bombus.btf.parse import Btf
from bombus.btf.query import MAX_DEPTH
from bombus.btf.types import (
    INT_BOOL,
    INT_CHAR,
    INT_SIGNED,
    Array,
    Const,
    DataSec,
    Enum,
    Enum64,
    Float,
    FuncProto,
    Int,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from bombus.cli.output import Raw
from bombus.errors import BtfError

_FLOATS = {4: "=f", 8: "=d"}


class Typed:
    """plain: text for people. function: what to show for a pointer to a function, given the id of its type and the
    number that stands there; None for the number itself."""

    def __init__(self, btf: Btf, *, plain: bool = False, function: Callable[[int, int], str] | None = None):
        self._btf = btf
        self._plain = plain
        self._function = function

    def show(self, type_id: int, data: bytes) -> Any:
        """BtfError for types without values, or with more bytes than there are."""
        return self._show(type_id, data, 0, 0)

    def _bytes(self, data: bytes, at: int, size: int) -> bytes:
        piece = data[at : at + size]
        if len(piece) < size:
            raise BtfError(f"the type wants {at + size} bytes, there are {len(data)}")
        return piece

    def _number(self, data: bytes, at: int, size: int, signed: bool = False) -> int:
        return int.from_bytes(self._bytes(data, at, size), sys.byteorder, signed=signed)

    def _show(self, type_id: int, data: bytes, bit: int, depth: int) -> Any:
        """bit: where the value begins, in bits."""
        if depth > MAX_DEPTH:
            raise BtfError(f"type {type_id} is nested more than {MAX_DEPTH} deep")
        type_ = self._btf.type(type_id)
        at = bit // 8
        match type_:
            case Int():
                return self._int(type_, data, bit)
            case Struct() | Union():
                return self._struct(type_, data, bit, depth)
            case Array():
                return self._array(type_, data, at, depth)
            case Enum() | Enum64():
                return self._enum(type_, data, at)
            case Ptr():
                return self._pointer(type_, data, at)
            case Typedef() | Const() | Volatile() | Restrict() | TypeTag():
                return self._show(type_.type, data, bit, depth + 1)
            case Var():
                return {type_.name: self._show(type_.type, data, bit, depth + 1)}
            case DataSec():
                return {type_.name: [self._show(var, data, bit + offset * 8, depth + 1) for var, offset, _ in
                                     type_.vars]}  # fmt: skip
            case Float() if type_.size in _FLOATS:
                return struct.unpack(_FLOATS[type_.size], self._bytes(data, at, type_.size))[0]
        raise BtfError(f"type {type_id} ({type_.kind.name} {type_.name}) has no values")

    def _wide(self, number: int) -> Any:
        text = f"0x{number:x}"
        return Raw(text) if self._plain else text

    def _bits(self, data: bytes, bit: int, count: int) -> Any:
        size = (bit % 8 + count + 7) // 8
        raw = self._number(data, bit // 8, size)
        shift = bit % 8 if sys.byteorder == "little" else size * 8 - bit % 8 - count
        return self._wide(raw >> shift & (1 << count) - 1)

    def _int(self, type_: Int, data: bytes, bit: int) -> Any:
        if bit % 8 or type_.offset or type_.bits % 8 or type_.bits not in (8, 16, 32, 64, 128):
            return self._bits(data, bit + type_.offset, type_.bits)
        at, size = bit // 8, type_.bits // 8
        if size == 16:
            return self._wide(self._number(data, at, 16))
        if type_.encoding == INT_CHAR:
            char = self._number(data, at, 1)
            if 0x20 <= char < 0x7F:
                return chr(char)
            return Raw(f"0x{char:x}") if self._plain else chr(char)
        if type_.encoding == INT_BOOL:
            return bool(self._number(data, at, 1))
        return self._number(data, at, size, type_.encoding == INT_SIGNED)

    def _enum(self, type_: Enum | Enum64, data: bytes, at: int) -> Any:
        number = self._number(data, at, type_.size, signed=True)
        mask = (1 << type_.size * 8) - 1
        for name, value in type_.values:
            if value & mask == number & mask:
                return name
        return number

    def _struct(self, type_: Struct | Union, data: bytes, bit: int, depth: int) -> Any:
        found: dict[str, Any] = {}
        for member in type_.members:
            place = bit + member.offset
            if member.bits:
                value = self._bits(data, place, member.bits)
            else:
                value = self._show(member.type, data, place, depth + 1)
            found[member.name or AnonymousKey()] = value
        return found

    def _array(self, type_: Array, data: bytes, at: int, depth: int) -> Any:
        size = self._btf.size_of(type_.type)
        raw = self._bytes(data, at, size * type_.nelems)
        text = self._text(type_, raw)
        if text is not None:
            return text
        return [self._show(type_.type, data, (at + i * size) * 8, depth + 1) for i in range(type_.nelems)]

    def _text(self, type_: Array, raw: bytes) -> str | None:
        """An array of char that is a string. A typedef of char does not count, as in bpftool."""
        element = self._btf.type(self._btf.strip_modifiers(type_.type))
        if not isinstance(element, Int) or element.size != 1:
            return None
        if element.encoding != INT_CHAR and element.name != "char":
            return None
        end = raw.find(0)
        if end < 0 or not all(0x1F < c < 0x7F for c in raw[:end]):
            return None
        return raw[:end].decode("ascii")

    def _pointer(self, type_: Ptr, data: bytes, at: int) -> Any:
        number = self._number(data, at, 8)
        if self._function is not None and number <= 0xFFFF_FFFF:
            target = self._btf.resolve(type_.type) if type_.type else 0
            if isinstance(self._btf.type(target), FuncProto):
                return self._function(target, number)
        if self._plain:
            return Raw(f"0x{number:x}" if number else "(nil)")
        return number
