"""Typed values of generated skeletons: structs, arrays and enums over bytes, with types that mypy sees.

A `Struct` looks at bytes. One that was made by its constructor, or that came out of a map, has bytes of its own; one
that is part of a data section or of another value looks at the bytes of that, so that assignments reach them:
`skel.bss.state.count += 1`. Numbers are little-endian: generated modules are for objects of this machine's kernels.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, overload

from bombus.errors import UsageError

T = TypeVar("T")
S = TypeVar("S", bound="Struct")
E = TypeVar("E", bound=enum.IntEnum)


class Memory(Protocol):
    """What values lie in: bytes, bytearray, memoryview, or a map's value that is read and written as a whole."""

    def __getitem__(self, place: slice, /) -> Any: ...
    def __len__(self) -> int: ...


def write(data: Memory, at: int, raw: bytes) -> None:
    """Change memory. UsageError where it is read-only."""
    try:
        data[at : at + len(raw)] = raw  # type: ignore[index]
    except TypeError:
        raise UsageError("this value is read-only") from None


class Enum(enum.IntEnum):
    """Base of C enums. C keeps numbers in them that no enumerator has; those have the number as name."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        made = int.__new__(cls, value)
        made._name_ = str(value)
        made._value_ = value
        return cls._value2member_map_.setdefault(value, made)  # type: ignore[return-value]


# Codecs: how one kind of value lies in memory


class Codec(Generic[T]):
    """`size` in bytes; `get` and `put` work on the bytes from `at` on. UsageError for values that do not fit."""

    size: int = 0

    def get(self, data: Memory, at: int) -> T:
        raise NotImplementedError

    def put(self, data: Memory, at: int, value: T) -> None:
        raise NotImplementedError

    def decode(self, raw: bytes) -> T:
        """A value that has its own bytes."""
        return self.get(bytearray(raw), 0)

    def encode(self, value: T) -> bytes:
        out = bytearray(self.size)
        self.put(out, 0, value)
        return bytes(out)


class IntCodec(Codec[int]):
    def __init__(self, size: int, signed: bool = False) -> None:
        self.size = size
        self.signed = signed

    def get(self, data: Memory, at: int) -> int:
        return int.from_bytes(data[at : at + self.size], "little", signed=self.signed)

    def put(self, data: Memory, at: int, value: int) -> None:
        write(data, at, number(value, self.size * 8, self.signed).to_bytes(self.size, "little", signed=self.signed))


def number(value: Any, bits: int, signed: bool) -> int:
    """A number that fits, or UsageError."""
    if not hasattr(value, "__index__"):
        raise UsageError(f"a number is wanted, not {value!r}")
    plain = int(value.__index__())
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= plain <= high:
        raise UsageError(f"{plain} does not fit {bits} {'signed' if signed else 'unsigned'} bits ({low} to {high})")
    return plain


class BoolCodec(Codec[bool]):
    def __init__(self, size: int = 1) -> None:
        self.size = size

    def get(self, data: Memory, at: int) -> bool:
        return any(data[at : at + self.size])

    def put(self, data: Memory, at: int, value: bool) -> None:
        write(data, at, bool(value).to_bytes(self.size, "little"))


class FloatCodec(Codec[float]):
    def __init__(self, size: int) -> None:
        self.size = size
        self._codec = struct.Struct("<f" if size == 4 else "<d")

    def get(self, data: Memory, at: int) -> float:
        return float(self._codec.unpack(bytes(data[at : at + self.size]))[0])

    def put(self, data: Memory, at: int, value: float) -> None:
        try:
            raw = self._codec.pack(value)
        except (struct.error, OverflowError):
            raise UsageError(f"{value!r} does not fit a float of {self.size} bytes") from None
        write(data, at, raw)


class EnumCodec(Codec[E]):
    def __init__(self, kind: type[E], size: int, signed: bool = False) -> None:
        self.kind = kind
        self.size = size
        self.signed = signed

    def get(self, data: Memory, at: int) -> E:
        return self.kind(int.from_bytes(data[at : at + self.size], "little", signed=self.signed))

    def put(self, data: Memory, at: int, value: E) -> None:
        write(data, at, number(value, self.size * 8, self.signed).to_bytes(self.size, "little", signed=self.signed))


class CharsCodec(Codec[str]):
    """An array of char: the text before the first NUL. Bytes that are no UTF-8 become surrogates, as in file names."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get(self, data: Memory, at: int) -> str:
        return bytes(data[at : at + self.size]).split(b"\0", 1)[0].decode(errors="surrogateescape")

    def put(self, data: Memory, at: int, value: str | bytes) -> None:
        raw = value.encode(errors="surrogateescape") if isinstance(value, str) else bytes(value)
        if len(raw) > self.size:
            raise UsageError(f"{len(raw)} bytes for a char array of {self.size}")
        write(data, at, raw.ljust(self.size, b"\0"))


