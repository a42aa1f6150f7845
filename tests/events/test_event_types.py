"""Programs in Python: the structs that they send stand in the object's BTF, tagged at their buffer."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from bombus.btf.data import layout_of
from bombus.btf.types import DeclTag, Kind
from bombus.compiler.build import build_source
from bombus.kernel.api import Kernel
from bombus.loader.events import event_type, open_reader
from bombus.loader.load import load
from bombus.object.read import read_object

pytest.importorskip("llvmlite")

SOURCE = """
from bombus import bpf
from bombus.bpf import Array, Struct, array, contexts, map, section, u8, u16, u32, u64

LICENSE = bpf.license("GPL")


class Point(Struct):
    x: u16
    y: u16


class Small(Struct):
    number: u32
    at: Point


class Large(Struct):
    number: u64
    points: Array[Point] = array(3)
    text: Array[u8] = array(12)


events = map.ringbuf(max_entries=4096)
only = map.ringbuf(max_entries=4096)


@section("xdp")
def send(ctx: contexts.XdpMd) -> int:
    with events.reserve(Small) as small:
        if small is None:
            return 1
        small.number = 7
        small.at.x = 3
        small.at.y = 4
    large = Large(number=8)
    large.points[2].y = 9
    large.text[0] = 104
    large.text[1] = 105
    events.output(large)
    only.output(Point(x=1, y=2))
    return 2
"""


def test_sent_structs_are_known(kernel: Kernel) -> None:
    obj = read_object(build_source(SOURCE), name="sends")
    assert obj.btf is not None
    tags = [t.name for i in obj.btf.ids() if isinstance(t := obj.btf.type(i), DeclTag)]
    assert sorted(tags) == ["event:Large", "event:Point", "event:Small"]
    large = obj.btf.find("Large", Kind.STRUCT)
    assert large is not None and layout_of(obj.btf, large).size == 32
    with load(obj, kernel) as loaded, open_reader(loaded, "events") as events, open_reader(loaded, "only") as only:
        assert events.layout is None and only.layout is not None, "one of two sizes, and the only one"
        loaded.programs["send"].test_run(bytes(64))
        first, second = events.read()
        values: list[Any] = []
        for data in (first, second):
            kind = event_type(loaded, "events", size=len(data))
            assert kind is not None
            events.layout = kind.layout
            values.append(events.event(data))
        assert values[0] == {"number": 7, "at": {"x": 3, "y": 4}} and type(values[0]).__name__ == "Small"
        assert values[1].points[2] == {"x": 0, "y": 9} and values[1].text[:2] == b"hi"
        (point,) = only.records()
        assert (point.x, point.y) == (1, 2) and ctypes.sizeof(ctypes.c_uint16) * 2 == only.layout.size
        assert event_type(loaded, "events", size=100) is None
