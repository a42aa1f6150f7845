"""How values of each kind lie in memory: bytes to Python objects and back.

One layout object per type, built once by `data.layout_of`; it knows nothing of BTF any more.

| C                        | Python from `decode`                                   | also taken by `encode`          |
|--------------------------|--------------------------------------------------------|---------------------------------|
| integers, pointers       | int                                                    | objects with `__index__`        |
| bool                     | bool                                                   | 0, 1                            |
| float, double            | float                                                  | int                             |
| enum                     | EnumInt (an int with a `name`)                         | int, name                       |
| char array               | str up to the NUL; bytes when something follows it     | bytes                           |
| other arrays             | list                                                   | any iterable, raw bytes         |
| struct, union            | dict, members of anonymous members among the others    | object with attributes, bytes   |
"""

from __future__ import annotations

import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from bombus.bits import NUMBER_CODES
from bombus.errors import NotSupported, UsageError

ByteOrder = Literal["little", "big"]
Buffer = bytes | bytearray | memoryview


class EnumInt(int):
    """A number with its enumerator's name ("" when the enum has none for it)."""

    name: str

    def __new__(cls, value: int, name: str = "") -> EnumInt:
        self = super().__new__(cls, value)
        self.name = name
        return self

    def __str__(self) -> str:
        return self.name or int.__repr__(self)

    def __repr__(self) -> str:
        return f"<{self.name}: {int(self)}>" if self.name else int.__repr__(self)

    def __reduce__(self) -> tuple[type[EnumInt], tuple[int, str]]:
        return (EnumInt, (int(self), self.name))


class AnonymousKey(str):
    """The key "" of an anonymous member in bpftool's JSON; several may stand in one object."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class Layout(ABC):
    """Base of all layouts. `size` in bytes; `cost` bounds the work of one decode. `made`: what `records` keeps here."""

    __slots__ = ("cost", "made", "name", "size")

    scalar = True  # whether decode gives a plain Python value rather than a container

    def __init__(self, name: str, size: int, cost: int = 1) -> None:
        self.name = name
        self.size = size
        self.cost = cost
        self.made: Any = None

    @abstractmethod
    def decode(self, data: Buffer, at: int) -> Any:
        """The value at byte `at`; the caller made sure that `size` bytes are there."""

    @abstractmethod
    def encode(self, value: Any, out: bytearray | memoryview, at: int, path: str) -> None:
        """Put a value at byte `at`. UsageError naming `path` when it does not fit the type."""

    @abstractmethod
    def show(self, data: Buffer, at: int) -> Any:
        """The value as bpftool's JSON has it ("formatted")."""

    @abstractmethod
    def dtype(self) -> Any:
        """What numpy.dtype takes. NotSupported when numpy has no such type."""

    @property
    def number_code(self) -> str:
        """The type code of `array` and memoryview for values that are plain ints in this machine's order; else ""."""
        return ""


class IntLayout(Layout):
    __slots__ = ("boolean", "byteorder", "char", "high", "low", "signed")

    def __init__(
        self, name: str, size: int, byteorder: ByteOrder, *, signed: bool, boolean: bool = False, char: bool = False
    ) -> None:
        super().__init__(name, size)
        self.byteorder: ByteOrder = byteorder
        self.signed = signed
        self.boolean = boolean
        self.char = char
        self.low = -(1 << (size * 8 - 1)) if signed else 0
        self.high = (1 << (size * 8 - signed)) - 1

    def decode(self, data: Buffer, at: int) -> Any:
        number = int.from_bytes(data[at : at + self.size], self.byteorder, signed=self.signed)
        return bool(number) if self.boolean else number

    def encode(self, value: Any, out: bytearray | memoryview, at: int, path: str) -> None:
        number = _number(value, path, self.name)
        if not self.low <= number <= self.high:
            raise UsageError(f"{path}: {number} does not fit {self.name} ({self.low} to {self.high})")
        out[at : at + self.size] = number.to_bytes(self.size, self.byteorder, signed=self.signed)

    def show(self, data: Buffer, at: int) -> Any:
        value = self.decode(data, at)
        if self.size == 16:
            return f"0x{value & (1 << 128) - 1:x}"
        return chr(value & 0xFF) if self.char else value

    def dtype(self) -> Any:
        if self.size > 8 or self.size & (self.size - 1):
            raise NotSupported(f"numpy dtype for {self.name}")
        if self.boolean and self.size == 1:
            return "?"
        return f"{'<' if self.byteorder == 'little' else '>'}{'i' if self.signed else 'u'}{self.size}"

    @property
    def number_code(self) -> str:
        code = NUMBER_CODES.get(self.size, "") if self.byteorder == sys.byteorder and not self.boolean else ""
        return code.lower() if self.signed else code


