"""`bombus trace`: real programs on system calls of one process that the test started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bombus.cli.trace import Table
from bombus.errors import UsageError
from bombus.kernel.handles import ids
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.printk import RowParser
from bombus.loader.events import event_type, open_reader
from bombus.loader.load import load
from bombus.object.read import open_object
from bombus.trace import Session
from bombus.trace.histogram import Histogram
from bombus.trace.report import all_histograms, globals_of
from bombus.trace.session import pid_settings

HERE = Path(__file__).parent
OBJECT = HERE.parent / "events" / "data" / "calls.bpf.o"
CALLS = "os.getpid(); os.stat('/'); os.close(os.open('/etc', 0)); time.sleep(0.01)"
WORK = f"import os, time\nprint(1, flush=True)\nwhile True:\n {CALLS}"


@pytest.fixture(scope="module")
def worker() -> Iterator[int]:
    """A process that calls getpid and stat."""
    child = subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    yield child.pid
    child.kill()
    child.wait()


def link_ids(pid: int) -> set[int]:
    """Ids of the links that a process holds."""
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("link_id:")}
    return found


@pytest.mark.linux
def test_table(linux_kernel: LinuxKernel, bombus: Callable[..., Any], worker: int) -> None:
    before = link_ids(os.getpid())
    done = bombus("trace", OBJECT, "--pid", worker, "--duration", "0.3", "--limit", "2")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("TIME"))
    assert lines[head].split() == ["TIME", "NUMBER", "PID", "KIND", "COMM"]
    first = lines[head + 1].split()
    assert first[2] == str(worker) and first[3] == "KIND_ENTER" and first[4].startswith("python")
    assert any(f"getpid by {worker}" in line and "python" in line for line in lines)
    assert "calls (hash, 512 entries)" in done.out and f"numbers: {worker}" in done.out
    assert "32 -> 63" in done.out and "|****" in done.out
    assert f"where: pid = {worker}: " in done.out and "[kernel]" in done.out and "[libc" in done.out
    assert "Attached enter." in done.err and " events" in done.err
    assert link_ids(os.getpid()) == before, "detached"


@pytest.mark.linux
def test_json_lines(linux_kernel: LinuxKernel, bombus: Callable[..., Any], worker: int) -> None:
    done = bombus("trace", OBJECT, "--set", f"target_pid={worker}", "--count", "20", "-j")
    assert done.code == 0 and done.err == ""
    rows = [json.loads(line) for line in done.out.splitlines()]
    events = [row for row in rows if "map" in row]
    assert len(events) == 20 and {row["map"] for row in events} == {"events"}
    assert all(row["event"]["pid"] == worker and row["event"]["kind"] == "KIND_ENTER" for row in events)
    assert any(row["event"]["number"] == 39 for row in events)
    prints = [row for row in rows if "printk" in row]
    assert prints and prints[0]["printk"] == f"getpid by {worker}" and prints[0]["pid"] == worker
    last = rows[-1]
    assert last["lost"] == {} and last["variables"]["dropped"] == 0
    assert {row["key"] for row in last["maps"]["calls"]} >= {39}
    assert {one["name"] for one in last["histograms"]} == {"call_hist", "numbers"}
    assert any("getpid" in frame or "libc" in frame for stack in last["stacks"] for frame in stack["frames"])


@pytest.mark.linux
@pytest.mark.parametrize("way", ["id", "array"])
def test_cgroup(linux_kernel: LinuxKernel, bombus: Callable[..., Any], way: str, monkeypatch: Any) -> None:
    """Two processes; only one is in the cgroup that we made."""
    root = next((r for r in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
                 if (r / "cgroup.controllers").exists()), None)  # fmt: skip
    if root is None:
        pytest.skip("no cgroup v2 file system")
    place = root / f"bombus-trace-{os.getpid()}"
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a cgroup: {error}")
    if way == "array":
        from bombus.trace import session

        monkeypatch.setattr(session, "CGROUP_VARIABLES", ())
    child = subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.DEVNULL)
    other = subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.DEVNULL)
    try:
        (place / "cgroup.procs").write_text(str(child.pid))
        done = bombus("trace", OBJECT, "--cgroup", place, "--count", "30", "-j")
        assert done.code == 0, done.out + done.err
        seen = {row["event"]["pid"] for row in map(json.loads, done.out.splitlines()) if "event" in row}
        assert seen == {child.pid}
    finally:
        for one in (child, other):
            one.kill()
            one.wait()
        place.rmdir()


@pytest.mark.linux
def test_python_program(linux_kernel: LinuxKernel, bombus: Callable[..., Any], worker: int) -> None:
    """Built on the way; its events have the type that it reserves."""
    pytest.importorskip("llvmlite")
    source = HERE.parent.parent / "examples" / "bpf" / "opensnoop.py"
    done = bombus("trace", source, "--set", f"only={worker}", "--count", "2", "-j")
    assert done.code == 0, done.out + done.err
    event = json.loads(done.out.splitlines()[0])["event"]
    assert event["pid"] == worker and event["filename"] == "/etc" and event["comm"].startswith("python")


def start(*args: object, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bombus.cli.main", "trace", str(OBJECT), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def first_event(child: subprocess.Popen[str]) -> None:
    """Wait until a child has shown one: its heading comes with it, a printed line may come before."""
    assert child.stdout is not None
    while not (line := child.stdout.readline()).startswith("TIME"):
        assert line, "the command ended"


@pytest.mark.linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_a_summary(linux_kernel: LinuxKernel, worker: int, number: int) -> None:
    with start("--pid", worker) as child:
        assert child.stdout is not None
        first_event(child)
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
    assert child.returncode == 0, err
    assert "calls (hash" in out and "events" in err


@pytest.mark.linux
def test_broken_pipe_and_kill_leave_nothing(linux_kernel: LinuxKernel, worker: int) -> None:
    made: set[int] = set()
    with start("--pid", worker) as child:
        assert child.stdout is not None and child.stderr is not None
        first_event(child)
        made |= link_ids(child.pid)
        child.stdout.close()
        assert child.wait(30) == 0 and "Traceback" not in child.stderr.read()
    with start("--pid", worker) as child:
        first_event(child)
        made |= link_ids(child.pid)
        child.kill()
        child.communicate()
    assert len(made) == 2
    for _ in range(200):  # the kernel lets go a little later
        if not made & set(ids(linux_kernel, "link")):
            break
        time.sleep(0.05)
    assert not made & set(ids(linux_kernel, "link"))


@pytest.mark.linux
def test_no_events(linux_kernel: LinuxKernel, bombus: Callable[..., Any]) -> None:
    done = bombus("trace", OBJECT, "--pid", 0x7FFF_FFF0, "--duration", "0.1")
    assert (done.code, done.out) == (0, "") and "0 events" in done.err


@pytest.mark.linux
def test_lost_events_are_told(linux_kernel: LinuxKernel, worker: int) -> None:
    obj = open_object(str(OBJECT))
    data = pid_settings(obj, [worker])
    with load(obj, linux_kernel, data=data, max_entries={"events": 4096}) as loaded, Session(loaded) as session:
        links = loaded.attach()
        end = time.monotonic() + 30
        while not session.lost() and time.monotonic() < end:  # 102 events fit
            time.sleep(0.05)
        for link in links.values():
            link.close()
        got = len(session.events())
        lost = session.lost()["dropped"]
        total = sum(loaded.maps["calls"].values())
        assert got == 102 and got + lost == total, (got, lost, total)


def test_refusals(bombus: Callable[..., Any], traffic: Path) -> None:
    for args, text in (
        ((OBJECT, "--prog", "nope"), "no program 'nope'"),
        ((OBJECT, "--duration", "-1"), "from 0 on"),
        ((OBJECT, "--count", "0"), "one event is the least"),
        ((OBJECT, "--pid", "1", "--pid", "2"), "takes one process"),
        ((traffic, "--pid", "1"), "no variable that says which process"),
        ((traffic, "--kernel", "user"), "nothing can be attached"),
        ((OBJECT, "--cgroup", "/no/such/cgroup"), "No such file"),
        ((traffic, "--cgroup", "/"), "which cgroup to trace"),
        ((traffic, "--kernel", "user", "--type", "events"), "give MAP=TYPE"),
        ((traffic, "--kernel", "user", "--type", "events=nope"), "no type 'nope'"),
        ((traffic, "--kernel", "user", "--type", "flows=event"), "no ring or perf buffer 'flows'"),
    ):
        done = bombus("trace", *args)
        assert done.code == 2 and text in done.err, (args, done.err)


# Types of events


def test_types_of_events(user_kernel: Any, traffic: Path) -> None:
    with load(open_object(str(traffic)), user_kernel) as loaded:
        assert event_type(loaded, "events", size=7) is None
        found = event_type(loaded, "events", size=32)
        given = event_type(loaded, "events", "struct event")
        assert found is not None and given is not None and found.name == given.name == "struct event"
        assert open_reader(loaded, "events").layout is None, "nothing but the size tells here"
        for name in ("flows", "nope"):
            with pytest.raises(UsageError):
                open_reader(loaded, name)
        with pytest.raises(UsageError, match="no type"):
            open_reader(loaded, "events", "union event")


def test_declared_types(user_kernel: Any) -> None:
    obj = open_object(str(OBJECT))
    with load(obj, user_kernel, programs=[]) as loaded:
        found = event_type(loaded, "events")
        assert found is not None and found.name == "struct event" and "global variable" in found.why
        with loaded.events("events") as reader:
            assert reader.layout is not None and reader.layout.size == 32
        with loaded.events("events", "struct mine { u64 a; char b[4]; }") as reader:
            assert reader.layout is not None and reader.layout.name == "struct mine"


def test_declaration_tags(user_kernel: Any) -> None:
    """`__attribute__((btf_decl_tag("event:NAME")))` on the map."""
    from dataclasses import replace

    from bombus.btf.build import Builder
    from bombus.btf.types import DeclTag, Var

    obj = open_object(str(OBJECT))
    assert obj.btf is not None
    builder = Builder.from_btf(obj.btf)
    var = next(i for i in obj.btf.ids() if isinstance(v := obj.btf.type(i), Var) and v.name == "events")
    builder.add(DeclTag("event:struct hist", var))
    with load(replace(obj, btf=builder.build()), user_kernel, programs=[]) as loaded:
        found = event_type(loaded, "events", size=32)
        assert found is not None and found.name == "struct hist"


def test_session_on_the_user_kernel(user_kernel: Any, traffic: Path, capture: Path) -> None:
    from bombus.capture import open_capture

    with load(open_object(str(traffic)), user_kernel) as loaded, Session(loaded) as session:
        for packet in open_capture(str(capture)):
            loaded.programs["traffic"].test_run(packet.data)
        events = session.events()
        assert len(events) == session.counts["events"] == 8 and session.talks
        assert {event.type.name for event in events if event.type is not None} == {"struct event"}
        assert len(session.printed()) == 2 and session.prints == 2
        assert globals_of(loaded)["seen"] == 99 and session.lost() == {}
        assert all_histograms(loaded) == []


def test_table_of_untyped_events(user_kernel: Any, traffic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bombus.trace import Event

    with load(open_object(str(traffic)), user_kernel) as loaded:
        table = Table(loaded)
        table.show([Event("events", 0.0, b"\1\2", None), Event("events", 0.0, b"", None)], [])
    out, err = capsys.readouterr()
    assert "01 02" in out and "(empty)" in out and "EVENTS (2 BYTES)" in out and "--type events=STRUCT" in err


def test_terminals_obey_no_event(capsys: pytest.CaptureFixture[str], user_kernel: Any) -> None:
    from bombus.kernel.printk import PrintkRow
    from bombus.trace import Event

    with load(open_object(str(OBJECT)), user_kernel, programs=[]) as loaded:
        kind = event_type(loaded, "events")
        data = bytes(16) + b"a\x1b[2Jb\nc".ljust(16, b"\0")
        Table(loaded).show([Event("events", 0.0, data, kind)], [PrintkRow("t\x1b", 1, 0, 1.0, "x\x07\ny")])
    out = capsys.readouterr().out
    assert "a\\x1b[2Jb\\nc" in out and "t\\x1b-1 [0] 1.000000: x\\x07\ny\n" in out and "\x1b" not in out


# Histograms


def test_histogram_rows_and_picture() -> None:
    one = Histogram("h", "", (0, 3, 0, 6))
    assert one.rows() == [(0, 1, 0), (2, 3, 3), (4, 7, 0), (8, 15, 6)]
    lines = one.draw("usecs")
    assert lines[0].split() == ["usecs", ":", "count", "distribution"]
    assert lines[2] == " 2 -> 3 : 3     |" + "*" * 20 + " " * 20 + "|" and lines[4].count("*") == 40
    assert Histogram("h", "", (0, 0)).draw() == []
    assert Histogram("h", "", (0, 0, 5, 0, 1), linear=True).rows() == [(2, 2, 5), (3, 3, 0), (4, 4, 1)]
    assert Histogram("h", "", (1,)).rows() == [(0, 1, 1)]


def test_histogram_against_libbpf_tools(tmp_path: Path) -> None:
    """The ranges are those that bcc's log2 histograms print (print_log2_hist): low = (1 << i + 1) >> 1."""
    slots = tuple(range(1, 12))
    for i, (low, high, count) in enumerate(Histogram("h", "", slots).rows()):
        want = (1 << (i + 1)) >> 1
        top = (1 << (i + 1)) - 1
        assert (low, high, count) == (want - 1 if want == top else want, top, i + 1)


