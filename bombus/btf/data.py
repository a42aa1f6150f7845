"""Typed data: bytes read and written by their BTF type.

`layout_of(btf, type_id)` gives a layout; `to_python`, `to_bytes`, `formatted` and `dtype_of` work on one, and
`TypedValue` is a ctypes-like view with attributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bombus.btf.layouts import (
    ArrayLayout,
    Buffer,
    ByteOrder,
    CharsLayout,
    EnumInt,
    EnumLayout,
    FloatLayout,
    IntLayout,
    Layout,
    PointerLayout,
    SectionLayout,
    Slot,
    StructLayout,
)
from bombus.btf.parse import Btf
from bombus.btf.query import MAX_DEPTH
from bombus.btf.types import (
    Array,
    DataSec,
    Enum,
    Enum64,
    Float,
    Int,
    Ptr,
    Struct,
    Type,
    Union,
    Var,
)
from bombus.errors import BtfError, UsageError

if TYPE_CHECKING:
    import numpy as np

# Members that one value may have in all; bounds the work on hostile types.
MAX_COST = 1 << 24


class _Builder:
    __slots__ = ("btf", "known", "order")

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.order: ByteOrder = "little" if btf.byteorder == "little" else "big"
        self.known: dict[int, Layout] = {}

    def build(self, type_id: int, depth: int = 0) -> Layout:
        found = self.known.get(type_id)
        if found is not None:
            return found
        if depth > MAX_DEPTH:
            raise BtfError(f"type {type_id} is nested more than {MAX_DEPTH} deep")
        layout = self._build(type_id, self.btf.resolved(type_id), depth)
        if layout.cost > MAX_COST:
            raise BtfError(f"type {type_id} has more than {MAX_COST} parts")
        self.known[type_id] = layout
        return layout

    def _build(self, type_id: int, type_: Type, depth: int) -> Layout:
        match type_:
            case Int():
                return IntLayout(
                    type_.name,
                    type_.size,
                    self.order,
                    signed=type_.signed,
                    boolean=type_.boolean,
                    char=bool(type_.char),
                )
            case Ptr():
                return PointerLayout(self.btf.pointer_size, self.order)
            case Enum() | Enum64():
                name = f"enum {type_.name}".rstrip()
                return EnumLayout(name, type_.size, self.order, signed=type_.signed, values=type_.values)
            case Float():
                return FloatLayout(type_.name, type_.size, self.order)
            case Array():
                return self._array(type_, depth)
            case Struct() | Union():
                slots = [
                    self._slot(type_, name, member, offset, bits, depth) for name, member, offset, bits in type_.members
                ]
                name = f"{type_.kind.name.lower()} {type_.name}".rstrip()
                return StructLayout(name, type_.size, tuple(slots), self.order)
            case Var():
                return self.build(type_.type, depth + 1)
            case DataSec():
                rows = [Slot(self.btf.name(var), self.build(var, depth + 1), offset) for var, offset, _ in type_.vars]
                for slot in rows:
                    self._check_inside(type_, slot)
                return SectionLayout(type_.name, type_.size, tuple(rows), self.order)
        raise BtfError(f"type {type_id} ({type_.kind.name} {type_.name}) has no values")

    def _array(self, type_: Array, depth: int) -> Layout:
        element = self.build(type_.type, depth + 1)
        inner = self.btf.type(self.btf.strip_modifiers(type_.type))
        resolved = self.btf.resolved(type_.type)
        if isinstance(resolved, Int) and resolved.size == 1 and (resolved.char or resolved.name == "char"):
            return CharsLayout(element, type_.nelems, isinstance(inner, Int))
        return ArrayLayout(element, type_.nelems)

    def _slot(self, holder: Struct | Union, name: str, member: int, offset: int, bits: int, depth: int) -> Slot:
        layout = self.build(member, depth + 1)
        type_ = self.btf.resolved(member)
        if not bits and isinstance(type_, Int) and (offset % 8 or type_.offset or type_.bits != type_.size * 8):
            # Before kind_flag the integer type itself said where its bits are.
            bits, offset = type_.bits, offset + type_.offset
        if bits and not isinstance(layout, IntLayout):
            raise BtfError(f"{holder.name or 'anonymous type'}: bit-field {name!r} is no integer")
        if not bits and offset % 8:
            raise BtfError(f"{holder.name or 'anonymous type'}: member {name!r} starts inside a byte")
        slot = Slot(name, layout, offset // 8, offset, bits)
        self._check_inside(holder, slot)
        return slot

    def _check_inside(self, holder: Struct | Union | DataSec, slot: Slot) -> None:
        end = slot.bit_offset + slot.bits if slot.bits else (slot.offset + slot.layout.size) * 8
        if end > holder.size * 8:
            raise BtfError(
                f"{holder.name or 'anonymous type'}: member {slot.name!r} lies outside its {holder.size} bytes"
            )


def layout_of(btf: Btf, type_id: int) -> Layout:
    """How values of a type lie in memory. BtfError for types without values or with impossible members."""
    return _Builder(btf).build(type_id)


def _checked(layout: Layout, data: Buffer) -> Buffer:
    if len(data) < layout.size:
        raise UsageError(f"{len(data)} bytes are too few for {layout.name or 'a value'} of {layout.size}")
    return data


def to_python(layout: Layout, data: Buffer) -> Any:
    """Plain Python objects (see `layouts`). UsageError when there are fewer bytes than the type has."""
    return layout.decode(_checked(layout, data), 0)


def to_bytes(layout: Layout, value: Any) -> bytes:
    """The bytes of a value; members that a dict leaves out are zero. UsageError naming what does not fit."""
    if isinstance(value, (bytes, bytearray, memoryview)) and not isinstance(layout, CharsLayout):
        if len(value) != layout.size:
            raise UsageError(f"{len(value)} bytes for {layout.name or 'a value'} of {layout.size}")
        return bytes(value)
    out = bytearray(layout.size)
    layout.encode(value, out, 0, "value")
    return bytes(out)


def formatted(layout: Layout, data: Buffer) -> Any:
    """What `bpftool -j map dump` shows under "formatted": json.dumps of it gives bpftool's text."""
    return layout.show(_checked(layout, data), 0)


