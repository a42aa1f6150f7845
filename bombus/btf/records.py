"""Records: immutable Python objects made from the bytes of a BTF type, fast.

`record_type(layout)` makes a class for a struct or union, as `dataclasses.make_dataclass` would, and `decoder(layout)`
a function from (buffer, offset) to a value. Members are attributes and items; records compare, hash (unless an array
is inside), unpack and match like tuples of their members, compare with dicts, and `dict(record)` works.

| C                  | in a record                                                                       |
|--------------------|-----------------------------------------------------------------------------------|
| integers, pointers | int                                                                               |
| enum               | a member of an IntEnum made from the enum; EnumInt for numbers that it lacks      |
| char array         | str up to the NUL; bytes that are no UTF-8 as \\xNN                                |
| u8 array           | bytes                                                                             |
| other arrays       | list                                                                              |
| struct, union      | record; members of anonymous members among the others                             |
| bit-field          | int, bool, enum                                                                   |
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from bombus.btf.layouts import (
    _CODES,
    ArrayLayout,
    Buffer,
    CharsLayout,
    EnumInt,
    EnumLayout,
    FloatLayout,
    IntLayout,
    Layout,
    Slot,
    StructLayout,
)
from bombus.errors import UsageError

try:  # CPython's own descriptor for the attributes of named tuples, three times faster than a property
    from _collections import _tuplegetter  # type: ignore[import-not-found]
except ImportError:  # pragma: no cover
    _tuplegetter = None

Decoder = Callable[[Buffer, int], Any]
SizedDecoder = Callable[[Buffer, int, int], Any]

# Elements of an array that are read together with everything else; longer ones have a loop of their own.
_UNROLL = 32
_RESERVED = frozenset({"keys", "asdict"})


class Record(tuple[Any, ...]):
    """Base of all record classes."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    _layout: ClassVar[StructLayout | None] = None
    _index: ClassVar[dict[str, int]] = {}

    def keys(self) -> list[str]:
        """Names of the members."""
        return list(self._index)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._index:
                raise UsageError(f"{type(self).__name__} has no member {key!r}")
            key = self._index[key]
        return tuple.__getitem__(self, key)

    def asdict(self) -> dict[str, Any]:
        """Members by name, those that are records as dicts too."""
        return {name: _plain(value) for name, value in zip(self._index, self, strict=True)}

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Record):
            same = type(self) is type(other) or (
                type(self).__name__ == type(other).__name__ and self._index == other._index
            )
            return same and tuple.__eq__(self, other)
        if isinstance(other, dict):
            return self.asdict() == other
        return tuple.__eq__(self, other) if isinstance(other, tuple) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in zip(self._index, self, strict=True))
        return f"{type(self).__name__}({inner})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self).__name__, tuple(self._index), tuple(map(_portable, self))))


