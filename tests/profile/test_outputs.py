"""Folded stacks, flame graphs and pprof files, read back."""

from __future__ import annotations

import gzip
import random
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from bombus.errors import FormatError
from bombus.profile.flame import write_flame
from bombus.profile.folded import read_folded, write_folded
from bombus.profile.model import Profile, Stack
from bombus.profile.pprof import write_pprof
from bombus.symbols import Frame


def example() -> Profile:
    libc = "/lib/libc.so.6"
    main, work = Frame("main", "/bin/work", 4, 0x1004), Frame("work<int>", "/bin/work", 8, 0x1108)
    system = Frame("do_sys", "[kernel]", 1, 0xFFFFFFFF81000001)
    entry = Frame("entry", "[kernel]", 0, 0xFFFFFFFF81000100)
    jit, unknown = Frame("py::f:/a;b.py", "[jit]", 0, 0x7F80), Frame("[unknown]", libc, 9, 0x7F09)
    return Profile(
        [
            Stack(7, 7, "work", (work, main), 0, 30),
            Stack(7, 8, "work", (system, entry, Frame("read", libc, 3, 0x7F03), main), 2, 10),
            Stack(7, 8, "work", (jit, unknown, main), 0, 2),
            Stack(9, 9, "", (), 0, 1),
        ],
        event="cpu-clock", frequency=100, start=1000.5, seconds=2.0,
    )  # fmt: skip


def test_functions() -> None:
    rows = example().functions()
    assert rows[0] == ("work<int>", "/bin/work", 30, 30)
    assert ("main", "/bin/work", 0, 42) in rows and ("[no stack]", "", 1, 1) in rows
    assert ("[libc.so.6]", "/lib/libc.so.6", 0, 2) in rows and example().samples == 43


def test_folded() -> None:
    text = write_folded(example().paths())
    assert text.splitlines() == [
        "9 1",
        "work;main;[libc.so.6];py::f:/a:b.py_[j] 2",
        "work;main;read;entry_[k];do_sys_[k] 10",
        "work;main;work<int> 30",
    ]
    assert dict(read_folded(text))[("work", "main", "work<int>")] == 30
    assert write_folded(read_folded(text)) == text
    assert write_folded([(("a\n", "b"), 1), (("a\n", "b"), 2)]) == "a?;b 3\n" and list(read_folded("# x\n\n")) == []


@pytest.mark.parametrize("text", ["a;b", "a;b x\n", "5\n", "a -5\n", "a 1.5\n", "a ²\n", "a 9999999999999999999\n"])
def test_bad_folded(text: str) -> None:
    with pytest.raises(FormatError, match="line 1"):
        list(read_folded(text))


def test_folded_takes_anything() -> None:
    randomly = random.Random(8)
    base = write_folded(example().paths())
    for _ in range(500):
        text = list(base)
        for _ in range(randomly.randrange(12)):
            text[randomly.randrange(len(text))] = randomly.choice(";; \n0129aé\0")
        try:
            rows = list(read_folded("".join(text)))
        except FormatError:
            continue
        assert sum(count for _, count in rows) == sum(count for _, count in read_folded(write_folded(rows)))


def test_flame_graph() -> None:
    profile = example()
    text = write_flame(profile.paths(), title="work & <more>", note="43 samples")
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    boxes = [g for g in root.iter(f"{space}g") if g.get("class") == "f"]
    by_name: dict[str, list[tuple[int, int, float, float]]] = {}
    for box in boxes:
        rect = box.find(f"{space}rect")
        assert rect is not None
        numbers = (box.get("data-x"), box.get("data-w"), rect.get("y"), rect.get("width"))
        start, count, y, width = (float(number or "nan") for number in numbers)
        place = (int(start), int(count), y, width)
        by_name.setdefault(box.get("data-n", ""), []).append(place)
    (start, count, bottom, width), = by_name["all"]
    assert (start, count) == (0, 43) and width == pytest.approx(1180)
    (_, count, y, width), = by_name["work<int>"]
    assert count == 30 and width == pytest.approx(1180 * 30 / 43, abs=0.1) and y < bottom
    assert by_name["main"][0][2] == bottom - 34, "one row is 17 high"
    assert "work &amp; &lt;more&gt;" in text and "30 samples, 69.77%" in text
    fills = set(re.findall(r'fill="(hsl[^"]+)"', text))
    assert len(fills) >= 5
    assert ElementTree.fromstring(write_flame([])) is not None, "no samples"
    hostile = write_flame([(("a\0b", ']]>"<script>&', "\ud800"), 1)])
    ElementTree.fromstring(hostile.encode("utf-8", "replace"))


def test_narrow_boxes_are_left_out() -> None:
    paths = [((f"f{i}",), 1) for i in range(20000)] + [(("wide",), 10**7)]
    text = write_flame(paths)
    assert len(text) < 20000 and ">wide<" in text


