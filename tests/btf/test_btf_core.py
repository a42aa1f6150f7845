"""CO-RE: specs, candidates, matching, and patched instructions. Expected values follow libbpf 1.5."""

from __future__ import annotations

from typing import Any

import pytest

from bombus.btf.build import Builder
from bombus.btf.core import POISON, Resolver, relocate
from bombus.btf.corespec import parse_spec
from bombus.btf.ext import CoreKind, CoreRelo
from bombus.btf.parse import Btf
from bombus.btf.types import (
    INT_SIGNED,
    Array,
    Enum,
    Enum64,
    Enumerator,
    Fwd,
    Int,
    Member,
    Ptr,
    Struct,
    Type,
    Typedef,
    Union,
)
from bombus.errors import RelocationError
from bombus.isa.insn import Insn

INT = Int("int", 4, INT_SIGNED)
UINT = Int("unsigned int", 4)
ULONG = Int("unsigned long", 8)
MOV = 0xB7
LDX_W = 0x61
LDX_DW = 0x79
STX_W = 0x63
ST_W = 0x62
LD_IMM64 = 0x18


def btf(*types: Type, base: Btf | None = None, byteorder: str = "little") -> Btf:
    builder = Builder(base, byteorder)
    builder.extend(types)
    return builder.build()


def relo(local: Btf, kind: int, type_id: int, access: str) -> tuple[Btf, CoreRelo]:
    builder = Builder.from_btf(local)
    offset = builder.add_string(access)
    return builder.build(), CoreRelo(0, type_id, offset, kind)


def apply(
    local: Btf, targets: list[Btf], kind: int, type_id: int, access: str, *insns: Insn, **more: Any
) -> tuple[list[Insn], Any]:
    local, row = relo(local, kind, type_id, access)
    code = list(insns)
    (result,) = relocate([row], code, local, targets, **more)
    return code, result


LOCAL = btf(
    INT,  # 1
    UINT,  # 2
    ULONG,  # 3
    Struct("task", 32, (Member("pid", 1, 0), Member("u", 2, 32), Member("arr", 5, 64), Member("", 6, 128))),  # 4
    Array(1, 1, 2),  # 5
    Union("", 8, (Member("a", 3, 0), Member("b", 1, 0))),  # 6
    Struct("bits", 8, (Member("x", 2, 0, 3), Member("y", 1, 3, 5)), kind_flag=True),  # 7
    Enum("color", 4, (Enumerator("RED", 0), Enumerator("BLUE___v2", 1))),  # 8
    Struct("task___old", 8, (Member("gone", 1, 0), Member("pid", 1, 32))),  # 9
    Typedef("task_t", 4),  # 10
    Ptr(4),  # 11
    Struct("ptrs", 16, (Member("p", 11, 0), Member("flex", 13, 64))),  # 12
    Array(1, 1, 0),  # 13
)
TARGET = btf(
    INT,  # 1
    UINT,  # 2
    ULONG,  # 3
    Struct(
        "task",
        64,
        (Member("", 6, 64), Member("u", 3, 128), Member("pid", 1, 192), Member("arr", 5, 224), Member("gap", 3, 320)),
    ),  # 4
    Array(1, 1, 3),  # 5
    Union("", 8, (Member("b", 1, 0), Member("a", 3, 0))),  # 6
    Struct("bits", 8, (Member("pad", 2, 0), Member("y", 1, 32, 5), Member("x", 2, 60, 4)), kind_flag=True),  # 7
    Enum64("color", 8, (Enumerator("RED", 5), Enumerator("BLUE", 1 << 40))),  # 8
    Typedef("task_t", 4),  # 9
    Ptr(4),  # 10
    Struct("ptrs", 24, (Member("x", 3, 0), Member("p", 10, 64), Member("flex", 12, 128))),  # 11
    Array(1, 1, 0),  # 12
)

