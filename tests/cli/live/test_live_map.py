"""`bombus map` on the running kernel, beside bpftool."""

from __future__ import annotations

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
from beside import BPFTOOL, RETURN_1, Beside, theirs

pytestmark = [pytest.mark.linux, pytest.mark.debian]


def make(kernel: Any, type_: str, key: int = 4, value: int = 4, entries: int = 4, **more: Any) -> Any:
    from bombus.kernel.handles import Map

    return Map.create(kernel, type_, key, value, entries, name=f"b_{type_}"[:15], **more)


def hexes(data: bytes) -> list[str]:
    return [f"{byte:#x}" for byte in data]


# type: key size, value size, entries, flags
READABLE = {
    "hash": (4, 8, 4, 0), "array": (4, 20, 3, 0), "percpu_hash": (6, 12, 4, 0), "percpu_array": (4, 8, 2, 0),
    "lru_hash": (24, 4, 4, 0), "lru_percpu_hash": (4, 4, 4, 0), "lpm_trie": (8, 40, 4, 1), "stack_trace": (4, 8, 4, 0),
    "devmap": (4, 4, 2, 0), "devmap_hash": (4, 4, 2, 0), "cpumap": (4, 4, 2, 0), "queue": (0, 4, 3, 0),
    "stack": (0, 24, 3, 0), "bloom_filter": (0, 4, 8, 0), "prog_array": (4, 4, 2, 0), "perf_event_array": (4, 4, 2, 0),
    "cgroup_array": (4, 4, 2, 0), "sockmap": (4, 4, 2, 0), "sockhash": (4, 4, 2, 0), "xskmap": (4, 4, 2, 0),
    "reuseport_sockarray": (4, 8, 2, 0), "ringbuf": (0, 0, 4096, 0), "user_ringbuf": (0, 0, 4096, 0),
}  # fmt: skip


@pytest.mark.parametrize("type_", READABLE)
def test_show_and_dump(beside: Beside, linux_kernel: Any, type_: str) -> None:
    key, value, entries, flags = READABLE[type_]
    with make(linux_kernel, type_, key, value, entries, flags=flags) as item:
        handle = ("id", item.id)
        assert beside.json("map", "show", *handle)["type"] == type_
        beside.text("map", "show", *handle)
        if "ringbuf" in type_ or type_ == "bloom_filter":
            done = beside.bombus("map", "dump", *handle)
            assert done.code == 1 and f"{type_} maps have no keys to walk" in done.err
            return
        if type_ in ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "lpm_trie", "array", "percpu_array"):
            for i in range(2):
                words = (bytes([i, *range(key - 1)]) if "array" not in type_ else i.to_bytes(4, "little"))
                if type_ == "lpm_trie":
                    words = bytes([8, 0, 0, 0, 10 + i, 0, 0, 0])
                done = beside.bombus("map", "update", *handle, "key", *hexes(words), "value", *range(value))
                assert done.code == 0, done
                beside.json("map", "lookup", *handle, "key", "hex", *(f"{b:x}" for b in words))
                beside.text("map", "lookup", *handle, "key", *words)
            beside.text("map", "getnext", *handle)
            beside.json("map", "getnext", *handle)
            beside.text("map", "getnext", *handle, "key", *(0,) * key)
            beside.json("map", "getnext", *handle, "key", *(0,) * key)
        if key:
            beside.json("map", "dump", *handle)
            beside.text("map", "dump", *handle)


def test_typed_maps(beside: Beside, linux_kernel: Any, traffic: Path) -> None:
    from bombus import load

    with load(traffic, linux_kernel) as loaded:
        flows = loaded.maps["flows"]
        flows.raw.update(bytes(range(flows.key_size)), bytes(range(100, 100 + flows.value_size)))
        for item in loaded.maps.values():
            beside.json("map", "show", "id", item.id)
            beside.text("map", "show", "id", item.id)
            if item.type.short != "ringbuf":
                beside.json("map", "dump", "id", item.id)
                beside.text("map", "dump", "id", item.id)
        words = ("-p", "map", "dump", "id", flows.id)
        assert beside.bombus(*words).out == theirs(*words).stdout
        key = tuple(range(flows.key_size))
        beside.json("map", "lookup", "id", flows.id, "key", *key)
        beside.text("map", "lookup", "id", flows.id, "key", *key)