class BytesCodec(Codec[bytes]):
    """Memory without a type."""

    def __init__(self, size: int) -> None:
        self.size = size

    def get(self, data: Memory, at: int) -> bytes:
        return bytes(data[at : at + self.size])

    def put(self, data: Memory, at: int, value: bytes) -> None:
        if len(value) != self.size:
            raise UsageError(f"{len(value)} bytes for {self.size}")
        write(data, at, bytes(value))


class StructCodec(Codec[S]):
    def __init__(self, kind: type[S]) -> None:
        self.kind = kind
        self.size = kind.SIZE

    def get(self, data: Memory, at: int) -> S:
        return self.kind.at(data, at)

    def put(self, data: Memory, at: int, value: S) -> None:
        if not isinstance(value, self.kind):
            raise UsageError(f"a {self.kind.__name__} is wanted, not {value!r}")
        write(data, at, bytes(value))


class ArrayCodec(Codec["Array[T]"]):
    def __init__(self, element: Codec[T], count: int) -> None:
        self.element = element
        self.count = count
        self.size = element.size * count

    def get(self, data: Memory, at: int) -> Array[T]:
        return Array(self.element, self.count, data, at)

    def put(self, data: Memory, at: int, value: Iterable[T]) -> None:
        self.fill(data, at, value)

    def fill(self, data: Memory, at: int, value: Iterable[T]) -> None:
        """Elements that are not given are zero."""
        if isinstance(value, str):
            raise UsageError(f"a sequence of {self.count} is wanted, not a str")
        items = list(value)
        if len(items) > self.count:
            raise UsageError(f"{len(items)} elements for an array of {self.count}")
        out = bytearray(self.size)
        for i, item in enumerate(items):
            self.element.put(out, i * self.element.size, item)
        write(data, at, bytes(out))


class Array(Sequence[T]):
    """An array in memory; `bytes(array)` is that memory."""

    __slots__ = ("_at", "_codec", "_count", "_data")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, codec: Codec[T], count: int, data: Memory, at: int) -> None:
        self._codec = codec
        self._count = count
        self._data = data
        self._at = at

    def __len__(self) -> int:
        return self._count

    def _place(self, index: int) -> int:
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(f"{index} is outside an array of {self._count}")
        return self._at + place * self._codec.size

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        return self._codec.get(self._data, self._place(index))

    def __setitem__(self, index: int, value: T) -> None:
        self._codec.put(self._data, self._place(index), value)

    def __iter__(self) -> Iterator[T]:
        return (self[i] for i in range(self._count))

    def __bytes__(self) -> bytes:
        return bytes(self._data[self._at : self._at + self._count * self._codec.size])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (bytes, bytearray)):
            return bytes(self) == other
        if isinstance(other, (Array, list, tuple)):
            return list(self) == list(other)
        return NotImplemented

    def __repr__(self) -> str:
        return repr(list(self))


# Members of structs


class Field(Generic[T]):
    """A member at a byte offset."""

    def __init__(self, codec: Codec[T], offset: int) -> None:
        self.codec = codec
        self.offset = offset
        self.name = ""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, holder: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, holder: Struct, owner: type[Any]) -> T: ...
    def __get__(self, holder: Struct | None, owner: type[Any]) -> Self | T:
        if holder is None:
            return self
        return self.codec.get(holder._data, holder._at + self.offset)

    def __set__(self, holder: Struct, value: T) -> None:
        try:
            self.codec.put(holder._data, holder._at + self.offset, value)
        except UsageError as error:
            raise UsageError(f"{type(holder).__name__}.{self.name}: {error}") from None


class Chars(Field[str]):
    """An array of char: read as str, set from str or bytes."""

    def __init__(self, offset: int, size: int) -> None:
        super().__init__(CharsCodec(size), offset)

    def __set__(self, holder: Struct, value: str | bytes) -> None:
        super().__set__(holder, value)  # type: ignore[arg-type]


class Items(Field[Array[T]]):
    """An array: read as a view, set from any iterable."""

    def __init__(self, element: Codec[T], offset: int, count: int) -> None:
        super().__init__(ArrayCodec(element, count), offset)

    def __set__(self, holder: Struct, value: Iterable[T]) -> None:
        super().__set__(holder, value)  # type: ignore[arg-type]


