"""The same object and the same traffic on both kernels: verdicts, packets and maps are equal.

On Linux in a network namespace with veth pairs and in a cgroup of our own; on the user kernel through its devices,
cgroups and sockets.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sandbox import in_namespace, join, own_cgroup, run

from bombus.kernel.api import Attr
from bombus.kernel.handles import Attachment, Link, Program
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.sites import TcFilter
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object
from bombus.spec.attachtypes import ATTACH_TYPE

PATIENCE = float(os.environ.get("BOMBUS_TEST_PATIENCE", "0.3"))  # seconds until an answer counts as none
pytestmark = pytest.mark.linux
OPTIONS = open_object(Path(__file__).parent / "data" / "options.bpf.o")
OBJECT = open_object(Path(__file__).parent / "data" / "parity.bpf.o")
DEVICES = ("va", "vb", "vc", "vd")
XDP_PASS = bytes.fromhex("b7000000020000009500000000000000")
A, B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
Result = dict[str, Any]


def running() -> str:
    """The version of this machine's kernel, which the user kernel is to answer as."""
    version = LinuxKernel().version
    return f"{version.major}.{version.minor}"


def frame(command: int, size: int = 64) -> bytes:
    return B + A + b"\x88\xb5" + bytes((command,)) + bytes(i & 255 for i in range(size - 15))


def maps(item: Loaded) -> Result:
    found = {f"{key.program}/{key.command}": int(value) for key, value in item.maps["seen"].items()}
    return {"seen": dict(sorted(found.items())), "sum": int(item.maps[".bss"][0].sum)}


class UserSide:
    """Two veth pairs of a user kernel."""

    def __init__(self) -> None:
        self.kernel = UserKernel(running())
        self.kernel.net.veth("va", "vb")
        self.kernel.net.veth("vc", "vd")

    def index(self, name: str) -> int:
        return self.kernel.sites.ifindex(name)

    def exchange(self, data: bytes) -> list[tuple[str, str]]:
        """Send out of va; (device, frame) of everything that reaches a stack."""
        net = self.kernel.net
        out = net.send("va", data)
        found = list(out.received)
        for clone in net.cloned:
            found += clone.received
        net.cloned.clear()
        return sorted((net.device(ifindex).name, packet.hex()) for ifindex, packet, _ in found)


class LinuxSide:
    """The same in the network namespace of this process."""

    def __init__(self) -> None:
        self.kernel = LinuxKernel()
        for a, b in (("va", "vb"), ("vc", "vd")):
            run("ip", "link", "add", a, "address", A.hex(":"), "type", "veth", "peer", "name", b, "address", B.hex(":"))
        self.taps = {}
        for name in DEVICES:
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
            run("ip", "link", "set", name, "up")
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            tap.bind((name, 3))
            tap.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
            tap.setblocking(False)
            self.taps[name] = tap

    def index(self, name: str) -> int:
        return self.kernel.sites.ifindex(name)

    def exchange(self, data: bytes) -> list[tuple[str, str]]:
        with suppress_drop():
            self.taps["va"].send(data)
        found: list[tuple[str, str]] = []
        quiet = 0
        while quiet < 3:
            before = len(found)
            time.sleep(0.001)
            for name, tap in self.taps.items():
                found += [(name, packet.hex()) for packet in received(tap)]
            quiet = quiet + 1 if len(found) == before else 0
        return sorted(found)


@contextmanager
def suppress_drop() -> Iterator[None]:
    """A packet that a program drops on its way out is ENOBUFS for its sender."""
    try:
        yield
    except OSError as error:
        if error.errno != 105:
            raise


def received(tap: socket.socket) -> Iterator[bytes]:
    """Frames that came in, with their VLAN tag where the wire would have it."""
    while True:
        try:
            data, extra, _, address = tap.recvmsg(4096, 256)
        except BlockingIOError:
            return
        if address[2] == 4:  # PACKET_OUTGOING
            continue
        for level, kind, content in extra:
            if (level, kind) == (263, 8):
                status, _, _, _, _, tag, protocol = struct.unpack_from("=IIIHHHH", content)
                if status & 1 << 4:  # TP_STATUS_VLAN_VALID
                    data = data[:12] + struct.pack("!HH", protocol, tag) + data[12:]
        yield data