# kind, local type, access, value in the instruction, expected new value
VALUES = [
    (CoreKind.FIELD_BYTE_OFFSET, 4, "0:0", 0, 24),
    (CoreKind.FIELD_BYTE_OFFSET, 4, "1:0", 32, 64 + 24),
    (CoreKind.FIELD_BYTE_OFFSET, 4, "0:2:1", 12, 32),
    (CoreKind.FIELD_BYTE_OFFSET, 4, "0:3:0", 16, 8),
    (CoreKind.FIELD_BYTE_OFFSET, 9, "0:1", 4, 24),
    (CoreKind.FIELD_BYTE_OFFSET, 12, "0:1:5", 28, 36),
    (CoreKind.FIELD_BYTE_SIZE, 4, "0:1", 4, 8),
    (CoreKind.FIELD_BYTE_SIZE, 4, "0:2", 8, 12),
    (CoreKind.FIELD_EXISTS, 4, "0:0", 1, 1),
    (CoreKind.FIELD_EXISTS, 9, "0:0", 1, 0),
    (CoreKind.FIELD_SIGNED, 4, "0:0", 1, 1),
    (CoreKind.FIELD_SIGNED, 4, "0:1", 0, 0),
    (CoreKind.FIELD_BYTE_OFFSET, 7, "0:0", 0, 4),
    (CoreKind.FIELD_BYTE_SIZE, 7, "0:0", 4, 4),
    (CoreKind.FIELD_LSHIFT_U64, 7, "0:0", 61, 32),
    (CoreKind.FIELD_RSHIFT_U64, 7, "0:0", 61, 60),
    (CoreKind.FIELD_LSHIFT_U64, 7, "0:1", 56, 59),
    (CoreKind.FIELD_RSHIFT_U64, 7, "0:1", 59, 59),
    (CoreKind.TYPE_ID_LOCAL, 4, "0", 99, 4),
    (CoreKind.TYPE_ID_TARGET, 7, "0", 99, 7),
    (CoreKind.TYPE_ID_TARGET, 10, "0", 99, 9),
    (CoreKind.TYPE_EXISTS, 4, "0", 1, 1),
    (CoreKind.TYPE_SIZE, 4, "0", 32, 64),
    (CoreKind.TYPE_SIZE, 10, "0", 32, 64),
    (CoreKind.TYPE_MATCHES, 4, "0", 1, 0),
    (CoreKind.ENUMVAL_EXISTS, 8, "0", 1, 1),
    (CoreKind.ENUMVAL_VALUE, 8, "0", 0, 5),
]


@pytest.mark.parametrize(("kind", "type_id", "access", "old", "new"), VALUES)
def test_values_in_alu(kind: CoreKind, type_id: int, access: str, old: int, new: int) -> None:
    code, result = apply(LOCAL, [TARGET], kind, type_id, access, Insn(MOV, 1, 0, 0, old))
    assert code == [Insn(MOV, 1, 0, 0, new)]
    assert (result.new, result.poisoned) == (new, False)


def test_enum64_value_needs_ldimm64() -> None:
    code, result = apply(
        LOCAL, [TARGET], CoreKind.ENUMVAL_VALUE, 8, "1", Insn(LD_IMM64, 1, 0, 0, 1), Insn(0, 0, 0, 0, 0)
    )
    assert code == [Insn(LD_IMM64, 1, 0, 0, 0), Insn(0, 0, 0, 0, 256)]
    assert result.target_spec == "<enumval_value> [8] enum64 color::BLUE = 1099511627776"
    assert result.local_spec == "<enumval_value> [8] enum color::BLUE___v2 = 1"


def test_load_and_store_are_resized_only_for_unsigned() -> None:
    code, _ = apply(LOCAL, [TARGET], 0, 4, "0:1", Insn(LDX_W, 1, 2, 4))
    assert code == [Insn(LDX_DW, 1, 2, 16)]
    code, _ = apply(LOCAL, [TARGET], 0, 4, "0:1", Insn(STX_W, 1, 2, 4))
    assert code == [Insn(0x7B, 1, 2, 16)]
    code, _ = apply(LOCAL, [TARGET], 0, 4, "0:1", Insn(ST_W, 1, 0, 4, 77))
    assert code == [Insn(0x7A, 1, 0, 16, 77)]
    signed = btf(Int("long", 8, INT_SIGNED), Struct("task", 8, (Member("pid", 1, 0),)))
    code, result = apply(LOCAL, [signed], 0, 4, "0:0", Insn(LDX_W, 1, 2, 0))
    assert code == [POISON] and result.poisoned and "size" in result.reason
    with pytest.raises(RelocationError, match="memory size"):
        apply(LOCAL, [TARGET], 0, 4, "0:1", Insn(LDX_DW, 1, 2, 4))
    # As a number the size plays no part.
    code, _ = apply(LOCAL, [signed], 0, 4, "0:0", Insn(MOV, 1, 0, 0, 0))
    assert code == [Insn(MOV, 1, 0, 0, 0)]