def test_flame_graph_in_a_browser(tmp_path: Path) -> None:
    """A click on a box makes it as wide as the picture; Escape goes back."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium")
    svg = write_flame(example().paths())
    svg = svg[svg.index("<svg") :]
    (tmp_path / "a.html").write_text(
        "<!doctype html><meta charset=utf-8>" + svg + """<script>
        setTimeout(function () { start();
          var f = document.querySelector('[data-n="work<int>"]'), r = f.querySelector("rect");
          f.dispatchEvent(new MouseEvent("click"));
          var a = r.getAttribute("width"), other = document.querySelector('[data-n="read"]').style.display;
          f.dispatchEvent(new MouseEvent("mouseover"));
          var said = document.getElementById("details").textContent;
          window.prompt = function () { return "main"; }; ask();
          var matched = document.getElementById("matched").textContent;
          window.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
          document.title = [a, other, said, matched, r.getAttribute("width")].join("|");
        }, 0);</script>"""
    )
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile",
        "--virtual-time-budget=2000", "--dump-dom", f"file://{tmp_path}/a.html",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("chromium hangs here")
    title = re.search(r"<title>([^<]*\|[^<]*)</title>", done.stdout)
    if title is None:
        pytest.skip(f"chromium did not run: {done.stderr[-200:]}")
    zoomed, other, said, matched, back = title[1].split("|")
    assert float(zoomed) == pytest.approx(1180) and other == "none" and said.startswith("work&lt;int&gt; (30 samples")
    assert matched == "Matched: 97.7%" and float(back) == pytest.approx(1180 * 30 / 43, abs=0.1)


# pprof: read back through Google's protocol buffers, with a description of profile.proto made here

FIELDS = {
    "ValueType": [("type", 1, "int64", False), ("unit", 2, "int64", False)],
    "Label": [("key", 1, "int64", False), ("str", 2, "int64", False), ("num", 3, "int64", False),
              ("num_unit", 4, "int64", False)],
    "Sample": [("location_id", 1, "uint64", True), ("value", 2, "int64", True), ("label", 3, "Label", True)],
    "Mapping": [("id", 1, "uint64", False), ("memory_start", 2, "uint64", False), ("memory_limit", 3, "uint64", False),
                ("file_offset", 4, "uint64", False), ("filename", 5, "int64", False), ("build_id", 6, "int64", False),
                ("has_functions", 7, "bool", False)],
    "Line": [("function_id", 1, "uint64", False), ("line", 2, "int64", False)],
    "Location": [("id", 1, "uint64", False), ("mapping_id", 2, "uint64", False), ("address", 3, "uint64", False),
                 ("line", 4, "Line", True)],
    "Function": [("id", 1, "uint64", False), ("name", 2, "int64", False), ("system_name", 3, "int64", False),
                 ("filename", 4, "int64", False), ("start_line", 5, "int64", False)],
    "Profile": [("sample_type", 1, "ValueType", True), ("sample", 2, "Sample", True), ("mapping", 3, "Mapping", True),
                ("location", 4, "Location", True), ("function", 5, "Function", True),
                ("string_table", 6, "string", True), ("drop_frames", 7, "int64", False),
                ("keep_frames", 8, "int64", False), ("time_nanos", 9, "int64", False),
                ("duration_nanos", 10, "int64", False), ("period_type", 11, "ValueType", False),
                ("period", 12, "int64", False)],
}  # fmt: skip


def profile_class() -> Any:
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="profile.proto", package="pp", syntax="proto3")
    kinds = {"int64": 3, "uint64": 4, "bool": 8, "string": 9}
    for name, rows in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in rows:
            made = message.field.add(name=field, number=number, label=3 if repeated else 1, type=kinds.get(kind, 11))
            if kind not in kinds:
                made.type_name = f".pp.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("pp.Profile"))


def test_pprof() -> None:
    profile = example()
    made = profile_class()()
    made.ParseFromString(gzip.decompress(write_pprof(profile)))
    text = made.string_table
    assert text[0] == "" and len(set(text)) == len(text)
    assert [(text[t.type], text[t.unit]) for t in made.sample_type] == [("samples", "count"), ("cpu", "nanoseconds")]
    functions = {f.id: text[f.name] for f in made.function}
    mappings = {m.id: text[m.filename] for m in made.mapping}
    locations = {place.id: place for place in made.location}
    assert set(locations) == set(range(1, len(locations) + 1)) and all(m.has_functions for m in made.mapping)
    for stack, sample in zip(profile.stacks, made.sample, strict=True):
        assert list(sample.value) == [stack.count, stack.count * 10_000_000]
        assert len(sample.location_id) == len(stack.frames)
        for number, frame in zip(sample.location_id, stack.frames, strict=True):
            place = locations[number]
            assert place.address == frame.address and mappings.get(place.mapping_id, "") == frame.module
            assert [functions[line.function_id] for line in place.line] == ([frame.name] if frame.known else [])
        labels = {text[one.key]: text[one.str] if one.str else one.num for one in sample.label}
        assert labels["pid"] == stack.pid and labels["comm"] in (stack.comm, 0)
    assert made.time_nanos == 1_000_500_000_000 and made.duration_nanos == 2_000_000_000
    assert made.period == 10_000_000 and text[made.period_type.type] == "cpu"
    assert len(made.SerializeToString()) == len(gzip.decompress(write_pprof(profile))), "no field that is unknown"


def test_pprof_of_events() -> None:
    profile = example()
    profile.frequency, profile.period, profile.event = 0, 500, "page-faults"
    made = profile_class()()
    made.ParseFromString(gzip.decompress(write_pprof(profile)))
    assert [made.string_table[t.type] for t in made.sample_type] == ["samples", "page-faults"]
    assert list(made.sample[0].value) == [30, 15000] and made.period == 500