class _BitField(Field[T]):
    """Bits from `offset` (in bits) on."""

    def __init__(self, offset: int, bits: int, signed: bool = False) -> None:
        self.first = offset // 8
        self.shift = offset % 8
        self.bits = bits
        self.signed = signed
        self.bytes = (self.shift + bits + 7) // 8
        super().__init__(Codec(), self.first)

    def _raw(self, holder: Struct) -> int:
        start = holder._at + self.first
        return int.from_bytes(holder._data[start : start + self.bytes], "little")

    def _number(self, holder: Struct) -> int:
        found = self._raw(holder) >> self.shift & (1 << self.bits) - 1
        return found - (1 << self.bits) if self.signed and found >> (self.bits - 1) else found

    def _store(self, holder: Struct, value: Any) -> None:
        try:
            plain = number(value, self.bits, self.signed)
        except UsageError as error:
            raise UsageError(f"{type(holder).__name__}.{self.name}: {error}") from None
        mask = (1 << self.bits) - 1
        raw = self._raw(holder) & ~(mask << self.shift) | (plain & mask) << self.shift
        write(holder._data, holder._at + self.first, raw.to_bytes(self.bytes, "little"))

    def __set__(self, holder: Struct, value: T) -> None:
        self._store(holder, value)


class Bits(_BitField[int]):
    @overload
    def __get__(self, holder: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, holder: Struct, owner: type[Any]) -> int: ...
    def __get__(self, holder: Struct | None, owner: type[Any]) -> Self | int:
        return self if holder is None else self._number(holder)


class BoolBits(_BitField[bool]):
    @overload
    def __get__(self, holder: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, holder: Struct, owner: type[Any]) -> bool: ...
    def __get__(self, holder: Struct | None, owner: type[Any]) -> Self | bool:
        return self if holder is None else bool(self._number(holder))


class EnumBits(_BitField[E]):
    def __init__(self, kind: type[E], offset: int, bits: int, signed: bool = False) -> None:
        super().__init__(offset, bits, signed)
        self.kind = kind

    @overload
    def __get__(self, holder: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, holder: Struct, owner: type[Any]) -> E: ...
    def __get__(self, holder: Struct | None, owner: type[Any]) -> Self | E:
        return self if holder is None else self.kind(self._number(holder))


class Struct:
    """A C struct or union. Subclasses are generated; their constructors take the members by name.

    Equal when the bytes are, padding included, as keys of maps are. Hashable by the bytes: do not change one that is a
    key of a dict. Values in live memory are not hashable; `copy` takes them out of it.
    """

    __slots__ = ("_at", "_data")
    C_NAME: ClassVar[str] = ""
    SIZE: ClassVar[int] = 0
    _data: Memory
    _at: int

    def __init_subclass__(cls, name: str = "", size: int = 0, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.C_NAME = name
        cls.SIZE = size

    def __init__(self) -> None:
        self._data = bytearray(self.SIZE)
        self._at = 0

    @classmethod
    def at(cls, data: Memory, offset: int = 0) -> Self:
        """A view of memory that lies elsewhere. UsageError when there is too little."""
        if len(data) - offset < cls.SIZE:
            raise UsageError(f"{len(data) - offset} bytes are too few for {cls.C_NAME or cls.__name__} of {cls.SIZE}")
        made = cls.__new__(cls)
        made._data = data
        made._at = offset
        return made

    @classmethod
    def from_bytes(cls, raw: bytes | bytearray | memoryview) -> Self:
        """A value of its own. Bytes behind its size are left out; UsageError when there are too few."""
        return cls.at(bytearray(raw[: cls.SIZE]))

    @classmethod
    def members(cls) -> tuple[str, ...]:
        """Names in the order of declaration."""
        return tuple(name for name, value in vars(cls).items() if isinstance(value, Field))

    def copy(self) -> Self:
        return self.from_bytes(bytes(self))

    def asdict(self) -> dict[str, Any]:
        """Plain Python all through: dicts and lists."""
        return {name: _plain(getattr(self, name)) for name in self.members()}

    def __bytes__(self) -> bytes:
        return bytes(self._data[self._at : self._at + self.SIZE])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bytes(self) == bytes(other)

    def __hash__(self) -> int:
        if not isinstance(self._data, (bytes, bytearray)):
            raise TypeError(f"{type(self).__name__} in live memory cannot be hashed; hash its copy()")
        return hash(bytes(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.members())})"


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        return value.asdict()
    if isinstance(value, Array):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, enum.IntEnum) else value


U8, U16, U32, U64, U128 = (IntCodec(size) for size in (1, 2, 4, 8, 16))
S8, S16, S32, S64, S128 = (IntCodec(size, True) for size in (1, 2, 4, 8, 16))
BOOL = BoolCodec()
F32, F64 = FloatCodec(4), FloatCodec(8)
POINTER = U64
