"""The plainest reading of `semantics.Ops`: bit vectors are ints in [0, 2**bits), truth values are bools."""

from __future__ import annotations

import operator
from collections.abc import Callable

from bombus.bits import bswap, sign_extend

_UNSIGNED: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "ugt": operator.gt,
    "uge": operator.ge,
    "ult": operator.lt,
    "ule": operator.le,
}
_SIGNED: dict[str, Callable[[int, int], bool]] = {
    "sgt": operator.gt,
    "sge": operator.ge,
    "slt": operator.lt,
    "sle": operator.le,
}


class IntOps:
    """`Ops[int, bool]`. Stateless: use the one instance `INTS`."""

    __slots__ = ()

    def const(self, value: int, bits: int) -> int:
        return value

    def add(self, a: int, b: int, bits: int) -> int:
        return (a + b) & ((1 << bits) - 1)

    def sub(self, a: int, b: int, bits: int) -> int:
        return (a - b) & ((1 << bits) - 1)

    def mul(self, a: int, b: int, bits: int) -> int:
        return (a * b) & ((1 << bits) - 1)

    def udiv(self, a: int, b: int, bits: int) -> int:
        return a // b

    def urem(self, a: int, b: int, bits: int) -> int:
        return a % b

    def sdiv(self, a: int, b: int, bits: int) -> int:
        x, y = sign_extend(a, bits), sign_extend(b, bits)
        quotient = abs(x) // abs(y)
        return (quotient if (x < 0) == (y < 0) else -quotient) & ((1 << bits) - 1)

    def srem(self, a: int, b: int, bits: int) -> int:
        x, y = sign_extend(a, bits), sign_extend(b, bits)
        remainder = abs(x) % abs(y)
        return (-remainder if x < 0 else remainder) & ((1 << bits) - 1)

    def and_(self, a: int, b: int, bits: int) -> int:
        return a & b

    def or_(self, a: int, b: int, bits: int) -> int:
        return a | b

    def xor(self, a: int, b: int, bits: int) -> int:
        return a ^ b

    def shl(self, a: int, n: int, bits: int) -> int:
        return (a << n) & ((1 << bits) - 1)

    def lshr(self, a: int, n: int, bits: int) -> int:
        return a >> n

    def ashr(self, a: int, n: int, bits: int) -> int:
        return (sign_extend(a, bits) >> n) & ((1 << bits) - 1)

    def neg(self, a: int, bits: int) -> int:
        return -a & ((1 << bits) - 1)

    def bswap(self, a: int, bits: int) -> int:
        return bswap(a, bits)

    def zext(self, a: int, from_bits: int, to_bits: int) -> int:
        return a

    def sext(self, a: int, from_bits: int, to_bits: int) -> int:
        return sign_extend(a, from_bits) & ((1 << to_bits) - 1)

    def trunc(self, a: int, from_bits: int, to_bits: int) -> int:
        return a & ((1 << to_bits) - 1)

    def compare(self, relation: str, a: int, b: int, bits: int) -> bool:
        signed = _SIGNED.get(relation)
        if signed is not None:
            return signed(sign_extend(a, bits), sign_extend(b, bits))
        return _UNSIGNED[relation](a, b)

    def select(self, condition: bool, a: int, b: int, bits: int) -> int:
        return a if condition else b


INTS = IntOps()
