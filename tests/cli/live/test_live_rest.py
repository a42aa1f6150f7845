"""The other nouns on the running kernel, beside bpftool."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from beside import RETURN_1, Beside, in_process, theirs

sys.path.insert(0, str(Path(__file__).parents[2] / "linux"))
from sandbox import Refused, in_namespace, map_walks_problem, own_cgroup, veth

pytestmark = [pytest.mark.linux, pytest.mark.debian]
DATA = Path(__file__).parents[2] / "linux" / "data"


def load_some(kernel: Any, path: str, *names: str) -> Any:
    from bombus import load

    return load(DATA / path, kernel, programs=list(names))


# link


@pytest.fixture
def cgroup() -> Iterator[Path]:
    try:
        with own_cgroup("-verbs") as path:
            yield path
    except Refused as error:
        pytest.skip(str(error))


def test_links_of_many_kinds(beside: Beside, linux_kernel: Any, cgroup: Path, bpffs: Path) -> None:
    from bombus.kernel.handles import Link

    attrs = {"cg_out": ("BPF_CGROUP_INET_EGRESS", "cgroup"), "raw_enter": ("", "")}
    with load_some(linux_kernel, "attach.bpf.o", *attrs, "btf_enter", "lookup", "tp_getppid") as loaded:
        programs = loaded.programs
        folder = os.open(cgroup, os.O_RDONLY)
        net = os.open("/proc/self/ns/net", os.O_RDONLY)
        made = [
            Link.create(linux_kernel, programs["cg_out"], "BPF_CGROUP_INET_EGRESS", target_fd=folder),
            Link.raw_tracepoint(linux_kernel, programs["raw_enter"], "sys_enter"),
            Link.raw_tracepoint(linux_kernel, programs["btf_enter"]),
        ]
        try:
            for link in made:
                row = beside.json("link", "show", "id", link.id, more=("target_obj_id", "target_btf_id"))
                assert row["prog_id"] and row["pids"][0]["pid"] == os.getpid()
                ours = beside.bombus("link", "show", "id", link.id).out
                other = theirs("link", "show", "id", link.id).stdout
                if row["type"] != "tracing":
                    beside.text("link", "show", "id", link.id)
                assert ours.split("\n")[0] == other.split("\n")[0]
            rows = {row["id"]: row for row in beside.bombus("-j", "link").json()}
            assert {link.id for link in made} <= rows.keys()
            made[0].pin(bpffs / "l")
            assert beside.json("-f", "link", "show", "pinned", bpffs / "l")["pinned"] == [str(bpffs / "l")]
            assert beside.bombus("link", "pin", "id", made[1].id, bpffs / "raw").code == 0
            assert (bpffs / "raw").exists()
            assert beside.bombus("-j", "link", "detach", "id", made[0].id).json() is None
            assert beside.bombus("cgroup", "show", cgroup).out == ""
            done = beside.bombus("link", "detach", "id", made[1].id)
            assert done.code == 1 and "raw_tracepoint links go only when nothing holds them" in done.err
        finally:
            for link in made:
                link.close()
            os.close(folder)
            os.close(net)


def test_links_that_only_newer_bpftools_know(bombus: Callable[..., Any], linux_kernel: Any) -> None:
    def inside() -> None:
        from bombus.kernel.handles import Link
        from bombus.kernel.linux.kernel import LinuxKernel

        kernel = LinuxKernel()
        veth()
        number = socket.if_nametoindex("va")
        with load_some(kernel, "attach.bpf.o", "xdp_pass", "tc_in", "nf") as loaded:
            programs = loaded.programs
            with Link.create(kernel, programs["xdp_pass"], "BPF_XDP", ifindex=number) as xdp, Link.create(
                kernel, programs["tc_in"], "BPF_TCX_INGRESS", ifindex=number
            ) as tcx, Link.create(
                kernel, programs["nf"], "BPF_NETFILTER", netfilter_pf=2, netfilter_hooknum=1, netfilter_priority=-9
            ) as nf:
                row = in_process("-j", "link", "show", "id", xdp.id).json()
                assert (row["type"], row["devname"], row["ifindex"]) == ("xdp", "va", number)
                row = in_process("-j", "link", "show", "id", tcx.id).json()
                assert (row["type"], row["devname"], row["attach_type"]) == ("tcx", "va", "tcx_ingress")
                row = in_process("-j", "link", "show", "id", nf.id).json()
                assert (row["type"], row["pf"], row["hook"], row["prio"]) == ("netfilter", 2, 1, -9)
                assert "\n\tip input prio -9" in in_process("link", "show", "id", nf.id).out
                assert f"\n\tifindex va({number})  attach_type tcx_ingress  " in in_process("link").out
                rows = in_process("-j", "net", "show").json()[0]
                wanted = {"devname": "va", "ifindex": number, "mode": "driver", "id": programs["xdp_pass"].id}
                assert rows["xdp"] == [wanted]
                (tc,) = rows["tc"]
                assert (tc["kind"], tc["prog_id"], tc["link_id"]) == ("tcx/ingress", programs["tc_in"].id, tcx.id)
                wanted = {"pf": 2, "hook": 1, "prio": -9, "flags": 0, "id": programs["nf"].id}
                assert wanted in rows["netfilter"]
                assert f"\n\tip input prio -9 prog_id {programs['nf'].id}\n" in in_process("net").out

    in_namespace(inside)


# net


def test_net_in_a_namespace_of_its_own(linux_kernel: Any) -> None:
    def inside() -> None:
        from bombus.kernel.linux.kernel import LinuxKernel

        beside = Beside(in_process)
        veth()
        more = ("netfilter",)
        beside.json("net", "show", more=more)
        beside.text("net", "show")
        with load_some(LinuxKernel(), "attach.bpf.o", "xdp_pass", "xdp_drop", "tc_plain", "dissect") as loaded:
            one, two, tc, dissect = (loaded.programs[n] for n in ("xdp_pass", "xdp_drop", "tc_plain", "dissect"))
            for kind in ("xdpgeneric", "xdpdrv", "xdp"):
                words = ("net", "attach", kind, "id", one.id, "dev", "va")
                assert in_process("-j", *words).json() is None
                row = beside.json("net", "show", "dev", "va", more=more)[0]["xdp"][0]
                assert row["id"] == one.id and row["mode"] == ("generic" if kind == "xdpgeneric" else "driver")
                beside.text("net", "show")
                done = in_process("net", "attach", kind, "id", two.id, "dev", "va")
                assert done.code == 1 and "EBUSY" in done.err
                assert in_process("net", "attach", kind, "id", two.id, "dev", "va", "overwrite").code == 0
                assert beside.json("net", more=more)[0]["xdp"][0]["id"] == two.id
                assert in_process("net", "detach", kind, "dev", "va").code == 0
                assert beside.json("net", more=more)[0]["xdp"] == []
            from bombus.kernel.linux.netlink import Netlink
            from bombus.kernel.linux.rtnl import tc_attach, tc_qdisc
            from bombus.kernel.sites import TcFilter

            number = socket.if_nametoindex("vb")
            with Netlink() as netlink:
                tc_qdisc(netlink, number, add=True)
                for parent in (0xFFFFFFF2, 0xFFFFFFF3):
                    tc_attach(netlink, TcFilter(number, parent, 0, 0, 0, "beside.o:[tc]"), tc.fd, replace=False)
            rows = beside.json("net", "show", more=more)[0]["tc"]
            assert [row["kind"] for row in rows] == ["clsact/ingress", "clsact/egress"]
            beside.text("net", "show")
            assert in_process("prog", "attach", "id", dissect.id, "flow_dissector").code == 0
            assert in_process("-j", "net").json()[0]["flow_dissector"] == [{"id": dissect.id}]
            beside.text("net", "show")
            assert in_process("prog", "detach", "id", dissect.id, "flow_dissector").code == 0
            assert in_process("net", "attach", "tcx_egress", "id", tc.id, "dev", "va").code == 0
            rows = in_process("-j", "net", "show", "dev", "va").json()[0]["tc"]
            assert [(row["kind"], row["name"], row["prog_id"]) for row in rows] == [("tcx/egress", "tc_plain", tc.id)]
            assert in_process("net", "detach", "tcx_egress", "dev", "va").code == 0

    in_namespace(inside)


def test_net_refusals(bombus: Callable[..., Any], linux_kernel: Any) -> None:
    for words, text in (
        (("attach", "xdpfoo"), "expected 'xdp'"),
        (("attach", "xdp", "id", "4294967295"), "no prog with id"),
        (("detach", "xdp", "dev", "nodev0"), "no network device 'nodev0'"),
        (("show", "dev"), "a device is missing"),
        (("show", "frob", "x"), "expected 'dev'"),
    ):
        done = bombus("net", *words)
        assert done.code in (1, 2) and text in done.err


# cgroup


def test_cgroups(beside: Beside, linux_kernel: Any, cgroup: Path) -> None:
    inner = cgroup / "inner"
    inner.mkdir()
    try:
        names = ("cg_in", "cg_out", "cg_bind4", "cg_ops", "cg_dev", "cg_get")
        words = ("ingress", "cgroup_inet_egress", "bind4", "sock_ops", "cgroup_device", "getsocko")
        with load_some(linux_kernel, "attach.bpf.o", *names) as loaded:
            for index, (name, word) in enumerate(zip(names, words, strict=True)):
                flags = ((), ("multi",), ("override",))[index % 3]
                where = inner if name == "cg_in" else cgroup
                done = beside.bombus("-j", "cgroup", "attach", where, word, "id", loaded.programs[name].id, *flags)
                assert done.code == 0 and done.json() is None, done
            for path in (cgroup, inner):
                beside.json("cgroup", "show", path)
                beside.text("cgroup", "show", path)
                beside.json("cgroup", "list", path, "effective")
                beside.text("cgroup", "show", path, "effective")
            rows = beside.json("cgroup", "tree", cgroup)
            assert [row["cgroup"] for row in rows] == [str(cgroup), str(inner)]
            beside.text("cgroup", "tree", cgroup)
            beside.text("cgroup", "tree", cgroup, "effective")
            for name, word in zip(names, words, strict=True):
                where = inner if name == "cg_in" else cgroup
                assert beside.bombus("cgroup", "detach", where, word, "id", loaded.programs[name].id).code == 0
            assert beside.bombus("-j", "cgroup", "show", cgroup).json() == []
            words = ("cgroup", "attach", cgroup, "bind4", "id", loaded.programs["cg_in"].id)
            assert "of another type" in beside.bombus(*words).err
            words = ("cgroup", "attach", cgroup, "egress", "id", loaded.programs["cg_out"].id)
            assert "exclude each other" in beside.bombus(*words, "multi", "override").err
            assert beside.bombus(*words).code == 0
            inward = ("cgroup", "attach", inner, "egress", "id", loaded.programs["cg_out"].id)
            done = beside.bombus(*inward, "multi")
            assert done.code == 1 and "EPERM" in done.err and "without multi or override" in done.err
            assert beside.bombus("cgroup", "detach", *words[2:]).code == 0
            done = beside.bombus("cgroup", "detach", cgroup, "bind4", "id", loaded.programs["cg_bind4"].id)
            assert done.code == 1 and "BPF_PROG_DETACH" in done.err
    finally:
        inner.rmdir()


def test_cgroup_refusals(bombus: Callable[..., Any], linux_kernel: Any, tmp_path: Path) -> None:
    for words, text in (
        (("show",), "CGROUP is missing"),
        (("show", "/nowhere"), "/nowhere"),
        (("show", tmp_path), "BPF_PROG_QUERY"),
        (("show", tmp_path, "frob"), "expected 'effective'"),
        (("tree", "/nowhere"), "no directory"),
        (("attach", tmp_path, "frob", "id", "1"), "invalid attach type 'frob'"),
    ):
        done = bombus("cgroup", *words)
        assert done.code in (1, 2) and text in done.err, (words, done)


# btf


def test_btf(beside: Beside, linux_kernel: Any, traffic: Path) -> None:
    from bombus import load

    with load(traffic, linux_kernel) as loaded:
        program, flows = loaded.programs["traffic"], loaded.maps["flows"]
        number = program.info()["btf_id"]
        row = beside.bombus("-j", "btf", "show", "id", number).json()
        other = json.loads(theirs("-j", "btf", "show", "id", number).stdout)
        for one in (row, other):
            one["prog_ids"].sort()
            one["map_ids"].sort()
            one.pop("pids", None)
        assert row == other and program.id in row["prog_ids"] and flows.id in row["map_ids"]
        beside.json("btf", "show", "id", 1)
        beside.text("btf", "show", "id", 1)
        assert {r["id"] for r in beside.bombus("-j", "btf").json()} >= {1, number}
        for source in (("id", number), ("prog", "id", program.id), ("map", "id", flows.id),
                       ("map", "id", flows.id, "key"), ("map", "id", flows.id, "value"),
                       ("map", "id", flows.id, "all")):  # fmt: skip
            beside.json("btf", "dump", *source)
            beside.text("btf", "dump", *source)
            if source[-1] != "all" and source[0] != "prog":
                beside.text("btf", "dump", *source, "format", "c")
    for words, text in (
        (("dump", "id", "4294967295"), "ENOENT"),
        (("dump", "map", "id", "4294967295"), "no map with id"),
        (("dump",), "is missing"),
        (("show", "frob", "1"), "expected 'id'"),
        (("show", "id", "x"), "can't parse"),
    ):
        done = beside.bombus("btf", *words)
        assert done.code in (1, 2) and text in done.err


# perf


def test_perf_of_a_raw_tracepoint(beside: Beside, linux_kernel: Any) -> None:
    from bombus.kernel.handles import Link

    with load_some(linux_kernel, "attach.bpf.o", "raw_enter") as loaded, Link.raw_tracepoint(
        linux_kernel, loaded.programs["raw_enter"], "sys_enter"
    ) as link:
        mine = [row for row in beside.bombus("-j", "perf").json() if row["pid"] == os.getpid() and row["fd"] == link.fd]
        other = [
            row for row in json.loads(theirs("-j", "perf", "show").stdout)
            if row["pid"] == os.getpid() and row["fd"] == link.fd
        ]  # fmt: skip
        assert mine == other and mine[0]["tracepoint"] == "sys_enter"
        number = loaded.programs["raw_enter"].id
        text = f"pid {os.getpid()}  fd {link.fd}: prog_id {number}  raw_tracepoint  sys_enter\n"
        assert text in beside.bombus("perf", "list").out and text in theirs("perf").stdout


# struct_ops, iter


def test_struct_ops(beside: Beside, linux_kernel: Any, bpffs: Path) -> None:
    if why := map_walks_problem():
        pytest.skip(f"the object has {why}")
    done = beside.bombus("struct_ops", "register", DATA / "iters.bpf.o", bpffs)
    mine = {line.split()[2]: int(line.split()[-1]) for line in done.err.splitlines() if line.startswith("Registered ")}
    try:
        # The object has two maps for one name, of which one is registered. Somebody else may have the names meanwhile.
        assert done.code == 2 and "EEXIST" in done.err and "Traceback" not in done.err, done
        if len(mine) < 2:
            pytest.skip(f"the kernel refuses here: {done.err}")
        rows = {row["name"]: row for row in beside.bombus("-j", "struct_ops").json()}
        for name, number in mine.items():
            row = beside.json("struct_ops", "show", "id", number)
            assert row == rows[name] == {"id": number, "name": name, "kernel_struct_ops": "tcp_congestion_ops"}
            found = beside.json("struct_ops", "dump", "name", name)
            beside.text("struct_ops", "dump", "name", name)
            assert beside.bombus("-j", "struct_ops", "dump", "id", number).json() == found
            assert [*found[0], *found[1]] == ["bpf_map_info", "bpf_struct_ops_tcp_congestion_ops"]
    finally:
        for name, number in mine.items():
            if not (bpffs / name).exists():
                assert beside.bombus("struct_ops", "unregister", "id", number).code == 0
    assert beside.bombus("struct_ops", "show", "name", "no_such").code == 2


def test_iterators(beside: Beside, linux_kernel: Any, bpffs: Path, tmp_path: Path) -> None:
    if why := map_walks_problem():
        pytest.skip(why)
    source = tmp_path / "it.S"
    source.write_text(
        """
        .section "iter/bpf_map_elem", "ax"
        .globl elems
    elems:
        r0 = 0
        exit
        .section license, "aw"
        .asciz "GPL"
        """
    )
    with_map = ("map", "id")
    from bombus.kernel.handles import Map

    with Map.create(linux_kernel, "hash", 4, 8, 4, name="walked") as item:
        done = beside.bombus("iter", "pin", source, bpffs / "it", *with_map, item.id)
        assert done.code == 0, done
        row = beside.json("link", "show", "pinned", bpffs / "it")
        assert row["target_name"] == "bpf_map_elem" and row["map_id"] == item.id
        beside.text("link", "show", "pinned", bpffs / "it")
        assert (bpffs / "it").read_bytes() == b""


# batch, version


def test_batch(beside: Beside, linux_kernel: Any, tmp_path: Path) -> None:
    from bombus.kernel.handles import Map, Program

    with Map.create(linux_kernel, "hash", 4, 4, 4, name="batched") as item, Program.load(
        linux_kernel, "xdp", RETURN_1, name="b prog".replace(" ", "_")
    ) as program:
        file = tmp_path / "batch"
        file.write_text(
            f"# a comment\nmap update id {item.id} key 1 0 0 0 \\\n value 2 0 0 0\n\n"
            f"map dump id {item.id} # more\nprog show id {program.id}\nmap lookup id {item.id} key '1' \"0\" 0 0\n"
        )
        beside.json("batch", "file", file)
        beside.text("batch", "file", file)
        assert beside.bombus("-p", "batch", "file", file).json()[1]["command"] == ["map", "dump", "id", str(item.id)]
        file.write_text(f"map show id {item.id}\nmap show id 4294967295\nmap show id {item.id}\n")
        ours, other = beside.bombus("-j", "batch", "file", file), theirs("-j", "batch", "file", file)
        assert ours.code == 1 and other.returncode
        assert [row["command"] for row in ours.json()] == [row["command"] for row in json.loads(other.stdout)]
        assert "no map with id" in ours.json()[1]["output"]["error"]
        for text, problem in (("batch file x\n", "inside a batch"), ("map show 'x\n", "unterminated"),
                              ("map show \\\n", "continuation"), ("frobnicate\n", "No such command")):  # fmt: skip
            file.write_text(text)
            done = beside.bombus("batch", "file", file)
            assert done.code in (1, 2) and problem in done.err, done


def test_version(bombus: Callable[..., Any]) -> None:
    import bombus as package

    found = bombus("-j", "version").json()
    assert found["version"] == package.__version__ and found["features"]["skeletons"] is True
    assert bombus("version").out.startswith(f"bombus v{package.__version__}\n")


def test_nouns_may_be_shortened(bombus: Callable[..., Any], linux_kernel: Any) -> None:
    for words in (("p",), ("m", "l"), ("l",), ("bt", "sh"), ("struct", "s"), ("pe",)):
        assert bombus("-j", *words).code == 0, words


# robustness


def test_ids_that_vanish_are_left_out(
    bombus: Callable[..., Any], linux_kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bombus.cli import live

    for kind, noun in (("prog", "prog"), ("map", "map"), ("link", "link"), ("btf", "btf")):
        real = live.ids
        monkeypatch.setattr(live, "ids", lambda k, kind, real=real: [*real(k, kind), 0xFFFF_FFF0])
        assert bombus("-j", noun).code == 0 and bombus(noun).code == 0
        monkeypatch.undo()
        assert kind


def test_links_that_are_being_made_are_left_out(
    bombus: Callable[..., Any], linux_kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from bombus.cli import live
    from bombus.errors import KernelError

    def refused(_kernel: Any, kind: str, _number: int) -> int:
        raise KernelError(errno.EAGAIN, f"BPF_{kind.upper()}_GET_FD_BY_ID")

    monkeypatch.setattr(live, "ids", lambda _kernel, _kind: [1, 2])
    monkeypatch.setattr(live, "open_id", refused)
    assert bombus("-j", "link").json() == [] and bombus("link").code == 0


WITHOUT_RIGHTS = {
    "prog show": "CAP_SYS_ADMIN", "map show": "CAP_SYS_ADMIN", "link show": "CAP_SYS_ADMIN",
    "btf show": "CAP_SYS_ADMIN",
    "perf show": "CAP_SYS_ADMIN", "net show": "CAP_BPF", "feature probe": "CAP_BPF", "struct_ops show": "CAP_SYS_ADMIN",
    "map create /sys/fs/bpf/bombus-x type hash key 4 value 4 entries 1 name x": "CAP_",
    f"prog load {DATA / 'attach.bpf.o'} /sys/fs/bpf/bombus-x": "CAP_", f"trace {DATA / 'attach.bpf.o'}": "CAP_BPF",
    "profile --duration 1 -- true": "CAP_",
}  # fmt: skip


@pytest.mark.parametrize("words", WITHOUT_RIGHTS)
def test_without_rights_the_error_says_what_is_missing(linux_kernel: Any, words: str) -> None:
    code = (
        "import ctypes, sys; from bombus.cli.main import main\n"
        "libc = ctypes.CDLL(None); libc.capset((ctypes.c_uint * 2)(0x20080522, 0), (ctypes.c_uint * 6)())\n"
        f"sys.exit(main({words.split()!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("bombus: ") and WITHOUT_RIGHTS[words] in line


def test_a_kernel_without_iterators_shows_no_holders(
    bombus: Callable[..., Any], linux_kernel: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from bombus.kernel.handles import Program
    from bombus.kernel.linux import holders

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("BOMBUS_CACHE", raising=False)
    monkeypatch.setattr("bombus.kernel.linux.cache._known", {})
    monkeypatch.setattr(holders, "_programs", lambda kernel: {})
    with Program.load(linux_kernel, "xdp", RETURN_1) as program:
        assert "pids" not in bombus("-j", "prog", "show", "id", program.id).json()
    assert not list(tmp_path.rglob("*.json"))


def test_a_wrong_cache_is_found_out(linux_kernel: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from bombus.kernel.handles import Program
    from bombus.kernel.linux.cache import identity
    from bombus.kernel.linux.holders import holders

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("BOMBUS_CACHE", raising=False)
    (tmp_path / "bombus").mkdir()
    file = tmp_path / "bombus" / "holders.json"
    for text in ("{", "[]", json.dumps({"for": "another kernel ", "fact": {"target": 1}}),
                 json.dumps({"for": identity() + " ", "fact": {"target": 1, **dict.fromkeys(("prog", "map"), "00")}})):
        file.write_text(text)
        monkeypatch.setattr("bombus.kernel.linux.cache._known", {})
        with Program.load(linux_kernel, "xdp", RETURN_1) as program:
            assert os.getpid() in [pid for pid, _ in holders(linux_kernel, "prog")[program.id].processes]
        assert json.loads(file.read_text())["for"] == identity() + " "




def test_who_looks_for_holders_is_none(linux_kernel: Any) -> None:
    """The search opens a BTF object itself, which counts only for who had it open before."""
    code = (
        "import os\nfrom bombus.kernel.handles import Btf, ids\n"
        "from bombus.kernel.linux.holders import holders\nfrom bombus.kernel.linux.kernel import LinuxKernel\n"
        "kernel = LinuxKernel()\nfirst = next(iter(ids(kernel, 'btf')))\n"
        "def mine():\n    found = holders(kernel, 'btf').get(first)\n"
        "    return found is not None and os.getpid() in dict(found.processes)\n"
        "print(mine())\nwith Btf.from_id(kernel, first):\n    print(mine())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_btf_of_a_user_kernel(bombus: Callable[..., Any]) -> None:
    assert bombus("-j", "btf", "show", "--kernel", "user:6.1").json() == []
    done = bombus("btf", "dump", "id", "1", "--kernel", "user")
    assert done.code == 1 and "ENOENT" in done.err
    done = bombus("btf", "dump", "vmlinux", "--kernel", "user")
    assert done.code == 1 and "without it" in done.err


# load with autoattach, legacy maps, prints

ITERATOR = """
    .section "iter/task", "ax"
    .globl walk
