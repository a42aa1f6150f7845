"""Typed data: values to bytes and back, views, numpy, and bpftool's formatted JSON."""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import shutil
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bombus.btf.build import Builder
from bombus.btf.data import TypedValue, dtype_of, formatted, layout_of, to_bytes, to_python, value_of
from bombus.btf.layouts import EnumInt
from bombus.btf.parse import Btf
from bombus.btf.types import (
    INT_BOOL,
    INT_CHAR,
    INT_SIGNED,
    Array,
    Const,
    DataSec,
    Enum,
    Enum64,
    Enumerator,
    Float,
    FuncProto,
    Fwd,
    Int,
    Member,
    Ptr,
    SecVar,
    Struct,
    Type,
    Typedef,
    Union,
    Var,
)
from bombus.errors import BtfError, NotSupported, UsageError
from bombus.kernel.api import Attr

TYPES: list[Type] = [
    Int("int", 4, INT_SIGNED),  # 1
    Int("unsigned int", 4),  # 2
    Int("unsigned long long", 8),  # 3
    Int("char", 1, INT_SIGNED),  # 4
    Int("unsigned char", 1),  # 5
    Int("_Bool", 1, INT_BOOL),  # 6
    Int("__int128", 16, INT_SIGNED),  # 7
    Float("double", 8),  # 8
    Enum("color", 4, (Enumerator("RED", 1), Enumerator("NEG", -1)), signed=True),  # 9
    Enum64("wide", 8, (Enumerator("BIG", 1 << 40),)),  # 10
    Ptr(0),  # 11
    Array(4, 2, 8),  # 12: char[8]
    Array(5, 2, 4),  # 13: unsigned char[4]
    Array(1, 2, 2),  # 14
    Struct("inner", 8, (Member("x", 1, 0), Member("y", 1, 32))),  # 15
    Union("", 8, (Member("whole", 3, 0), Member("part", 15, 0))),  # 16
    Struct(  # 17
        "bits", 8, (Member("a", 2, 0, 3), Member("b", 1, 3, 13), Member("c", 9, 16, 4), Member("d", 3, 20, 40)), True
    ),
    Struct(  # 18
        "all",
        136,
        (
            Member("i", 1, 0),
            Member("flag", 6, 32),
            Member("letter", 4, 40),
            Member("", 16, 64),
            Member("name", 12, 128),
            Member("mac", 13, 192),
            Member("color", 19, 224),
            Member("wide", 10, 256),
            Member("ptr", 11, 320),
            Member("big", 7, 384),
            Member("f", 8, 512),
            Member("pair", 20, 576),
            Member("bits", 17, 704),
            Member("inner", 15, 768),
        ),
    ),
    Typedef("color_t", 9),  # 19
    Array(15, 2, 2),  # 20
    Var("counter", 3, 1),  # 21
    Var("all", 18, 1),  # 22
    DataSec(".bss", 144, (SecVar(21, 0, 8), SecVar(22, 8, 136))),  # 23
    Const(18),  # 24
    Fwd("f"),  # 25
    FuncProto(0),  # 26
    Int("letter", 1, INT_CHAR),  # 27
]  # fmt: skip


def blob(byteorder: str = "little") -> Btf:
    builder = Builder(byteorder=byteorder)
    builder.extend(TYPES)
    return builder.build()


VALUE: dict[str, Any] = {
    "i": -5,
    "flag": True,
    "letter": 65,
    "whole": 0x0000000200000001,
    "part": {"x": 1, "y": 2},
    "name": "bombus",
    "mac": [1, 2, 3, 255],
    "color": -1,
    "wide": 1 << 40,
    "ptr": 0xFFFF888000000000,
    "big": -(1 << 100),
    "f": 2.5,
    "pair": [{"x": 1, "y": 2}, {"x": 3, "y": -4}],
    "bits": {"a": 5, "b": -4096, "c": -1, "d": (1 << 40) - 1},
    "inner": {"x": 7, "y": 8},
}


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_round_trip(byteorder: str) -> None:
    layout = layout_of(blob(byteorder), 24)
    value = dict(VALUE)
    if byteorder == "big":
        value["part"] = {"x": 0, "y": 0}
        value.pop("whole")
    data = to_bytes(layout, value)
    assert len(data) == 136
    back = to_python(layout, data)
    back.pop("whole")
    value.pop("whole", None)
    assert back == value
    assert to_bytes(layout, to_python(layout, data)) == data
    assert data[:4] == (-5).to_bytes(4, byteorder, signed=True)  # type: ignore[arg-type]


