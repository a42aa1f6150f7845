"""What stands for a function while another that calls it is proved.

Its precondition is proved at the call, and what it returns is anything that its own proof allows.
"""

from __future__ import annotations

import itertools
from typing import Any

import z3
from meaning import fresh_range, fresh_tnum, in_bounds, in_range, in_tnum, low, low_in_bounds, unsigned
from symbolic import Code, Paths, Sym, Term


def fresh_bounds(code: Code) -> Any:
    bits, _ = fresh_tnum()
    return code.bounds.Bounds(bits, fresh_range(64), fresh_range(32))


def with_identity_sync() -> Code:
    """`sync` keeps every number that its arguments hold (proved below), so its arguments may stand for its result."""
    code = Code()
    for module in (code.bounds, code.alu, code.cond):
        module.sync = code.bounds.Bounds
    return code


def early_with_identity_sync() -> Code:
    code = Code()
    code.early.sync = code.bounds.Bounds
    return code


class Contract:
    """Replacements that check what a function needs and return anything that it may."""

    def __init__(self, x: Term) -> None:
        self.x = x
        self.paths: Paths

    def range_of(self, bits: int) -> Any:
        found = fresh_range(bits)
        self.paths.solver.add(in_range(found, self.x if bits == 64 else low(self.x)))
        return Opaque(found)

    def tnum(self) -> Any:
        found, _ = fresh_tnum()
        self.paths.solver.add(in_tnum(found, self.x))
        return found

    def need(self, *claims: Term) -> None:
        self.paths.prove(z3.And(*claims), "precondition")


class Opaque(tuple[Any, ...]):
    """A range; whether two are equal is one choice, which tells nothing."""

    __slots__ = ()
    __hash__ = tuple.__hash__

    def __eq__(self, other: object) -> bool:
        return Paths.current.decide(z3.Bool(f"equal{next(_equal)}"))


_equal = itertools.count()


def contract_of_by_bits(code: Code, paths: Paths, x: Term, is32: bool) -> None:
    """by_bits keeps the number; of a 32-bit operation only its low half means something."""

    def by_bits(b: Any) -> Any:
        paths.prove(low_in_bounds(b, low(x)) if is32 else in_bounds(b, x), "precondition of by_bits")
        found = fresh_bounds(code)
        paths.solver.add(low_in_bounds(found, low(x)) if is32 else in_bounds(found, x))
        return found

    code.alu.by_bits = by_bits


def contract_of_parts(code: Code, paths: Paths, a: Any, b: Any, z: Term) -> None:
    """Sums and products of ranges and tnums, each proved apart, given a and b themselves."""

    def tnums(p: Any, q: Any) -> Any:
        assert p is a.bits and q is b.bits
        found, _ = fresh_tnum()
        paths.solver.add(in_tnum(found, z))
        return found

    def ranges(p: Any, q: Any, w: Any) -> Any:
        wide = w is code.alu.W64
        assert (p is a.r64 and q is b.r64) if wide else (w is code.alu.W32 and p is a.r32 and q is b.r32)
        found = fresh_range(64 if wide else 32)
        paths.solver.add(in_range(found, z if wide else low(z)))
        return found

    code.tnum.add = code.tnum.sub = code.tnum.mul = code.tnum.mul_by_cases = tnums
    for name in ("_add", "_sub", "_add_wrapping", "_sub_wrapping", "_mul", "_mul_signed"):
        setattr(code.alu, name, ranges)


def contract_of_from_range(code: Code, paths: Paths, z: Term) -> None:
    def from_range(least: Any, most: Any) -> Any:
        paths.prove(z3.And((Sym.of(least) <= unsigned(z)).term, (unsigned(z) <= Sym.of(most)).term), "from_range")
        found, _ = fresh_tnum()
        paths.solver.add(in_tnum(found, z))
        return found

    code.tnum.from_range = from_range