def test_pointers_of_a_32_bit_kernel() -> None:
    narrow = btf(Int("long", 4), Ptr(0), Struct("ptrs", 8, (Member("x", 1, 0), Member("p", 2, 32))))
    code, _ = apply(LOCAL, [narrow], 0, 12, "0:0", Insn(LDX_DW, 1, 2, 0))
    assert code == [Insn(LDX_W, 1, 2, 4)]


def test_missing_target_poisons() -> None:
    for insns in ([Insn(LDX_W, 1, 2, 0)], [Insn(MOV, 1, 0, 0, 0)], [Insn(LD_IMM64, 1), Insn(0)]):
        code, result = apply(LOCAL, [TARGET], 0, 9, "0:0", *insns)
        assert code == [POISON] * len(insns) and result.poisoned and not result.target_spec
        assert Insn(0x85, 0, 0, 0, 0xBAD2310) == POISON
    code, _ = apply(LOCAL, [btf(INT)], CoreKind.TYPE_SIZE, 4, "0", Insn(MOV, 1, 0, 0, 32))
    assert code == [Insn(MOV, 1)]
    code, _ = apply(LOCAL, [btf(INT)], CoreKind.ENUMVAL_VALUE, 8, "0", Insn(MOV, 1))
    assert code == [POISON]
    code, _ = apply(LOCAL, [], CoreKind.TYPE_EXISTS, 4, "0", Insn(MOV, 1, 0, 0, 1))
    assert code == [Insn(MOV, 1)]


def test_flavours_in_the_target_must_agree() -> None:
    same = btf(INT, Struct("task", 8, (Member("pid", 1, 32),)), Struct("task___2", 16, (Member("pid", 1, 32),)))
    code, _ = apply(LOCAL, [same], 0, 4, "0:0", Insn(LDX_W, 1, 2, 0))
    assert code == [Insn(LDX_W, 1, 2, 4)]
    differ = btf(INT, Struct("task", 8, (Member("pid", 1, 32),)), Struct("task___2", 16, (Member("pid", 1, 64),)))
    with pytest.raises(RelocationError, match="ambig"):
        apply(LOCAL, [differ], 0, 4, "0:0", Insn(LDX_W, 1, 2, 0))
    with pytest.raises(RelocationError, match="ambig"):
        apply(LOCAL, [same], CoreKind.TYPE_SIZE, 4, "0", Insn(MOV, 1, 0, 0, 32))
    # A candidate that does not have the field does not count.
    other = btf(INT, Struct("task", 8, (Member("pid", 1, 32),)), Struct("task___2", 16, (Member("tid", 1, 64),)))
    code, _ = apply(LOCAL, [other], 0, 4, "0:0", Insn(LDX_W, 1, 2, 0))
    assert code == [Insn(LDX_W, 1, 2, 4)]


def test_modules_are_asked_last() -> None:
    kernel = btf(INT, Struct("task", 8, (Member("pid", 1, 32),)))
    module = btf(
        Struct("task", 8, (Member("pid", 1, 0),)),
        Struct("bits", 8, (Member("x", 1, 0, 3),), kind_flag=True),
        base=kernel,
    )
    code, result = apply(LOCAL, [kernel, module], 0, 4, "0:0", Insn(LDX_W, 1, 2, 0))
    assert code == [Insn(LDX_W, 1, 2, 4)] and "[2] struct task.pid (0:0 @ offset 4)" in result.target_spec
    local, row = relo(LOCAL, CoreKind.TYPE_ID_TARGET, 12, "0")
    only = btf(Struct("ptrs", 8), base=kernel)
    assert Resolver(local, [kernel, only]).resolve(row).new == 3


