"""Lists beside a bpftool of Linux 6.12 (tools/build-test-kernel makes one): all members of all rows are equal.

Its links of perf events have no cookie where the kernel's symbols do not let it find who holds them; ids of a BTF's
users come in the order of its hash table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beside import in_process, without

sys.path.insert(0, str(Path(__file__).parents[2] / "linux"))
sys.path.insert(0, str(Path(__file__).parents[2] / "guest"))
from guest import KERNELS
from sandbox import in_namespace, map_walks_problem, own_cgroup, veth

pytestmark = pytest.mark.linux
DATA = Path(__file__).parents[2] / "linux" / "data"
BPFTOOL = KERNELS / "bpftool"


def theirs(*words: str) -> str:
    return subprocess.run([BPFTOOL, *words], capture_output=True, text=True, check=False).stdout


def held(cgroup: Path) -> Iterator[Any]:
    """Links of many kinds, and what holds their programs."""
    from bombus import load
    from bombus.kernel.linux.kernel import LinuxKernel

    names = ["xdp_pass", "tc_in", "tc_out", "cg_in", "lookup", "nf", "tp_getppid", "raw_enter", "btf_enter", "sample",
             "up", "upret", "upmulti", "msg", "verdict"]  # fmt: skip
    item = load(DATA / "attach.bpf.o", LinuxKernel(), programs=names, data={"pid": os.getpid()})
    walks = [] if map_walks_problem() else ["elements"]
    iters = load(DATA / "iters.bpf.o", LinuxKernel(), programs=["tasks", *walks, "groups"])
    by, libc = item.programs, "libc.so.6"
    yield from (
        item, iters, by["xdp_pass"].attach("vb"), by["tc_in"].attach("va"), by["tc_out"].attach_tcx("vb", "egress"),
        by["cg_in"].attach(cgroup), by["lookup"].attach(), by["nf"].attach("local_in", priority=-9, defrag=False),
        by["tp_getppid"].attach(cookie=77), by["raw_enter"].attach(), by["btf_enter"].attach(),
        by["sample"].attach("cpu_clock", frequency=1), by["up"].attach(libc, "getppid", cookie=5),
        by["upret"].attach(libc, "getppid"), by["upmulti"].attach(libc, ["getppid", "getpgid"], cookies=[1, 2]),
        by["msg"].attach(item.maps["sockets"]), by["verdict"].attach(item.maps["sockets"]),
        iters.programs["tasks"].attach(pid=os.getpid()), iters.programs["groups"].attach(cgroup=cgroup, order="pre"),
        *(iters.programs[name].attach(map=iters.maps["numbers"]) for name in walks),
    )  # fmt: skip


def by_id(noun: str, text: str) -> dict[int, Any]:
    rows = {row["id"]: without(row, "pids", "bpf_cookie") for row in json.loads(text)}
    for row in rows.values():
        for name in ("prog_ids", "map_ids") if noun == "btf" else ():
            row.get(name, []).sort()
    return rows


def test_features() -> None:
    """Also helpers, of which bpftool 7.1 takes all for available on newer kernels."""
    if not BPFTOOL.exists():
        pytest.skip(f"no {BPFTOOL}: tools/build-test-kernel makes it")
    here, there = in_process("-j", "feature", "probe", "kernel").json(), json.loads(theirs("-j", "feature", "probe"))
    here["misc"].pop("have_v4_isa_extension")
    for gone in ("CONFIG_BPFILTER", "CONFIG_BPFILTER_UMH"):
        here["system_config"].pop(gone)
    assert {name: sorted(text) for name, text in here["helpers"].items()} == {
        name: sorted(text) for name, text in there["helpers"].items()
    }
    assert without(here, "helpers") == without(there, "helpers")


def test_maps_of_maps() -> None:
    if not BPFTOOL.exists():
        pytest.skip(f"no {BPFTOOL}: tools/build-test-kernel makes it")
    from bombus.kernel.handles import Map
    from bombus.kernel.linux.kernel import LinuxKernel

    kernel = LinuxKernel()
    with (
        Map.create(kernel, "array", 4, 4, 2) as inner,
        Map.create(kernel, "hash_of_maps", 4, 4, 4, inner=inner) as outer,
    ):
        outer[7] = inner
        (row,) = in_process("-j", "map", "dump", "id", outer.id).json()
        assert [row] == json.loads(theirs("-j", "map", "dump", "id", str(outer.id))) and row["inner_map_id"] == inner.id


def test_lists() -> None:
    def inside() -> list[int]:
        veth()
        with own_cgroup("-newer") as cgroup:
            mine = list(held(cgroup))
            me = os.getpid()
            counts = []
            for noun in ("prog", "map", "link", "btf"):
                rows = in_process("-j", noun, "show").json()
                ours = {row["id"] for row in rows if any(one["pid"] == me for one in row.get("pids", ()))}
                if noun == "btf":
                    ours |= {item.programs[name].info().btf_id for item in mine[:2] for name in item.programs}
                here, there = by_id(noun, json.dumps(rows)), by_id(noun, theirs("-j", noun, "show"))
                assert ours <= there.keys()
                for number in ours:
                    if noun == "map" and "btf_id" not in here[number]:
                        there[number].pop("btf_id", None)  # of the map before: its list does not clear the info
                    assert here[number] == there[number]
                counts.append(len(ours))
            for words in (("net", "show"), ("cgroup", "show", str(cgroup)), ("perf", "show")):
                here, there = in_process("-j", *words).json(), json.loads(theirs("-j", *words))
                if words[0] == "perf":
                    here, there = ([row for row in rows if row["pid"] == me] for rows in (here, there))
                if words[0] == "net":  # the order of netfilter links of equal places is the kernel's
                    assert here[0].keys() == there[0].keys()
                assert here == there, words
                assert here
            links = [link for link in mine[2:] if hasattr(link, "id")]
            for link in links:
                here = in_process("link", "show", "id", link.id).out.splitlines()
                text = "\n".join(line for line in here if not line.startswith(("\tpids", "\tbpf_cookie")))
                assert text == theirs("link", "show", "id", str(link.id)).rstrip("\n")
            for one in reversed(mine):
                one.close()
        return [*counts, len(links)]

    if not BPFTOOL.exists():
        pytest.skip(f"no {BPFTOOL}: tools/build-test-kernel makes it")
    programs, maps, links, btf, shown = in_namespace(inside)
    assert programs >= 17 and maps >= 3 and links >= 17 and btf >= 2 and shown >= 15