walk:
    r0 = 0
    exit
    .section license, "aw"
    .asciz "GPL"
"""


def test_autoattach_pins_the_link(beside: Beside, linux_kernel: Any, bpffs: Path, tmp_path: Path) -> None:
    source = tmp_path / "walk.S"
    source.write_text(ITERATOR)
    assert beside.bombus("prog", "load", source, bpffs / "walk", "autoattach").code == 0
    assert beside.json("link", "show", "pinned", bpffs / "walk")["target_name"] == "task"
    source.write_text(ITERATOR.replace("iter/task", "xdp"))
    done = beside.bombus("prog", "loadall", source, bpffs / "all", "autoattach")
    assert done.code == 0 and "does not support autoattach, falling back to pinning" in done.err
    assert beside.json("prog", "show", "pinned", bpffs / "all" / "walk")["type"] == "xdp"


def test_legacy_maps_with_unknown_fields(
    bombus: Callable[..., Any], linux_kernel: Any, bpffs: Path, tmp_path: Path
) -> None:
    source = tmp_path / "old.S"
    source.write_text(
        ITERATOR.replace("iter/task", "xdp")
        + """
        .section maps, "aw"
        .globl old
    old:
        .long 2, 4, 8, 3, 0, 7
        .size old, 24
        """
    )
    done = bombus("prog", "load", source, bpffs / "p")
    assert done.code == 1 and "unknown options" in done.err
    assert bombus("-m", "prog", "load", source, bpffs / "p", "pinmaps", bpffs / "maps").code == 0
    row = bombus("-j", "map", "show", "pinned", bpffs / "maps" / "old").json()
    assert (row["type"], row["bytes_value"], row["max_entries"]) == ("array", 8, 3)


def test_tracelog(linux_kernel: Any, tmp_path: Path) -> None:
    """What a test run prints comes through the pipe: that of an instance, as the global one may be off."""
    from bombus.asm import assemble
    from bombus.errors import BombusError
    from bombus.kernel.handles import Program
    from bombus.kernel.linux.tracefs import root

    word = f"verbs{os.getpid() % 1000:03}"
    text = f"""
        r1 = {int.from_bytes(word.encode(), "little")} ll
        *(u64 *)(r10 - 16) = r1
        r1 = 0
        *(u64 *)(r10 - 8) = r1
        r1 = r10
        r1 += -16
        r2 = 9
        call bpf_trace_printk
        r0 = 2
        exit
    """
    try:
        folder = Path(str(root()).replace("/proc/self/", f"/proc/{os.getpid()}/"))
    except BombusError as error:
        pytest.skip(str(error))
    instance = folder / "instances" / f"bombus-verbs-{os.getpid()}"
    instance.mkdir()
    try:
        (instance / "events/bpf_trace/bpf_trace_printk/enable").write_text("1")
        code = (
            "import sys; from pathlib import Path; from bombus.kernel.linux import tracefs\n"
            f"tracefs.root = lambda: Path({str(instance)!r})\n"
            "from bombus.cli.main import main; sys.exit(main(['-j', 'prog', 'tracelog']))"
        )
        out = tmp_path / "out"
        with Program.load(linux_kernel, "xdp", assemble(text).insns) as program, out.open("w") as file:
            child = subprocess.Popen([sys.executable, "-c", code], stdout=file)
            end = time.monotonic() + 30
            while time.monotonic() < end and word not in out.read_text() and child.poll() is None:
                program.test_run(bytes(64))
                time.sleep(0.1)
            child.send_signal(signal.SIGTERM)
            assert child.wait(30) == 0
        lines = json.loads(out.read_text())
        assert any(word in line for line in lines) and all(line.endswith("\n") for line in lines)
    finally:
        instance.rmdir()


def test_streams_of_a_program(bombus: Callable[..., Any], linux_kernel: Any) -> None:
    from bombus.kernel.handles import Program

    with Program.load(linux_kernel, "xdp", RETURN_1) as program:
        done = bombus("-j", "prog", "tracelog", "stdout", "id", program.id)
        if linux_kernel.version >= (6, 17):
            assert done.code == 0 and done.json() == []
        else:
            assert done.code == 1 and "6.17" in done.err


def test_wrong_usage_is_json_too(bombus: Callable[..., Any]) -> None:
    for words in (("prog", "frob"), ("frob",), ("prog", "dump", "frob")):
        done = bombus("-j", *words)
        assert done.code == 2 and "No such command 'frob'" in done.json()["error"]
    assert bombus("help").out == bombus("--help").out
    assert bombus("-j", "prog", "help").out == "null\n" and "Usage: bombus prog " in bombus("prog", "help").err


def test_lists_ask_the_kernel_a_few_times_for_each(
    bombus: Callable[..., Any], linux_kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linear in the number of programs, whatever the machine's speed."""
    from bombus.kernel.handles import Program
    from bombus.kernel.linux.kernel import LinuxKernel

    calls = 0
    real = LinuxKernel.bpf

    def counted(self: Any, attr: Any) -> int:
        nonlocal calls
        calls += 1
        return real(self, attr)

    monkeypatch.setattr(LinuxKernel, "bpf", counted)
    programs = [Program.load(linux_kernel, "xdp", RETURN_1, name="counted") for _ in range(60)]
    try:
        calls = 0
        rows = bombus("-j", "prog").json()
        assert len(rows) >= 60 and calls <= 8 * len(rows) + 40
        calls = 0
        assert len(bombus("-j", "prog", "show", "name", "counted").json()) == 60 and calls <= 8 * len(rows) + 40
    finally:
        for program in programs:
            program.close()


