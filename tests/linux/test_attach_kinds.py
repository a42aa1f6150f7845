"""Each kind of section attached to something of our own, seen to work, and gone afterwards."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sandbox import CLONE_NEWNET, Refused, in_namespace, join, map_walks_problem, own_cgroup, run, veth

from bombus.errors import KernelError, NotSupported, ObjectError, UsageError
from bombus.kernel.api import Attr
from bombus.kernel.handles import Attachment, Group
from bombus.kernel.handles.attach import ROWS, attach
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object
from bombus.spec.sections import SECTIONS
from bombus.spec.version import KernelVersion

pytestmark = pytest.mark.linux
DATA = Path(__file__).parent / "data"
ATTACH = open_object(DATA / "attach.bpf.o")
ITERS = open_object(DATA / "iters.bpf.o")


@contextmanager
def loaded(*names: str) -> Iterator[Loaded]:
    with load(ATTACH, LinuxKernel(), programs=list(names), data={"pid": os.getpid()}) as item:
        yield item


def hits(item: Loaded, number: int) -> int:
    return int(item.maps[".bss"][0].hits[number])


def frames(count: int = 3, interface: str = "va") -> None:
    """Frames of an experimental type out of an interface: nothing in the kernel answers them."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((interface, 0))
        for _ in range(count):
            out.send(b"\xff" * 6 + bytes(6) + b"\x88\xb5" + bytes(50))