TYPES = """
struct inner { int a; char c; };
struct wide {
    char text[8]; char raw[4]; signed char s; unsigned long long u; long long l; _Bool b; int *p; enum e { A, B = 7 } e;
    enum e f; int bits : 5; unsigned more : 11; struct inner in[2]; union { int x; short y; }; unsigned __int128 big;
    void (*fn)(int); struct { int deep; } d; unsigned char uc;
};
struct {
    int (*type)[2]; struct inner *key; struct wide *value; int (*max_entries)[8];
} m __attribute__((section(".maps"), used));
"""


def test_every_kind_of_type(beside: Beside, linux_kernel: Any, tmp_path: Path) -> None:
    """Against bpftool's own printing, both ways that it has."""
    import shutil

    clang = next((c for c in ("clang-19", "clang-16", "clang") if shutil.which(c)), None)
    if clang is None:
        pytest.skip("no clang")
    source = tmp_path / "m.c"
    text = TYPES.replace("(*type)[2]; struct inner *key", "(*type)[1]; struct inner *key")
    source.write_text(text)
    subprocess.run([clang, "-target", "bpf", "-g", "-O2", "-c", source, "-o", tmp_path / "m.o"], check=True)
    from bombus import load

    with load(tmp_path / "m.o", linux_kernel) as loaded:
        item = loaded.maps["m"]
        for seed in (0, 1, 0x7F, 0xFF, 3):
            value = bytes((i * seed + seed * 7) & 0xFF for i in range(item.value_size))
            if seed == 3:
                value = b"hello\0\0\0ab\x01d" + value[12:]
            key = bytes([seed, 0, 0, 0, 65 if seed else 2, 0, 0, 0])
            item.raw.update(key, value)
            beside.json("map", "lookup", "id", item.id, "key", *key)
            beside.text("map", "lookup", "id", item.id, "key", *key)


def test_maps_of_maps_and_programs(beside: Beside, linux_kernel: Any) -> None:
    from bombus.kernel.handles import Program

    with make(linux_kernel, "array", 4, 4, 2) as inner, Program.load(linux_kernel, "xdp", RETURN_1) as program:
        with make(linux_kernel, "hash_of_maps", 4, 4, 4, inner=inner) as outer:
            args = ("map", "update", "id", outer.id, "key", 1, 0, 0, 0, "value")
            assert beside.bombus(*args, "id", inner.id).code == 0
            beside.json("map", "dump", "id", outer.id)
            beside.text("map", "dump", "id", outer.id)
            assert int.from_bytes(outer.raw.lookup(b"\1\0\0\0"), "little") == inner.id
            assert beside.bombus(*args, "id", inner.id, "noexist").code == 1
        with make(linux_kernel, "prog_array", 4, 4, 2) as progs:
            done = beside.bombus("map", "update", "id", progs.id, "key", 0, 0, 0, 0, "value", "id", program.id)
            assert done.code == 0 and done.err.startswith("Warning: updating program array")
            beside.json("map", "dump", "id", progs.id)
            beside.text("map", "dump", "id", progs.id)
            beside.json("map", "show", "id", progs.id)
            beside.text("map", "show", "id", progs.id)
        with make(linux_kernel, "array_of_maps", 4, 4, 2, inner=inner) as outer:
            beside.json("map", "dump", "id", outer.id)
            beside.text("map", "dump", "id", outer.id)


