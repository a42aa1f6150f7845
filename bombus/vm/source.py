"""The reading of `isa.semantics` as Python source.

A value is the text of an expression, together with what is known of the number it gives. The number stands
for a bit vector *modulo* 2**bits: it may be negative or too large until something needs the exact bits, and
only then is it masked. Most masks of a naive translation go away like that.
"""

from __future__ import annotations

from typing import NamedTuple

from bombus.isa.ints import INTS

# Beyond this an intermediate result is masked, so that long sums stay ints of a few digits.
_WIDEST = 1 << 96


class Value(NamedTuple):
    """A Python expression and its facts.

    text: an atom or parenthesised; lo, hi: bounds of the number it evaluates to; frame: n when the value is
    r10 + n; origin: where a pointer came from ("" unknown): accesses of one origin share a region cache.
    """

    text: str
    lo: int
    hi: int
    frame: int | None = None
    origin: str = ""

    @property
    def known(self) -> bool:
        return self.lo == self.hi


class Truth(NamedTuple):
    """A condition and its opposite."""

    text: str
    opposite: str


def constant(value: int) -> Value:
    return Value(str(value) if value >= 0 else f"({value})", value, value)


def clean(a: Value, bits: int) -> Value:
    """The same bits as a number in [0, 2**bits)."""
    mask = (1 << bits) - 1
    if a.lo >= 0 and a.hi <= mask:
        return a
    if a.lo == a.hi:
        return constant(a.lo & mask)
    return Value(f"({a.text} & {mask})", 0, mask)


def signed(a: Value, bits: int) -> Value:
    """The bits read as a two's complement number."""
    half = 1 << (bits - 1)
    if -half <= a.lo and a.hi < half:
        return a
    if a.lo == a.hi:
        return constant(((a.lo & (2 * half - 1)) ^ half) - half)
    return Value(f"(({clean(a, bits).text} ^ {half}) - {half})", -half, half - 1)


def _bounded(text: str, lo: int, hi: int, bits: int) -> Value:
    value = Value(text, lo, hi)
    return value if lo > -_WIDEST and hi < _WIDEST else clean(value, bits)


_COMPARE = {"eq": ("==", "!="), "ne": ("!=", "=="), "gt": (">", "<="), "ge": (">=", "<"),
            "lt": ("<", ">="), "le": ("<=", ">")}  # fmt: skip