def until(what: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def test_every_section_has_a_row() -> None:
    assert {section.base for section in SECTIONS} == set(ROWS)


def test_xdp() -> None:
    def body() -> None:
        veth()
        with loaded("xdp_pass", "xdp_drop") as item:
            first, second = item.programs["xdp_pass"], item.programs["xdp_drop"]
            sites = item.kernel.sites
            index = sites.ifindex("vb")
            for mode in ("native", "skb"):
                with first.attach("vb", mode=mode) as link:
                    assert link.facts() == {"type": "xdp", "id": link.id, "prog_id": first.id, "ifindex": index}
                    assert repr(link).startswith("<Link xdp id ")
                    assert sites.xdp_query(index).ids == {mode: first.id}
                    before = hits(item, 0)
                    frames()
                    assert until(lambda seen=before: hits(item, 0) >= seen + 3)
                    link.update(second, old=first)
                    before = hits(item, 1)
                    frames()
                    assert until(lambda seen=before: hits(item, 1) >= seen + 3)
                assert sites.xdp_query(index).ids == {}
            with first.attach_xdp("vb", netlink=True, mode="skb") as fixed:
                with pytest.raises(KernelError) as caught:
                    second.attach_xdp("vb", netlink=True, mode="skb")
                assert caught.value.errno == errno.EBUSY and "XDP program already attached" in str(caught.value)
                with pytest.raises(KernelError):
                    fixed.update(second, old=second)
                fixed.update(second, old=first)
                assert sites.xdp_query(index).ids == {"skb": second.id}
            assert sites.xdp_query(index).ids == {}
            second.attach_xdp("vb", netlink=True).keep()
            third = first.attach_xdp("vb", netlink=True, replace=second)
            assert sites.xdp_query(index).ids == {"native": first.id}
            del third
            assert sites.xdp_query(index).ids == {}
            with pytest.raises(KernelError) as caught:
                first.attach_xdp("nothing")
            assert caught.value.errno == errno.ENODEV

    in_namespace(body)


def test_tc() -> None:
    def body() -> None:
        veth()
        with loaded("tc_in", "tc_out", "tc_plain") as item:
            sites, programs = item.kernel.sites, item.programs
            index = sites.ifindex("va")
            parent = 0xFFFFFFF3
            with programs["tc_out"].attach("va") as link, programs["tc_in"].attach("vb"):
                assert link.type == "tcx"
                with programs["tc_plain"].attach_tcx("va", "egress", before=link) as early:
                    with pytest.raises(KernelError) as caught:
                        programs["tc_plain"].attach_tcx("va", "egress", revision=77)
                    assert caught.value.errno == errno.ESTALE
                    frames()
                    assert until(lambda: min(hits(item, 2), hits(item, 3), hits(item, 4)) >= 3)
                    assert early.info().tcx_ifindex == index
            with programs["tc_plain"].attach_tc("va", "egress", tcx=False) as filter_:
                (found,) = sites.tc_filters(index, parent)
                assert found.prog_id == programs["tc_plain"].id and filter_.info()["handle"] == found.handle
                filter_.update(programs["tc_out"])
                (found,) = sites.tc_filters(index, parent)
                assert found.prog_id == programs["tc_out"].id
                with programs["tc_plain"].attach_tc("va", "ingress", tcx=False):
                    pass
                assert len(sites.tc_filters(index, parent)) == 1, "the qdisc went with another's filter"
            assert "clsact" not in run("tc", "qdisc", "show", "dev", "va")
            with pytest.raises(UsageError, match="say the direction"):
                programs["tc_plain"].attach("va")

    in_namespace(body)


def test_netkit() -> None:
    def body() -> None:
        run("ip", "link", "add", "primary", "type", "netkit")
        with (
            loaded("nk_primary", "nk_peer", "tc_plain") as item,
            item.programs["nk_primary"].attach("primary") as link,
            item.programs["nk_peer"].attach("primary"),
        ):
            assert link.type == "netkit"
            with item.programs["tc_plain"].attach_netkit("primary", "primary", before=link):
                pass
            link.detach()
            assert link.info().netkit_ifindex == 0

    in_namespace(body)


def test_cgroups() -> None:
    def body() -> None:
        names = ["cg_in", "cg_out", "cg_create", "cg_post", "cg_release", "cg_ops", "cg_dev", "cg_sysctl", "cg_get",
                 "cg_set", "cg_bind4", "cg_connect4"]  # fmt: skip
        with own_cgroup() as path, loaded(*names) as item:
            join(path)
            links = [item.programs[name].attach(path) for name in names]
            with socket.create_server(("127.0.0.1", 7777)) as server, socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                client.connect(("127.0.0.1", 5))  # the program says 7777
                client.send(b"x")
                with pytest.raises(PermissionError), socket.socket() as other:
                    other.connect(("127.0.0.1", 9))
                server.accept()[0].close()
            Path("/proc/sys/kernel/hostname").read_text()
            Path("/dev/null").read_bytes()
            missing = [name for name, number in zip(names, range(7, 19), strict=True) if not hits(item, number)]
            assert not missing
            for link in links:
                link.close()
            before = list(item.maps[".bss"][0].hits)[:19]
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            assert list(item.maps[".bss"][0].hits)[:19] == before

    in_namespace(body)


def test_cgroup_modes() -> None:
    def body() -> None:
        with own_cgroup() as path, loaded("cg_in", "cg_out") as item:
            inner = path / "inner"
            inner.mkdir()
            try:
                first = item.programs["cg_in"]
                second = load(ATTACH, LinuxKernel(), programs=["cg_in"]).programs["cg_in"]
                with first.attach_cgroup(path, mode="exclusive") as held:
                    with pytest.raises(KernelError) as caught:
                        second.attach_cgroup(inner, mode="exclusive")
                    assert caught.value.errno == errno.EPERM
                    held.update(second)
                with first.attach_cgroup(path, mode="override"), second.attach_cgroup(inner, mode="override"):
                    pass
                with first.attach_cgroup(path, mode="multi") as held:
                    with pytest.raises(KernelError):
                        second.attach_cgroup(path, mode="exclusive")
                    again = second.attach_cgroup(path, mode="multi", replace=first)
                    again.close()
                    held.close()  # replaced meanwhile: nothing to take away
                    with pytest.raises(KernelError):
                        held_again = first.attach_cgroup(path, mode="multi", replace=second)
                        held_again.close()
                with pytest.raises(UsageError, match="no hook of cgroups"):
                    first.attach_cgroup(path, kind="xdp")
                with pytest.raises(KernelError) as caught:
                    first.attach_cgroup(path / "nothing")
                assert caught.value.errno == errno.ENOENT
                with first.attach_cgroup(path) as link:
                    link.detach()
            finally:
                inner.rmdir()

    in_namespace(body, net=False)


def test_sockets() -> None:
    def body() -> None:
        with loaded("filter", "pick", "msg", "parser", "verdict") as item:
            left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            right.settimeout(0.05)
            with item.programs["filter"].attach(right):
                left.send(b"short")
                left.send(bytes(40))
                assert right.recv(99) == b"short"
                with pytest.raises(TimeoutError):
                    right.recv(99)
            left.send(bytes(40))
            assert len(right.recv(99)) == 40
            attached = item.programs["filter"].attach(right)
            right.close()
            attached.close()
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("127.0.0.1", 0))
            server.listen()
            with item.programs["pick"].attach(server), socket.create_connection(server.getsockname()):
                assert until(lambda: hits(item, 29) > 0)
            sockmap = item.maps["sockets"]
            for way in (None, False):
                with item.programs["msg"].attach(sockmap, link=way), item.programs["parser"].attach(
                    sockmap, link=way
                ), item.programs["verdict"].attach(sockmap, link=way) as last:
                    assert last.type == "sockmap"
                    client = socket.create_connection(server.getsockname())
                    sockmap[0] = client.fileno()
                    before = hits(item, 26)
                    client.send(b"hello")
                    assert until(lambda seen=before: hits(item, 26) > seen)
                    client.close()

    in_namespace(body)


