"""Plain Python code on ints, read symbolically: every path of a function, with z3 terms for its numbers.

`Sym` stands for an unbounded Python int as a signed bit vector that is wide enough (intervals are tracked, an operation
that might not fit raises). A truth value that is needed to go on makes `Paths` run the function again for the other
choice. So what is proved is the code itself, not a copy of it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import z3

import bombus.verifier

Term = Any  # z3 expressions have no useful static types


# Milliseconds of wall time for one question; a loaded machine needs many where the full proofs are asked for.
TIMEOUT = 3_600_000 if os.environ.get("BOMBUS_PROOFS") else 300_000


class Sym:
    """A symbolic int. lo, hi: what it certainly lies between."""

    __slots__ = ("hi", "lo", "term")
    bits = 72

    def __init__(self, term: Term, lo: int, hi: int) -> None:
        limit = 1 << Sym.bits - 1
        if lo < -limit or hi >= limit:
            raise OverflowError(f"[{lo:#x}, {hi:#x}] does not fit {Sym.bits} bits")
        self.term = term
        self.lo = lo
        self.hi = hi

    @staticmethod
    def of(value: Any) -> Sym:
        if isinstance(value, Sym):
            return value
        if isinstance(value, SymBool):
            return Sym(z3.If(value.term, _value(1), _value(0)), 0, 1)
        number = int(value)
        return Sym(_value(number), number, number)

    @staticmethod
    def var(name: str, lo: int, hi: int) -> tuple[Sym, Term]:
        """A fresh number, and that it lies in [lo, hi]."""
        term = z3.BitVec(name, Sym.bits)
        return Sym(term, lo, hi), z3.And(term >= _value(lo), term <= _value(hi))

    def __hash__(self) -> int:
        return id(self)

    def __add__(self, other: Any) -> Sym:
        b = Sym.of(other)
        return Sym(self.term + b.term, self.lo + b.lo, self.hi + b.hi)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Sym:
        b = Sym.of(other)
        return Sym(self.term - b.term, self.lo - b.hi, self.hi - b.lo)

    def __rsub__(self, other: Any) -> Sym:
        return Sym.of(other) - self

    def __neg__(self) -> Sym:
        return Sym(-self.term, -self.hi, -self.lo)

    def __mul__(self, other: Any) -> Sym:
        b = Sym.of(other)
        corners = [x * y for x in (self.lo, self.hi) for y in (b.lo, b.hi)]
        return Sym(self.term * b.term, min(corners), max(corners))

    __rmul__ = __mul__

    def __invert__(self) -> Sym:
        return Sym(~self.term, -self.hi - 1, -self.lo - 1)

    def _bitwise(self, other: Any, operation: Callable[[Term, Term], Term], is_and: bool = False) -> Sym:
        b = Sym.of(other)
        term = operation(self.term, b.term)
        if is_and and (self.lo >= 0 or b.lo >= 0):
            return Sym(term, 0, min(x.hi for x in (self, b) if x.lo >= 0))
        size = max(abs(x).bit_length() for x in (self.lo, self.hi, b.lo, b.hi))
        negative = self.lo < 0 or b.lo < 0
        return Sym(term, -(1 << size) if negative else 0, (1 << size) - 1)

    def __and__(self, other: Any) -> Sym:
        return self._bitwise(other, lambda a, b: a & b, True)

    def __or__(self, other: Any) -> Sym:
        return self._bitwise(other, lambda a, b: a | b)

    def __xor__(self, other: Any) -> Sym:
        return self._bitwise(other, lambda a, b: a ^ b)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __lshift__(self, other: Any) -> Sym:
        n = Sym.of(other)
        assert n.lo >= 0
        corners = [x << y for x in (self.lo, self.hi) for y in (n.lo, n.hi)]
        return Sym(self.term << n.term, min(corners), max(corners))

    def __rlshift__(self, other: Any) -> Sym:
        return Sym.of(other) << self

    def __rshift__(self, other: Any) -> Sym:
        n = Sym.of(other)
        assert n.lo >= 0
        corners = [x >> y for x in (self.lo, self.hi) for y in (n.lo, n.hi)]
        return Sym(self.term >> n.term, min(corners), max(corners))

    def __lt__(self, other: Any) -> SymBool:
        return SymBool(self.term < Sym.of(other).term)

    def __le__(self, other: Any) -> SymBool:
        return SymBool(self.term <= Sym.of(other).term)

    def __gt__(self, other: Any) -> SymBool:
        return SymBool(self.term > Sym.of(other).term)

    def __ge__(self, other: Any) -> SymBool:
        return SymBool(self.term >= Sym.of(other).term)

    def __eq__(self, other: object) -> SymBool:  # type: ignore[override]
        return SymBool(self.term == Sym.of(other).term)

    def __ne__(self, other: object) -> SymBool:  # type: ignore[override]
        return SymBool(self.term != Sym.of(other).term)

    def __bool__(self) -> bool:
        return bool(self != 0)

    def bit_length(self) -> Sym:
        assert self.lo >= 0
        size = self.hi.bit_length()
        term = _value(0)
        for i in range(size):
            term = z3.If(z3.Extract(i, i, self.term) == 1, _value(i + 1), term)
        return Sym(term, 0, size)


class SymBool:
    __slots__ = ("term",)

    def __init__(self, term: Term) -> None:
        self.term = term

    def __bool__(self) -> bool:
        return Paths.current.decide(self.term)

    def __radd__(self, other: Any) -> Sym:
        return Sym.of(other) + Sym.of(self)

    def __rsub__(self, other: Any) -> Sym:
        return Sym.of(other) - Sym.of(self)


class Real:
    """A symbolic number for code that only adds, multiplies and compares: what holds of all reals holds of ints.

    z3 settles products of reals (and sums of its ints) at once, where bit vectors are out of reach beyond a few bits.
    """

    __slots__ = ("term",)

    def __init__(self, term: Term) -> None:
        self.term = term

    @staticmethod
    def of(value: Any) -> Real:
        return value if isinstance(value, Real) else Real(z3.IntVal(int(value)))

    __hash__ = object.__hash__

    def __add__(self, other: Any) -> Real:
        return Real(self.term + Real.of(other).term)

    def __sub__(self, other: Any) -> Real:
        return Real(self.term - Real.of(other).term)

    def __mul__(self, other: Any) -> Real:
        return Real(self.term * Real.of(other).term)

    def __and__(self, mask: int) -> Real:
        """Modulo mask + 1, of a number that is at most one turn away."""
        assert mask & mask + 1 == 0
        return self.turned(0, mask)

    def turned(self, least: int, most: int) -> Real:
        """The number, at most one turn of the circle [least, most] away, in it."""
        turn = most - least + 1
        x = self.term
        return Real(z3.If(x < least, x + turn, z3.If(x > most, x - turn, x)))

    def __lt__(self, other: Any) -> SymBool:
        return SymBool(self.term < Real.of(other).term)

    def __le__(self, other: Any) -> SymBool:
        return SymBool(self.term <= Real.of(other).term)

    def __gt__(self, other: Any) -> SymBool:
        return SymBool(self.term > Real.of(other).term)

    def __ge__(self, other: Any) -> SymBool:
        return SymBool(self.term >= Real.of(other).term)

    @staticmethod
    def least(values: Any) -> Real:
        return Real._pick(values, less=True)

    @staticmethod
    def greatest(values: Any) -> Real:
        return Real._pick(values, less=False)

    @staticmethod
    def _pick(values: Any, less: bool) -> Real:
        best, *others = (Real.of(value).term for value in values)
        for term in others:
            best = z3.If(best <= term if less else best >= term, best, term)
        return Real(best)


def _value(number: int) -> Term:
    return z3.BitVecVal(number, Sym.bits)


def _pick(less: bool) -> Callable[..., Any]:
    """min or max without a fork."""

    def pick(first: Any, *others: Any) -> Any:
        values = [first, *others] if others else list(first)
        best = values[0]
        for value in values[1:]:
            if not isinstance(best, Sym) and not isinstance(value, Sym):
                best = min(best, value) if less else max(best, value)
                continue
            a, b = Sym.of(best), Sym.of(value)
            choose = min if less else max
            term = z3.If(a.term <= b.term if less else a.term >= b.term, a.term, b.term)
            best = Sym(term, choose(a.lo, b.lo), choose(a.hi, b.hi))
        return best

    return pick


class Paths:
    """All ways through a function, under assumptions."""

    current: Paths

    def __init__(self, *assumptions: Term, logic: str = "QF_BV") -> None:
        self.logic = logic
        self.solver = z3.Solver()
        self.solver.set("timeout", 150)  # only to leave out paths that cannot be: not knowing keeps one
        self.solver.add(*assumptions)
        self.count = 0

    def run(self, function: Callable[[], Any]) -> Iterator[Any]:
        """The result of each path; while it is looked at, `prove` works under the conditions of that path."""
        Paths.current = self
        waiting: list[list[bool]] = [[]]
        while waiting:
            self.trail = waiting.pop()
            self.waiting = waiting
            self.at = 0
            self.solver.push()
            self.count += 1
            yield function()
            self.solver.pop()

    def decide(self, condition: Term) -> bool:
        condition = z3.simplify(condition)
        if z3.is_true(condition) or z3.is_false(condition):
            return z3.is_true(condition)
        if self.at == len(self.trail):
            yes = self.solver.check(condition) != z3.unsat
            no = self.solver.check(z3.Not(condition)) != z3.unsat
            if yes and no:
                self.waiting.append([*self.trail, False])
            self.trail.append(yes)
        chosen = self.trail[self.at]
        self.at += 1
        self.solver.add(condition if chosen else z3.Not(condition))
        return chosen

    def prove(self, claim: Term, what: str = "") -> None:
        for part in _conjuncts(claim):  # one at a time: that is far faster
            solver = z3.SolverFor(self.logic)  # not incremental, and far faster than one that is
            solver.set("timeout", TIMEOUT)
            solver.add(*self.solver.assertions(), z3.Not(part))
            answer = solver.check()
            if answer == z3.sat:
                raise AssertionError(f"{what}: counterexample {solver.model()}")
            if answer != z3.unsat:
                raise AssertionError(f"{what}: z3 does not know {part}")


def _conjuncts(claim: Term) -> Iterator[Term]:
    if z3.is_and(claim):
        for part in claim.children():
            yield from _conjuncts(part)
    else:
        yield claim


_COPIED = (
    "bits", "verifier.tnum", "verifier.bounds", "verifier.bounds_alu", "verifier.bounds_cond", "verifier.bounds_early",
)  # fmt: skip


class Code:
    """Fresh copies of the modules, from their sources: they can be given other constants, and are never compiled."""

    def __init__(self) -> None:
        root = Path(bombus.verifier.__file__).resolve().parent.parent
        names = [f"bombus.{name}" for name in _COPIED]
        kept = {name: sys.modules.get(name) for name in names}
        attributes = {name: getattr(bombus.verifier, name.rpartition(".")[2], None) for name in names[1:]}
        found: dict[str, ModuleType] = {}
        try:
            for name in names:
                path = root / (name.partition(".")[2].replace(".", "/") + ".py")
                spec = importlib.util.spec_from_file_location(name, path)
                assert spec is not None and spec.loader is not None
                module = importlib.util.module_from_spec(spec)
                sys.modules[name] = module
                spec.loader.exec_module(module)
                found[name.rpartition(".")[2]] = module
                if name != "bombus.bits":
                    setattr(bombus.verifier, name.rpartition(".")[2], module)
        finally:
            for name in names:
                old = kept[name]
                if old is None:
                    sys.modules.pop(name, None)
                else:
                    sys.modules[name] = old
                if name != "bombus.bits" and attributes[name] is not None:
                    setattr(bombus.verifier, name.rpartition(".")[2], attributes[name])
        self.tnum: Any = found["tnum"]
        self.bounds: Any = found["bounds"]
        self.alu: Any = found["bounds_alu"]
        self.cond: Any = found["bounds_cond"]
        self.early: Any = found["bounds_early"]
        for module in found.values():
            for name in ("sync", "const"):  # without their caches, which cannot hold terms
                if hasattr(module, name):
                    setattr(module, name, getattr(self.bounds, name + "_", None) or _uncached(getattr(module, name)))
            module.min = _pick(True)
            module.max = _pick(False)


def _uncached(function: Any) -> Any:
    return getattr(function, "__wrapped__", function)