def dtype_of(layout: Layout) -> np.dtype[Any]:
    """The numpy dtype of a type (unions as overlapping fields). NotSupported for bit-fields and 128-bit numbers."""
    import numpy as np

    dtype: np.dtype[Any] = np.dtype(layout.dtype())
    return dtype


def value_of(layout: Layout, data: Buffer) -> Any:
    """A scalar as a Python value, anything else as a `TypedValue` over `data`."""
    if layout.scalar:
        return to_python(layout, data)
    return TypedValue(layout, data)


class TypedValue:
    """A struct, union or array in a buffer. Members are attributes and items: `v.daddr`, `v["daddr"]`, `v.ports[1]`.

    Over writable memory (bytearray, memoryview) assignment writes through: `v.count = 3`. Members inside
    anonymous members are reached directly. Equal to dicts, lists and other values with the same contents; hashable
    (by its bytes) over `bytes`. Raises UsageError for unknown members and for values that do not fit.
    """

    __slots__ = ("_at", "_data", "_layout")
    _layout: Layout
    _data: Buffer
    _at: int

    def __init__(self, layout: Layout, data: Buffer | None = None, at: int = 0) -> None:
        if data is None:
            data = bytearray(layout.size)
        if len(data) - at < layout.size:
            raise UsageError(f"{len(data) - at} bytes are too few for {layout.name or 'a value'} of {layout.size}")
        object.__setattr__(self, "_layout", layout)
        object.__setattr__(self, "_data", data)
        object.__setattr__(self, "_at", at)

    def _slot(self, name: str) -> Slot:
        fields = self._layout.fields if isinstance(self._layout, StructLayout) else {}
        if name not in fields:
            raise UsageError(f"{self._layout.name or 'the value'} has no member {name!r}")
        return fields[name]

    def _get(self, name: str) -> Any:
        slot = self._slot(name)
        if slot.layout.scalar:
            assert isinstance(self._layout, StructLayout)
            return self._layout.get(slot, self._data, self._at)
        return TypedValue(slot.layout, self._data, self._at + slot.offset)

    def _writable(self) -> bytearray | memoryview:
        data = self._data
        if isinstance(data, bytes) or (isinstance(data, memoryview) and data.readonly):
            raise UsageError(f"this {self._layout.name or 'value'} is read-only; make it over a bytearray to change it")
        return data

    def _set(self, name: str, value: Any) -> None:
        slot = self._slot(name)
        assert isinstance(self._layout, StructLayout)
        self._layout.put(slot, value, self._writable(), self._at, name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        if isinstance(self._layout, StructLayout) and name in self._layout.fields:
            return self._get(name)
        raise AttributeError(f"{self._layout.name or 'the value'} has no member {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        self._set(name, value)

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, str):
            return self._get(key)
        element, at = self._element(key)
        return element.decode(self._data, at) if element.scalar else TypedValue(element, self._data, at)

    def __setitem__(self, key: str | int, value: Any) -> None:
        if isinstance(key, str):
            self._set(key, value)
            return
        element, at = self._element(key)
        element.encode(value, self._writable(), at, f"[{key}]")

    def _element(self, index: int) -> tuple[Layout, int]:
        layout = self._layout
        if not isinstance(layout, ArrayLayout):
            raise UsageError(f"{layout.name or 'the value'} is no array")
        place = index + layout.count if index < 0 else index
        if not 0 <= place < layout.count:
            raise IndexError(f"{index} is outside {layout.name}")
        return layout.element, self._at + place * layout.element.size

    def __len__(self) -> int:
        layout = self._layout
        return layout.count if isinstance(layout, ArrayLayout) else len(self.keys())

    def __iter__(self) -> Iterator[Any]:
        """Elements of an array, member names of a struct."""
        if isinstance(self._layout, ArrayLayout):
            return (self[i] for i in range(self._layout.count))
        return iter(self.keys())

    def keys(self) -> list[str]:
        """Member names; none for an array."""
        return list(self._layout.fields) if isinstance(self._layout, StructLayout) else []

    def to_python(self) -> Any:
        """A copy as dicts and lists."""
        return self._layout.decode(self._data, self._at)

    def __bytes__(self) -> bytes:
        return bytes(self._data[self._at : self._at + self._layout.size])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TypedValue):
            return self._layout.name == other._layout.name and bytes(self) == bytes(other)
        if isinstance(other, (bytes, bytearray)):
            return bytes(self) == other
        return bool(self.to_python() == other)

    def __hash__(self) -> int:
        if not isinstance(self._data, bytes):
            raise TypeError(f"{self._layout.name or 'value'} over memory that may change cannot be hashed")
        return hash(bytes(self))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.keys()]

    def __repr__(self) -> str:
        if isinstance(self._layout, StructLayout):
            inner = ", ".join(f"{name}={self[name]!r}" for name in self.keys())
            return f"{self._layout.name or 'struct'}({inner})"
        return repr(self.to_python())


__all__ = [
    "EnumInt",
    "Layout",
    "TypedValue",
    "dtype_of",
    "formatted",
    "layout_of",
    "to_bytes",
    "to_python",
    "value_of",
]