def test_network_namespaces() -> None:
    def body() -> None:
        with loaded("lookup", "dissect", "nf") as item:
            with item.programs["lookup"].attach() as link, socket.create_server(("127.0.0.1", 98)) as server:
                with socket.create_connection(("127.0.0.1", 98)):
                    server.accept()[0].close()
                with pytest.raises(OSError), socket.create_connection(("127.0.0.1", 99), 0.2):
                    pass
                assert hits(item, 20) >= 2 and link.type == "netns"
            with item.programs["dissect"].attach() as link:
                assert link.info().netns_netns_ino == os.stat("/proc/self/ns/net").st_ino
            with item.programs["nf"].attach("local_in", priority=5) as link:
                assert link.info().netfilter_priority == 5
                with pytest.raises((ConnectionRefusedError, TimeoutError)):
                    socket.create_connection(("127.0.0.1", 1), 0.2)
                assert hits(item, 22)
            with pytest.raises(UsageError, match="netfilter hook"):
                item.programs["nf"].attach("nowhere")

    in_namespace(body)


def test_lightweight_tunnels() -> None:
    def body() -> None:
        veth()
        run("ip", "addr", "add", "10.9.0.1/24", "dev", "va")
        with loaded("lwt", "lwt_output", "lwt_input") as item:
            with item.programs["lwt"].attach("10.7.0.0/16", "va", headroom=16):
                # Attached, not run: a packet gets there only when a neighbour answers.
                assert "encap bpf" in run("ip", "route")
            assert "10.7" not in run("ip", "route")
            with item.programs["lwt_output"].attach("10.7.0.0/16", "va"):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                    out.sendto(b"x", ("10.7.0.1", 5))
                assert until(lambda: hits(item, 25) > 0)
            with item.programs["lwt_input"].attach("10.8.0.0/16", "va"):
                pass

    in_namespace(body)


