"""Arithmetic and casts of `Bounds` are sound against isa/semantics.py, at 64 bits. How this is proved is said in
`symbolic` and `contracts`; the arithmetic of ranges alone is in test_proofs_ranges, that of bits in test_proofs_tnum.

BOMBUS_PROOFS=1 proves the rest: all shift amounts, and what takes minutes.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

z3 = pytest.importorskip("z3")

from contracts import (  # noqa: E402
    contract_of_by_bits,
    contract_of_from_range,
    contract_of_parts,
    early_with_identity_sync,
    fresh_bounds,
    with_identity_sync,
)
from meaning import (  # noqa: E402
    fresh_range,
    fresh_tnum,
    in_bounds,
    in_range,
    in_tnum,
    low,
    low_in_bounds,
    number,
    result_of,
    unsigned,
)
from symbolic import Code, Paths, Sym  # noqa: E402

import bombus.verifier.alu  # noqa: E402
import bombus.verifier.alu_pointer  # noqa: E402
from bombus.isa import opcodes as op  # noqa: E402
from bombus.isa.insn import Insn  # noqa: E402
from bombus.spec.version import KernelVersion  # noqa: E402
from bombus.verifier.main import verify  # noqa: E402
from bombus.verifier.program import Program  # noqa: E402

FULL = bool(os.environ.get("BOMBUS_PROOFS"))
COMPILED = not bombus.verifier.alu.__file__.endswith(".py")
TABLES = ("UNSIGNED_MUL", "SIGNED_MUL", "WRAPPING", "MUL_BY_CASES")


OPERATIONS = {
    "add": op.BPF_ADD, "sub": op.BPF_SUB, "and": op.BPF_AND, "or": op.BPF_OR, "xor": op.BPF_XOR, "mul": op.BPF_MUL,
}  # fmt: skip


def opcode(operation: int, is32: bool) -> int:
    return operation | op.BPF_X | (op.BPF_ALU if is32 else op.BPF_ALU64)


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
@pytest.mark.parametrize("name", ["add", "sub", "mul"])
@pytest.mark.parametrize("table", TABLES)
def test_arithmetic(name: str, is32: bool, table: str) -> None:
    """How the parts of sums, differences and products are put together."""
    code = with_identity_sync()
    a, b = fresh_bounds(code), fresh_bounds(code)
    x, y = number("x"), number("y")
    # A part is told the whole 64-bit result; that the names say what the parts do is all that is taken on trust.
    whole = {"add": x + y, "sub": x - y, "mul": number("product")}[name]
    paths = Paths(in_bounds(a, x), in_bounds(b, y))
    contract_of_parts(code, paths, a, b, whole)
    chosen = getattr(code.alu, table)
    for result in paths.run(lambda: code.alu.alu(OPERATIONS[name], a, b, is32=is32, table=chosen)):
        paths.prove(in_bounds(result, z3.ZeroExt(32, low(whole)) if is32 else whole), name)
    if name != "mul":
        z = result_of(opcode(OPERATIONS[name], is32), x, y)
        Paths().prove(z == (z3.ZeroExt(32, low(whole)) if is32 else whole), "isa")


def test_the_parts_belong_together() -> None:
    """Which parts each operation is made of (see test_arithmetic)."""
    code = Code()
    names = {
        "add": ("add", "_add"), "sub": ("sub", "_sub"), "add_wrapping": ("add", "_add_wrapping"),
        "sub_wrapping": ("sub", "_sub_wrapping"), "mul": ("mul", "_mul"), "mul_signed": ("mul", "_mul_signed"),
        "mul_by_cases": ("mul_by_cases", "_mul_signed"),
    }  # fmt: skip
    for function, (tnum_part, range_part) in names.items():
        used = getattr(code.alu, function).__code__.co_names
        assert tnum_part in used and range_part in used
        others = {part for pair in names.values() for part in pair} - {tnum_part, range_part}
        assert not others & set(used)
    table = code.alu.MUL_BY_CASES
    made_of = [table[OPERATIONS[name]].__name__ for name in ("add", "sub", "mul")]
    assert made_of == ["add_wrapping", "sub_wrapping", "mul_by_cases"]


@pytest.mark.parametrize("is32", [False, True] if FULL else [False], ids=["64", "32"] if FULL else ["64"])
@pytest.mark.parametrize("name", ["and", "or", "xor"])
def test_bitwise(name: str, is32: bool) -> None:
    code = with_identity_sync()
    a, b = fresh_bounds(code), fresh_bounds(code)
    x, y = number("x"), number("y")
    z = result_of(opcode(OPERATIONS[name], is32), x, y)
    whole = result_of(opcode(OPERATIONS[name], False), x, y)
    paths = Paths(in_bounds(a, x), in_bounds(b, y))

    def limited(least: Any, most: Any, w: Any) -> Any:
        wide = w is code.alu.W64
        inside = unsigned(whole if wide else low(whole))
        paths.prove(z3.And((Sym.of(least) <= inside).term, (inside <= Sym.of(most)).term), "limits")
        found = fresh_range(64 if wide else 32)
        paths.solver.add(in_range(found, whole if wide else low(whole)))
        return found

    code.alu._unsigned = limited
    contract_of_by_bits(code, paths, whole, is32)
    for result in paths.run(lambda: code.alu.alu(OPERATIONS[name], a, b, is32=is32)):
        paths.prove(in_bounds(result, z), name)


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
@pytest.mark.parametrize("name", ["add", "sub", "and", "or", "xor"])
def test_arithmetic_of_constants(name: str, is32: bool) -> None:
    """The short cut for two known numbers."""
    code = with_identity_sync()
    x, y = number("x"), number("y")
    operation = OPERATIONS[name]
    z = result_of(opcode(operation, is32), x, y)
    paths = Paths()

    def body() -> Any:
        a, b = code.bounds.const(unsigned(x)), code.bounds.const(unsigned(y))
        assert a.checked and b.checked
        return code.alu.alu(operation, a, b, is32=is32)

    for result in paths.run(body):
        paths.prove(in_bounds(result, z), name)


def test_every_table_is_proved() -> None:
    """The tables are made of the functions that are proved here; divisions and the like are in none."""
    code = Code()
    found = {function.__name__ for table in TABLES for function in getattr(code.alu, table).values()}
    assert found == {
        "add", "sub", "add_wrapping", "sub_wrapping", "mul", "mul_signed", "mul_by_cases", "and_", "or_", "xor",
    }  # fmt: skip
    assert set(code.alu._SHIFTS) == {op.BPF_LSH, op.BPF_RSH, op.BPF_ARSH}
    assert set(code.alu._EXACT) == set(OPERATIONS.values())
    a, b = code.bounds.ANY, code.bounds.const(3)
    for operation in (op.BPF_DIV, op.BPF_MOD):
        assert code.alu.alu(operation, a, b, is32=False) is None and code.alu.alu(operation, a, b, is32=True) is None
    assert code.alu.alu(op.BPF_LSH, b, a, is32=False) is None


_DIVISIONS = [
    (kind | code, off)
    for kind in (op.BPF_ALU64, op.BPF_ALU) for code in (op.BPF_DIV, op.BPF_MOD) for off in (0, 1)
]  # fmt: skip


@pytest.mark.parametrize(("kind", "off"), _DIVISIONS)
def test_quotients_are_unknown(kind: int, off: int) -> None:
    """div, mod, sdiv, smod: nothing is claimed of the result, which is sound."""
    insns = [Insn(0xB7, 0, imm=100), Insn(0xB7, 1, imm=7), Insn(kind | op.BPF_X, 0, 1, off), Insn(0xB7, 0), Insn(0x95)]
    for imm in (None, 3):
        if imm is not None:
            insns[2] = Insn(kind, 0, 0, off, imm)
        log = verify(Program(insns, 1, KernelVersion(6, 18), log_level=2)).log
        assert "R0=scalar()" in log, log


_AMOUNTS = range(64) if FULL else (5, 31, 63)


@pytest.mark.parametrize("shift", _AMOUNTS)
@pytest.mark.parametrize("operation", [op.BPF_LSH, op.BPF_RSH, op.BPF_ARSH], ids=["lsh", "rsh", "arsh"])
@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
def test_shifts(operation: int, shift: int, is32: bool) -> None:
    Sym.bits = 136
    code = with_identity_sync()
    a = fresh_bounds(code)
    amount = code.bounds.const(shift)
    x = number("x")
    paths = Paths(in_bounds(a, x))
    if is32 and shift > 31:
        assert set(paths.run(lambda: code.alu.alu(operation, a, amount, is32=True))) == {None}
        return
    z = result_of(opcode(operation, is32), x, z3.BitVecVal(shift, 64))
    contract_of_by_bits(code, paths, z, is32)
    for result in paths.run(lambda: code.alu.alu(operation, a, amount, is32=is32)):
        paths.prove(in_bounds(result, z))


@pytest.mark.parametrize("is32", [False, True], ids=["64", "32"])
def test_negation(is32: bool) -> None:
    """0 - x, as the verifier computes it."""
    code = with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_NEG | (op.BPF_ALU if is32 else op.BPF_ALU64), x, x)
    zero = code.bounds.const(0)
    paths = Paths(in_bounds(a, x))
    contract_of_parts(code, paths, zero, a, -x)
    for result in paths.run(lambda: code.alu.alu(op.BPF_SUB, zero, a, is32=is32, table=code.alu.MUL_BY_CASES)):
        paths.prove(in_bounds(result, z))


# Casts.


def test_zero_extension() -> None:
    code = with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_MOV | op.BPF_X | op.BPF_ALU, x, x)
    paths = Paths(low_in_bounds(a, low(x)))
    for result in paths.run(lambda: code.alu.zext32(a)):
        paths.prove(in_bounds(result, z))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_truncation(size: int) -> None:
    code = with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_END | op.BPF_TO_LE | op.BPF_ALU, x, x, imm=8 * size) if size > 1 else x & 0xFF
    paths = Paths(in_bounds(a, x))
    for result in paths.run(lambda: code.alu.truncate(a, size)):
        paths.prove(in_bounds(result, z))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_early_truncation(size: int) -> None:
    code = early_with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_END | op.BPF_TO_LE | op.BPF_ALU, x, x, imm=8 * size) if size > 1 else x & 0xFF
    paths = Paths(in_bounds(a, x))
    for result in paths.run(lambda: code.early.truncate(a, size)):
        paths.prove(in_bounds(result, z))


@pytest.mark.parametrize("size", [1, 2, 4])
def test_sign_extension(size: int) -> None:
    code = with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_MOV | op.BPF_X | op.BPF_ALU64, x, x, off=8 * size)
    paths = Paths(in_bounds(a, x))
    contract_of_from_range(code, paths, z)
    for result in paths.run(lambda: code.alu.sign_extend(a, size)):
        paths.prove(in_bounds(result, z))


@pytest.mark.parametrize("size", [1, 2])
def test_sign_extension_of_the_low_half(size: int) -> None:
    code = with_identity_sync()
    a = fresh_bounds(code)
    x = number("x")
    z = result_of(op.BPF_MOV | op.BPF_X | op.BPF_ALU, x, x, off=8 * size)
    paths = Paths(in_bounds(a, x))
    contract_of_from_range(code, paths, z3.SignExt(32, low(z)))
    for result in paths.run(lambda: code.alu.zext32(code.alu.sign_extend32(a, size))):
        paths.prove(in_bounds(result, z))


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("klass", [op.BPF_ALU64, op.BPF_ALU | op.BPF_X], ids=["bswap", "be"])
def test_byte_swaps(size: int, klass: int) -> None:
    """Bits move, each to where isa/semantics.py moves it: shown bit by bit, as nothing else happens to them."""
    from bombus.verifier.bounds import ANY32, ANY64, Bounds, const
    from bombus.verifier.regs import scalar

    for bit in range(64):
        moved = bombus.verifier.alu._swapped(scalar(const(1 << bit)), size, swaps=True)
        one = z3.BitVecVal(1 << bit, 64)
        meaning = z3.simplify(result_of(op.BPF_END | klass, one, one, imm=8 * size))
        assert moved.bounds == const(meaning.as_long())
        unknown = bombus.verifier.alu._swapped(scalar(Bounds((0, 1 << bit), ANY64, ANY32)), size, swaps=True)
        assert unknown.bounds.bits == (0, meaning.as_long())


# Pointers.


@pytest.mark.skipif(COMPILED, reason="compiled code takes no terms")
@pytest.mark.skipif(not FULL, reason="BOMBUS_PROOFS=1 takes the time for it")
@pytest.mark.parametrize("forward", [True, False], ids=["plus", "minus"])
def test_variable_part_of_pointers(forward: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pointer plus or minus a scalar: the sum of its variable part and the scalar."""
    from bombus.verifier.regs import PTR_TO_MAP_VALUE, Reg

    code = Code()
    a, b = fresh_bounds(code), fresh_bounds(code)
    x, y = number("x"), number("y")
    z = x + y if forward else x - y
    pointer = Reg(PTR_TO_MAP_VALUE, a)
    paths = Paths(in_bounds(a, x), in_bounds(b, y))

    def tnums(p: Any, q: Any) -> Any:
        assert p is a.bits and q is b.bits
        found, _ = fresh_tnum()
        paths.solver.add(in_tnum(found, z))
        return found

    monkeypatch.setattr(bombus.verifier.alu_pointer, "tnum", SimpleNamespace(add=tnums, sub=tnums))
    for result in paths.run(lambda: bombus.verifier.alu_pointer._moved(None, pointer, b, False, forward=forward)):  # type: ignore[arg-type]
        paths.prove(in_bounds(result.bounds, z))
