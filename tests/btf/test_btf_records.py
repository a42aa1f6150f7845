"""Records and columns: the same bytes as Python objects and as numpy arrays, compared with ctypes and `to_python`."""

from __future__ import annotations

import ctypes
import enum
import os
import pickle
import random
from typing import Any

import numpy as np
import pytest

from bombus.btf.build import Builder
from bombus.btf.columns import Columns
from bombus.btf.data import layout_of, to_python
from bombus.btf.parse import Btf
from bombus.btf.records import Record, decoder, record_of
from bombus.btf.types import (
    INT_BOOL,
    INT_SIGNED,
    Array,
    Enum,
    Enumerator,
    Float,
    Int,
    Member,
    Struct,
    Type,
    Union,
)
from bombus.errors import NotSupported, UsageError

TYPES: list[Type] = [
    Int("int", 4, INT_SIGNED),  # 1
    Int("unsigned int", 4),  # 2
    Int("unsigned long long", 8),  # 3
    Int("char", 1, INT_SIGNED),  # 4
    Int("unsigned char", 1),  # 5
    Int("_Bool", 1, INT_BOOL),  # 6
    Float("double", 8),  # 7
    Enum("kind", 4, (Enumerator("OPEN", 1), Enumerator("CLOSE", 2))),  # 8
    Array(4, 2, 16),  # 9: char[16]
    Array(5, 2, 6),  # 10: u8[6]
    Array(2, 2, 3),  # 11: u32[3]
    Struct("point", 8, (Member("x", 1, 0), Member("y", 1, 32))),  # 12
    Union("", 8, (Member("whole", 3, 0), Member("half", 2, 0))),  # 13
    Struct("event", 112, (
        Member("ts", 3, 0), Member("pid", 2, 64), Member("kind", 8, 96), Member("comm", 9, 128),
        Member("mac", 10, 256), Member("ok", 6, 304), Member("ports", 11, 320), Member("at", 12, 416),
        Member("", 13, 512), Member("load", 7, 576), Member("points", 15, 640), Member("count", 2, 832),
        Member("keys", 2, 864),
    )),  # 14
    Array(12, 2, 3),  # 15: struct point[3]
    Struct("flags", 8, (
        Member("low", 2, 0, 3), Member("sign", 1, 3, 5), Member("kind", 8, 8, 2), Member("wide", 3, 10, 54),
    ), True),  # 16
    Array(3, 2, 40),  # 17: u64[40]
    Array(12, 2, 40),  # 18: struct point[40]
    Struct("big", 640, (Member("a", 17, 0), Member("b", 18, 2560))),  # 19
    Struct("holds", 24, (Member("id", 3, 0), Member("f", 16, 64), Member("last", 3, 128))),  # 20
    Array(20, 2, 2),  # 21
    Struct("deep", 56, (Member("two", 21, 0), Member("end", 3, 384))),  # 22
]  # fmt: skip


def make(types: list[Type] = TYPES, byteorder: Any = "little") -> Btf:
    builder = Builder(byteorder=byteorder)
    for type_ in types:
        builder.add(type_)
    return Btf.parse(builder.to_bytes())


BTF = make()
EVENT = layout_of(BTF, 14)


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int))


class CEvent(ctypes.Structure):
    _fields_ = (
        ("ts", ctypes.c_uint64), ("pid", ctypes.c_uint32), ("kind", ctypes.c_uint32), ("comm", ctypes.c_char * 16),
        ("mac", ctypes.c_uint8 * 6), ("ok", ctypes.c_bool), ("ports", ctypes.c_uint32 * 3), ("at", Point),
        ("whole", ctypes.c_uint64), ("load", ctypes.c_double), ("points", Point * 3), ("count", ctypes.c_uint32),
        ("keys", ctypes.c_uint32),
    )  # fmt: skip


def test_against_ctypes() -> None:
    c = CEvent(7, 42, 2, b"bash", (1, 2, 3, 4, 5, 6), True, (10, 20, 30), Point(-1, 2), 0x1_0000_0002, 1.5,
               (Point(1, 2), Point(3, 4), Point(-5, 6)), 9, 8)  # fmt: skip
    assert ctypes.sizeof(c) == EVENT.size
    e = record_of(EVENT, b"??" + bytes(c), 2)
    assert isinstance(e, Record) and type(e).__name__ == "event"
    assert (e.ts, e.pid, e.comm, e.mac, e.ok, e.ports) == (7, 42, "bash", bytes(range(1, 7)), True, [10, 20, 30])
    assert (e.at.x, e.at.y, e.whole, e.half, e.load, e.count) == (-1, 2, 0x1_0000_0002, 2, 1.5, 9)
    assert isinstance(e.kind, enum.IntEnum) and e.kind.name == "CLOSE" and e.kind == 2
    assert e.points[2] == {"x": -5, "y": 6} and e["keys"] == 8 and e["points"][0].y == 2
    assert e.keys()[-1] == "keys" and dict(e)["at"] == e.at
    assert e.asdict()["points"][1] == {"x": 3, "y": 4} and e == e.asdict() and e != {"ts": 7}
    assert repr(e.at) == "point(x=-1, y=2)" and "comm='bash'" in repr(e)
    again = record_of(EVENT, bytes(c))
    assert e == again and len({e.at, again.at}) == 1 and e.at < again.points[0]
    c.pid = 43
    assert e != record_of(EVENT, bytes(c))
    match e.at:
        case Record(x=x, y=y):
            assert (x, y) == (-1, 2)
        case _:
            pytest.fail("no match")
    with pytest.raises(AttributeError):
        e.pid = 3
    with pytest.raises(UsageError, match="nope"):
        e["nope"]
    with pytest.raises(AttributeError):
        e.nope  # noqa: B018
    with pytest.raises(UsageError, match="too few"):
        record_of(EVENT, bytes(50))