def test_tracepoints() -> None:
    def body() -> None:
        with loaded("tp_getppid", "raw_enter", "btf_enter") as item:
            found = item.attach(cookies={"tp_getppid": 77})
            assert set(found) == {"tp_getppid", "raw_enter", "btf_enter"}
            for _ in range(5):
                os.getppid()
            assert hits(item, 30) == 5 and item.maps[".bss"][0].cookie == 77
            assert hits(item, 31) >= 5 and hits(item, 32) >= 5
            for link in found.values():
                link.close()
            before = hits(item, 31)
            os.getppid()
            assert hits(item, 31) == before and hits(item, 30) == 5
            with pytest.raises(KernelError) as caught:
                item.programs["tp_getppid"].attach_tracepoint("syscalls", "sys_enter_nothing")
            assert caught.value.errno == errno.ENOENT
            with pytest.raises(KernelError):
                item.programs["raw_enter"].attach_raw_tracepoint("nothing")

    in_namespace(body, net=False)


def libc() -> Any:
    return ctypes.CDLL("libc.so.6")


def test_uprobes() -> None:
    def body() -> None:
        with loaded("up", "upret", "upmulti", "up_auto") as item:
            found = item.attach()
            assert set(found) == {"up_auto"}
            with item.programs["up"].attach("libc.so.6", "getppid", cookie=5), item.programs["upret"].attach_uprobe(
                "libc.so.6", "getppid", pid=0
            ):
                for _ in range(3):
                    libc().getppid()
            libc().getppid()
            assert (hits(item, 34), hits(item, 35), hits(item, 37)) == (3, 3, 4)
            assert item.maps[".bss"][0].cookie == 5
            with item.programs["upmulti"].attach("libc.so.6", ["getppid", "getpgid"], cookies=[1, 100]) as link:
                assert link.type == "uprobe_multi"
                libc().getppid()
                libc().getpgid(0)
            assert hits(item, 36) == 2 and item.maps[".bss"][0].values[0] == 101
            with item.programs["upmulti"].attach("libc.so.6", "getpp*d", pid=0):
                libc().getppid()
            assert hits(item, 36) == 3
            with pytest.raises(UsageError, match="no function 'nothing'"):
                item.programs["up"].attach("libc.so.6", "nothing")
            with item.programs["up"].attach("libc.so.6", "getppid", legacy=True):
                libc().getppid()
            assert hits(item, 34) == 4

    in_namespace(body, net=False)


def test_perf_events() -> None:
    def body() -> None:
        with loaded("sample") as item:
            with item.programs["sample"].attach("cpu_clock", frequency=1000) as group:
                end = time.process_time() + 0.05
                while time.process_time() < end:
                    pass
                assert len(group) == len(item.kernel.sites.online_cpus())
            assert hits(item, 33) > 5
            before = hits(item, 33)
            end = time.process_time() + 0.01
            while time.process_time() < end:
                pass
            assert hits(item, 33) == before
            with pytest.raises(UsageError, match="needs a frequency"):
                item.programs["sample"].attach("cycles")
            with pytest.raises(KernelError):
                item.programs["sample"].attach("cpu_clock", frequency=100, cpus=[4000])

    in_namespace(body, net=False)


def test_iterators() -> None:
    def body() -> None:
        with load(ITERS, LinuxKernel(), programs=["tasks", "groups"]) as item:
            with item.programs["tasks"].attach(pid=os.getpid()) as link:
                assert [row[1] for row in link.rows()] == [str(os.getpid())]
                assert link.read().startswith(f"{os.getpid()} ".encode())
            with item.programs["tasks"].attach() as link:
                assert len(list(link.lines())) > 3
            with own_cgroup() as path:
                (path / "inner").mkdir()
                try:
                    with item.programs["groups"].attach(cgroup=path, order="pre") as link:
                        assert [int(i) for i in link.lines()] == [path.stat().st_ino, (path / "inner").stat().st_ino]
                finally:
                    (path / "inner").rmdir()

    in_namespace(body, net=False)


def test_iterators_of_elements() -> None:
    def body() -> None:
        if why := map_walks_problem():
            raise Refused(why)
        with load(ITERS, LinuxKernel(), programs=["elements"]) as item:
            numbers = item.maps["numbers"]
            numbers[1], numbers[2] = 100, 200
            with item.programs["elements"].attach(map=numbers) as link:
                assert sorted(link.records("<IQ")) == [(1, 100), (2, 200)]
                with pytest.raises(UsageError, match="after the last record"):
                    list(link.records("<QQQQ"))

    in_namespace(body, net=False)