def both(scenario: Callable[[Any], Result]) -> None:
    linux = in_namespace(lambda: scenario(LinuxSide()))

    user = json.loads(json.dumps(scenario(UserSide())))
    assert set(user) == set(linux)
    assert [(n, user[n], v) for n, v in linux.items() if user[n] != v] == []


@pytest.mark.parametrize("mode", ["native", "skb"])
def test_xdp(linux_kernel: LinuxKernel, mode: str) -> None:
    def scenario(side: Any) -> Result:
        found: Result = {}
        with load(OBJECT, side.kernel, programs=["xdp_parity"]) as item, ExitStack() as stack:
            # A native program that transmits needs one at the other end too.
            if mode == "native":
                stack.enter_context(Program.load(side.kernel, "xdp", XDP_PASS).attach_xdp("va", mode=mode))
            stack.enter_context(item.programs["xdp_parity"].attach_xdp("vb", mode=mode))
            for size in (64, 200):
                for command in range(10):
                    if command == 7 and mode == "native":
                        continue  # how far a frame can grow is the driver's business
                    found[f"{command}/{size}"] = side.exchange(frame(command, size))
            return found | maps(item)

    both(scenario)


@pytest.mark.parametrize("tcx", [True, False])
def test_tc_egress(linux_kernel: LinuxKernel, tcx: bool) -> None:
    def scenario(side: Any) -> Result:
        found: Result = {}
        with load(OBJECT, side.kernel, programs=["tc_parity", "tc_second"]) as item, ExitStack() as stack:
            for number, name in enumerate(("tc_parity", "tc_second"), 1):
                options = {} if tcx else {"priority": number}
                stack.enter_context(item.programs[name].attach_tc("va", "egress", tcx=tcx, **options))
            for size in (64, 200):
                for command in range(9, 20):
                    found[f"{command}/{size}"] = side.exchange(frame(command, size))
            return found | maps(item)

    both(scenario)


def test_tc_ingress_and_redirects(linux_kernel: LinuxKernel) -> None:
    def scenario(side: Any) -> Result:
        found: Result = {}
        names = ["tc_parity", "tc_second", "tc_redirect"]
        with load(OBJECT, side.kernel, programs=names, data={"other": side.index("vc")}) as item:
            links = [item.programs[name].attach_tcx("vb", "ingress") for name in ("tc_second", "tc_redirect")]
            links.append(item.programs["tc_parity"].attach_tcx("vb", "ingress", before="all"))
            for command in (11, 12, 13, 16, 21, 22, 23):
                # What ingress programs change is seen only where a redirect leads: the tap comes before them.
                packets = side.exchange(frame(command))
                found[str(command)] = [one for one in packets if one[0] != "vb"]
            for link in links:
                link.close()
            found["after"] = [one for one in side.exchange(frame(21)) if one[0] != "vb"]
            return found | maps(item)

    both(scenario)


class UserSockets:
    def __init__(self) -> None:
        self.kernel = UserKernel(running())
        self.path = "/parity"
        self.kernel.cgroups.mkdir(self.path)

    def make(self, family: int, type: int) -> Any:
        return self.kernel.socket(family, type, cgroup=self.path)

    def open(self, name: str, numbers: tuple[int, int], access: str) -> None:
        self.kernel.check_device("c", *numbers, access, cgroup=self.path)

    def mkdir(self, path: str) -> None:
        self.kernel.cgroups.mkdir(path)

    def rmdir(self, path: str) -> None:
        self.kernel.cgroups.rmdir(path)


