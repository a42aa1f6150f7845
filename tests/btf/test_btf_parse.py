"""Parsing, queries and building of raw BTF."""

from __future__ import annotations

import pytest
from btf_inputs import RUNNING, VMLINUX, blobs, vmlinux, vmlinux_bytes

from bombus.btf.build import Builder
from bombus.btf.parse import SEARCHES, Btf, essential_name
from bombus.btf.types import (
    EXTERN,
    HEADER_SIZE,
    INT_SIGNED,
    Array,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Member,
    Param,
    Ptr,
    Restrict,
    SecVar,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from bombus.errors import BtfError

# One of each kind; ids in comments.
EVERY_KIND: list[Type] = [
    Int("int", 4, INT_SIGNED),  # 1
    Ptr(1),  # 2
    Array(1, 1, 3),  # 3
    Struct("s", 24, (Member("a", 1, 0), Member("", 5, 32), Member("p", 2, 64), Member("arr", 3, 96))),  # 4
    Union("", 4, (Member("x", 1, 0, 3), Member("y", 1, 0, 0)), kind_flag=True),  # 5
    Enum("e", 4, (Enumerator("A", -1), Enumerator("B", 7)), signed=True),  # 6
    Enum64("e64", 8, (Enumerator("BIG", 1 << 63),)),  # 7
    Fwd("f", union=True),  # 8
    Typedef("t", 9 + 1),  # 9
    Volatile(11),  # 10
    Const(12),  # 11
    Restrict(13),  # 12
    TypeTag("user", 4),  # 13
    FuncProto(1, (Param("a", 1), Param("", 0))),  # 14
    Func("fn", 14, EXTERN),  # 15
    Var("v", 4, 1),  # 16
    DataSec(".data", 24, (SecVar(16, 0, 24),)),  # 17
    Float("double", 8),  # 18
    DeclTag("note", 4, 1),  # 19
    Enum("u", 4, (Enumerator("C", 0xFFFFFFFF),)),  # 20
]


def build(types: list[Type], byteorder: str = "little", base: Btf | None = None) -> Btf:
    builder = Builder(base, byteorder)
    builder.extend(types)
    return builder.build()


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_every_kind_round_trips(byteorder: str) -> None:
    btf = build(EVERY_KIND, byteorder)
    assert btf.byteorder == byteorder
    assert list(btf) == EVERY_KIND
    assert [btf.kind(i) for i in btf.ids()] == [t.kind for t in EVERY_KIND]
    btf.validate()
    assert Builder.from_btf(btf).to_bytes() == btf.raw
    other = "big" if byteorder == "little" else "little"
    assert list(Btf.parse(Builder.from_btf(btf).to_bytes(other))) == EVERY_KIND


def test_queries() -> None:
    btf = build(EVERY_KIND)
    assert btf.resolve(9) == 4
    assert btf.strip_modifiers(10) == 4
    assert btf.size_of(9) == 24 and btf.size_of(3) == 12 and btf.size_of(2) == 8 and btf.size_of(16) == 24
    assert btf.align_of(3) == 4 and btf.align_of(18) == 8
    assert btf.align_of(4) == 8 and btf.align_of(5) == 4
    packed = build([Int("int", 4), Struct("p", 6, (Member("a", 1, 16),)), Struct("q", 6, (Member("a", 1, 0),))])
    assert packed.align_of(2) == 1 and packed.align_of(3) == 1
    field = btf.member(9, "x")
    assert field is not None and (field.offset, field.bits, field.path) == (32, 3, (1, 0))
    assert btf.member(4, "nothing") is None
    assert btf.field(4, "arr[2]").offset == 96 + 64
    for without_size in (0, 8, 14, 15):
        with pytest.raises(BtfError):
            btf.size_of(without_size)
    with pytest.raises(BtfError):
        btf.field(4, "a.b")
    with pytest.raises(BtfError):
        btf.type(len(btf))
    assert btf.find("s") == 4 and btf.find("s", Kind.UNION) is None and btf.find("") is None


@pytest.mark.parametrize(
    ("name", "essential"),
    [
        ("task_struct", "task_struct"),
        ("task_struct___v2", "task_struct"),
        ("a___b___c", "a___b"),
        ("___x", "___x"),
        ("a____b", "a____b"),
        ("a___b____c", "a"),
        ("a___", "a___"),
        ("a__b", "a__b"),
    ],
)
def test_flavours(name: str, essential: str) -> None:
    assert essential_name(name) == essential
    btf = build([Struct(name, 1), Struct("other", 1)])
    assert btf.flavours(essential) == [1]


def test_split() -> None:
    base = build(EVERY_KIND)
    split = build([Struct("m", 8, (Member("in_base", 9, 0), Member("a", 2, 0))), Ptr(len(base))], base=base)
    assert split.first_id == len(base) and len(split) == len(base) + 2
    assert split.type(4) == base.type(4)
    assert split.find("s") == 4 and split.find("m") == len(base)
    assert b"\0a\0" not in split.strings, "the base's strings are used"
    again = Btf.parse(split.raw, base)
    assert list(again) == list(split)
    with pytest.raises(BtfError):
        Btf.parse(split.raw).validate()


BAD: dict[str, bytes] = {}


def _bad(name: str, types: list[Type]) -> None:
    builder = Builder()
    builder.extend(types)
    BAD[name] = builder.to_bytes()


_bad("id beyond the end", [Ptr(2)])
_bad("struct in itself", [Struct("s", 4, (Member("a", 1, 0),))])
_bad("typedef circle", [Typedef("a", 2), Typedef("b", 1)])
_bad("array of itself", [Array(1, 1, 1)])
_bad("function without prototype", [Int("int", 4), Func("f", 1)])
_bad("integer of 17 bytes", [Int("i", 17, bits=8)])
_bad("integer bits beyond size", [Int("i", 1, bits=9)])
_bad("enum of 3 bytes", [Enum("e", 3)])
GOOD = build(EVERY_KIND).raw
BAD["empty"] = b""
BAD["magic"] = b"\0\0" + GOOD[2:]
BAD["version"] = GOOD[:2] + b"\2" + GOOD[3:]
BAD["cut"] = GOOD[:-1]
BAD["header length"] = GOOD[:4] + b"\xff\xff\xff\xff" + GOOD[8:]
BAD["type section length"] = GOOD[:12] + b"\x01\x00\x00\x00" + GOOD[16:]
BAD["string offset"] = GOOD[:24] + b"\xff\xff\xff\x7f" + GOOD[28:]
BAD["unknown kind"] = GOOD[:31] + b"\x1f" + GOOD[32:]
BAD["kind 0"] = GOOD[:31] + b"\x00" + GOOD[32:]


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str) -> None:
    with pytest.raises(BtfError):
        Btf.parse(BAD[name]).validate()