def algorithms() -> list[str]:
    return Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()


def test_struct_ops() -> None:
    def body() -> None:
        names = ["bumble_init", "bumble_ssthresh", "bumble_avoid", "bumble_undo"]
        # Congestion controls are the whole machine's: names of our own, in case that somebody tests beside us.
        plain, link = f"bp{os.getpid()}", f"bl{os.getpid()}"

        def renamed(data: bytes) -> bytes:
            for old, new in ((b"bombus_plain", plain), (b"bombus_link", link)):
                data = data.replace(old, new.encode().ljust(len(old), b"\0"))
            return data

        maps = tuple(replace(m, data=renamed(m.data)) if m.data and m.values else m for m in ITERS.maps)
        obj = replace(ITERS, maps=maps)
        with load(obj, LinuxKernel(), programs=names, autoattach={"linked2": False}) as item:
            found = item.attach()
            assert set(found) == {"bumble", "linked"} and {plain, link} <= set(algorithms())
            with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, link.encode())
                client.connect(server.getsockname())
                client.send(b"x" * 1000)
                with server.accept()[0] as other:
                    other.recv(1000)
            assert item.maps[".bss"][0].inits == 1 and item.maps[".bss"][0].acks >= 1
            ops = item.struct_ops["linked2"]
            ops.prepare()
            found["linked"].update_map(ops.map)
            assert found["linked"].info().struct_ops_map_id == ops.map.id
        assert not {plain, link} & set(algorithms())

    in_namespace(body)


class Old(LinuxKernel):
    """The running kernel, taken for an old one: no links, no cookies, no tcx."""

    @property
    def version(self) -> KernelVersion:
        return KernelVersion(5, 4)

    def bpf(self, attr: Attr) -> int:
        if attr.command.name == "BPF_LINK_CREATE":
            raise KernelError(errno.EINVAL, attr.command.name)
        return super().bpf(attr)


def test_ways_of_old_kernels() -> None:
    def body() -> None:
        veth()
        names = ["xdp_pass", "xdp_drop", "tc_out", "cg_out", "tp_getppid", "up", "sample", "msg"]
        obj = replace(ATTACH, maps=tuple(replace(m, pinning=0) for m in ATTACH.maps))
        with own_cgroup() as path, load(obj, Old(), programs=names, data={"pid": os.getpid()}) as item:
            join(path)
            programs = item.programs
            links = [
                programs["xdp_pass"].attach("vb"),
                programs["tc_out"].attach("va"),
                programs["cg_out"].attach(path),
                programs["tp_getppid"].attach(),
                programs["up"].attach("libc.so.6", "getppid"),
                programs["sample"].attach("cpu_clock", frequency=500),
                programs["msg"].attach(item.maps["sockets"]),
            ]
            kinds = [link.type for link in links]
            assert kinds == ["xdp netlink", "clsact", "cgroup", "tracepoint", "uprobe", "perf_event", "sockmap"]
            assert all(isinstance(link, Attachment | Group) for link in links)
            frames()
            libc().getppid()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
                out.sendto(b"x", ("127.0.0.1", 9))

            def count(number: int) -> int:
                return int(item.maps[".bss"][0].hits[number])

            assert until(lambda: min(count(0), count(3)) >= 3)
            assert count(8) == 1 and count(30) >= 1 and count(34) == 1
            links[0].update(programs["xdp_drop"])
            frames()
            assert until(lambda: count(1) >= 3)
            with pytest.raises(NotSupported, match="only links can be pinned"):
                links[1].pin("/sys/fs/bpf/x")
            with pytest.raises(NotSupported, match="exchanging"):
                links[3].update(programs["tp_getppid"])
            with pytest.raises(KernelError, match=r"5\.15"):
                programs["tp_getppid"].attach(cookie=3)
            before = count(30)
            for link in links:
                link.close()
                link.close()
            os.getppid()
            assert count(30) == before and "clsact" not in run("tc", "qdisc", "show", "dev", "va")
            with pytest.raises(UsageError, match="gone"):
                links[0].update(programs["xdp_pass"])

    in_namespace(body)