class LinuxSockets:
    def __init__(self, path: Path) -> None:
        self.kernel = LinuxKernel()
        self.path = path

    def make(self, family: int, type: int) -> Any:
        made = socket.socket(family, type)
        made.settimeout(PATIENCE)
        return made

    def open(self, name: str, numbers: tuple[int, int], access: str) -> None:
        os.close(os.open(f"/dev/{name}", {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}[access]))

    def mkdir(self, path: str) -> None:
        os.mkdir(path)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)


def linux_sockets(scenario: Callable[[Any], list[Any]]) -> list[Any]:
    def linux() -> list[Any]:
        with own_cgroup() as path:
            join(path)
            return scenario(LinuxSockets(path))

    found: list[Any] = in_namespace(linux)
    return found


def both_sockets(scenario: Callable[[Any], list[Any]]) -> None:
    theirs = linux_sockets(scenario)
    ours = json.loads(json.dumps(scenario(UserSockets())))
    assert [row[0] for row in ours] == [row[0] for row in theirs]
    wrong = [(at, mine, their) for at, (mine, their) in enumerate(zip(ours, theirs, strict=True)) if mine != their]
    assert not wrong, wrong[:4]


def attempt(log: list[Any], name: str, what: Callable[[], Any]) -> None:
    """What a call answers: its value, or its errno."""
    try:
        value = what()
        if isinstance(value, (Link, Attachment)):
            value = "link"
    except TimeoutError:
        value = "EAGAIN"
    except OSError as error:
        value = "EAGAIN" if error.errno == 11 else f"errno {error.errno}"
    if isinstance(value, tuple):
        value = [v.hex() if isinstance(v, bytes) else list(v[:2]) if isinstance(v, tuple) else v for v in value[:2]]
    log.append([name, value])


@contextmanager
def attached(side: Any, names: list[str]) -> Iterator[Loaded]:
    with load(OBJECT, side.kernel, programs=names) as item, ExitStack() as stack:
        for name in names:
            if name != "filter_parity":
                stack.enter_context(item.programs[name].attach_cgroup(side.path))
        yield item


ADDRESSES = ["bind4", "bind6", "connect4", "connect6", "sendmsg4", "sendmsg6", "recvmsg4", "recvmsg6", "peer4", "peer6",
             "name4", "create", "post4"]  # fmt: skip


def test_socket_addresses(linux_kernel: LinuxKernel) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        v4, v6, tcp, udp = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
        with attached(side, ADDRESSES) as item:
            for family, host, remote in ((v4, "127.0.0.1", "10.1.2.3"), (v6, "::1", "2001:db8::5")):
                for kind in (tcp, udp):
                    for port in (1001, 1002, 1006, 24000):
                        with side.make(family, kind) as one:
                            attempt(log, f"bind {host} {kind} {port}", lambda o=one, h=host, p=port: o.bind((h, p)))
                            attempt(log, "name", one.getsockname)
                server = side.make(family, tcp)
                server.bind((host, 25000))
                server.listen()
                receiver = side.make(family, udp)
                receiver.bind((host, 25001))
                plain = side.make(family, udp)
                plain.bind((host, 25002))
                for kind in (tcp, udp):
                    for target in ((remote, 80), (host, 25000), (host, 1003)):
                        with side.make(family, kind) as one:
                            attempt(log, f"connect {target} {kind}", lambda o=one, t=target: o.connect(t))
                            attempt(log, "peer", one.getpeername)
                with side.make(family, udp) as one:
                    one.bind((host, 26000))
                    for port in (1004, 1005, 25002):
                        attempt(log, f"sendto {port}", lambda o=one, p=port, h=host: o.sendto(b"hello", (h, p)))
                        for name, taker in (("receiver", receiver), ("plain", plain)):
                            attempt(log, name, lambda t=taker: t.recvfrom(100))
                    one.connect((host, 25002))
                    attempt(log, "send", lambda o=one: o.send(b"connected"))
                    attempt(log, "plain", lambda t=plain: t.recvfrom(100))
                for one in (server, receiver, plain):
                    one.close()
            log.append(["maps", maps(item)])
        with side.make(v4, udp) as one:
            attempt(log, "bind after", lambda: one.bind(("127.0.0.1", 1001)))
        return log

    both_sockets(scenario)


