"""The reading of `isa.semantics` as LLVM IR: a value is the text of an operand, an operation is a line."""

from __future__ import annotations

import secrets

# Stands for the base of an access whose address is not wanted as a number; nothing is added to it.
ADDRESS = "%address"

_RELATIONS = frozenset(("eq", "ne", "ugt", "uge", "ult", "ule", "sgt", "sge", "slt", "sle"))


def number(value: int, bits: int) -> str:
    """A constant as LLVM writes it: signed."""
    half = 1 << (bits - 1)
    return str(((value & (2 * half - 1)) ^ half) - half)


class LlvmOps:
    """`semantics.Ops[str, str]`. Lines go to `lines`; names are numbered through one function.

    Constants are folded by LLVM. blind: constants of more than 7 bits and a sign do not appear in the code: they are
    made of two random numbers each, behind LLVM's back.
    """

    __slots__ = ("_halves", "blind", "count", "lines")

    def __init__(self, *, blind: bool = False) -> None:
        self.lines: list[str] = []
        self._halves: dict[str, str] = {}  # of numbers that were widened from 32 bits
        self.count = 0
        self.blind = blind

    def name(self) -> str:
        self.count += 1
        return f"%v{self.count}"

    def emit(self, text: str) -> str:
        """A line whose value gets a name."""
        self.count += 1
        name = f"%v{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def const(self, value: int, bits: int) -> str:
        text = number(value, bits)
        if self.blind and not -128 <= int(text) < 128:
            return self._blinded(value, bits)
        return text

    def _blinded(self, value: int, bits: int) -> str:
        wide = max(bits, 32)
        mask = secrets.randbits(wide)
        # An assembler statement is opaque to LLVM, which would put the halves together again.
        half = self.emit(f'call i{wide} asm "", "=r,0"(i{wide} {number(value ^ mask, wide)})')
        whole = self.emit(f"xor i{wide} {half}, {number(mask, wide)}")
        return whole if wide == bits else self.trunc(whole, wide, bits)

    def _two(self, operation: str, a: str, b: str, bits: int) -> str:
        return self.emit(f"{operation} i{bits} {a}, {b}")

    def add(self, a: str, b: str, bits: int) -> str:
        if a == ADDRESS:
            return a
        return self._two("add", a, b, bits)

    def sub(self, a: str, b: str, bits: int) -> str:
        return self._two("sub", a, b, bits)

    def mul(self, a: str, b: str, bits: int) -> str:
        return self._two("mul", a, b, bits)

    def udiv(self, a: str, b: str, bits: int) -> str:
        return self._two("udiv", a, b, bits)

    def urem(self, a: str, b: str, bits: int) -> str:
        return self._two("urem", a, b, bits)

    def sdiv(self, a: str, b: str, bits: int) -> str:
        return self._two("sdiv", a, b, bits)

    def srem(self, a: str, b: str, bits: int) -> str:
        return self._two("srem", a, b, bits)

    def and_(self, a: str, b: str, bits: int) -> str:
        return self._two("and", a, b, bits)

    def or_(self, a: str, b: str, bits: int) -> str:
        return self._two("or", a, b, bits)

    def xor(self, a: str, b: str, bits: int) -> str:
        return self._two("xor", a, b, bits)

    def shl(self, a: str, n: str, bits: int) -> str:
        return self._two("shl", a, n, bits)

    def lshr(self, a: str, n: str, bits: int) -> str:
        return self._two("lshr", a, n, bits)

    def ashr(self, a: str, n: str, bits: int) -> str:
        return self._two("ashr", a, n, bits)

    def neg(self, a: str, bits: int) -> str:
        return self.emit(f"sub i{bits} 0, {a}")

    def bswap(self, a: str, bits: int) -> str:
        return self.emit(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {a})")

    def zext(self, a: str, from_bits: int, to_bits: int) -> str:
        wide = self.emit(f"zext i{from_bits} {a} to i{to_bits}")
        if from_bits == 32:
            self._halves[wide] = a
        return wide

    def sext(self, a: str, from_bits: int, to_bits: int) -> str:
        return self.emit(f"sext i{from_bits} {a} to i{to_bits}")

    def trunc(self, a: str, from_bits: int, to_bits: int) -> str:
        if to_bits == 32 and (half := self._halves.get(a)) is not None:
            return half
        return self.emit(f"trunc i{from_bits} {a} to i{to_bits}")

    def compare(self, relation: str, a: str, b: str, bits: int) -> str:
        assert relation in _RELATIONS
        return self.emit(f"icmp {relation} i{bits} {a}, {b}")

    def select(self, condition: str, a: str, b: str, bits: int) -> str:
        return self.emit(f"select i1 {condition}, i{bits} {a}, i{bits} {b}")
