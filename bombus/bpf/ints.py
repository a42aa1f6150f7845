"""Fixed-width integers: u8 to u64, s8 to s64, and be16 to be64 in network byte order.

They are values. Arithmetic wraps around, wants one type on both sides (a plain int that fits may stand on either), and
means what the BPF instructions mean (bombus.isa.semantics): x // 0 is 0, x % 0 is x, signed quotients round towards
zero, shift amounts are taken modulo the width. Conversions are calls: u16(x) keeps the low 16 bits.

Network-order ints hold a number whose bytes lie in memory with the highest first. They compare and combine bit by bit;
to calculate, convert: u32(ip.source).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any, ClassVar, Final, Self, SupportsInt, TypeVar

from bombus.bits import sign_extend
from bombus.errors import UsageError

T = TypeVar("T", bound="Scalar")


class Scalar:
    """What all integers of the dialect have in common: a type with a size and a value in its range.

    BITS, SIZE (bytes), SIGNED, NETWORK describe the type; MIN and MAX are plain ints.
    """

    __slots__ = ("_number",)
    _number: int
    BITS: ClassVar[int] = 0
    SIZE: ClassVar[int] = 0
    SIGNED: ClassVar[bool] = False
    NETWORK: ClassVar[bool] = False
    MIN: ClassVar[int] = 0
    MAX: ClassVar[int] = 0

    def __init_subclass__(cls, bits: int = 0, signed: bool = False, network: bool = False) -> None:
        super().__init_subclass__()
        own = [name for name, value in vars(cls).items() if name.startswith("__") and callable(value)]
        if own and not cls.__module__.startswith("bombus."):
            raise UsageError(f"{cls.__name__}.{own[0]}: operators mean the same for all integers; write a function")
        if bits:
            cls.BITS, cls.SIZE, cls.SIGNED, cls.NETWORK = bits, bits // 8, signed, network
            cls.MIN = -(1 << (bits - 1)) if signed else 0
            cls.MAX = (1 << (bits - signed)) - 1

    def __init__(self, value: SupportsInt = 0) -> None:
        number = int(value)
        if not self.MIN <= number <= self.MAX:
            number = self._wrap(number)
        object.__setattr__(self, "_number", number)

    @classmethod
    def _wrap(cls, number: int) -> int:
        return sign_extend(number, cls.BITS) if cls.SIGNED else number & cls.MAX

    @classmethod
    def _make(cls, number: int) -> Self:
        """A value from a number of any size, which is wrapped."""
        made = object.__new__(cls)
        object.__setattr__(made, "_number", number if cls.MIN <= number <= cls.MAX else cls._wrap(number))
        return made

    def _other(self, other: object) -> int:
        """The number of the right side. UsageError when it has another type or does not fit."""
        if type(other) is type(self):
            return other._number
        if type(other) is int or isinstance(other, (IntEnum, IntFlag)):
            if not self.MIN <= other <= self.MAX:
                raise UsageError(f"{other} does not fit {type(self).__name__}; write {type(self).__name__}({other})")
            return other
        raise UsageError(
            f"{type(self).__name__} and {type(other).__name__} do not mix; convert one: "
            f"{type(self).__name__}(...) or {type(other).__name__}(...)"
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r} that can be set")

    def __int__(self) -> int:
        return self._number

    def __bool__(self) -> bool:
        return self._number != 0

    def __hash__(self) -> int:
        return hash(self._number)

    def __eq__(self, other: object) -> bool:
        return self._number == self._other(other)

    def __ne__(self, other: object) -> bool:
        return self._number != self._other(other)

    def __and__(self, other: Self | int) -> Self:
        return self._make(self._number & self._other(other))

    def __or__(self, other: Self | int) -> Self:
        return self._make(self._number | self._other(other))

    def __xor__(self, other: Self | int) -> Self:
        return self._make(self._number ^ self._other(other))

    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__

    def __invert__(self) -> Self:
        return self._make(~self._number)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._number})"

    def __str__(self) -> str:
        return str(self._number)

    def __format__(self, spec: str) -> str:
        return format(self._number, spec)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._number,)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Self:
        """The value whose SIZE bytes in memory are `data`."""
        return cls._make(int.from_bytes(data, "big" if cls.NETWORK else "little"))

    def __bytes__(self) -> bytes:
        return (self._number & ((1 << self.BITS) - 1)).to_bytes(self.SIZE, "big" if self.NETWORK else "little")


class Int(Scalar):
    """Integers that calculate: u8 to s64."""

    __slots__ = ()

    def __index__(self) -> int:
        return self._number

    def __add__(self, other: Self | int) -> Self:
        return self._make(self._number + self._other(other))

    def __radd__(self, other: int) -> Self:
        return self._make(self._other(other) + self._number)

    def __sub__(self, other: Self | int) -> Self:
        return self._make(self._number - self._other(other))

    def __rsub__(self, other: int) -> Self:
        return self._make(self._other(other) - self._number)

    def __mul__(self, other: Self | int) -> Self:
        return self._make(self._number * self._other(other))

    def __rmul__(self, other: int) -> Self:
        return self._make(self._other(other) * self._number)

    def __floordiv__(self, other: Self | int) -> Self:
        return self._make(quotient(self._number, self._other(other)))

    def __rfloordiv__(self, other: int) -> Self:
        return self._make(quotient(self._other(other), self._number))

    def __mod__(self, other: Self | int) -> Self:
        return self._make(remainder(self._number, self._other(other)))

    def __rmod__(self, other: int) -> Self:
        return self._make(remainder(self._other(other), self._number))

    def __lshift__(self, amount: Int | int) -> Self:
        return self._make(self._number << self._amount(amount))

    def __rshift__(self, amount: Int | int) -> Self:
        return self._make(self._number >> self._amount(amount))

    def _amount(self, amount: Int | int) -> int:
        if type(amount) is int and not 0 <= amount < self.BITS:
            raise UsageError(f"{type(self).__name__} is shifted by 0 to {self.BITS - 1} bits, not {amount}")
        return int(amount) & (self.BITS - 1)

    def __neg__(self) -> Self:
        return self._make(-self._number)

    def __pos__(self) -> Self:
        return self

    def __lt__(self, other: Self | int) -> bool:
        return self._number < self._other(other)

    def __le__(self, other: Self | int) -> bool:
        return self._number <= self._other(other)

    def __gt__(self, other: Self | int) -> bool:
        return self._number > self._other(other)

    def __ge__(self, other: Self | int) -> bool:
        return self._number >= self._other(other)


def quotient(a: int, b: int) -> int:
    """a // b rounded towards zero; 0 when b is 0. Before wrapping."""
    if b == 0:
        return 0
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q