def test_little_endian_bytes_of_bit_fields() -> None:
    layout = layout_of(blob(), 17)
    data = to_bytes(layout, {"a": 5, "b": -1, "c": "RED", "d": 1})
    assert int.from_bytes(data, "little") == 5 | 0x1FFF << 3 | 1 << 16 | 1 << 20
    big = layout_of(blob("big"), 17)
    data = to_bytes(big, {"a": 5, "b": -1, "c": "RED", "d": 1})
    assert int.from_bytes(data, "big") == 5 << 61 | 0x1FFF << 48 | 1 << 44 | 1 << 4


def test_enums_know_their_names() -> None:
    layout = layout_of(blob(), 19)
    red = to_python(layout, to_bytes(layout, "RED"))
    assert red == 1 and isinstance(red, EnumInt) and red.name == "RED" and str(red) == "RED"
    assert str(to_python(layout, to_bytes(layout, 77))) == "77"
    assert pickle.loads(pickle.dumps(red)).name == "RED"


def test_view_reads_and_writes() -> None:
    layout = layout_of(blob(), 18)
    view = TypedValue(layout, bytearray(to_bytes(layout, VALUE)))
    assert view.i == -5 and view.part.y == 2 and view.pair[1].y == -4 and view.name == "bombus" and view.bits.b == -4096
    view.i = 9
    view.pair[0].x = 100
    view.bits.a = 2
    view.whole = 3
    view["mac"][3] = 7
    view.inner = SimpleNamespace(x=1, y=2)
    changed = view.to_python()
    assert changed["i"] == 9 and changed["pair"][0] == {"x": 100, "y": 2} and changed["part"] == {"x": 3, "y": 0}
    assert changed["bits"] == {"a": 2, "b": -4096, "c": -1, "d": (1 << 40) - 1}
    assert changed["mac"] == [1, 2, 3, 7] and changed["inner"] == {"x": 1, "y": 2}
    assert view == changed and view["inner"] == {"x": 1, "y": 2} and list(view.mac) == [1, 2, 3, 7]
    assert "pair" in dir(view) and "i=9" in repr(view) and len(view.pair) == 2
    with pytest.raises(TypeError):
        hash(view)
    frozen = TypedValue(layout, bytes(view))
    assert hash(frozen) == hash(TypedValue(layout, bytes(view))) and frozen == view
    assert {frozen: 1}[TypedValue(layout, bytes(view))] == 1
    with pytest.raises(UsageError, match="read-only"):
        frozen.i = 1
    with pytest.raises(UsageError, match="no member"):
        view.nothing = 1
    with pytest.raises(AttributeError):
        _ = view.nothing
    assert value_of(layout_of(blob(), 1), b"\1\0\0\0") == 1


def test_char_arrays_lose_nothing() -> None:
    layout = layout_of(blob(), 12)
    for raw in (b"abc\0\0\0\0\0", b"abc\0x\0\0\0", b"12345678", b"\xff\0\0\0\0\0\0\0"):
        assert to_bytes(layout, to_python(layout, raw)) == raw
    assert to_python(layout, b"abc\0x\0\0\0") == b"abc\0x\0\0\0"


@pytest.mark.parametrize(
    ("type_id", "value"),
    [
        (1, 1 << 31),
        (2, -1),
        (1, 1.5),
        (1, "1"),
        (1, None),
        (9, "BLUE"),
        (12, "too long a text"),
        (13, [1, 2, 3, 4, 5]),
        (13, 7),
        (15, {"z": 1}),
        (15, 5),
        (15, b"123"),
        (15, [1, 2]),
        (15, object()),
        (17, {"a": 8}),
        (17, {"b": 4096}),
        (8, "x"),
        (18, {"pair": [{"x": 1 << 40}]}),
    ],
)
def test_what_does_not_fit(type_id: int, value: object) -> None:
    with pytest.raises(UsageError):
        to_bytes(layout_of(blob(), type_id), value)


def test_errors_name_the_member() -> None:
    layout = layout_of(blob(), 18)
    with pytest.raises(UsageError, match=r"value\.pair\[1\]\.y: 4294967296 does not fit int"):
        to_bytes(layout, {"pair": [{"x": 1, "y": 2}, {"x": 1, "y": 1 << 32}]})
    with pytest.raises(UsageError, match=r"value\.inner\.x: int is made from a number, not from 'a'"):
        to_bytes(layout, {"inner": {"x": "a", "y": 2}})


@pytest.mark.parametrize("type_id", [0, 25, 26])
def test_types_without_values(type_id: int) -> None:
    with pytest.raises(BtfError):
        layout_of(blob(), type_id)