def test_queues(beside: Beside, linux_kernel: Any) -> None:
    for type_, push, pop in (("queue", "enqueue", "dequeue"), ("stack", "push", "pop")):
        with make(linux_kernel, type_, 0, 4, 3) as item:
            handle = ("id", item.id)
            beside.text("map", "peek", *handle)
            beside.json("map", pop, *handle)
            for i in range(3):
                assert beside.bombus("map", push, *handle, "value", i, 0, 0, 0).code == 0
            beside.text("map", "peek", *handle)
            beside.json("map", "peek", *handle)
            # Each pop takes one away: ours and theirs in turn.
            first = beside.bombus("-j", "map", pop, *handle).json()
            second = json.loads(theirs("-j", "map", pop, *handle).stdout)
            assert first.keys() == second.keys()
            order = [int(v["value"][0], 16) for v in (first, second)]
            assert order == ([0, 1] if type_ == "queue" else [2, 1])


def test_create_pin_freeze(beside: Beside, linux_kernel: Any, bpffs: Path) -> None:
    base = ("type", "hash", "key", 4, "value", 8, "entries", 16, "name", "beside_made", "flags", 1)
    assert beside.bombus("-j", "map", "create", bpffs / "a", *base).json() is None
    assert theirs("map", "create", bpffs / "b", *base).returncode == 0
    ours, other = (beside.json("map", "show", "pinned", bpffs / n) for n in "ab")
    assert {k: v for k, v in ours.items() if k not in ("id", "pids")} == {
        k: v for k, v in other.items() if k not in ("id", "pids")
    }
    outer = ("type", "array_of_maps", "key", 4, "value", 4, "entries", 2, "name", "outer")
    assert beside.bombus("map", "create", bpffs / "o", *outer, "inner_map", "pinned", bpffs / "a").code == 0
    assert beside.bombus("map", "pin", "pinned", bpffs / "a", bpffs / "a2").code == 0
    rows = beside.bombus("-jf", "map", "show", "pinned", bpffs / "a").json()
    assert rows["pinned"] == [str(bpffs / "a"), str(bpffs / "a2")]
    assert beside.bombus("map", "freeze", "pinned", bpffs / "a").code == 0
    assert beside.json("map", "show", "pinned", bpffs / "a")["frozen"] == 1
    beside.text("map", "show", "pinned", bpffs / "a")
    done = beside.bombus("map", "update", "pinned", bpffs / "a", "key", *(0,) * 4, "value", *(0,) * 8)
    assert done.code == 1 and "frozen" in done.err
    assert [row["id"] for row in beside.json("map", "show", "name", "beside_made")] == sorted([ours["id"], other["id"]])
    beside.text("map", "dump", "name", "beside_made")
    beside.json("map", "dump", "name", "beside_made")


def test_event_pipe(linux_kernel: Any, tmp_path: Path) -> None:
    """Events of a test run come through, as text and as JSON."""
    from bombus.asm import assemble
    from bombus.kernel.handles import Program

    with make(linux_kernel, "perf_event_array", 4, 4, 128) as item:
        text = """
            r7 = 0x1122334455667788 ll
            *(u64 *)(r10 - 8) = r7
            r2 = MAP ll
            r3 = 0xffffffff ll
            r4 = r10
            r4 += -8
            r5 = 8
            call bpf_perf_event_output
            r0 = 2
            exit
        """.replace("MAP", "0")
        insns = list(assemble(text).insns)
        at = next(i for i, insn in enumerate(insns) if insn.opcode == 0x18 and insn.dst == 2)
        insns[at] = insns[at]._replace(src=1, imm=item.fd)
        with Program.load(linux_kernel, "xdp", insns) as program:
            rows = []
            mine = [sys.executable, "-m", "bombus.cli.main"]
            for command in (mine, [*mine, "-j"], *([["bpftool", "-j"]] if BPFTOOL else [])):
                out = tmp_path / "out"
                with out.open("w") as file:
                    child = subprocess.Popen([*command, "map", "event_pipe", "id", str(item.id)], stdout=file)
                end = time.monotonic() + 30
                while time.monotonic() < end and not out.read_text().strip("[\n"):
                    program.test_run(bytes(64))
                    time.sleep(0.05)
                child.send_signal(signal.SIGINT)
                assert child.wait(30) == 0
                got = out.read_text()
                if command[-1] == "-j":
                    row = json.loads(got)[0]
                    rows.append({name: type(value) for name, value in row.items()})
                    assert row["type"] == 9 and row["timestamp"] > 0 and row["cpu"] == row["index"]
                    assert bytes(row["data"])[:8] == bytes.fromhex("8877665544332211")
                else:
                    head, data = got.splitlines()[:2]
                    assert head.startswith("== @") and "CPU: " in head and data.startswith("88 77 66 55 44 33 22 11")
            assert all(row == rows[0] and list(row) == list(rows[0]) for row in rows)
        assert list(item.raw) == [] or all(_empty(item, key) for key in item.raw)


