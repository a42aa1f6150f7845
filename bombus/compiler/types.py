"""Types of expressions.

Integers, bools and structs of the dialect are their Python classes; these wrap them with what the checker knows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from bombus.bpf.ints import Scalar, s64
from bombus.bpf.layout import ArrayType, name_of
from bombus.bpf.struct import Struct


@dataclass(frozen=True, slots=True)
class IntT:
    """A fixed-width integer; kind is its class."""

    kind: type[Scalar]

    @property
    def bits(self) -> int:
        return self.kind.BITS

    @property
    def signed(self) -> bool:
        return self.kind.SIGNED

    def __str__(self) -> str:
        return str(getattr(self.kind, "SHOWN", self.kind.__name__))


@dataclass(frozen=True, slots=True)
class LitT:
    """A plain int: a literal, a constant, a loop counter. It lies in [low, high], inside s64's or u64's range."""

    low: int
    high: int

    def __str__(self) -> str:
        return "int"


@dataclass(frozen=True, slots=True)
class BoolT:
    def __str__(self) -> str:
        return "bool"


@dataclass(frozen=True, slots=True)
class NoneT:
    def __str__(self) -> str:
        return "None"


@dataclass(frozen=True, slots=True)
class RefT:
    """A reference to memory. target: a Scalar class, bool, a Struct class or an ArrayType.

    space: where it points ("stack", "map", "packet", "ctx", "global", "config", "ringbuf", "kernel", "mem" for what a
    function is given).
    """

    target: Any
    space: str
    nullable: bool = False

    def present(self) -> RefT:
        return replace(self, nullable=False)

    @property
    def is_struct(self) -> bool:
        return isinstance(self.target, type) and issubclass(self.target, Struct)

    @property
    def is_array(self) -> bool:
        return isinstance(self.target, ArrayType)

    def __str__(self) -> str:
        if hasattr(self.target, "MAP_TYPE"):
            return f"{type(self.target).__name__} map{' | None' if self.nullable else ''}"
        name = name_of(self.target) if self.is_struct or self.is_array else f"Ref[{name_of(self.target)}]"
        return f"{name} | None" if self.nullable else name


@dataclass(frozen=True, slots=True)
class TupleT:
    items: tuple[Any, ...]

    def __str__(self) -> str:
        return f"tuple[{', '.join(map(str, self.items))}]"


@dataclass(frozen=True, slots=True)
class ObjectT:
    """Something that is known when compiling: a module, a class, a map, a function, a text."""

    value: Any

    def __str__(self) -> str:
        value = self.value
        return getattr(value, "__name__", "") if callable(value) else type(value).__name__


Type: TypeAlias = IntT | LitT | BoolT | NoneT | RefT | TupleT | ObjectT
BOOL: Final = BoolT()
NONE: Final = NoneT()
S64: Final = IntT(s64)


def same(a: Type, b: Type) -> bool:
    """Do values of these types fit one variable? References may differ in where they point and in being None."""
    if isinstance(a, RefT) and isinstance(b, RefT):
        return bool(a.target == b.target)
    if isinstance(a, LitT) and isinstance(b, LitT):
        return True
    return a == b


def literal_fits(value: LitT, kind: type[Scalar]) -> bool:
    return value.low >= kind.MIN and value.high <= kind.MAX
