"""What mypy says of generated modules and of programs that use them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from skeletons import ROOT

USER = """\
from __future__ import annotations

from shapes_skel import Inner, Shape, Shapes, Word
from traffic_skel import Counters, Event, Flow, Reason, Traffic

from bombus.skeleton import Attached

with Traffic.open("user:6.12") as skel:
    skel.rodata.blocked_port = 443
    skel.load()
    skel.attach()
    run = skel.progs.traffic.test_run(bytes(60))
    verdict: str = run.verdict
    seen: int = skel.bss.seen
    flows: dict[Flow, Counters] = dict(skel.maps.flows)
    events: list[Event] = skel.maps.events.read(Event)
    reasons: list[Reason] = [event.reason for event in events]
    each: list[Counters] = skel.maps.protocols[6]
    link: Attached | None = skel.links.traffic
    skel.links.traffic = skel.progs.traffic.attach(1)
    skel.maps.flows[Flow(saddr=1, pad=[1, 2, 3])] = Counters(1, bytes=2)

with Shapes.open_and_load("user") as shapes:
    shape: Shape = shapes.maps.shapes[1]
    shape.row[0].number += 1
    shape.row = [Inner(1), Inner(2, [1, 2, 3])]
    word: Word = shape.word
    shape.word = Word(whole=1)
    total: int = shapes.data.total
    number: int = shapes.maps.queue.pop()
    shapes.maps.jumps[0] = shapes.progs.after
    stack: tuple[int, ...] = shapes.maps.stacks[1]
"""
# What is written, and what mypy must say of it.
WRONG = (
    ("skel.rodata.blocked_port = '443'", 'expression has type "str", variable has type "int"'),
    ("skel.rodata.blokced_port = 443", 'has no attribute "blokced_port"'),
    ("skel.data.x = 1", '"Traffic" has no attribute "data"'),
    ("skel.maps.flow", 'has no attribute "flow"'),
    ("skel.progs.trafic", 'has no attribute "trafic"'),
    ("skel.maps.flows[1]", 'Invalid index type "int"'),
    ("skel.maps.flows[Flow()] = 3", 'target has type "Counters"'),
    ("skel.maps.flows[Flow()].packets = '1'", 'expression has type "str"'),
    ("Flow(sadr=1)", 'Unexpected keyword argument "sadr"'),
    ("Flow(saddr='1')", 'incompatible type "str"'),
    ("Flow().sadr", 'has no attribute "sadr"'),
    ("name: str = skel.bss.seen", 'expression has type "int"'),
    ("skel.progs.traffic.test_run(3)", 'incompatible type "int"'),
    ("skel.progs.traffic.test_run(b'', Flow())", 'incompatible type "Flow"'),
    ("skel.links.traffic = 3", 'variable has type "Link | Attachment | Group | None"'),
    ("skel.maps.events.read(int)", 'cannot be "int"'),
    ("del skel.maps.protocols[1]", 'has no attribute "__delitem__"'),
    ("skel.maps.protocols[1] = Counters()", 'target has type "list[Counters]"'),
    ("Event(reason=1)", 'incompatible type "int"; expected "Reason"'),
    ("Traffic.open(6)", 'incompatible type "int"'),
    ("skel.maps.flows.push(1)", 'has no attribute "push"'),
)


def check(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    api = pytest.importorskip("mypy.api")
    (folder / name).write_text(text)
    monkeypatch.setenv("MYPYPATH", f"{ROOT}:{folder}")
    out, err, code = api.run(["--strict", "--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache"),
                              *map(str, sorted(folder.glob("*_skel.py"))), str(folder / name)])  # fmt: skip
    assert not err
    return out, code


def test_good_programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llvmlite")
    out, code = check(folder, "user.py", USER, monkeypatch)
    assert (out, code) == ("", 0)


def test_wrong_uses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = "from __future__ import annotations\n\nfrom traffic_skel import Counters, Event, Flow, Traffic\n\n"
    head += 'skel = Traffic.open("user")\n'
    first = head.count("\n") + 1
    out, code = check(folder, "wrong.py", head + "\n".join(text for text, _ in WRONG) + "\n", monkeypatch)
    assert code == 1
    found: dict[int, str] = {}
    for match in re.finditer(r"^.*wrong\.py:(\d+): error: (.*)$", out, re.M):
        found.setdefault(int(match[1]), match[2])
    assert sorted(found) == list(range(first, first + len(WRONG)))
    for number, (text, message) in enumerate(WRONG, first):
        assert message in found[number], (text, found[number])


def test_objects_of_libbpf_tools(tmp_path: Path, debian: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from bombus.elf.read import find_embedded
    from bombus.errors import BombusError
    from bombus.object.read import read_object
    from bombus.skeleton.generate import skeleton

    assert callable(debian)
    count = 0
    for file in debian("/usr/sbin/*snoop")[:14]:
        whole = file.read_bytes()
        for number, (at, elf) in enumerate(find_embedded(whole)):
            data = whole[at : at + elf.size]
            try:
                obj = read_object(data, name=file.name)
            except BombusError:
                continue
            (tmp_path / f"{file.name}{number}_skel.py").write_text(skeleton(obj, data, all_types=True))
            count += 1
    assert count > 5
    assert check(tmp_path, "nothing.py", "", monkeypatch) == ("", 0)