def test_netlink_attachments_are_undone_where_they_were_made() -> None:
    """Although the thread is in another namespace by then."""

    def body() -> None:
        veth()
        with loaded("xdp_pass", "tc_out") as item:
            fixed = item.programs["xdp_pass"].attach_xdp("vb", netlink=True)
            filter_ = item.programs["tc_out"].attach_tc("va", tcx=False)
            home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            sites = item.kernel.sites
            vb, va = sites.ifindex("vb"), sites.ifindex("va")
            assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
            run("ip", "link", "add", "va", "index", str(va), "type", "veth", "peer", "name", "vz")
            filter_.close()
            fixed.close()
            assert ctypes.CDLL(None).setns(home, 0) == 0
            assert sites.xdp_query(vb).ids == {} and "clsact" not in run("tc", "qdisc", "show", "dev", "va")

    in_namespace(body)


def test_wrong_options_are_named() -> None:
    def body() -> None:
        with loaded("xdp_pass", "tp_getppid") as item:
            with pytest.raises(UsageError, match=r"attach_xdp.*'nothing'.*it takes target, mode"):
                item.programs["xdp_pass"].attach_xdp("lo", nothing=1)
            with pytest.raises(UsageError, match="attach_tracepoint"):
                item.programs["tp_getppid"].attach("one")
            with pytest.raises(UsageError, match="XDP mode"):
                item.programs["xdp_pass"].attach("lo", mode="fast")

    in_namespace(body, net=False)


KPROBES = {
    "kp": 40, "kret": 41, "ks": 42, "kmulti": 43, "fent": 44, "fex": 45, "fmodret": 46, "lsm": 47,
}  # fmt: skip


@pytest.mark.parametrize("name", ["replacement", "before_answer"])
def test_functions_of_bpf_programs(name: str) -> None:
    def body() -> None:
        frame = bytes(64)
        with loaded("asks") as item:
            asks = item.programs["asks"]
            assert asks.test_run(frame).retval == 42
            try:
                other = load(ATTACH, LinuxKernel(), programs=[name], data={"pid": 0}, targets={name: asks})
            except KernelError as error:
                raise_if_refused(name, error)
            with other:
                with attach_one(name, other.programs[name]):
                    assert asks.test_run(frame).retval == (43 if name == "replacement" else 42)
                    assert hits(other, 50 if name == "replacement" else 51) == 1
                assert asks.test_run(frame).retval == 42
                if name == "replacement":  # and over another program that is like it
                    with loaded("asks") as more, other.programs[name].attach_freplace(more.programs["asks"], "answer"):
                        assert more.programs["asks"].test_run(frame).retval == 43
            with pytest.raises(UsageError, match="targets="):
                load(ATTACH, LinuxKernel(), programs=["replacement"])
            with pytest.raises(UsageError, match="no function 'nothing'"):
                load(ATTACH, LinuxKernel(), programs=[name], targets={name: (asks, "nothing")})

    in_namespace(body, net=False)


def attach_one(name: str, program: Any) -> Any:
    try:
        return program.attach()
    except KernelError as error:
        raise_if_refused(name, error)


def raise_if_refused(name: str, error: Exception) -> NoReturn:
    """What the kernel refuses because it was built without trampolines is not our failure."""
    allowed = {errno.EPERM, errno.EOPNOTSUPP, errno.EBUSY, 524}
    refuses = not isinstance(error, KernelError) or error.errno in allowed
    if refuses and LinuxKernel().kconfig().get("CONFIG_FPROBE") != "y":
        raise Refused(f"{name}: {error}") from None
    raise error


