"""JSON of the verbs that change something: ours does it to one object and bpftool to its twin, then both show alike."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from beside import RETURN_1, Beside, in_process, theirs, without

sys.path.insert(0, str(Path(__file__).parents[2] / "linux"))
from sandbox import Refused, in_namespace, own_cgroup, veth

pytestmark = [pytest.mark.linux, pytest.mark.debian]
OBJECT = Path(__file__).parents[2] / "linux" / "data" / "attach.bpf.o"


def value(text: str) -> Any:
    """Where bpftool prints nothing at all (`gen`), which is no JSON, ours is null."""
    return json.loads(text) if text.strip() else None


class Twins:
    """Runs a command of ours with twin 0 and bpftool's with twin 1; the answers are equal."""

    def __init__(self, beside: Beside) -> None:
        self.beside = beside

    def __call__(self, words: Callable[[int], tuple[object, ...]]) -> Any:
        ours = self.beside.bombus("-j", *words(0))
        other = theirs("-j", *words(1))
        assert (ours.code == 0) == (other.returncode == 0), (words(0), ours, other)
        if ours.code and isinstance(value(ours.out), dict):  # errors have words of our own
            assert set(ours.json()) == set(value(other.stdout)) == {"error"}, (words(0), ours, other)
            return None
        assert value(ours.out) == value(other.stdout), words(0)
        return value(ours.out)

    def show(self, *words: Callable[[int], tuple[object, ...]], unlike: tuple[str, ...] = ("id", "pids")) -> None:
        """Both show both twins alike but for what tells them apart."""
        for one in words:
            rows = [self.beside.json(*one(twin)) for twin in (0, 1)]
            assert without(rows[0], *unlike) == without(rows[1], *unlike)


@pytest.fixture
def twins(beside: Beside) -> Twins:
    return Twins(beside)


@pytest.fixture
def cgroups() -> Iterator[list[Path]]:
    try:
        with own_cgroup("-twin0") as one, own_cgroup("-twin1") as two:
            yield [one, two]
    except Refused as error:
        pytest.skip(str(error))


KEY, VALUE = (1, 0, 0, 0), (2, 0, 0, 0)


def test_maps(twins: Twins, bpffs: Path) -> None:
    def at(twin: int) -> tuple[object, ...]:
        return "pinned", bpffs / f"hash{twin}"

    # BPF_F_NO_PREALLOC, and BPF_F_ZERO_SEED: both have their keys in one order.
    base = ("type", "hash", "key", 4, "value", 4, "entries", 2, "name", "twin", "flags", 1 | 64)
    assert twins(lambda t: ("map", "create", bpffs / f"hash{t}", *base)) is None
    assert twins(lambda t: ("map", "create", bpffs / f"hash{t}", *base)) is None  # refused: it is there
    for words in (
        ("update", "key", *KEY, "value", *VALUE, "noexist"), ("update", "key", *KEY, "value", *VALUE, "noexist"),
        ("update", "key", *KEY, "value", *VALUE, "exist"), ("update", "key", 2, 0, 0, 0, "value", "hex", 1, "ff", 0, 9),
        ("update", "key", 3, 0, 0, 0, "value", *VALUE), ("lookup", "key", *KEY), ("lookup", "key", 9, 0, 0, 0),
        ("getnext", "key", 9, 9, 9, 9), ("delete", "key", *KEY), ("delete", "key", *KEY), ("dump",), ("getnext",),
        ("getnext", "key", 2, 0, 0, 0), ("peek",), ("pop",), ("update", "key", 1, "value", *VALUE), ("lookup",),
    ):  # fmt: skip
        twins(lambda t, w=words: ("map", w[0], *at(t), *w[1:]))
    twins(lambda t: ("map", "pin", *at(t), bpffs / f"again{t}"))
    twins(lambda t: ("map", "pin", *at(t), bpffs / f"again{t}"))  # refused
    twins(lambda t: ("map", "freeze", *at(t)))
    twins(lambda t: ("map", "update", *at(t), "key", *KEY, "value", *VALUE))  # refused
    twins.show(lambda t: ("map", "show", *at(t)), lambda t: ("map", "dump", "pinned", bpffs / f"again{t}"))


