"""The wire format: vectors in both byte orders, round trip, and errors that name the field."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bombus.errors import EncodingError, UsageError
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, decode, encode, imm64

# instruction, little-endian bytes, big-endian bytes
VECTORS = [
    (b.mov(1, 5), "b701000005000000", "b710000000000005"),
    (b.add(1, b.R2), "0f21000000000000", "0f12000000000000"),
    (b.ldx("u32", 3, 10, -8), "61a3f8ff00000000", "613afff800000000"),
    (b.stx("u64", 10, -16, 7), "7b7af0ff00000000", "7ba7fff000000000"),
    (b.st("u8", 2, 1, -1), "72020100ffffffff", "72200001ffffffff"),
    (b.jmp("s<=", 4, -2, 3), "d5040300feffffff", "d5400003fffffffe"),
    (b.atomic(op.BPF_CMPXCHG, "u64", 1, 0, 2), "db210000f1000000", "db120000000000f1"),
    (b.load_acquire("u8", 1, 2), "d321000000010000", "d312000000000100"),
    (b.store_release("u64", 2, -8, 1), "db12f8ff10010000", "db21fff800000110"),
    (b.movsx(1, 2, 8), "bf21080000000000", "bf12000800000000"),
    (b.addr_space_cast(1, 2, 0, 1), "bf21010001000000", "bf12000100000001"),
    (b.gotol(-1), "06000000ffffffff", "06000000ffffffff"),
    (b.may_goto(4), "e500040000000000", "e500000400000000"),
    (b.call_kfunc(99, 2), "8520020063000000", "8502000200000063"),
    (b.exit_(), "9500000000000000", "9500000000000000"),
]


@pytest.mark.parametrize(("insn", "little", "big"), VECTORS, ids=[v[1] for v in VECTORS])
def test_vectors(insn: Insn, little: str, big: str) -> None:
    assert encode([insn]).hex() == little
    assert encode([insn], "big").hex() == big
    assert decode(bytes.fromhex(little)) == [insn]
    assert decode(memoryview(bytes.fromhex(big)), "big") == [insn]


def test_ld_imm64() -> None:
    slots = b.ld_imm64(1, 0x1122334455667788)
    assert encode(slots).hex() == "18010000887766550000000044332211"
    assert imm64(*slots) == 0x1122334455667788
    assert imm64(*b.ld_imm64(1, -1)) == 2**64 - 1
    assert slots[0].is_ld_imm64 and not slots[1].is_ld_imm64


@given(st.integers(0, 40), st.integers(), st.sampled_from(["little", "big"]))
def test_any_slots_round_trip(count: int, seed: int, byteorder: str) -> None:
    data = random.Random(seed).randbytes(count * 8)
    insns = decode(data, byteorder)  # type: ignore[arg-type]
    assert len(insns) == count
    assert encode(insns, byteorder) == data  # type: ignore[arg-type]


@given(st.binary(max_size=64))
def test_bad_length(data: bytes) -> None:
    if len(data) % 8:
        with pytest.raises(EncodingError) as error:
            decode(data)
        assert error.value.field == "length"
    else:
        decode(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [("opcode", 256), ("opcode", -1), ("dst", 16), ("dst", -1), ("src", 16), ("src", -5), ("off", 0x8000),
     ("off", -0x8001), ("imm", 0x8000_0000), ("imm", -0x8000_0001), ("imm", 2**70)],
)  # fmt: skip
@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_value_that_does_not_fit(field: str, value: int, byteorder: str) -> None:
    bad = b.mov(0, 0)._replace(**{field: value})
    with pytest.raises(EncodingError) as error:
        encode([b.exit_(), bad], byteorder)  # type: ignore[arg-type]
    assert error.value.field == field
    assert error.value.insn == 1
    assert str(value) in str(error.value)


def test_unknown_byte_order() -> None:
    with pytest.raises(UsageError, match="middle"):
        decode(b"", "middle")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="middle"):
        encode([], "middle")  # type: ignore[arg-type]


def test_builders_refuse_unknown_names() -> None:
    with pytest.raises(UsageError, match="u128"):
        b.ldx("u128", 0, 1)
    with pytest.raises(UsageError, match="<>"):
        b.jmp("<>", 0, 1, 2)