def test_size_of_hostile_arrays_is_bounded() -> None:
    types: list[Type] = [Int("char", 1)]
    types += [Array(i, 1, 0xFFFFFFFF) for i in range(1, 200)]
    btf = build(types)
    with pytest.raises(BtfError):
        btf.size_of(30)
    with pytest.raises(BtfError):
        btf.size_of(200)


@pytest.mark.oracle
@pytest.mark.parametrize("version", VMLINUX)
def test_vmlinux_round_trips(version: str) -> None:
    btf = vmlinux(version)
    btf.validate()
    task = btf.find("task_struct", Kind.STRUCT)
    assert task is not None
    pid = btf.member(task, "pid")
    assert pid is not None and btf.size_of(pid.type) == 4
    copy = Btf.parse(Builder.from_btf(btf).to_bytes())
    assert copy.raw[24:] == vmlinux_bytes(version)[24:] or list(copy) == list(btf)


def test_names_that_share_their_tails() -> None:
    raw = build([Struct("long_name", 1), Struct("name___v2", 1), Struct("x", 1)]).raw
    third = HEADER_SIZE + 2 * 12
    offset = len("\0long_")  # into the first string
    shared = Btf.parse(raw[:third] + offset.to_bytes(4, "little") + raw[third + 4 :])
    for _ in range(2 * SEARCHES):
        assert shared.find_all("name") == [3] and shared.flavours("name") == [2, 3]
        assert shared.find_all("long_name") == [1] and shared.find_all("me") == []


@pytest.mark.oracle
def test_index_and_search_find_the_same() -> None:
    data = vmlinux_bytes("6.1.0-56")
    indexed = Btf.parse(data)
    names = [*[name for name, _ in indexed.names()][::4000], "task_struct", "nothing at all", "sk_buff"]
    for name in names * (SEARCHES // len(names) + 2):
        indexed.find(name)
    for start in range(0, len(names), SEARCHES // 2):
        fresh = Btf.parse(data)
        for name in names[start : start + SEARCHES // 2]:
            assert fresh.find_all(name) == indexed.find_all(name)
            assert fresh.flavours(name) == indexed.flavours(name)


@pytest.mark.oracle
def test_object_blobs_round_trip() -> None:
    for data in blobs():
        btf = Btf.parse(data)
        btf.validate()
        assert list(Btf.parse(Builder.from_btf(btf).to_bytes("big"))) == list(btf)


def test_running_kernel() -> None:
    if not RUNNING.exists():
        pytest.skip("this kernel shows no BTF")
    btf = Btf.parse(RUNNING.read_bytes())
    btf.validate()
    assert btf.find("task_struct", Kind.STRUCT) is not None and btf.pointer_size == 8
