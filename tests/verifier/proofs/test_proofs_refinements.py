"""What conditions teach about `Bounds` is sound against isa/semantics.py, at 64 bits. How this is proved is said in
`symbolic` and `contracts`.

BOMBUS_PROOFS=1 proves what takes minutes, too.
"""

from __future__ import annotations

import os
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

z3 = pytest.importorskip("z3")

from contracts import early_with_identity_sync, fresh_bounds, with_identity_sync  # noqa: E402
from meaning import in_bounds, low, number, result_of, unsigned  # noqa: E402
from symbolic import Code, Paths, Sym  # noqa: E402

import bombus.verifier.alu  # noqa: E402
import bombus.verifier.branch  # noqa: E402
from bombus.isa import opcodes as op  # noqa: E402

FULL = bool(os.environ.get("BOMBUS_PROOFS"))
COMPILED = not bombus.verifier.alu.__file__.endswith(".py")
JUMPS = {
    "jeq": op.BPF_JEQ, "jne": op.BPF_JNE, "jset": op.BPF_JSET, "jgt": op.BPF_JGT, "jge": op.BPF_JGE, "jlt": op.BPF_JLT,
    "jle": op.BPF_JLE, "jsgt": op.BPF_JSGT, "jsge": op.BPF_JSGE, "jslt": op.BPF_JSLT, "jsle": op.BPF_JSLE,
}  # fmt: skip


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
@pytest.mark.parametrize("name", JUMPS)
def test_conditions(name: str, is32: bool) -> None:
    """Predictions are right, and both branches keep the numbers that take them."""
    code = with_identity_sync()
    condition = JUMPS[name]
    a, b = fresh_bounds(code), fresh_bounds(code)
    x, y = number("x"), number("y")
    holds = result_of(condition | op.BPF_X | (op.BPF_JMP32 if is32 else op.BPF_JMP), x, y, off=1)
    paths = Paths(in_bounds(a, x), in_bounds(b, y))
    for said in paths.run(lambda: code.cond.taken(condition, a, b, is32=is32)):
        if said is not None:
            paths.prove(holds if said else z3.Not(holds), "prediction")
    for truth, known in ((True, condition), (False, code.cond.OPPOSITE[condition])):
        for forget in (True, False):
            paths = Paths(in_bounds(a, x), in_bounds(b, y), holds if truth else z3.Not(holds))
            learn = partial(code.cond.refine, known, a, b, is32=is32, forget_ranges=forget)
            for new_a, new_b in paths.run(learn):
                paths.prove(z3.And(in_bounds(new_a, x), in_bounds(new_b, y)), f"{name} {truth}")


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
@pytest.mark.parametrize("name", JUMPS)
def test_swapped_conditions(name: str, is32: bool) -> None:
    code = Code()
    klass = op.BPF_JMP32 if is32 else op.BPF_JMP
    x, y = number("x"), number("y")
    swapped = code.cond.SWAPPED[JUMPS[name]]
    Paths().prove(
        result_of(JUMPS[name] | op.BPF_X | klass, x, y, off=1) == result_of(swapped | op.BPF_X | klass, y, x, off=1)
    )


# Kernels before 6.8.


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
@pytest.mark.parametrize("name", JUMPS if FULL else ("jset", "jle", "jsgt"))
def test_early_conditions(name: str, is32: bool) -> None:
    """Both branches keep the numbers that take them."""
    code = early_with_identity_sync()
    condition = JUMPS[name]
    a, b = fresh_bounds(code), fresh_bounds(code)
    x, y = number("x"), number("y")
    holds = result_of(condition | op.BPF_X | (op.BPF_JMP32 if is32 else op.BPF_JMP), x, y, off=1)
    for truth, known in ((True, condition), (False, code.cond.OPPOSITE[condition])):
        paths = Paths(in_bounds(a, x), in_bounds(b, y), holds if truth else z3.Not(holds))
        for new_a, new_b in paths.run(partial(code.early.refine, known, a, b, is32=is32)):
            paths.prove(z3.And(in_bounds(new_a, x), in_bounds(new_b, y)), f"{name} {truth}")


# What the rest of the verifier does with scalars.


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
def test_a_register_compared_with_itself(is32: bool) -> None:
    """Its ranges shrink only on the branch that cannot be taken."""
    klass = op.BPF_JMP32 if is32 else op.BPF_JMP
    x = number("x")
    for condition in bombus.verifier.branch._STRICT:
        Paths().prove(z3.Not(result_of(condition | op.BPF_X | klass, x, x, off=1)))


@pytest.mark.skipif(COMPILED, reason="compiled code takes no terms")
@pytest.mark.parametrize("low_half", [0, 0xFFFFFFFF])
def test_forked_low_half(low_half: int) -> None:
    code = Code()
    a = fresh_bounds(code)
    x = number("x")
    paths = Paths(in_bounds(a, x), low(x) == low_half)
    for result in paths.run(lambda: bombus.verifier.alu._low_known(a, low_half)):
        paths.prove(in_bounds(result, x))


@pytest.mark.skipif(COMPILED, reason="compiled code takes no terms")
@pytest.mark.skipif(not FULL, reason="BOMBUS_PROOFS=1 takes the time for it")
def test_single_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """`env.single`: what it says of a scalar with one value left (tnum.after is proved apart)."""
    from bombus.verifier import env
    from bombus.verifier.regs import SCALAR_VALUE, Reg

    code = Code()
    a = fresh_bounds(code)
    x = number("x")
    paths = Paths(in_bounds(a, x))

    def after(value: Any, mask: Any, above: Any) -> Any:
        found = unsigned(number("after"))
        top = value | mask
        # A member; the next above when there is one, the greatest otherwise.
        paths.solver.add(
            ((found ^ value) & ~mask == 0).term,
            z3.Implies((Sym.of(above) < top).term, (found > above).term),
            z3.Implies((Sym.of(above) >= top).term, (found == top).term),
            z3.Implies((unsigned(x) > above).term, (unsigned(x) >= found).term),
        )
        return found

    monkeypatch.setattr(env, "tnum", SimpleNamespace(after=after))
    monkeypatch.setattr(env, "const", code.bounds.const)
    for result in paths.run(lambda: env.single(Reg(SCALAR_VALUE, a))):
        paths.prove(in_bounds(result.bounds, x))