def test_packets_of_sockets(linux_kernel: LinuxKernel) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        with attached(side, ["out_parity", "in_parity", "filter_parity"]) as item:
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with side.make(family, socket.SOCK_DGRAM) as taker, side.make(family, socket.SOCK_DGRAM) as sender:
                    target = (host, 25003)
                    taker.bind(target)
                    sender.bind((host, 25004))
                    for filtered in (False, True):
                        held = item.programs["filter_parity"].attach(taker) if filtered else None
                        for command in (40, 41, 42, 43, 44):
                            data = b"payload" * 3 + bytes((command,))
                            attempt(log, f"{host} {command}", lambda d=data, s=sender, t=target: s.sendto(d, t))
                            attempt(log, "recv", lambda t=taker: t.recvfrom(100))
                        if held is not None:
                            held.close()
                    attempt(log, "send", lambda s=sender, t=target: s.sendto(b"\x2b", t))
                    attempt(log, "recv", lambda t=taker: t.recvfrom(100))
            log.append(["maps", maps(item)])
        return log

    both_sockets(scenario)


def test_socket_options(linux_kernel: LinuxKernel) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        sol, ours = socket.SOL_SOCKET, 0x1234
        with load(OPTIONS, side.kernel, programs=["set_parity", "get_parity"]) as item, ExitStack() as stack:
            for name in item.programs:
                stack.enter_context(item.programs[name].attach_cgroup(side.path))
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with side.make(socket.AF_INET, kind) as one:
                    for option in range(1, 7):
                        for value in (0x7F3, b"abcd1234", b"ab", b"x" * 70):
                            attempt(log, f"set {option} {value!r}",
                                    lambda o=one, n=option, v=value: o.setsockopt(ours, n, v))  # fmt: skip
                            attempt(log, "priority", lambda o=one: o.getsockopt(sol, 12))
                        for size in (0, 3, 8, 100):
                            attempt(log, f"get {option} {size}",
                                    lambda o=one, n=option, z=size: show(o.getsockopt(ours, n, z)))  # fmt: skip
                    for level, option, value in (
                        (sol, 36, 7), (sol, 12, 5), (sol, 9, 5), (sol, 2, 1), (0, 2, 0), (0, 2, 9), (sol, 12, b"abc"),
                    ):  # fmt: skip
                        attempt(log, f"set {level} {option}",
                                lambda o=one, a=level, n=option, v=value: o.setsockopt(a, n, v))  # fmt: skip
                        attempt(log, "get", lambda o=one, a=level, n=option: o.getsockopt(a, n))
                        attempt(log, "get bytes", lambda o=one, a=level, n=option: show(o.getsockopt(a, n, 2)))
            log.append(["maps", variables(item)])
        with side.make(socket.AF_INET, socket.SOCK_DGRAM) as one:
            attempt(log, "after", lambda: one.setsockopt(ours, 1, 1))
            attempt(log, "get after", lambda: one.getsockopt(ours, 1))
        return log

    both_sockets(scenario)


def variables(item: Loaded) -> list[int]:
    bss = item.maps[".bss"][0]
    return [int(bss.stored), int(bss.calls), int(bss.sizes), int(bss.refused)]


def show(value: int | bytes) -> int | str:
    return value.hex() if isinstance(value, bytes) else value


def test_devices(linux_kernel: LinuxKernel) -> None:
    """Opening devices in a cgroup."""

    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        with load(OPTIONS, side.kernel, programs=["dev_parity"]) as item:
            with item.programs["dev_parity"].attach_cgroup(side.path):
                for name, numbers in (("null", (1, 3)), ("zero", (1, 5)), ("full", (1, 7))):
                    for access in ("r", "w", "rw"):
                        attempt(log, f"{name} {access}", lambda n=name, p=numbers, a=access: side.open(n, p, a))
            log.append(["variables", variables(item)])
            attempt(log, "after", lambda: side.open("null", (1, 3), "w"))
        return log

    both_sockets(scenario)


