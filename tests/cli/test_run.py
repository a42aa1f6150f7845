"""`bombus run`: the main job, on both kernels, over every kind of capture."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bombus.capture import Packet, create_capture, open_capture

PROGRAMS = ("jump", "reshape", "classify", "keep", "allow", "route")


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    """A JSON report without what differs between kernels on purpose: times, ids, the order of hash entries."""
    found = dict(found)
    for name in ("duration", "kernel"):
        found.pop(name)
    found.pop("written", None)
    for item in found["maps"]:
        item.pop("id")
        for element in item.get("elements", ()):
            element.pop("inner_map_id", None)
            element.pop("prog_id", None)
            if "values" in element:  # which CPU ran is the scheduler's business
                element["values"] = _sum([value["value"] for value in element["values"]])
        if "elements" in item:
            item["elements"].sort(key=lambda element: json.dumps(element))
    return found


def _sum(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: _sum([value[name] for value in values]) for name in values[0]}
    if isinstance(values[0], list):  # bytes, where there is no BTF: here always u64 counters
        data = [bytes(int(byte, 16) for byte in value) for value in values]
        return [sum(words) for words in zip(*(struct.unpack(f"<{len(d) // 8}Q", d) for d in data), strict=True)]
    return sum(values)


def test_counts_verdicts_maps_events_and_prints(
    bombus: Callable[..., Any], traffic: Path, capture: Path
) -> None:
    found = bombus("run", traffic, "--pcap", capture, "--json").json()
    assert {(v["verdict"], v["packets"], v["bytes"]) for v in found["verdicts"]} == {
        ("XDP_PASS", 92, 35478), ("XDP_TX", 4, 296), ("XDP_DROP", 2, 108), ("XDP_ABORTED", 1, 34)
    }  # fmt: skip
    assert found["capture"]["packets"] == 99 and not found["not_run"]
    assert found["printk"] == ["blocked port 23 from 192.0.2.10"] * 2
    events = found["events"]
    assert [event["formatted"]["number"] for event in events[-2:]] == [96, 97]
    assert events[-1]["formatted"]["reason"] == "REASON_BLOCKED" and events[-1]["packet"] == 97
    maps = {item["name"]: item for item in found["maps"]}
    assert len(maps["flows"]["elements"]) == 12
    assert maps["traffic.bss"]["elements"][0]["value"] == {".bss": [{"seen": 99}]}


def test_the_tables(bombus: Callable[..., Any], traffic: Path, capture: Path) -> None:
    done = bombus("run", traffic, "--pcap", capture, "--limit", "3")
    assert done.code == 0 and not done.err
    for text in (
        "traffic (xdp, section xdp) on user kernel 6.12: 99 packets, 35916 bytes from traffic.pcap",
        "XDP_PASS           92   35478   92.9%", "Time per packet: ",
        "192.0.2.10     203.0.113.53   40001      53         17",
        "flows (lru_hash, 1024 entries): 9 more rows, --limit 12 shows them",
        "events: 8 events, the last 3 as struct event, the only one of this size",
        "blocked port 23 from 192.0.2.10",
    ):  # fmt: skip
        assert text in done.out, text


@pytest.mark.linux
@pytest.mark.parametrize("name", PROGRAMS)
def test_both_kernels_tell_the_same(
    bombus: Callable[..., Any], packets: Path, capture: Path, tmp_path: Path, name: str, linux_kernel: Any
) -> None:
    found = {}
    for kernel in ("user:6.18", "linux"):
        out = tmp_path / f"{kernel}.pcap"
        done = bombus("run", packets, "--prog", name, "--pcap", capture, "--kernel", kernel, "--write", out, "--json")
        assert done.code == 0, done.out
        found[kernel] = comparable(done.json()), out.read_bytes()
    assert found["user:6.18"] == found["linux"]


@pytest.mark.linux
def test_the_demo_is_the_same_on_linux(
    bombus: Callable[..., Any], traffic: Path, capture: Path, linux_kernel: Any
) -> None:
    user, linux = (
        comparable(bombus("run", traffic, "--pcap", capture, "--kernel", kernel, "--json").json())
        for kernel in ("user:6.18", "linux")
    )
    assert user == linux


@pytest.mark.parametrize("engine", ["fast", "reference"])
@pytest.mark.parametrize("kernel", ["user", "user:5.15", "user:6.18"])
def test_engines_and_versions_agree(
    bombus: Callable[..., Any], traffic: Path, capture: Path, engine: str, kernel: str
) -> None:
    found = bombus("run", traffic, "--pcap", capture, "--kernel", kernel, "--engine", engine, "--json").json()
    expected = bombus("run", traffic, "--pcap", capture, "--json").json()
    assert comparable(found) == comparable(expected)


def test_write_keeps_what_lives_on(
    bombus: Callable[..., Any], packets: Path, capture: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.pcapng"
    done = bombus("run", packets, "--prog", "reshape", "--pcap", capture, "--write", out, "--set", "cut_to=64", "-j")
    before = [p for p in open_capture(capture) if len(p.data) >= 60]
    after = list(open_capture(out))
    assert len(after) == len(before) == done.json()["written"]["packets"] == 84
    for was, now in zip(before, after, strict=True):
        assert now.time_ns == was.time_ns
        assert now.data == b"\xab" * 8 + was.data[:64], "8 bytes more in front, the tail cut, no metadata"


def test_variables_are_set_before_the_load(bombus: Callable[..., Any], traffic: Path, capture: Path) -> None:
    found = bombus("run", traffic, "--pcap", capture, "--set", "blocked_port=443", "--json").json()
    assert found["printk"][0] == "blocked port 443 from 192.0.2.10"
    assert bombus("run", traffic, "--pcap", capture, "--set", "nothing=1").code == 2


def variants(packets: list[Packet]) -> Iterator[tuple[str, bytes]]:
    """The same packets in every form of capture file."""
    for end, order in (("<", "little"), (">", "big")):
        for magic, unit in ((0xA1B2C3D4, 1000), (0xA1B23C4D, 1)):
            out = struct.pack(end + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
            for p in packets:
                out += struct.pack(end + "IIII", p.time_ns // 10**9, p.time_ns % 10**9 // unit, len(p.data), p.length)
                out += p.data
            yield f"pcap-{order}-{unit}", out
        section = struct.pack(end + "IHHq", 0x1A2B3C4D, 1, 0, -1)
        blocks = [(0x0A0D0D0A, section), (1, struct.pack(end + "HHI", 1, 0, 0))]
        for p in packets:
            stamp = p.time_ns // 1000
            head = struct.pack(end + "IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(p.data), p.length)
            blocks.append((6, head + p.data + bytes(-len(p.data) % 4)))
        yield f"pcapng-{order}", b"".join(
            struct.pack(end + "II", kind, len(body) + 12) + body + struct.pack(end + "I", len(body) + 12)
            for kind, body in blocks
        )


def test_every_form_of_capture(
    bombus: Callable[..., Any], traffic: Path, capture: Path, tmp_path: Path
) -> None:
    expected = comparable(bombus("run", traffic, "--pcap", capture, "--json").json())
    count = 0
    for name, data in variants(list(open_capture(capture))):
        path = tmp_path / name
        path.write_bytes(data)
        found = comparable(bombus("run", traffic, "--pcap", path, "--json").json())
        found["capture"]["file"] = expected["capture"]["file"]
        assert found == expected, name
        count += 1
    assert count == 6


def test_a_cut_capture_says_what_is_missing(
    bombus: Callable[..., Any], traffic: Path, capture: Path, tmp_path: Path
) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(capture.read_bytes()[:-20])
    done = bombus("run", traffic, "--pcap", path)
    assert done.code == 0 and "98 packets" in done.out and "The capture is cut off: " in done.out


def test_snap_lengths_and_packets_that_cannot_run(
    bombus: Callable[..., Any], traffic: Path, tmp_path: Path
) -> None:
    path = tmp_path / "odd.pcap"
    with create_capture(path, linktype=1) as out:
        out.write(Packet(0, bytes(64), 1500, 1))
        out.write(Packet(1, bytes(5), 5, 1))
    found = bombus("run", traffic, "--pcap", path, "--json").json()
    assert found["capture"]["cut_packets"] == 1
    assert found["not_run"] == [{"reason": "shorter than an Ethernet header", "packets": 1, "bytes": 5}]


@pytest.mark.debian
@pytest.mark.linux
@pytest.mark.parametrize("name", ["reshape", "classify", "keep"])
def test_real_captures_on_both_kernels(
    bombus: Callable[..., Any], packets: Path, tmp_path: Path, name: str, linux_kernel: Any, debian: Any
) -> None:
    files = debian("/usr/share/gocode/src/github.com/google/gopacket/pcap*/**/*.pcap*")
    files += debian("/usr/share/doc/python3-dpkt/examples/data/*.pcap*")
    ran = 0
    for path in files:
        found = []
        for kernel in ("user:6.18", "linux"):
            out = tmp_path / f"{kernel}.pcap"
            done = bombus("run", packets, "--prog", name, "--pcap", path, "--kernel", kernel, "--write", out, "-j")
            if "verdicts" not in done.out:
                found.append(done.out)
                continue
            # The last line tells it when nothing could be run.
            report = comparable(json.loads(done.out.splitlines()[0]))
            found.append((report, out.read_bytes()))
            ran += 1
        assert found[0] == found[1], path
    assert ran > 40


@pytest.mark.debian
@pytest.mark.linux
def test_objects_of_xdp_tools_on_both_kernels(
    bombus: Callable[..., Any], capture: Path, linux_kernel: Any, debian: Any
) -> None:
    from bombus.object.read import open_object

    ran = 0
    for path in debian("/usr/lib/*/bpf/*.o") + debian("/usr/libexec/xdp-tools/*.o"):
        for program in open_object(path).programs:
            if program.prog_type != "BPF_PROG_TYPE_XDP":
                continue
            reports = []
            for kernel in ("user:6.18", "linux"):
                done = bombus("run", path, "--prog", program.name, "--pcap", capture, "--kernel", kernel, "-j")
                reports.append(comparable(done.json()) if done.code == 0 else done.out.split(":")[0])
            assert reports[0] == reports[1], (path, program.name)
            ran += isinstance(reports[0], dict)
    assert ran >= 15


@pytest.mark.linux
@pytest.mark.debian
@pytest.mark.parametrize("name", ["reshape", "classify", "keep"])
def test_single_runs_are_bpftools(
    bombus: Callable[..., Any], packets: Path, tmp_path: Path, name: str, linux_kernel: Any
) -> None:
    if shutil.which("bpftool") is None:
        pytest.skip("bpftool is not installed")
    from bombus import load

    data = bytes(range(200))
    source = tmp_path / "in"
    source.write_bytes(data)
    with load(packets, linux_kernel, programs=[name]) as loaded:
        number = str(loaded.programs[name].id)
        command = ["bpftool", "-j", "prog", "run", "id", number, "data_in", str(source), "data_out", "-", "repeat", "1"]
        theirs = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    for kernel in ("user:6.18", "linux"):
        args = ("run", packets, "--prog", name, "--data-in", source, "--data-out", "-", "--kernel", kernel, "--json")
        ours = bombus(*args).json()
        assert {key: ours[key] for key in theirs if key != "duration"} == {
            key: theirs[key] for key in theirs if key != "duration"
        }


def test_single_runs_write_files(bombus: Callable[..., Any], traffic: Path, tmp_path: Path) -> None:
    source, target, context = tmp_path / "in", tmp_path / "out", tmp_path / "ctx"
    source.write_bytes(bytes(60))
    context.write_bytes(struct.pack("<6I", 0, 60, 0, 0, 0, 0))
    args = ("--data-in", source, "--data-out", target, "--ctx-in", context, "--ctx-out", "-", "--repeat", "3")
    done = bombus("run", traffic, *args)
    assert done.code == 0 and target.read_bytes() == bytes(60)
    assert "Context afterwards (24 bytes):" in done.out and "Return value: 2, duration (average): " in done.out
    assert "seen       3" in done.out


@pytest.mark.parametrize(
    "args, code, text",
    [
        (("--pcap", "{capture}", "--prog", "none"), 2, "no program 'none'"),
        (("--pcap", "{capture}", "--repeat", "0"), 2, "--repeat 0"),
        (("--pcap", "{capture}", "--kernel", "windows"), 2, "no kernel 'windows'"),
        (("--pcap", "{capture}", "--kernel", "user:x"), 2, "x"),
        (("--pcap", "{capture}", "--data-in", "{capture}"), 2, "--data-in does not go with --pcap"),
        (("--write", "x"), 2, "--write needs --pcap"),
        (("--pcap", "{obj}"), 1, "neither pcap nor pcapng"),
        (("--pcap", "{capture}", "--write", "{capture}"), 2, "would overwrite"),
        (("--pcap", "{capture}", "--event", "flows"), 2, "give MAP=TYPE"),
        (("--pcap", "{capture}", "--event", "events=nope"), 2, "no type 'nope'"),
        (("--pcap", "/nonexistent"), 2, "does not exist"),
    ],
)
def test_refusals(
    bombus: Callable[..., Any], traffic: Path, capture: Path, args: tuple[str, ...], code: int, text: str
) -> None:
    done = bombus("run", traffic, *(arg.format(capture=capture, obj=traffic) for arg in args))
    assert (done.code, text in done.err) == (code, True), done.err
    assert "Traceback" not in done.err


def test_a_program_must_be_chosen(bombus: Callable[..., Any], packets: Path, capture: Path) -> None:
    done = bombus("run", packets, "--pcap", capture)
    assert done.code == 2 and "choose one with --prog: " in done.err and "classify (sched_cls)" in done.err