def test_the_cookie_of_a_perf_event_link(bombus: Callable[..., Any], linux_kernel: Any) -> None:
    """Read by the iterator from the kernel's own structures, and by BPF_OBJ_GET_INFO_BY_FD since Linux 6.9."""
    from bombus.errors import BombusError
    from bombus.kernel.handles import Link
    from bombus.kernel.handles.attach import attach

    with load_some(linux_kernel, "attach.bpf.o", "tp_getppid") as loaded:
        try:
            link = attach(loaded.programs["tp_getppid"], cookie=0x1122334455667788)
        except BombusError as error:
            pytest.skip(f"the kernel refuses here: {error}")
        with link:
            if not isinstance(link, Link):
                pytest.skip("no perf event links here")
            row = bombus("-j", "link", "show", "id", link.id).json()
            assert row["type"] == "perf_event" and row["bpf_cookie"] == 0x1122334455667788
            assert row["pids"] == [{"pid": os.getpid(), "comm": Path("/proc/self/comm").read_text().strip()}]
            if linux_kernel.version >= (6, 9):
                assert (row["tracepoint"], row["cookie"]) == ("sys_enter_getppid", 0x1122334455667788)
            text = bombus("link", "show", "id", link.id).out
            assert f"\n\tbpf_cookie {0x1122334455667788}\n\tpids " in text