def test_incompatible_field_is_no_target() -> None:
    target = btf(INT, Struct("task", 8, (Member("pid", 3, 0),)), Ptr(1))
    code, _ = apply(LOCAL, [target], CoreKind.FIELD_EXISTS, 4, "0:0", Insn(MOV, 1, 0, 0, 1))
    assert code == [Insn(MOV, 1)]


@pytest.mark.parametrize(
    ("types", "matches"),
    [
        ((INT, Struct("s", 8, (Member("a", 1, 32), Member("b", 1, 0)))), True),
        ((INT, Struct("s", 8, (Member("b", 1, 0),))), False),
        ((UINT, Struct("s", 8, (Member("a", 1, 0),))), False),
        ((INT, Fwd("s")), False),
        ((INT, Union("s", 4, (Member("a", 1, 0),))), False),
    ],
)
def test_type_matches(types: tuple[Type, ...], matches: bool) -> None:
    local = btf(INT, Struct("s", 4, (Member("a", 1, 0),)))
    code, _ = apply(local, [btf(*types)], CoreKind.TYPE_MATCHES, 2, "0", Insn(MOV, 1, 0, 0, 1))
    assert code == [Insn(MOV, 1, 0, 0, int(matches))]


@pytest.mark.parametrize(
    ("kind", "type_id", "access"),
    [
        (0, 4, "0:9"),
        (0, 4, "0:0:0"),
        (0, 4, "0:2:2"),
        (0, 4, ":0"),
        (0, 4, ""),
        (0, 4, "0::1"),
        (0, 4, "-1"),
        (0, 4, ":".join("0" * 65)),
        (8, 4, "0:0"),
        (10, 4, "0"),
        (10, 8, "2"),
        (13, 4, "0"),
        (0, 999, "0"),
        (3, 4, "0:2:0"),
    ],
)
def test_bad_relocations(kind: int, type_id: int, access: str) -> None:
    with pytest.raises(RelocationError):
        apply(LOCAL, [TARGET], kind, type_id, access, Insn(MOV, 1))


def test_bad_instructions() -> None:
    for insns in (
        [Insn(0x95)],
        [Insn(0xBF, 1, 2)],
        [Insn(LD_IMM64)],
        [Insn(LD_IMM64, 1, 1), Insn(0)],
        [Insn(MOV, 1, 0, 0, 7)],
        [Insn(LDX_W, 1, 1, 8)],
    ):
        with pytest.raises(RelocationError):
            apply(LOCAL, [TARGET], 0, 4, "0:0", *insns)
    big = btf(INT, Array(1, 1, 10000), Struct("task", 50000, (Member("x", 2, 0), Member("pid", 1, 320000))))
    with pytest.raises(RelocationError, match="too big"):
        apply(LOCAL, [big], 0, 4, "0:0", Insn(LDX_W, 1, 2, 0))


def test_spec_text() -> None:
    assert str(parse_spec(LOCAL, CoreKind.FIELD_BYTE_OFFSET, 4, "1:2:1")) == (
        "<byte_off> [4] struct task[1].arr[1] (1:2:1 @ offset 44)"
    )
    assert str(parse_spec(LOCAL, CoreKind.FIELD_SIGNED, 7, "0:1")) == "<signed> [7] struct bits.y (0:1 @ offset 0.3)"
    assert str(parse_spec(LOCAL, CoreKind.TYPE_EXISTS, 10, "0")) == "<type_exists> [10] typedef task_t"


def test_big_endian_shift() -> None:
    target = btf(
        UINT, INT, Struct("bits", 4, (Member("x", 1, 5, 3), Member("y", 2, 0, 5)), kind_flag=True), byteorder="big"
    )
    local = Btf.parse(Builder.from_btf(LOCAL).to_bytes("big"))
    code, _ = apply(local, [target], CoreKind.FIELD_LSHIFT_U64, 7, "0:0", Insn(MOV, 1, 0, 0, 32))
    assert code == [Insn(MOV, 1, 0, 0, 32 + 5)]