def _empty(item: Any, key: bytes) -> bool:
    from bombus.errors import KernelError

    try:
        item.raw.lookup(key)
    except KernelError:
        return True
    return False


@pytest.fixture
def two(linux_kernel: Any) -> Iterator[int]:
    with make(linux_kernel, "hash", 4, 2, 4) as item:
        yield item.id


@pytest.mark.parametrize(
    "args, text",
    [
        (("update", "key", "1", "2", "3"), "key expected 4 bytes got 3"),
        (("update", "key", "1", "2", "3", "x"), "can't parse 'x' as a byte of the key"),
        (("update", "key", "1", "2", "3", "256"), "does not fit 8 bits"),
        (("update", "key", "1", "2", "3", "-1"), "can't parse '-1'"),
        (("update", "key", "hex", "1", "2", "3", "zz"), "can't parse 'zz'"),
        (("update", "key", "0", "0", "0", "0"), "did not find value"),
        (("update", "value", "0", "0"), "did not find key"),
        (("update",), "did not find key"),
        (("update", "key", "0", "0", "0", "0", "value", "1", "2", "3"), "expected 'key', 'value'"),
        (("update", "key", "0", "0", "0", "0", "key", "0", "0", "0", "0"), "duplicate key"),
        (("update", "key", "0", "0", "0", "0", "value", "1", "2", "any", "exist"), "multiple times"),
        (("update", "key", "0", "0", "0", "0", "value", "1", "2", "exist"), "ENOENT"),
        (("lookup", "key", "0", "0", "0", "0", "value", "1", "2"), "unnecessary value"),
        (("lookup",), "did not find key"),
        (("delete", "key", "9", "0", "0", "0"), "ENOENT"),
        (("getnext", "frob"), "expected 'key'"),
        (("freeze", "now"), "expected no more arguments"),
        (("event_pipe",), "not a perf event array"),
        (("pin",), "FILE is missing"),
    ],
)  # fmt: skip
def test_refusals(bombus: Callable[..., Any], two: int, args: tuple[str, ...], text: str) -> None:
    done = bombus("map", args[0], "id", two, *args[1:])
    assert done.code in (1, 2) and text in done.err and "Traceback" not in done.err


@pytest.mark.parametrize(
    "words, text",
    [
        ((), "map type not specified"),
        (("type", "martian"), "unrecognized map type"),
        (("type", "hash"), "map name not specified"),
        (("key", "4", "key", "4"), "already specified"),
        (("key", "99999999999"), "does not fit 32 bits"),
        (("type", "hash", "name", "x", "dev", "nodev0"), "no network device"),
        (("frob",), "expected 'type'"),
    ],
)  # fmt: skip
def test_create_refusals(bombus: Callable[..., Any], words: tuple[str, ...], text: str, linux_kernel: Any) -> None:
    done = bombus("map", "create", "/nowhere/x", *words)
    assert done.code == 2 and text in done.err


def test_pids_of_maps(bombus: Callable[..., Any], two: int) -> None:
    assert {"pid": os.getpid(), "comm": Path("/proc/self/comm").read_text().strip()} in bombus(
        "-j", "map", "show", "id", two
    ).json()["pids"]