@pytest.mark.parametrize("name", [*KPROBES, "lsm_cg"])
def test_kernel_functions(name: str) -> None:
    """What this kernel may refuse: the guest's test runs these where it does not."""

    def body() -> None:
        try:
            if name == "lsm_cg":
                with own_cgroup() as path, loaded(name) as item:
                    join(path)
                    with item.programs[name].attach(path), socket.socket() as one:
                        one.bind(("127.0.0.1", 0))
                    assert hits(item, 48) == 1
                return
            with loaded(name) as item:
                with item.programs[name].attach():
                    os.getppid()
                    os.getpgid(0)
                    Path("/dev/null").read_bytes()
                    if name == "fmodret":
                        with pytest.raises(PermissionError):
                            os.readlink("/proc/self/exe")
                assert hits(item, KPROBES[name]) >= 1
        except (KernelError, NotSupported, ObjectError) as error:
            raise_if_refused(name, error)

    in_namespace(body)


def test_raw_socket_option_needs_no_program_left() -> None:
    """Programs go with their attachment: none is left when everything is closed."""

    def body() -> None:
        with loaded("filter") as item:
            number = item.programs["filter"].id
            left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            held = item.programs["filter"].attach(right)
            assert held.info()["prog_id"] == number
            left.send(struct.pack("<I", 1))
            held.close()
        assert right.recv(9) == struct.pack("<I", 1)

    in_namespace(body, net=False)


def test_sections_without_targets_say_what_they_need() -> None:
    def body() -> None:
        with loaded("xdp_pass", "cg_in", "up", "msg", "sample", "filter") as item:
            wanted = {"xdp_pass": "xdp", "cg_in": "cgroup", "up": "uprobe", "msg": "sockmap", "sample": "perf_event"}
            for name, text in (wanted | {"filter": "socket"}).items():
                with pytest.raises(UsageError, match=f"attach_{text}"):
                    attach(item.programs[name])

    in_namespace(body, net=False)


def test_externs_of_the_kernel() -> None:
    """Functions, variables and addresses of the kernel: there, not there, of another type."""

    def body() -> None:
        kernel = LinuxKernel()
        obj = open_object(DATA / "externs.bpf.o")
        with load(obj, kernel, programs=["look"]) as item:
            assert item.programs["look"].test_run().retval == 0
            found = item.bss.found
            assert found.version >> 16 == kernel.version.major
            assert (found.acquire, found.other, found.missing, found.variable) == (1, 2, 2, 2)
            address = kernel.kallsyms({"bpf_link_fops"}).get("bpf_link_fops", 0)
            assert found.fops == address
        if kernel.kconfig().get("CONFIG_KALLSYMS_ALL") == "y":  # else kernels do not find their variables
            with load(obj, kernel, programs=["look_variable"]) as item:
                item.programs["look_variable"].test_run()
                assert item.bss.found.active == 1

    in_namespace(body, net=False)


def test_programs_that_are_bound_to_an_interface() -> None:
    """XDP programs for one device alone, and what devices refuse."""

    def body() -> None:
        veth()
        with load(ATTACH, LinuxKernel(), programs=["xdp_pass"], data={"pid": 1}, bound="vb") as item:
            program = item.programs["xdp_pass"]
            with program.attach_xdp("vb", mode="native"):
                frames()
                assert until(lambda: hits(item, 0) >= 3)
            with pytest.raises(KernelError) as caught:
                program.attach_xdp("va", mode="native")
            assert caught.value.errno == errno.EINVAL
        with pytest.raises(KernelError, match=r"takes no such program or map \(offload\)"):
            load(ATTACH, LinuxKernel(), programs=["xdp_pass"], device="vb")
        with pytest.raises(KernelError, match="no interface 'none'"):
            load(ATTACH, LinuxKernel(), programs=["xdp_pass"], bound="none")

    in_namespace(body)