@pytest.mark.parametrize(("type_", "push", "pop"), [("queue", "enqueue", "dequeue"), ("stack", "push", "pop")])
def test_queues(twins: Twins, bpffs: Path, type_: str, push: str, pop: str) -> None:
    base = ("type", type_, "key", 0, "value", 4, "entries", 2, "name", "twin")
    twins(lambda t: ("map", "create", bpffs / f"q{t}", *base))
    for words in (("peek",), (pop,), (push, "value", *VALUE), (push, "value", 3, 0, 0, 0), (push, "value", *KEY),
                  ("peek",), (pop,), (pop,), (pop,)):  # fmt: skip
        twins(lambda t, w=words: ("map", w[0], "pinned", bpffs / f"q{t}", *w[1:]))


def test_programs(twins: Twins, bpffs: Path, traffic: Path, packets: Path, tmp_path: Path) -> None:
    (bpffs / "maps0").mkdir()
    (bpffs / "maps1").mkdir()
    twins(lambda t: ("prog", "load", traffic, bpffs / f"one{t}", "pinmaps", bpffs / f"maps{t}"))
    twins(lambda t: ("prog", "load", tmp_path / f"none{t}", bpffs / f"two{t}"))  # refused
    twins(lambda t: ("prog", "loadall", packets, bpffs / f"all{t}"))
    twins(lambda t: ("prog", "pin", "pinned", bpffs / f"one{t}", bpffs / f"again{t}"))
    twins(lambda t: ("prog", "pin", "pinned", bpffs / f"one{t}", bpffs / f"again{t}"))  # refused
    twins(lambda t: ("prog", "dump", "xlated", "pinned", bpffs / f"one{t}", "file", tmp_path / f"code{t}"))
    unlike = ("id", "pids", "loaded_at", "map_ids", "btf_id")
    twins.show(lambda t: ("prog", "show", "pinned", bpffs / f"again{t}"), unlike=unlike)
    for name in sorted(os.listdir(bpffs / "all0")):
        twins.show(lambda t, n=name: ("prog", "show", "pinned", bpffs / f"all{t}" / n), unlike=unlike)
    for name in sorted(os.listdir(bpffs / "maps0")):
        twins.show(
            lambda t, n=name: ("map", "show", "pinned", bpffs / f"maps{t}" / n),
            unlike=("id", "pids", "btf_id"),
        )


def test_sockmaps(twins: Twins, linux_kernel: Any) -> None:
    from bombus.kernel.handles import Map, Program

    with (
        Map.create(linux_kernel, "sockmap", 4, 4, 2) as one,
        Map.create(linux_kernel, "sockmap", 4, 4, 2) as two,
        Program.load(linux_kernel, "sk_msg", RETURN_1, name="twin_msg") as program,
    ):
        for verb in ("attach", "detach", "detach"):
            twins(lambda t, v=verb: ("prog", v, "id", program.id, "sk_msg_verdict", "id", (one, two)[t].id))


def test_links(twins: Twins, linux_kernel: Any, bpffs: Path, cgroups: list[Path]) -> None:
    from bombus import load

    with load(OBJECT, linux_kernel, programs=["cg_out"]) as item:
        links = [item.programs["cg_out"].attach_cgroup(path) for path in cgroups]
        twins(lambda t: ("link", "pin", "id", links[t].id, bpffs / f"l{t}"))
        twins(lambda t: ("link", "pin", "id", links[t].id, bpffs / f"l{t}"))  # refused
        twins.show(lambda t: ("link", "show", "pinned", bpffs / f"l{t}"), unlike=("id", "pids", "cgroup_id"))
        twins(lambda t: ("link", "detach", "pinned", bpffs / f"l{t}"))
        twins.show(lambda t: ("link", "show", "id", links[t].id), unlike=("id", "pids"))
        for link in links:
            link.close()


def test_cgroups(twins: Twins, linux_kernel: Any, cgroups: list[Path]) -> None:
    from bombus import load

    with load(OBJECT, linux_kernel, programs=["cg_out", "cg_bind4"]) as item:
        for verb, word, name, flags in (
            ("attach", "cgroup_inet_egress", "cg_out", ("multi",)), ("attach", "cgroup_inet_egress", "cg_out", ()),
            ("attach", "cgroup_inet4_bind", "cg_bind4", ("override",)), ("attach", "egress", "cg_bind4", ()),
            ("detach", "cgroup_inet_egress", "cg_out", ()), ("detach", "cgroup_inet_egress", "cg_out", ()),
        ):  # fmt: skip
            number = item.programs[name].id
            twins(lambda t, w=(verb, word, number, flags): ("cgroup", w[0], cgroups[t], w[1], "id", w[2], *w[3]))
            if verb == "attach":
                twins.show(lambda t: ("cgroup", "show", cgroups[t]))
        twins(lambda t: ("cgroup", "detach", cgroups[t], "cgroup_inet4_bind", "id", item.programs["cg_bind4"].id))


