"""Fixed-width integers mean what the instructions mean."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bombus.bpf.ints import INTS, NETWORK_INTS, SCALARS, Scalar, be16, be32, bswap, s8, s32, s64, u8, u16, u32, u64
from bombus.errors import UsageError
from bombus.isa import opcodes as op
from bombus.isa.build import Reg, alu
from bombus.isa.ints import INTS as OPS
from bombus.isa.semantics import effect

_SIGNS: dict[str, Callable[[object, object], object]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.floordiv, "mod": operator.mod,
    "and": operator.and_, "or": operator.or_, "xor": operator.xor, "lsh": operator.lshift, "rsh": operator.rshift,
}  # fmt: skip


def numbers(bits: int) -> st.SearchStrategy[int]:
    top = (1 << bits) - 1
    return st.one_of(st.integers(0, top), st.sampled_from([0, 1, top, top >> 1, (top >> 1) + 1]))


def by_instruction(name: str, a: int, b: int, kind: type[Scalar]) -> int:
    """What the ALU instruction makes of two registers, as an unsigned number of the type's width."""
    signed = kind.SIGNED and name in ("div", "mod")
    code = {
        "add": op.BPF_ADD, "sub": op.BPF_SUB, "mul": op.BPF_MUL, "div": op.BPF_DIV, "mod": op.BPF_MOD,
        "and": op.BPF_AND, "or": op.BPF_OR, "xor": op.BPF_XOR, "lsh": op.BPF_LSH,
        "rsh": op.BPF_ARSH if kind.SIGNED else op.BPF_RSH,
    }[name]  # fmt: skip
    insn = alu(code, 1, Reg(2), bits=kind.BITS, off=int(signed))
    registers = {1: a, 2: b}
    done = effect(insn, OPS, registers.__getitem__)
    return int(done.value) & ((1 << kind.BITS) - 1)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [u32, s32, u64, s64], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", list(_SIGNS))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_arithmetic_is_that_of_the_instructions(kind: type[Scalar], name: str, data: st.DataObject) -> None:
    a, b = data.draw(numbers(kind.BITS)), data.draw(numbers(kind.BITS))
    result = _SIGNS[name](kind._make(a), kind._make(b))
    assert isinstance(result, kind)
    assert int(result) & ((1 << kind.BITS) - 1) == by_instruction(name, a, b, kind)


@pytest.mark.parametrize("kind", INTS, ids=lambda kind: kind.__name__)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_narrow_arithmetic_wraps(kind: type[Scalar], data: st.DataObject) -> None:
    a, b = (kind._make(data.draw(numbers(kind.BITS))) for _ in range(2))
    for sign in (operator.add, operator.sub, operator.mul):
        assert sign(a, b) == kind._make(sign(int(a), int(b)))
    assert ~a == kind._make(~int(a))
    assert -a == kind._make(-int(a))  # type: ignore[operator]


@pytest.mark.parametrize("kind", SCALARS, ids=lambda kind: kind.__name__)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_bytes_there_and_back(kind: type[Scalar], data: st.DataObject) -> None:
    value = kind._make(data.draw(numbers(kind.BITS)))
    raw = bytes(value)
    assert len(raw) == kind.SIZE
    assert kind.from_bytes(raw) == value
    assert int.from_bytes(raw[::-1] if kind.NETWORK else raw, "little", signed=kind.SIGNED) == int(value)
    assert bswap(bswap(value)) == value
    assert bytes(bswap(value)) == raw[::-1]


def test_most_negative_by_minus_one() -> None:
    assert s32(s32.MIN) // -1 == s32.MIN
    assert s32(s32.MIN) % -1 == 0
    assert s8(-128) // s8(-1) == -128


def test_division_by_zero() -> None:
    assert u32(7) // 0 == 0
    assert u32(7) % u32(0) == 7
    assert s64(-7) % 0 == -7


def test_signed_quotients_round_towards_zero() -> None:
    assert s32(-7) // 2 == -3
    assert s32(-7) % 2 == -1
    assert s32(7) // -2 == -3


def test_shift_amounts() -> None:
    assert u32(1) << u64(33) == 2
    assert s32(-8) >> u8(1) == -4
    with pytest.raises(UsageError, match="u8 is shifted by 0 to 7 bits, not 8"):
        u8(1) << 8


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: operator.add(u32(1), u64(1)), "u32 and u64 do not mix"),
        (lambda: u8(1) + 256, "256 does not fit u8; write u8"),
        (lambda: u32(1) == -1, "-1 does not fit u32"),
        (lambda: u32(1) + True, "u32 and bool do not mix"),
        (lambda: be16(1) == u16(1), "be16 and u16 do not mix"),
        (lambda: operator.lt(u32(1), s32(1)), "u32 and s32 do not mix"),
    ],
)
def test_what_does_not_mix(run: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run()


def test_network_ints_do_not_calculate() -> None:
    kinds: tuple[Any, ...] = NETWORK_INTS
    for kind in kinds:
        for sign in (operator.add, operator.mul, operator.lt, operator.lshift):
            with pytest.raises(TypeError):
                sign(kind(1), kind(1))
    assert be32(0x0A000001) & 0xFF000000 == 0x0A000000
    assert u32(be32(0x0A000001)) == 0x0A000001
    assert be16(u32(0x12345678)) == 0x5678
    assert bytes(be16(0x0800)) == b"\x08\x00"


def test_values_are_values() -> None:
    value = u32(5)
    assert {value: 1}[u32(5)] == 1
    assert copy.deepcopy(value) is value
    assert pickle.loads(pickle.dumps(value)) == value
    assert f"{value:04x} {value}" == "0005 5"
    assert list(range(10))[value] == 5
    with pytest.raises(AttributeError):
        value.x = 1