class PointerLayout(IntLayout):
    __slots__ = ()

    def __init__(self, size: int, byteorder: ByteOrder) -> None:
        super().__init__("pointer", size, byteorder, signed=False)


class EnumLayout(IntLayout):
    __slots__ = ("by_name", "by_value")

    def __init__(
        self, name: str, size: int, byteorder: ByteOrder, *, signed: bool, values: Iterable[tuple[str, int]]
    ) -> None:
        super().__init__(name, size, byteorder, signed=signed)
        self.by_name = dict(values)
        self.by_value: dict[int, str] = {}
        for text, number in self.by_name.items():
            self.by_value.setdefault(number, text)

    def decode(self, data: Buffer, at: int) -> Any:
        number = int.from_bytes(data[at : at + self.size], self.byteorder, signed=self.signed)
        return EnumInt(number, self.by_value.get(number, ""))

    def encode(self, value: Any, out: bytearray | memoryview, at: int, path: str) -> None:
        if isinstance(value, str):
            if value not in self.by_name:
                raise UsageError(f"{path}: {self.name or 'the enum'} has no {value!r}")
            value = self.by_name[value]
        super().encode(value, out, at, path)

    @property
    def number_code(self) -> str:
        return ""

    def show(self, data: Buffer, at: int) -> Any:
        value = self.decode(data, at)
        if value.name:
            return value.name
        # bpftool reads every enum as signed.
        return int.from_bytes(data[at : at + self.size], self.byteorder, signed=True)


class FloatLayout(Layout):
    __slots__ = ("codec", "format")

    def __init__(self, name: str, size: int, byteorder: ByteOrder) -> None:
        super().__init__(name, size)
        kinds = {2: "e", 4: "f", 8: "d"}
        if size not in kinds:
            raise NotSupported(f"floating point of {size} bytes", name)
        self.format = ("<" if byteorder == "little" else ">") + kinds[size]
        self.codec = struct.Struct(self.format)

    def decode(self, data: Buffer, at: int) -> Any:
        return self.codec.unpack_from(data, at)[0]

    def encode(self, value: Any, out: bytearray | memoryview, at: int, path: str) -> None:
        try:
            self.codec.pack_into(out, at, value)
        except (struct.error, OverflowError):
            raise UsageError(f"{path}: {value!r} does not fit {self.name}") from None

    def show(self, data: Buffer, at: int) -> Any:
        return self.decode(data, at)

    def dtype(self) -> Any:
        return f"{self.format[0]}f{self.size}"


class ArrayLayout(Layout):
    __slots__ = ("count", "element")

    scalar = False

    def __init__(self, element: Layout, count: int) -> None:
        super().__init__(f"{element.name}[{count}]", element.size * count, 1 + element.cost * count)
        self.element = element
        self.count = count

    def decode(self, data: Buffer, at: int) -> Any:
        decode, size = self.element.decode, self.element.size
        return [decode(data, at + i * size) for i in range(self.count)]

    def encode(self, value: Any, out: bytearray | memoryview, at: int, path: str) -> None:
        if _copy_raw(self, value, out, at, path):
            return
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise UsageError(f"{path}: {self.name} is made from a sequence, not from {value!r}")
        items = list(value)
        if len(items) > self.count:
            raise UsageError(f"{path}: {len(items)} elements for {self.name}")
        size = self.element.size
        out[at : at + self.size] = bytes(self.size)
        for i, item in enumerate(items):
            self.element.encode(item, out, at + i * size, f"{path}[{i}]")

    def show(self, data: Buffer, at: int) -> Any:
        show, size = self.element.show, self.element.size
        return [show(data, at + i * size) for i in range(self.count)]

    def dtype(self) -> Any:
        return (self.element.dtype(), (self.count,))