def test_net(linux_kernel: Any) -> None:
    def inside() -> None:
        from bombus import load
        from bombus.kernel.linux.kernel import LinuxKernel

        twins = Twins(Beside(in_process))
        veth()
        ends = ("va", "vb")
        more = ("netfilter",)
        with load(OBJECT, LinuxKernel(), programs=["xdp_pass", "xdp_drop"]) as item:
            number = item.programs["xdp_pass"].id
            other = item.programs["xdp_drop"].id
            for kind in ("xdpgeneric", "xdpdrv"):
                twins(lambda t, kind=kind: ("net", "attach", kind, "id", number, "dev", ends[t]))
                rows = [twins.beside.json("net", "show", "dev", end, more=more)[0]["xdp"] for end in ends]
                assert without(rows[0], "devname", "ifindex") == without(rows[1], "devname", "ifindex") != []
                twins(lambda t, kind=kind: ("net", "attach", kind, "id", other, "dev", ends[t]))  # refused
                twins(lambda t, kind=kind: ("net", "attach", kind, "id", other, "dev", ends[t], "overwrite"))
                twins(lambda t, kind=kind: ("net", "detach", kind, "dev", ends[t]))
            twins(lambda t: ("net", "attach", "xdp", "id", number, "dev", f"none{t}"))
        assert socket.if_nametoindex("va")

    in_namespace(inside)


def test_iterators(twins: Twins, bpffs: Path) -> None:
    file = Path(__file__).parents[2] / "events" / "data" / "iterators.bpf.o"
    twins(lambda t: ("iter", "pin", file, bpffs / f"it{t}"))
    twins(lambda t: ("iter", "pin", file, bpffs / f"it{t}"))  # refused
    twins.show(lambda t: ("link", "show", "pinned", bpffs / f"it{t}"), unlike=("id", "pids", "prog_id"))


def test_struct_ops(beside: Beside) -> None:
    """One after the other: the kernel takes a congestion control's name once."""
    file = Path(__file__).parents[1] / "data" / "register.bpf.o"
    name = ("name", "twin_ops")
    found = []
    for tool in (beside.bombus, theirs):
        answers: list[Any] = []
        done = tool("-j", "struct_ops", "register", file)
        answers.append(value(getattr(done, "out", getattr(done, "stdout", ""))))
        try:
            rows = [beside.json("struct_ops", verb, *name) for verb in ("show", "dump")]
            answers.append(without(rows, "id", "btf_id", "ssthresh", "cong_avoid", "undo_cwnd"))
        finally:
            done = tool("-j", "struct_ops", "unregister", *name)
        answers.append(value(getattr(done, "out", getattr(done, "stdout", ""))))
        assert value(beside.bombus("-j", "struct_ops", "show", *name).out).keys() == {"error"}
        found.append(answers)
    assert found[0] == found[1] and found[0][0] is None


def test_btf_gen_feature(twins: Twins, traffic: Path, tmp_path: Path) -> None:
    for group in ("prog_types", "map_types", "attach_types", "link_types", "helpers"):
        ours, other = (value(text) for text in (
            twins.beside.bombus("-j", "feature", "list_builtins", group).out,
            theirs("-j", "feature", "list_builtins", group).stdout,
        ))  # fmt: skip
        # Newer names are ours alone, and helper 0 is none.
        assert [n for n in other if n != "bpf_unspec"] == [n for n in ours if n in other], group
    twins.beside.json("btf", "dump", "file", traffic)
    twins(lambda t: ("btf", "dump", "file", tmp_path / f"none{t}"))
    twins(lambda t: ("gen", "object", tmp_path / f"linked{t}.o", traffic))
    twins(lambda t: ("gen", "min_core_btf", "/sys/kernel/btf/vmlinux", tmp_path / f"min{t}.btf", traffic))
    twins.show(lambda t: ("btf", "dump", "file", tmp_path / f"linked{t}.o"))