def query(side: Any, kind: str, ifindex: int) -> list[int]:
    """Ids of programs at a hook in order, then the list's revision."""
    room = bytearray(64)
    attr = Attr("BPF_PROG_QUERY", target_ifindex=ifindex, attach_type=ATTACH_TYPE[kind].id, prog_ids=room, prog_cnt=16)
    side.kernel.bpf(attr)
    return [*struct.unpack_from(f"<{attr.get('prog_cnt')}I", room), attr.get("revision")]


def test_links_answer_alike(linux_kernel: LinuxKernel) -> None:
    """Errors, order and revisions of links and of BPF_PROG_ATTACH."""

    def scenario(side: Any) -> Result:
        log: list[Any] = []
        kernel = side.kernel
        xdp = [Program.load(kernel, "xdp", XDP_PASS) for _ in range(2)]
        tc = [Program.load(kernel, "sched_cls", XDP_PASS) for _ in range(3)]
        names = {program.id: number for number, program in enumerate(tc)}
        vb = side.index("vb")

        def order() -> list[Any]:
            *ids, revision = query(side, "BPF_TCX_INGRESS", vb)
            return [*(names[i] for i in ids), f"revision {revision}"]

        link = xdp[0].attach_xdp("vb")
        attempt(log, "second", lambda: xdp[1].attach_xdp("vb"))
        attempt(log, "second skb", lambda: xdp[1].attach_xdp("vb", mode="skb"))
        attempt(log, "netlink over link", lambda: kernel.sites.xdp_set(vb, xdp[1].fd, 0))
        attempt(log, "remove over link", lambda: kernel.sites.xdp_set(vb, -1, 0))
        attempt(log, "no device", lambda: Link.create(kernel, xdp[0], "BPF_XDP", ifindex=999))
        attempt(log, "flags", lambda: Link.create(kernel, xdp[0], "BPF_XDP", ifindex=vb, flags=1 << 8))
        attempt(log, "other type", lambda: Link.create(kernel, tc[0], "BPF_XDP", ifindex=vb))
        attempt(log, "update other type", lambda: link.update(tc[0]))
        attempt(log, "update wrong old", lambda: link.update(xdp[1], old=xdp[1]))
        attempt(log, "update", lambda: link.update(xdp[1], old=xdp[0]))
        log.append(["prog", link.prog_id == xdp[1].id])
        log.append(["info", [link.type, link.info().xdp_ifindex == vb]])
        attempt(log, "detach", link.detach)
        attempt(log, "detach again", link.detach)
        attempt(log, "update detached", lambda: link.update(xdp[0]))
        log.append(["ifindex", link.info().xdp_ifindex])
        log.append(["query", kernel.sites.xdp_query(vb).ids])
        first = tc[0].attach_tcx("vb", "ingress")
        attempt(log, "same again", lambda: kernel.close(tc[0].attach_tcx("vb", "ingress").detach_fd()))
        log.append(["one", order()])
        second = tc[1].attach_tcx("vb", "ingress", before=first)
        log.append(["two", order()])
        attempt(log, "revision", lambda: tc[2].attach_tcx("vb", "ingress", revision=999))
        attempt(log, "not there", lambda: tc[2].attach_tcx("vb", "ingress", before=tc[2]))
        third = tc[2].attach_tcx("vb", "ingress", after=second)
        log.append(["three", order()])
        third.close()
        log.append(["less", order()])
        attempt(log, "update tcx", lambda: second.update(tc[2]))
        log.append(["updated", order()])
        attempt(log, "attach", lambda: kernel.bpf(attach(vb, tc[1])))
        attempt(log, "attach again", lambda: kernel.bpf(attach(vb, tc[1])))
        attempt(log, "linked already", lambda: kernel.bpf(attach(vb, tc[0])))
        log.append(["attached", order()])
        attempt(log, "detach linked", lambda: kernel.bpf(attach(vb, tc[0], "BPF_PROG_DETACH")))
        attempt(log, "detach", lambda: kernel.bpf(attach(vb, tc[1], "BPF_PROG_DETACH")))
        for one in (first, second, link):
            one.close()
        log.append(["empty", order()])
        attempt(log, "no clsact",
                lambda: kernel.sites.tc_attach(TcFilter(vb, 0xFFFFFFF2, 0, 0), tc[0].fd, replace=False))  # fmt: skip
        with tc[0].attach_tc("vb", "ingress", tcx=False, handle=3, priority=7):
            place = TcFilter(vb, 0xFFFFFFF2, 3, 7)
            attempt(log, "taken", lambda: kernel.sites.tc_attach(place, tc[1].fd, replace=False))
            attempt(log, "replaced", lambda: kernel.sites.tc_attach(place, tc[1].fd, replace=True).handle)
            attempt(log, "not there", lambda: kernel.sites.tc_detach(TcFilter(vb, 0xFFFFFFF2, 9, 7)))
        attempt(log, "qdisc", lambda: kernel.sites.tc_qdisc(vb, add=False))
        return {str(number): row for number, row in enumerate(log)}

    both(scenario)