def _portable(value: Any) -> Any:
    """Enums are made anew in every process: what goes out is their number and name."""
    if isinstance(value, enum.IntEnum):
        return EnumInt(value, value.name)
    return [_portable(one) for one in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.asdict()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def _class(name: str, names: tuple[str, ...], layout: StructLayout | None) -> type[Record]:
    space: dict[str, Any] = {
        "__slots__": (), "__match_args__": names, "_layout": layout, "_index": {n: i for i, n in enumerate(names)},
        "__module__": __name__,
    }  # fmt: skip
    for index, member in enumerate(names):
        if member not in _RESERVED and member not in space and not (member[:2] == "__" == member[-2:]):
            space[member] = _attribute(index)
    return type(name, (Record,), space)


def _attribute(index: int) -> Any:
    """A read-only attribute for an item of the tuple."""
    if _tuplegetter is not None:
        return _tuplegetter(index, "")
    get = tuple.__getitem__
    return property(lambda self: get(self, index))


_rebuilt: dict[tuple[str, tuple[str, ...]], type[Record]] = {}


def _rebuild(name: str, names: tuple[str, ...], values: tuple[Any, ...]) -> Record:
    made = _rebuilt.get((name, names))
    if made is None:
        made = _rebuilt[name, names] = _class(name, names, None)
    return tuple.__new__(made, values)


def text_of(raw: bytes) -> str:
    """A char array as str: up to the NUL; what is no UTF-8 as \\xNN."""
    return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")


# Names under which programs keep text in arrays of u8, for want of a char type.
_TEXT = re.compile(r"comm|name|path|file|cmd|arg|text|str|msg|message|host|query|label|symbol|func", re.IGNORECASE)


def is_text(name: str, raw: bytes) -> bool:
    """Whether an array of u8 is text: it is named so, and what stands before the NUL can be printed."""
    if not _TEXT.search(name) or len(raw) < 4:
        return False
    head = raw.partition(b"\0")[0]
    return all(byte >= 0x20 and byte != 0x7F for byte in head)


def enum_of(layout: EnumLayout) -> type[enum.IntEnum] | None:
    """The enum as a Python class; None when Python cannot make one of its names."""
    name = layout.name.removeprefix("enum ").strip()
    try:
        make: Any = enum.IntEnum
        made: type[enum.IntEnum] = make(name if name.isidentifier() else "Enum", dict(layout.by_name))
    except (ValueError, TypeError):
        return None
    return made


def _enumerators(layout: EnumLayout) -> Callable[[int], Any]:
    if layout.made is not None:
        known: Callable[[int], Any] = layout.made
        return known
    made = enum_of(layout)
    members = {int(member): member for member in made} if made is not None else {}
    get, names = members.get, layout.by_value

    def convert(number: int) -> Any:
        member = get(number)
        return EnumInt(number, names.get(number, "")) if member is None else member

    layout.made = convert
    return convert


class _Source:
    """Collects one struct.Struct for everything that lies plainly one after the other, and the expressions that turn
    its numbers into values."""

    def __init__(self, byteorder: str) -> None:
        self.format = "<" if byteorder == "little" else ">"
        self.at = 0  # bytes that the format covers
        self.count = 0  # numbers that it gives
        self.space: dict[str, Any] = {}

    def name(self, value: Any) -> str:
        name = f"g{len(self.space)}"
        self.space[name] = value
        return name

    def take(self, code: str, offset: int, size: int, numbers: int = 1) -> str:
        """Read at `offset`, which must not lie before what was read. Returns the expression of the (first) number."""
        if offset > self.at:
            self.format += f"{offset - self.at}x"
        self.format += code
        self.at = offset + size
        self.count += numbers
        return f"v[{self.count - numbers}]"

    def expression(self, layout: Layout, offset: int) -> str:
        """The value at `offset` of the struct that is decoded."""
        if offset >= self.at:
            found = self._plain(layout, offset)
            if found:
                return found
        return f"{self.name(decoder(layout))}(data, at + {offset})"

    def _plain(self, layout: Layout, offset: int) -> str:
        if isinstance(layout, CharsLayout):
            return f"{self.name(text_of)}({self.take(f'{layout.count}s', offset, layout.count)})"
        if isinstance(layout, IntLayout):
            code = _CODES.get((layout.size, layout.signed))
            if code is None:
                return ""
            if isinstance(layout, EnumLayout):
                return f"{self.name(_enumerators(layout))}({self.take(code, offset, layout.size)})"
            number = self.take(code, offset, layout.size)
            return f"({number} != 0)" if layout.boolean else number
        if isinstance(layout, FloatLayout):
            return self.take(layout.format[1], offset, layout.size)
        if isinstance(layout, ArrayLayout):
            return self._array(layout, offset)
        if isinstance(layout, StructLayout):
            made = record_type(layout)
            inner = [self.member(layout, slot, offset) for slot in layout.fields.values()]
            return f"new({self.name(made)}, ({''.join(part + ',' for part in inner)}))"
        return ""

    def _array(self, layout: ArrayLayout, offset: int) -> str:
        element, count = layout.element, layout.count
        if _is_byte(element):
            return self.take(f"{count}s", offset, count)
        code = _CODES.get((element.size, element.signed)) if isinstance(element, IntLayout) else None
        if code and isinstance(element, IntLayout) and not isinstance(element, EnumLayout) and not element.boolean:
            if not count:
                return "[]"
            self.take(f"{count}{code}", offset, layout.size, count)
            return f"[*v[{self.count - count}:{self.count}]]"
        if count > _UNROLL:
            return ""
        return "[" + ", ".join(self.expression(element, offset + i * element.size) for i in range(count)) + "]"

    def member(self, holder: StructLayout, slot: Slot, base: int) -> str:
        if not slot.bits:
            return self.expression(slot.layout, base + slot.offset)
        get = holder.get
        if isinstance(slot.layout, EnumLayout):
            convert = _enumerators(slot.layout)
            return f"{self.name(convert)}({self.name(get)}({self.name(slot)}, data, at + {base}))"
        return f"{self.name(get)}({self.name(slot)}, data, at + {base})"


def _is_byte(element: Layout) -> bool:
    return type(element) is IntLayout and element.size == 1 and not (element.signed or element.boolean)


def record_type(layout: StructLayout) -> type[Record]:
    """The class of a struct's or union's records. Made once for each layout."""
    return _made(layout)[0]


def _made(layout: StructLayout) -> tuple[type[Record], Decoder]:
    if layout.made is None:
        names = tuple(layout.fields)
        title = layout.name.removeprefix("struct ").removeprefix("union ").strip()
        made = _class(title if title.isidentifier() else "Record", names, layout)
        layout.made = (made, _compile(layout, made))
    found: tuple[type[Record], Decoder] = layout.made
    return found


def _compile(layout: StructLayout, made: type[Record]) -> Decoder:
    source = _Source(layout.byteorder)
    parts = [source.member(layout, slot, 0) for slot in layout.fields.values()]
    space = source.space | {"new": tuple.__new__, "made": made}
    plain = [f"v[{i}]" for i in range(source.count)]
    if source.count:
        space["unpack"] = struct.Struct(source.format).unpack_from
    if parts == plain and parts:
        text = "def decode(data, at=0):\n return new(made, unpack(data, at))"
    else:
        # Names are faster than items of the tuple, as long as nothing wants a slice of it.
        load = " v = unpack(data, at)\n" if source.count else ""
        joined = "".join(part + "," for part in parts)
        if source.count and ":" not in joined and source.count <= 64:
            load = f" {''.join(f'v{i},' for i in range(source.count))} = unpack(data, at)\n"
            for i in reversed(range(source.count)):
                joined = joined.replace(f"v[{i}]", f"v{i}")
        text = f"def decode(data, at=0):\n{load} return new(made, ({joined}))"
    exec(text, space)
    decode: Decoder = space["decode"]
    return decode


def decoder(layout: Layout) -> Decoder:
    """A function (buffer, offset) to a value as the table above says. The caller makes sure of the size."""
    if isinstance(layout, StructLayout):
        return _made(layout)[1]
    size = layout.size
    if isinstance(layout, CharsLayout):

        def text(data: Buffer, at: int = 0) -> str:
            return text_of(bytes(data[at : at + size]))

        return text
    if isinstance(layout, EnumLayout):
        convert, number = _enumerators(layout), layout.decode

        def enumerator(data: Buffer, at: int = 0) -> Any:
            return convert(number(data, at))

        return enumerator
    if isinstance(layout, ArrayLayout):
        return _array(layout)
    return layout.decode


def _array(layout: ArrayLayout) -> Decoder:
    count, step, size = layout.count, layout.element.size, layout.size
    if _is_byte(layout.element):

        def raw(data: Buffer, at: int = 0) -> bytes:
            return bytes(data[at : at + size])

        return raw
    one = decoder(layout.element)

    def elements(data: Buffer, at: int = 0) -> list[Any]:
        return [one(data, at + i * step) for i in range(count)]

    return elements


def sized_decoder(layout: Layout) -> SizedDecoder | None:
    """For a struct that ends with an array of no length (`char data[]`): a function (buffer, offset, size of the whole
    value) that puts what follows into it. None for other types."""
    if not isinstance(layout, StructLayout) or not layout.fields:
        return None
    slot = list(layout.fields.values())[-1]
    inner = slot.layout
    if not isinstance(inner, ArrayLayout) or inner.count or not inner.element.size:
        return None
    base, start, step, one = decoder(layout), slot.offset, inner.element.size, decoder(inner.element)
    chars, raw_bytes = isinstance(inner, CharsLayout), _is_byte(inner.element)

    def decode(data: Buffer, at: int, size: int) -> Any:
        record = base(data, at)
        raw = bytes(data[at + start : at + size])
        rest: Any = raw
        if chars:
            rest = text_of(raw)
        elif not raw_bytes:
            rest = [one(raw, i) for i in range(0, len(raw) - step + 1, step)]
        return tuple.__new__(type(record), (*tuple.__getitem__(record, slice(-1)), rest))

    return decode


def record_of(layout: Layout, data: Buffer, at: int = 0) -> Any:
    """One value; an array of no length at its end takes the rest of `data`. UsageError when there are fewer bytes than
    the type has."""
    if len(data) - at < layout.size:
        raise UsageError(f"{len(data) - at} bytes are too few for {layout.name or 'a value'} of {layout.size}")
    sized = sized_decoder(layout)
    return decoder(layout)(data, at) if sized is None else sized(data, at, len(data) - at)


def members(record: Record) -> Iterator[tuple[str, Any]]:
    """Names and values."""
    return zip(record._index, record, strict=True)