def test_short_data_and_hostile_types() -> None:
    with pytest.raises(UsageError):
        to_python(layout_of(blob(), 18), b"123")
    builder = Builder()
    builder.add(Int("int", 4))
    for i in range(1, 60):
        builder.add(Struct("s", 4, (Member("a", i, 0), Member("b", i, 0))))
    with pytest.raises(BtfError):
        layout_of(builder.build(), 60)
    builder.add(Struct("outside", 4, (Member("a", 1, 8),)))
    with pytest.raises(BtfError):
        layout_of(builder.build(), 61)


def test_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    layout = layout_of(blob(), 15)
    rows = numpy.frombuffer(to_bytes(layout, {"x": 1, "y": -2}) * 3, dtype_of(layout))
    assert rows["y"].tolist() == [-2, -2, -2]
    union = numpy.frombuffer((5).to_bytes(8, "little"), dtype_of(layout_of(blob(), 16)))
    assert union["whole"][0] == 5 and union["part"]["x"][0] == 5
    assert dtype_of(layout_of(blob("big"), 3)) == numpy.dtype(">u8")
    with pytest.raises(NotSupported):
        dtype_of(layout_of(blob(), 17))
    with pytest.raises(NotSupported):
        dtype_of(layout_of(blob(), 7))


def test_variables_of_a_section() -> None:
    layout = layout_of(blob(), 23)
    data = to_bytes(layout, {"counter": 5, "all": VALUE})
    assert to_python(layout, data)["counter"] == 5
    assert formatted(layout, data)[".bss"][0] == {"counter": 5}


@given(st.binary(min_size=136, max_size=136))
def test_any_bytes_read_and_write_back(data: bytes) -> None:
    layout = layout_of(BLOB, 18)
    json.dumps(formatted(layout, data))
    value = to_python(layout, data)
    if value["f"] == value["f"]:  # not a NaN
        assert to_python(layout, to_bytes(layout, value)) == value


BLOB = blob()


def bpf(command: str, **fields: Any) -> int:
    attr = Attr(command, **fields)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_char * len(attr.raw)).from_buffer(attr.raw)
    result = int(libc.syscall(321, attr.command.id, ctypes.byref(buffer), len(attr.raw)))
    if result < 0:
        pytest.skip(f"bpf({command}) is refused: {os.strerror(ctypes.get_errno())}")
    return result


@pytest.mark.linux
def test_formatted_equals_bpftool() -> None:
    tool = shutil.which("bpftool") or "/usr/sbin/bpftool"
    if not os.path.exists(tool) or os.uname().machine != "x86_64":
        pytest.skip("needs bpftool on x86-64")
    whole = TYPES[17]
    assert isinstance(whole, Struct)
    # bpftool cannot show floating point.
    members = tuple(member for member in whole.members if member.name != "f")
    fixed: list[Type] = [*TYPES[:17], Struct("all", 136, members), *TYPES[18:20]]
    builder = Builder()
    builder.extend(fixed)
    btf = builder.build()
    root = btf.find("all")
    assert root is not None
    layout = layout_of(btf, root)
    btf_fd = bpf("BPF_BTF_LOAD", btf=btf.raw, btf_size=len(btf.raw))
    map_fd = -1
    try:
        map_fd = bpf(
            "BPF_MAP_CREATE",
            map_type=2,
            key_size=4,
            value_size=136,
            max_entries=3,
            map_name="btf_data",
            btf_fd=btf_fd,
            btf_key_type_id=1,
            btf_value_type_id=root,
        )
        plain = {key: value for key, value in VALUE.items() if key != "f"}
        values = [
            to_bytes(layout, plain),
            to_bytes(layout, plain | {"letter": 7, "color": 12, "name": b"\xff\1", "big": 5, "wide": 3}),
            bytes(range(136)),
        ]
        for index, value in enumerate(values):
            bpf("BPF_MAP_UPDATE_ELEM", map_fd=map_fd, key=index.to_bytes(4, "little"), value=value)
        listing = json.loads(
            subprocess.run([tool, "-j", "map", "show", "name", "btf_data"], capture_output=True).stdout
        )
        row = listing if isinstance(listing, dict) else listing[-1]
        done = subprocess.run([tool, "-j", "map", "dump", "id", str(row["id"])], capture_output=True, check=False)
        text = done.stdout.decode("latin-1")
        shown = json.loads(text)
        expected = [json.loads(json.dumps(formatted(layout, value))) for value in values]
        assert [item["formatted"]["value"] for item in shown] == expected
        for value in values:
            assert json.dumps(formatted(layout, value), separators=(",", ":")) in text
    finally:
        os.close(btf_fd)
        if map_fd >= 0:
            os.close(map_fd)
