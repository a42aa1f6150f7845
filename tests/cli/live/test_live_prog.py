"""`bombus prog` on the running kernel, beside bpftool."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from beside import RETURN_1, Beside, newer, theirs, without

from bombus.cli import profiling
from bombus.profile.counters import Reading
from bombus.spec.metrics import METRIC

pytestmark = [pytest.mark.linux, pytest.mark.debian]


@pytest.fixture
def loaded(linux_kernel: Any, packets: Path) -> Iterator[Any]:
    from bombus import load

    with load(packets, linux_kernel) as found:
        yield found


@pytest.fixture
def plain(linux_kernel: Any) -> Iterator[Any]:
    from bombus.kernel.handles import Program

    with Program.load(linux_kernel, "xdp", RETURN_1, name="beside_plain") as program:
        yield program


def test_show_by_every_handle(beside: Beside, loaded: Any, plain: Any, bpffs: Path) -> None:
    plain.pin(bpffs / "p")
    for program in loaded.programs.values():
        row = beside.json("prog", "show", "id", program.id)
        assert row["id"] == program.id and row["btf_id"]
        beside.text("prog", "show", "id", program.id)
    for handle in (("name", "beside_plain"), ("pinned", bpffs / "p"), ("id", hex(plain.id))):
        assert beside.json("prog", "list", *handle)["id"] == plain.id
        beside.text("prog", "show", *handle)
    assert beside.json("-f", "prog", "show", "id", plain.id)["pinned"] == [str(bpffs / "p")]
    assert f"\n\tpinned {bpffs / 'p'}" in beside.text("-f", "p", "s", "id", plain.id)


def test_several_programs_of_one_tag(beside: Beside, linux_kernel: Any) -> None:
    from bombus.kernel.handles import Program

    code = bytes.fromhex("b700000057a51d009500000000000000")
    with Program.load(linux_kernel, "xdp", code, name="twin") as one, Program.load(
        linux_kernel, "xdp", code, name="twin"
    ) as two:
        tag = one.info()["tag"].hex()
        for handle in (("tag", tag), ("name", "twin")):
            assert [row["id"] for row in beside.json("prog", "show", *handle)] == [one.id, two.id]
            beside.text("prog", "show", *handle)
            assert [row["id"] for row in beside.json("prog", "dump", "xlated", *handle)] == [one.id, two.id]
            beside.text("prog", "dump", "xlated", *handle)
        done = beside.bombus("prog", "pin", "tag", tag, "/nowhere/x")
        assert done.code == 2 and f"several programs match this handle: ids {one.id}, {two.id}" in done.err


def test_the_list_has_all_that_bpftool_lists(beside: Beside, plain: Any, loaded: Any) -> None:
    mine = {plain.id} | {program.id for program in loaded.programs.values()}
    ours = {row["id"]: row for row in beside.bombus("-j", "prog").json()}
    others = {row["id"]: row for row in json.loads(theirs("-j", "prog").stdout)}
    assert mine <= ours.keys() and mine <= others.keys()
    for number in mine:
        assert without(ours[number], "pids", *newer()) == without(others[number], "pids")


def test_pretty_is_bpftools_bytes(beside: Beside, plain: Any) -> None:
    ours = beside.bombus("-p", "prog", "dump", "xlated", "id", plain.id, "opcodes").out
    assert ours == theirs("-p", "prog", "dump", "xlated", "id", plain.id, "opcodes").stdout


@pytest.mark.parametrize("words", [(), ("opcodes",), ("linum",)])
def test_dump_xlated_of_live_programs(beside: Beside, plain: Any, words: tuple[str, ...]) -> None:
    beside.json("prog", "dump", "xlated", "id", plain.id, *words)
    beside.text("prog", "dump", "xlated", "id", plain.id, *words)


def test_dump_to_files(beside: Beside, plain: Any, tmp_path: Path) -> None:
    for which in ("xlated", "jited"):
        for who, path in (("ours", tmp_path / "a"), ("theirs", tmp_path / "b")):
            args = ("prog", "dump", which, "id", plain.id, "file", path)
            if who == "ours":
                assert beside.bombus(*args).code == 0
            elif theirs(*args).returncode:
                pytest.skip("this bpftool has no disassembler, and then does not even write files")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_graph(beside: Beside, linux_kernel: Any) -> None:
    from bombus.asm import assemble
    from bombus.kernel.handles import Program

    text = """
        r0 = 1
        r2 = *(u32 *)(r1 + 0)
        r3 = 0x100000002 ll
        if r2 > 7 goto high
        r0 = 2
        if r2 != 3 goto out
        r0 = 3
        goto out
    high:
        r0 += r2
    out:
        exit
    """
    with Program.load(linux_kernel, "cgroup_skb", assemble(text.replace("r0 += r2", "r0 = 0")
                      .replace("r0 = 3", "r0 = 1").replace("r0 = 2", "r0 = 0")).insns) as program:  # fmt: skip
        beside.text("prog", "dump", "xlated", "id", program.id, "visual")
        assert beside.json("prog", "dump", "xlated", "id", program.id, "visual") is None


def test_jited_text(bombus: Callable[..., Any], plain: Any) -> None:
    pytest.importorskip("capstone")
    row = bombus("-j", "prog", "dump", "jited", "id", plain.id, "opcodes").json()[0]
    code = b"".join(bytes(int(b, 16) for b in insn["opcodes"]) for insn in row["insns"])
    assert code == plain.jited() and row["insns"][-1]["operation"] in ("ret", "retq", "jmp", "int3")
    assert row["name"].startswith("bpf_prog_")


def test_jited_without_capstone_says_so(
    bombus: Callable[..., Any], plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "capstone", None)
    done = bombus("prog", "dump", "jited", "id", plain.id)
    assert done.code == 1 and "bombus[jited]" in done.err


def test_holders_are_those_of_proc(bombus: Callable[..., Any], linux_kernel: Any, plain: Any) -> None:
    """What /proc says of the descriptors of all processes is what the iterator says."""
    from bombus.kernel.linux.holders import holders

    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[plain.fd]
    )
    try:
        found = holders(linux_kernel, "prog")[plain.id]
        assert sorted(pid for pid, _ in found.processes) == sorted(_from_proc(plain.id))
        assert child.pid in [pid for pid, _ in found.processes]
        names = dict(found.processes)
        assert names[os.getpid()] == Path("/proc/self/comm").read_text().strip()
        row = bombus("-j", "prog", "show", "id", plain.id).json()
        assert {p["pid"] for p in row["pids"]} == {child.pid, os.getpid()}
        assert f"({child.pid})" in bombus("prog", "show", "id", plain.id).out
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()


def _from_proc(prog_id: int) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/fdinfo/*"):
        try:
            if f"prog_id:\t{prog_id}\n" in path.read_text() and "prog_type" in path.read_text():
                found.add(int(path.parts[2]))
        except OSError:
            continue
    return found


def test_run(beside: Beside, linux_kernel: Any, tmp_path: Path) -> None:
    from bombus.asm import assemble
    from bombus.kernel.handles import Program

    frame = tmp_path / "frame"
    frame.write_bytes(bytes(range(64)))
    code = assemble("r0 = *(u32 *)(r1 + 0)\nr0 = 2\nexit").insns
    with Program.load(linux_kernel, "sched_cls", code) as program:
        base = ("prog", "run", "id", program.id, "data_in", frame)
        for words in (("data_out", "-"), ("data_out", "-", "data_size_out", 64), ()):
            ours = beside.bombus("-j", *base, *words).json()
            other = json.loads(theirs("-j", *base, *words).stdout)
            assert ours.pop("duration") >= 0 and other.pop("duration") >= 0
            assert ours == other
        ours = beside.bombus(*base, "data_out", "-").out
        other = theirs(*base, "data_out", "-").stdout
        assert ours.splitlines()[:-1] == other.splitlines()[:-1]
        assert ours.splitlines()[-1].startswith("Return value: 2, duration: ")
        out = tmp_path / "out"
        assert beside.bombus(*base, "data_out", out, "repeat", 3).out.startswith("Return value: 2, duration (average)")
        assert out.read_bytes() == frame.read_bytes()
        done = beside.bombus(*base, "data_size_out", 3, "data_out", "-")
        assert done.code == 1 and "ENOSPC" in done.err


def test_load_and_loadall(beside: Beside, bpffs: Path, traffic: Path, packets: Path) -> None:
    for index, tool in enumerate((beside.bombus, None)):
        run: Any = tool or (lambda *a: theirs(*a))
        done = run("prog", "load", traffic, bpffs / f"one{index}", "pinmaps", bpffs / f"maps{index}")
        assert getattr(done, "code", getattr(done, "returncode", 0)) == 0, done
        done = run("prog", "loadall", packets, bpffs / f"all{index}")
        assert getattr(done, "code", getattr(done, "returncode", 0)) == 0, done
    for ours, other in (("maps0", "maps1"), ("all0", "all1")):
        assert sorted(os.listdir(bpffs / ours)) == sorted(os.listdir(bpffs / other))
    ours = beside.bombus("-j", "prog", "show", "pinned", bpffs / "one0").json()
    other = json.loads(theirs("-j", "prog", "show", "pinned", bpffs / "one1").stdout)
    for name in ("type", "name", "tag", "gpl_compatible", "bytes_xlated", "jited", "bytes_jited"):
        assert ours[name] == other[name], name
    # A map that is there already, by name and by its place.
    flows = beside.bombus("-j", "map", "show", "pinned", bpffs / "maps0" / "flows").json()["id"]
    args = ("prog", "load", traffic, bpffs / "again", "map", "name", "flows", "id", flows)
    assert beside.bombus(*args).code == 0
    assert flows in beside.bombus("-j", "prog", "show", "pinned", bpffs / "again").json()["map_ids"]


def test_a_failed_load_leaves_nothing(
    bombus: Callable[..., Any], bpffs: Path, packets: Path, traffic: Path, tmp_path: Path
) -> None:
    (bpffs / "maps").mkdir()
    assert bombus("prog", "load", traffic, bpffs / "p", "pinmaps", bpffs / "maps").code == 0
    done = bombus("prog", "load", traffic, bpffs / "q", "pinmaps", bpffs / "maps")
    assert done.code == 1 and "pinned there already" in done.err and not (bpffs / "q").exists()
    kept = tmp_path / "kept"
    kept.touch()
    done = bombus("prog", "load", traffic, tmp_path / "p")
    assert done.code == 2 and "would hide its files" in done.err and kept.exists()
    done = bombus("-n", "prog", "load", traffic, tmp_path / "p")
    assert done.code == 2 and "-n forbids" in done.err
    done = bombus("-d", "prog", "load", traffic, bpffs / "r")
    assert done.code == 0 and "BEGIN PROG LOAD LOG of traffic" in done.err and "processed " in done.err


def test_attach_to_a_sockmap(bombus: Callable[..., Any], linux_kernel: Any) -> None:
    from bombus.kernel.handles import Map, Program

    with Map.create(linux_kernel, "sockmap", 4, 4, 2, name="beside_sm") as item, Program.load(
        linux_kernel, "sk_msg", RETURN_1, name="beside_msg"
    ) as program:
        words = ("name", "beside_msg", "sk_msg_verdict", "id", item.id)
        assert bombus("-j", "prog", "attach", *words).json() is None
        assert bombus("prog", "detach", *words).code == 0
        done = bombus("prog", "detach", *words)
        assert done.code == 1 and "ENOENT" in done.err
        done = bombus("prog", "attach", "id", program.id, "no_such_type", "id", item.id)
        assert done.code == 2 and "invalid attach type 'no_such_type'" in done.err


def test_profile(bombus: Callable[..., Any], loaded: Any) -> None:
    """Where the kernel has fentry programs it counts (tests/guest/counting.py); elsewhere it says why not."""
    program = next(iter(loaded.programs.values()))
    done = bombus("-j", "prog", "profile", "id", program.id, "duration", 1, "cpu_c", "page_faults")
    if done.code == 0:
        assert [(row["metric"], row["run_cnt"]) for row in done.json()] == [("cpu_clock", 0), ("page_faults", 0)]
    else:
        assert "which read the counters: BPF_PROG_LOAD: EPERM" in done.json()["error"]
    if not Path("/sys/bus/event_source/devices/cpu").exists():
        done = bombus("prog", "profile", "id", program.id, "duration", 1, "cycles")
        assert done.code == 1 and "counting cycles is not supported: this machine shows no such counter" in done.err
    done = bombus("prog", "profile", "id", program.id, "joy")
    assert done.code == 2 and "unknown metric 'joy'; there are cycles, instructions" in done.err
    assert "METRIC (cycles, " in bombus("prog", "profile", "id", program.id, "duration", 1).err


@pytest.mark.parametrize("words", [("duration", 0), ()])
def test_profile_ends_after_its_time_or_with_a_signal(
    bombus: Callable[..., Any], loaded: Any, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...]
) -> None:
    """The verb around the counters, which this kernel may not have."""

    class Counted(contextlib.nullcontext[Any]):
        skipped: ClassVar[set[int]] = {3}

        def __enter__(self) -> Any:
            if not words:
                threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            return self

        def runs(self) -> int:
            return 2

        def readings(self) -> list[Reading]:
            return [Reading(metric, 5, 7, 7) for metric in chosen]

    chosen: list[Any] = []
    monkeypatch.setattr(profiling, "_counting", lambda program, metrics: chosen.extend(metrics) or Counted())
    program = next(iter(loaded.programs.values()))
    done = bombus("-j", "prog", "profile", "id", program.id, *words, "instructions", "cycles", "cyc")
    assert done.code == 0 and "not counted on CPUs 3, which are off" in done.err
    assert [(row["metric"], row["run_cnt"], row["value"]) for row in done.json()] == [
        ("cycles", 2, 5), ("instructions", 2, 5)
    ]  # fmt: skip


def test_what_profile_prints() -> None:
    """Columns, ratios and JSON are those of Linux 6.12 tools/bpf/bpftool/prog.c: profile_print_readings."""
    rows = [
        Reading(METRIC["cycles"], 40176203, 100, 100), Reading(METRIC["instructions"], 42518139, 1000, 834),
        Reading(METRIC["llc_misses"], 123, 100, 100), Reading(METRIC["cpu_clock"], 7, 2, 2),
    ]  # fmt: skip
    assert profiling.as_text(51397, rows) == [
        "",
        "             51397 run_cnt             ",
        "          40176203 cycles              " + " " * 41,
        "          42518139 instructions        #     1.06 insns per cycle               (83.40%)",
        "               123 llc_misses          #     2.89 LLC misses per million insns  ",
        "                 7 cpu_clock           " + " " * 41,
    ]
    assert profiling.as_json(5, rows[1]) == {
        "metric": "instructions", "run_cnt": 5, "value": 42518139, "enabled": 1000, "running": 834
    }  # fmt: skip


@pytest.mark.parametrize(
    "args, text",
    [
        (("show", "id"), "ID is missing"),
        (("show", "id", "-1"), "can't parse '-1' as ID"),
        (("show", "id", "4294967296"), "does not fit 32 bits"),
        (("show", "id", "0x"), "can't parse"),
        (("show", "id", "4294967295"), "no prog with id 4294967295"),
        (("show", "id", "1", "2"), ""),
        (("show", "frob", "1"), "expected 'id', 'tag', 'name' or 'pinned', got 'frob'"),
        (("show", "tag", "zz"), "can't parse tag"),
        (("show", "tag", "0123456789abcde"), "can't parse tag"),
        (("show", "name", "x" * 200), "too long"),
        (("show", "name", "no_such_name"), "no prog with name 'no_such_name'"),
        (("show", "pinned", "/nowhere"), "/nowhere"),
        (("show", "pinned", "/proc/self/status"), ""),
        (("dump", "xlated", "id", "4294967295"), "no prog with id"),
        (("dump", "jited", "id", "4294967295"), "no prog with id"),
        (("pin", "id", "4294967295", "/x"), "no prog with id"),
        (("run", "id", "4294967295"), "no prog with id"),
        (("load", "/nowhere.o", "/x"), "No such file"),
        (("load",), "OBJ is missing"),
        (("load", "x"), "PATH is missing"),
        (("load", "x", "y", "type", "martian"), "program type 'martian' is not known"),
        (("load", "x", "y", "map", "idx", "-3"), "can't parse '-3' as IDX"),
        (("load", "x", "y", "dev", "nosuch"), "there is no network device 'nosuch'"),
        (("load", "x", "y", "xdpmeta_dev"), "xdpmeta_dev: a device is missing"),
        (("load", "x", "y", "xdpmeta_dev", "lo", "offload_dev", "lo"), "exclude each other"),
        (("load", "-S", "x", "y"), "-S needs a private key"),
        (("loadall", "-k", "x", "x", "y"), "-k and -i are for -S"),
        (("tracelog", "stdin"), "expected 'stdout' or 'stderr'"),
    ],
)  # fmt: skip
def test_refusals(bombus: Callable[..., Any], linux_kernel: Any, args: tuple[str, ...], text: str) -> None:
    done = bombus("prog", *args)
    assert done.code in (1, 2) and text in done.err and "Traceback" not in done.err
    shown = bombus("-j", "prog", *args)
    assert shown.code == done.code and "error" in shown.json()