class SourceOps:
    """`semantics.Ops[Value, Truth]`. Stateless: use the one instance `SOURCE`.

    The texts call `sdiv`, `srem` and `swap`, which the generated code's namespace provides.
    """

    __slots__ = ()

    def const(self, value: int, bits: int) -> Value:
        return constant(value)

    def add(self, a: Value, b: Value, bits: int) -> Value:
        if a.known:
            a, b = b, a
        if b.known:
            # As a step to the nearer side, so that `r1 - 8` stays small and r10 + n is recognised.
            step = signed(b, bits).lo
            if a.known:
                return constant((a.lo + step) & ((1 << bits) - 1))
            if step == 0:
                return a
            text = f"({a.text} + {step})" if step > 0 else f"({a.text} - {-step})"
            frame = a.frame + step if a.frame is not None and bits == 64 else None
            if frame is not None:
                text = f"(fp + {frame})" if frame > 0 else f"(fp - {-frame})" if frame else "fp"
            return Value(text, a.lo + step, a.hi + step, frame, a.origin)
        sum_ = _bounded(f"({a.text} + {b.text})", a.lo + b.lo, a.hi + b.hi, bits)
        return sum_._replace(origin=a.origin or b.origin)

    def sub(self, a: Value, b: Value, bits: int) -> Value:
        if b.known:
            return self.add(a, constant(-b.lo & ((1 << bits) - 1)), bits)
        return _bounded(f"({a.text} - {b.text})", a.lo - b.hi, a.hi - b.lo, bits)._replace(origin=a.origin)

    def mul(self, a: Value, b: Value, bits: int) -> Value:
        if a.known and b.known:
            return constant(a.lo * b.lo & ((1 << bits) - 1))
        corners = (a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi)
        if max(corners) >= _WIDEST or min(corners) <= -_WIDEST:
            a, b = clean(a, bits), clean(b, bits)
            return clean(Value(f"({a.text} * {b.text})", 0, a.hi * b.hi), bits)
        return Value(f"({a.text} * {b.text})", min(corners), max(corners))

    def udiv(self, a: Value, b: Value, bits: int) -> Value:
        a, b = clean(a, bits), clean(b, bits)
        if a.known and b.known:
            return constant(a.lo // b.lo)
        return Value(f"({a.text} // {b.text})", 0, a.hi // max(b.lo, 1))

    def urem(self, a: Value, b: Value, bits: int) -> Value:
        a, b = clean(a, bits), clean(b, bits)
        if a.known and b.known:
            return constant(a.lo % b.lo)
        return Value(f"({a.text} % {b.text})", 0, min(a.hi, max(b.hi - 1, 0)))

    def sdiv(self, a: Value, b: Value, bits: int) -> Value:
        return self._signed_division("sdiv", a, b, bits)

    def srem(self, a: Value, b: Value, bits: int) -> Value:
        return self._signed_division("srem", a, b, bits)

    def _signed_division(self, name: str, a: Value, b: Value, bits: int) -> Value:
        a, b = clean(a, bits), clean(b, bits)
        if a.known and b.known:
            return constant(INTS.sdiv(a.lo, b.lo, bits) if name == "sdiv" else INTS.srem(a.lo, b.lo, bits))
        return Value(f"{name}({a.text}, {b.text}, {bits})", 0, (1 << bits) - 1)

    def and_(self, a: Value, b: Value, bits: int) -> Value:
        if a.known and b.known:
            return constant(a.lo & b.lo & ((1 << bits) - 1))
        if a.lo < 0 and b.lo < 0:
            a = clean(a, bits)
        hi = min(v.hi for v in (a, b) if v.lo >= 0)
        for wide, mask in ((a, b), (b, a)):
            if mask.known and wide.lo >= 0 and mask.lo & (mask.lo + 1) == 0 and wide.hi <= mask.lo:
                return wide
        return Value(f"({a.text} & {b.text})", 0, hi)

    def or_(self, a: Value, b: Value, bits: int) -> Value:
        return self._union("|", a, b, bits)

    def xor(self, a: Value, b: Value, bits: int) -> Value:
        return self._union("^", a, b, bits)

    def _union(self, sign: str, a: Value, b: Value, bits: int) -> Value:
        a, b = clean(a, bits), clean(b, bits)
        if a.known and b.known:
            return constant(a.lo | b.lo if sign == "|" else a.lo ^ b.lo)
        return Value(f"({a.text} {sign} {b.text})", 0, (1 << max(a.hi.bit_length(), b.hi.bit_length())) - 1)

    def shl(self, a: Value, n: Value, bits: int) -> Value:
        a = clean(a, bits)
        if n.known:
            if a.known:
                return constant((a.lo << n.lo) & ((1 << bits) - 1))
            if n.lo == 0:
                return a
            return _bounded(f"({a.text} << {n.text})", a.lo << n.lo, a.hi << n.lo, bits)
        return clean(Value(f"({a.text} << {n.text})", 0, a.hi << n.hi), bits)

    def lshr(self, a: Value, n: Value, bits: int) -> Value:
        a = clean(a, bits)
        if a.known and n.known:
            return constant(a.lo >> n.lo)
        if n.known:
            return Value(f"({a.text} >> {n.text})", a.lo >> n.lo, a.hi >> n.lo) if n.lo else a
        return Value(f"({a.text} >> {n.text})", 0, a.hi)

    def ashr(self, a: Value, n: Value, bits: int) -> Value:
        a = signed(a, bits)
        if n.known:
            if a.known:
                return constant((a.lo >> n.lo) & ((1 << bits) - 1))
            return Value(f"({a.text} >> {n.text})", a.lo >> n.lo, a.hi >> n.lo) if n.lo else a
        return Value(f"({a.text} >> {n.text})", min(a.lo, 0), max(a.hi, 0))

    def neg(self, a: Value, bits: int) -> Value:
        if a.known:
            return constant(-a.lo & ((1 << bits) - 1))
        return Value(f"(-{a.text})", -a.hi, -a.lo)

    def bswap(self, a: Value, bits: int) -> Value:
        if a.known:
            return constant(INTS.bswap(a.lo & ((1 << bits) - 1), bits))
        if bits == 16:
            return Value(f"(({a.text} & 255) << 8 | {a.text} >> 8 & 255)", 0, 0xFFFF)
        return Value(f"swap({clean(a, bits).text}.to_bytes({bits // 8}, 'little'), 'big')", 0, (1 << bits) - 1)

    def zext(self, a: Value, from_bits: int, to_bits: int) -> Value:
        return clean(a, from_bits)

    def sext(self, a: Value, from_bits: int, to_bits: int) -> Value:
        return signed(a, from_bits)

    def trunc(self, a: Value, from_bits: int, to_bits: int) -> Value:
        return a

    def compare(self, relation: str, a: Value, b: Value, bits: int) -> Truth:
        if relation[0] == "s":
            half = 1 << (bits - 1)
            a, b = (self._ordered(v, bits, half) for v in (a, b))
            sign, opposite = _COMPARE[relation[1:]]
        else:
            a, b = clean(a, bits), clean(b, bits)
            sign, opposite = _COMPARE[relation.lstrip("u")]
        return Truth(f"{a.text} {sign} {b.text}", f"{a.text} {opposite} {b.text}")

    def _ordered(self, a: Value, bits: int, half: int) -> Value:
        """A number that orders as the signed reading does: the sign bit flipped."""
        if a.lo == a.hi:
            return constant((a.lo & (2 * half - 1)) ^ half)
        return Value(f"({clean(a, bits).text} ^ {half})", 0, 2 * half - 1)

    def select(self, condition: Truth, a: Value, b: Value, bits: int) -> Value:
        if a.known and b.known and a.lo == b.lo:
            return a
        return Value(f"({a.text} if {condition.text} else {b.text})", min(a.lo, b.lo), max(a.hi, b.hi))


SOURCE = SourceOps()