class CharsLayout(ArrayLayout):
    """An array of char. `plain`: the element is no typedef, so that bpftool shows it as a string."""

    __slots__ = ("plain",)

    scalar = True

    def __init__(self, element: Layout, count: int, plain: bool) -> None:
        super().__init__(element, count)
        self.cost = 1 + count // 64
        self.plain = plain

    def decode(self, data: Buffer, at: int) -> Any:
        raw = bytes(data[at : at + self.size])
        text, _, rest = raw.partition(b"\0")
        if rest.strip(b"\0"):
            return raw
        try:
            return text.decode()
        except UnicodeDecodeError:
            return raw

    def encode(self, value: Any, out: bytearray | memoryview, at: int, path: str) -> None:
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, (bytes, bytearray, memoryview)):
            raw = bytes(value)
            if len(raw) > self.size:
                raise UsageError(f"{path}: {len(raw)} bytes for {self.name}")
            out[at : at + self.size] = raw.ljust(self.size, b"\0")
            return
        super().encode(value, out, at, path)

    def show(self, data: Buffer, at: int) -> Any:
        raw = bytes(data[at : at + self.size])
        end = raw.find(0)
        if self.plain and end >= 0 and all(0x1F < c < 0x7F for c in raw[:end]):
            return raw[:end].decode("ascii")
        return super().show(data, at)

    def dtype(self) -> Any:
        return f"S{self.count}"


_CODES = {
    (1, True): "b", (1, False): "B", (2, True): "h", (2, False): "H",
    (4, True): "i", (4, False): "I", (8, True): "q", (8, False): "Q",
}  # fmt: skip


class Slot(NamedTuple):
    """A member: `offset` in bytes; with `bits`, in bits `bit_offset` from the start of the struct."""

    name: str
    layout: Layout
    offset: int
    bit_offset: int = 0
    bits: int = 0


class StructLayout(Layout):
    """Structs, unions and data sections. `slots` as declared; `fields` by name, anonymous members spread out."""

    __slots__ = ("_flat", "_flat_names", "byteorder", "fields", "slots")

    scalar = False

    def __init__(self, name: str, size: int, slots: tuple[Slot, ...], byteorder: ByteOrder) -> None:
        super().__init__(name, size, 1 + sum(slot.layout.cost for slot in slots))
        self.slots = slots
        self.byteorder: ByteOrder = byteorder
        self.fields: dict[str, Slot] = {}
        for slot in slots:
            if slot.name:
                self.fields.setdefault(slot.name, slot)
            elif isinstance(slot.layout, StructLayout):
                for name, inner in slot.layout.fields.items():
                    moved = inner._replace(
                        offset=inner.offset + slot.offset, bit_offset=inner.bit_offset + slot.offset * 8
                    )
                    self.fields.setdefault(name, moved)
        self.cost += len(self.fields)
        self._flat_names = tuple(self.fields)
        self._flat = _flat(self)

    def decode(self, data: Buffer, at: int) -> Any:
        if self._flat is not None:
            return dict(zip(self._flat_names, self._flat.unpack_from(data, at), strict=True))
        return {name: self.get(slot, data, at) for name, slot in self.fields.items()}

    def get(self, slot: Slot, data: Buffer, at: int) -> Any:
        """One member's value."""
        if not slot.bits:
            return slot.layout.decode(data, at + slot.offset)
        _, raw, shift = self._word(slot, data, at)
        number = raw >> shift & (1 << slot.bits) - 1
        layout = slot.layout
        if isinstance(layout, IntLayout):
            if layout.signed and number >> (slot.bits - 1):
                number -= 1 << slot.bits
            if isinstance(layout, EnumLayout):
                return EnumInt(number, layout.by_value.get(number, ""))
            if layout.boolean:
                return bool(number)
        return number

    def put(self, slot: Slot, value: Any, out: bytearray | memoryview, at: int, path: str) -> None:
        """Set one member."""
        if not slot.bits:
            slot.layout.encode(value, out, at + slot.offset, path)
            return
        layout = slot.layout
        if isinstance(layout, EnumLayout) and isinstance(value, str) and value in layout.by_name:
            value = layout.by_name[value]
        number = _number(value, path, layout.name)
        signed = isinstance(layout, IntLayout) and layout.signed
        low = -(1 << (slot.bits - 1)) if signed else 0
        if not low <= number < 1 << (slot.bits - signed):
            raise UsageError(f"{path}: {number} does not fit {slot.bits} bits")
        mask = (1 << slot.bits) - 1
        first, raw, shift = self._word(slot, out, at)
        raw = raw & ~(mask << shift) | (number & mask) << shift
        count = (slot.bit_offset % 8 + slot.bits + 7) // 8
        out[first : first + count] = raw.to_bytes(count, self.byteorder)

    def _word(self, slot: Slot, data: Buffer, at: int) -> tuple[int, int, int]:
        """First byte, the number in the bytes that a bit-field touches, and how far it must be shifted right."""
        first = at + slot.bit_offset // 8
        inside = slot.bit_offset % 8
        count = (inside + slot.bits + 7) // 8
        raw = int.from_bytes(data[first : first + count], self.byteorder)
        return first, raw, inside if self.byteorder == "little" else count * 8 - inside - slot.bits

    def encode(self, value: Any, out: bytearray | memoryview, at: int, path: str) -> None:
        if _copy_raw(self, value, out, at, path):
            return
        if isinstance(value, Mapping):
            wanted = value
            unknown = [str(key) for key in value if key not in self.fields]
            if unknown:
                raise UsageError(f"{path}: {self.name} has no member {', '.join(unknown)}")
            if self._flat is not None and len(value) == len(self.fields):
                try:
                    self._flat.pack_into(out, at, *[value[name] for name in self._flat_names])
                    return
                except struct.error:
                    pass  # the long way says which member it is
        elif isinstance(value, (int, float, str, list, tuple)) or value is None:
            raise UsageError(f"{path}: {self.name} is made from a dict, not from {value!r}")
        else:
            wanted = {name: getattr(value, name) for name in self.fields if hasattr(value, name)}
            if not wanted:
                raise UsageError(f"{path}: {value!r} has no attribute that {self.name} has as a member")
        out[at : at + self.size] = bytes(self.size)
        for name, slot in self.fields.items():
            if name in wanted:
                self.put(slot, wanted[name], out, at, f"{path}.{name}")

    def show(self, data: Buffer, at: int) -> Any:
        shown: dict[str, Any] = {}
        for slot in self.slots:
            if slot.bits:
                _, raw, shift = self._word(slot, data, at)
                value: Any = f"0x{raw >> shift & (1 << slot.bits) - 1:x}"
            else:
                value = slot.layout.show(data, at + slot.offset)
            shown[slot.name or AnonymousKey()] = value
        return shown

    def dtype(self) -> Any:
        for name, slot in self.fields.items():
            if slot.bits:
                raise NotSupported(f"numpy dtype for {self.name}", f"{name} is a bit-field")
        return {
            "names": list(self.fields),
            "formats": [slot.layout.dtype() for slot in self.fields.values()],
            "offsets": [slot.offset for slot in self.fields.values()],
            "itemsize": self.size,
        }


