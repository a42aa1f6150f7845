"""Where the members of a struct lie: C's rules for x86-64 and BPF (psABI: natural alignment, bit-fields in units).

Types of members: a `Scalar` class, `bool`, a `Struct` class, an `ArrayType`, a `PointerType`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from bombus.bits import align_up
from bombus.bpf.ints import Scalar
from bombus.errors import UsageError

if TYPE_CHECKING:
    from bombus.bpf.struct import Struct

MemberType: TypeAlias = "type[Scalar] | type[bool] | type[Struct] | ArrayType | PointerType"


@dataclass(frozen=True, slots=True)
class ArrayType:
    """`count` elements in a row."""

    element: Any
    count: int

    def __str__(self) -> str:
        return f"{name_of(self.element)}[{self.count}]"


@dataclass(frozen=True, slots=True, eq=False)
class PointerType:
    """The address of a target, 8 bytes. Resolved when asked, as structs may point to themselves."""

    globals: dict[str, Any]
    locals: Mapping[str, Any]
    text: str

    def target(self) -> Any:
        return eval(self.text, self.globals, self.locals)

    def __str__(self) -> str:
        return f"Pointer[{self.text}]"


@dataclass(frozen=True, slots=True)
class Member:
    """offset: bytes from the start; bit, bits: place inside the unit of the member's type, for bit-fields."""

    name: str
    type: Any
    offset: int
    bit: int = 0
    bits: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """size, align: bytes."""

    size: int
    align: int
    members: dict[str, Member]
    union: bool = False
    packed: bool = False


def size_of(kind: Any) -> int:
    """Bytes of a value of this type."""
    if isinstance(kind, ArrayType):
        return size_of(kind.element) * kind.count
    if isinstance(kind, PointerType):
        return 8
    if kind is bool:
        return 1
    return int(kind.SIZE if issubclass(kind, Scalar) else kind.LAYOUT.size)


def align_of(kind: Any) -> int:
    if isinstance(kind, ArrayType):
        return align_of(kind.element)
    if isinstance(kind, type) and hasattr(kind, "LAYOUT"):
        return int(kind.LAYOUT.align)
    return size_of(kind)


def name_of(kind: Any) -> str:
    """As programs write it."""
    return str(kind) if isinstance(kind, (ArrayType, PointerType)) else str(kind.__name__)


def is_member_type(kind: Any) -> bool:
    if isinstance(kind, ArrayType):
        return is_member_type(kind.element)
    if isinstance(kind, PointerType) or kind is bool:
        return True
    return isinstance(kind, type) and (bool(getattr(kind, "BITS", 0)) or hasattr(kind, "LAYOUT"))


def lay_out(
    members: list[tuple[str, Any, int]], *, union: bool = False, packed: bool = False, align: int = 0
) -> Layout:
    """Place members (name, type, bits or 0). UsageError for a bit-field that its type cannot hold."""
    placed: dict[str, Member] = {}
    bit = 0  # the first free bit
    largest, widest = 1, 0
    for name, kind, bits in members:
        size = size_of(kind)
        alignment = 1 if packed else align_of(kind)
        if union:
            bit = 0
        if bits:
            unit = size * 8
            if not isinstance(kind, type) or not issubclass(kind, Scalar) or kind.NETWORK:
                raise UsageError(f"{name}: only u8 to u64 and s8 to s64 make bit-fields, not {name_of(kind)}")
            if not 0 < bits <= unit:
                raise UsageError(f"{name}: {name_of(kind)} holds 1 to {unit} bits, not {bits}")
            if bit // unit != (bit + bits - 1) // unit:
                bit = align_up(bit, unit)
            placed[name] = Member(name, kind, bit // unit * size, bit % unit, bits)
            bit += bits
        else:
            offset = align_up((bit + 7) // 8, alignment)
            placed[name] = Member(name, kind, offset)
            bit = (offset + size) * 8
        largest = max(largest, alignment)
        widest = max(widest, bit)
    alignment = max(largest, align)
    return Layout(align_up((widest + 7) // 8, alignment), alignment, placed, union, packed)