def remainder(a: int, b: int) -> int:
    """What `quotient` leaves, with the sign of a; a itself when b is 0."""
    if b == 0:
        return a
    r = abs(a) % abs(b)
    return -r if a < 0 else r


class u8(Int, bits=8):
    """0 to 255."""

    __slots__ = ()


class u16(Int, bits=16):
    """0 to 65535."""

    __slots__ = ()


class u32(Int, bits=32):
    """0 to 2**32 - 1."""

    __slots__ = ()


class u64(Int, bits=64):
    """0 to 2**64 - 1."""

    __slots__ = ()


class s8(Int, bits=8, signed=True):
    """-128 to 127."""

    __slots__ = ()


class s16(Int, bits=16, signed=True):
    """-32768 to 32767."""

    __slots__ = ()


class s32(Int, bits=32, signed=True):
    """-2**31 to 2**31 - 1, C's int."""

    __slots__ = ()


class s64(Int, bits=64, signed=True):
    """-2**63 to 2**63 - 1."""

    __slots__ = ()


class be16(Scalar, bits=16, network=True):
    """A u16 in network byte order."""

    __slots__ = ()


class be32(Scalar, bits=32, network=True):
    """A u32 in network byte order."""

    __slots__ = ()


class be64(Scalar, bits=64, network=True):
    """A u64 in network byte order."""

    __slots__ = ()


INTS: Final = (u8, u16, u32, u64, s8, s16, s32, s64)
NETWORK_INTS: Final = (be16, be32, be64)
SCALARS: Final[tuple[type[Scalar], ...]] = (*INTS, *NETWORK_INTS)


def bswap(value: T) -> T:
    """The value with its bytes in reverse order."""
    return type(value).from_bytes(bytes(value)[::-1])