def _flat(layout: StructLayout) -> struct.Struct | None:
    """One struct.Struct for members that are all plain numbers, one after the other; None for the rest."""
    text = "<" if layout.byteorder == "little" else ">"
    at = 0
    for slot in layout.fields.values():
        inner = slot.layout
        if not isinstance(inner, IntLayout) or isinstance(inner, EnumLayout) or inner.boolean:
            return None
        code = _CODES.get((inner.size, inner.signed))
        if code is None or slot.bits or slot.offset < at:
            return None
        text += f"{slot.offset - at}x{code}"
        at = slot.offset + inner.size
    return struct.Struct(f"{text}{layout.size - at}x") if at <= layout.size and at else None


class SectionLayout(StructLayout):
    """A data section: its variables by name."""

    __slots__ = ()

    def show(self, data: Buffer, at: int) -> Any:
        return {self.name: [{slot.name: slot.layout.show(data, at + slot.offset)} for slot in self.slots]}


def _number(value: Any, path: str, name: str) -> int:
    if isinstance(value, float) or not hasattr(value, "__index__"):
        raise UsageError(f"{path}: {name} is made from a number, not from {value!r}")
    return int(value.__index__())


def _copy_raw(layout: Layout, value: Any, out: bytearray | memoryview, at: int, path: str) -> bool:
    """Take over raw bytes (or an object that is bytes-like by `__bytes__`); False when `value` is none."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
    elif hasattr(value, "__bytes__"):
        raw = value.__bytes__()
    else:
        return False
    if len(raw) != layout.size:
        raise UsageError(f"{path}: {len(raw)} bytes for {layout.name or 'a value'} of {layout.size}")
    out[at : at + layout.size] = raw
    return True