def test_histograms_in_maps(user_kernel: Any) -> None:
    obj = open_object(str(OBJECT))
    with load(obj, user_kernel, programs=[]) as loaded:
        loaded.maps["numbers"][5] = {"slots": [0, 1, 2]}
        loaded.maps["call_hist"][3] = [4] * user_kernel.possible_cpus
        found = {one.name: one for one in all_histograms(loaded)}
        assert found["numbers"].label == "5" and found["numbers"].slots[:4] == (0, 1, 2, 0)
        assert found["call_hist"].slots == (0, 0, 0, 4 * user_kernel.possible_cpus)


# Lines of a trace_pipe


def test_printk_rows() -> None:
    parser = RowParser()
    rows = parser.rows([
        "         python3-1234    [000] d..31   123.456789: bpf_trace_printk: hello: there",
        "second line of it",
        "CPU:1 [LOST 7 EVENTS]",
        "  a-b task-9-77      (     77) [001] ...11 5.000001: bpf_trace_printk: x",
        "          <idle>-0       [001] 5.5: bpf_trace_printk: no flags",
        "",
    ])  # fmt: skip
    first, second, third = rows
    assert (first.task, first.pid, first.cpu, first.flags) == ("python3", 1234, 0, "d..31")
    assert first.text == "hello: there\nsecond line of it" and first.time == pytest.approx(123.456789)
    assert (second.task, second.pid, second.cpu, second.lost, second.text) == ("a-b task-9", 77, 1, 7, "x")
    assert (third.task, third.flags, third.text) == ("<idle>", "", "no flags\n") and parser.lost == 7
    assert [row.text for row in RowParser().rows(["nonsense", ""])] == ["nonsense\n"]