def attach(ifindex: int, program: Program, command: str = "BPF_PROG_ATTACH") -> Attr:
    kind = ATTACH_TYPE["BPF_TCX_INGRESS"].id
    return Attr(command, target_ifindex=ifindex, attach_bpf_fd=program.fd, attach_type=kind)


def test_cgroups_answer_alike(linux_kernel: LinuxKernel) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        kernel, hook = side.kernel, "BPF_CGROUP_INET_EGRESS"
        one = bytes.fromhex("b7000000010000009500000000000000")
        first, second, third = (Program.load(kernel, "cgroup_skb", one, attach_type=hook) for _ in range(3))
        names = {program.id: number for number, program in enumerate((first, second, third))}
        inner = f"{side.path}/inner"
        side.mkdir(inner)

        def order(path: str, flags: int = 0) -> list[int]:
            fd = kernel.sites.open("cgroup", path)
            room = bytearray(64)
            attr = Attr("BPF_PROG_QUERY", target_fd=fd, attach_type=ATTACH_TYPE[hook].id, prog_ids=room, prog_cnt=16)
            attr.set("query_flags", flags)
            kernel.bpf(attr)
            kernel.close(fd)
            ids = struct.unpack_from(f"<{attr.get('prog_cnt')}I", room)
            return [*(names[i] for i in ids if i in names), attr.get("attach_flags")]

        def made(program: Program, path: str, **options: Any) -> Any:
            found: list[Any] = []
            attempt(log, f"{names[program.id]} {path == inner} {options.get('mode')}",
                    lambda: found.append(program.attach_cgroup(path, kind=hook, **options)))  # fmt: skip
            return found[0] if found else None

        def close(*links: Any) -> None:
            for link in links:
                if link is not None:
                    attempt(log, "close", link.close)

        path = str(side.path)
        for outer_mode in ("exclusive", "override", "multi", "link"):
            outer = made(first, path, mode=outer_mode)
            for mode in ("exclusive", "override", "multi", "link"):
                below = made(second, inner, mode=mode)
                log.append([f"effective {outer_mode} {mode}", order(inner, 1)])
                close(below)
            again = made(first, path, mode=outer_mode)
            other = made(third, path, mode=outer_mode)
            log.append(["own", order(path)])
            wrong = made(second, path, mode="exclusive" if outer_mode != "exclusive" else "multi")
            close(wrong, other, again, outer)
            log.append(["none", order(path)])
        held = made(first, path, mode="multi")
        replaced = made(second, path, mode="multi", replace=first)
        missing = made(third, path, mode="multi", replace=first)
        log.append(["replaced", order(path)])
        close(missing, replaced, held)
        attempt(log, "other type", lambda: first.attach_cgroup(path, kind="BPF_CGROUP_INET_INGRESS"))
        attempt(log, "nowhere", lambda: first.attach_cgroup(f"{path}/none", kind=hook))
        side.rmdir(inner)
        return log

    both_sockets(scenario)