def test_pickle() -> None:
    e = record_of(EVENT, bytes(12) + b"\2" + bytes(99))
    assert e.kind.name == "CLOSE" and pickle.loads(pickle.dumps(e)).kind.name == "CLOSE"
    for value in (e, e.at, record_of(layout_of(BTF, 16), bytes(8))):
        copy = pickle.loads(pickle.dumps(value))
        assert copy == value and type(copy).__name__ == type(value).__name__ and value == copy


def test_unknown_enumerators_and_bad_text() -> None:
    raw = bytearray(112)
    raw[12:16] = (77).to_bytes(4, "little")
    raw[16:22] = b"a\xffb\0zz"
    e = record_of(EVENT, raw)
    assert e.kind == 77 and e.kind.name == "" and e.comm == "a\\xffb"


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("type_id", [14, 16, 19, 20, 22])
def test_records_and_columns_agree_with_to_python(type_id: int, byteorder: str) -> None:
    layout = layout_of(make(byteorder=byteorder), type_id)
    randomly = random.Random(type_id)
    stride, count = layout.size + 3, 20
    data = bytearray(randomly.randbytes(stride * count))
    decode = decoder(layout)
    columns = Columns(layout)
    array = columns.take(data, 0, count, stride)
    rows = np.frombuffer(data, np.uint8).reshape(count, stride)[:, : layout.size]
    again = columns.take_rows(rows)
    for i in range(count):
        if type_id == 14:
            data[i * stride + 38] &= 1  # a bool
            array, again = columns.take(data, 0, count, stride), columns.take_rows(rows)
        want = to_python(layout, data[i * stride :])
        same(want, decode(data, i * stride))
        same(want, array[i])
        same(want, again[i])


def same(want: Any, got: Any) -> None:
    if isinstance(want, dict):
        for name, value in want.items():
            same(value, got[name])
    elif isinstance(want, list):
        assert len(want) == len(got)
        for one, other in zip(want, got, strict=True):
            same(one, other)
    elif isinstance(want, (str, bytes)):
        raw = want.encode() if isinstance(want, str) else want
        if isinstance(got, str):
            assert raw.split(b"\0")[0].decode("utf-8", "backslashreplace") == got
        else:
            assert raw.rstrip(b"\0") == bytes(got).rstrip(b"\0")
    else:
        assert want == got or (want != want and got != got)


def test_what_numpy_cannot() -> None:
    btf = make([Int("__int128", 16), Struct("s", 16, (Member("a", 1, 0),)), Int("unsigned long long", 8),
                Struct("t", 16, (Member("a", 3, 3, 1), Member("b", 3, 4, 64)), True)])  # fmt: skip
    with pytest.raises(NotSupported):
        Columns(layout_of(btf, 2))
    with pytest.raises(NotSupported, match="nine bytes"):
        Columns(layout_of(btf, 4))
    assert record_of(layout_of(btf, 2), b"\1" + bytes(15)).a == 1
    assert record_of(layout_of(btf, 4), b"\xf8" + bytes(15)).b == 15


def test_flexible_arrays() -> None:
    from bombus.btf.ctext import type_of

    for member, rest, want in (
        ("char data[]", b"text\0rest", "text"), ("u8 data[0]", b"ab\0c", b"ab\0c"),
        ("u16 data[]", b"\1\0\2\0\3", [1, 2]),
        ("struct { u8 a, b; } data[0]", b"\1\2\3\4", [{"a": 1, "b": 2}, {"a": 3, "b": 4}]), ("u32 data[0]", b"", []),
    ):  # fmt: skip
        layout = layout_of(*type_of(f"struct e {{ u32 n; {member}; }}"))
        record = record_of(layout, b"??" + b"\7\0\0\0" + rest, 2)
        assert record.n == 7 and record.data == want and type(record).__name__ == "e"
        assert record_of(layout, b"\7\0\0\0").n == 7 and Columns(layout).dtype.itemsize == 4


def test_odd_names() -> None:
    btf = make([Int("int", 4), Enum("e", 4, (Enumerator("mro", 0), Enumerator("OK", 1))),
                Struct("class", 12, (Member("def", 1, 0), Member("__class__", 1, 32), Member("k", 2, 64)))])
    record = record_of(layout_of(btf, 3), b"\1\0\0\0\2\0\0\0\1\0\0\0")
    assert getattr(record, "def") == 1 and record["__class__"] == 2 and record.k == 1 and record.k.name == "OK"
    assert type(record).__name__ == "class"


def test_real_kernel_types() -> None:
    path = "/sys/kernel/btf/vmlinux"
    if not os.path.exists(path):
        pytest.skip("no kernel BTF")
    with open(path, "rb") as file:
        btf = Btf.parse(file.read())
    randomly = random.Random(1)
    from bombus.btf.types import Kind

    for name in ("task_struct", "sk_buff", "tcp_sock", "perf_event_attr", "sched_entity", "inode", "bpf_prog"):
        type_id = btf.find(name, Kind.STRUCT)
        if type_id is None:
            continue
        layout = layout_of(btf, type_id)
        data = randomly.randbytes(layout.size)
        record = decoder(layout)(data, 0)
        for member in ("pid", "len", "prio", "size", "vruntime", "i_ino"):
            if member in layout.fields:
                assert record[member] == layout.get(layout.fields[member], data, 0)
