"""Who gets a packet: sk_lookup programs and reuseport groups, the same programs and calls on both kernels."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from test_parity import UserSockets, attempt, both_sockets

from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object

pytestmark = pytest.mark.linux
OBJECT = open_object(Path(__file__).parent / "data" / "steering.bpf.o")
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
FIELDS = ("who", "family", "protocol", "local_port", "local_ip4", "remote_ip4", "ifindex", "chosen", "second", "found",
          "state", "size", "eth", "any", "first")  # fmt: skip
SENDER = 27000
ALL = (*FIELDS, "remote_port")
HOSTS = [(24001, "127.0.0.1"), (24002, "127.0.0.1"), (24099, "127.0.0.1"), (24002, "127.0.0.9")]


def rows(item: Loaded) -> list[dict[str, int]]:
    """What programs saw, but for the ICMP errors that Linux sends the sender: the user kernel has none."""
    bss = item.bss
    found = []
    for row in list(bss.rows)[: int(bss.count)]:
        values = {name: int(getattr(row, name)) for name in FIELDS}
        if values["who"] not in (1, 2) or values["local_port"] != SENDER:
            found.append({name: value for name, value in values.items() if value})
    bss.count = 0
    bss.rows = [dict.fromkeys(ALL, 0)] * 128
    return found


class Net:
    """Sockets of one side."""

    def __init__(self, side: Any, log: list[Any]) -> None:
        self.side, self.log = side, log

    def make(self, kind: int, family: int = socket.AF_INET) -> Any:
        made = self.side.make(family, kind)
        if isinstance(made, socket.socket):
            made.settimeout(0.1)
        return made

    def bound(self, kind: int, port: int, host: str = "127.0.0.1", *, reuse: bool = False) -> Any:
        made = self.make(kind, socket.AF_INET6 if ":" in host else socket.AF_INET)
        if reuse:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        attempt(self.log, f"bind {host} {port}", lambda: made.bind((host, port)))
        if kind == TCP:
            attempt(self.log, "listen", lambda: made.listen(5))
        return made

    def send(self, port: int, takers: dict[str, Any], host: str = "127.0.0.1") -> None:
        with self.make(UDP) as one:
            one.bind(("127.0.0.1", SENDER))
            attempt(self.log, f"send {host} {port}", lambda: one.sendto(b"hello", (host, port)))
        for name, taker in takers.items():
            attempt(self.log, name, lambda t=taker: t.recvfrom(100))

    def connect(self, port: int, takers: dict[str, Any], host: str = "127.0.0.1") -> None:
        with self.make(TCP) as one, ExitStack() as stack:
            attempt(self.log, f"connect {host} {port}", lambda: one.connect((host, port)))
            for name, taker in takers.items():
                found: list[Any] = []
                attempt(self.log, name, lambda t=taker, f=found: f.append(t.accept()[0]))
                if found:
                    stack.enter_context(found[0])
                    attempt(self.log, "own name", found[0].getsockname)


def test_sk_lookup(linux_kernel: LinuxKernel) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        net = Net(side, log)
        with load(OBJECT, side.kernel, programs=["steer", "again"]) as item, ExitStack() as stack:
            made = {"udp": net.bound(UDP, 24001), "udp any": net.bound(UDP, 24002, "0.0.0.0"),
                    "tcp": net.bound(TCP, 24003), "tcp any": net.bound(TCP, 24004, "0.0.0.0")}  # fmt: skip
            six = net.bound(UDP, 24005, "::1")
            for one in (*made.values(), six):
                stack.enter_context(one)
            takers = {name: one for name, one in made.items() if name.startswith("udp")}
            listeners = {name: one for name, one in made.items() if name.startswith("tcp")}
            fresh = stack.enter_context(net.make(TCP))
            for number, one in enumerate([*made.values(), six, fresh]):
                attempt(log, f"map {number}", lambda n=number, o=one: put(item.maps["sockets"], n, o))
            links = [stack.enter_context(item.programs["steer"].attach_netns())]
            log.append(["link", links[0].type, int(links[0].info().netns_attach_type)])
            bss, data = item.bss, item.data
            for action, slot, flags, verdict, second in (
                (0, 0, 0, 1, 1), (0, 0, 0, 0, 1), (1, 0, 0, 1, 1), (1, 1, 0, 1, 1), (1, 2, 0, 1, 1), (1, 3, 0, 1, 1),
                (1, 4, 0, 1, 1), (2, 0, 0, 1, 1), (3, 2, 0, 1, 1), (4, 0, 0, 1, 1), (1, 0, 8, 1, 1), (1, 0, 2, 0, 1),
                (1, 7, 0, 1, 1), (0, 0, 0, 1, 0), (1, 0, 0, 1, 0), (1, 2, 0, 0, 0), (1, 2, 0, 1, 0),
            ):  # fmt: skip
                bss.action, bss.slot, bss.flags = action, slot, flags
                data.verdict, data.second_verdict = verdict, second
                log.append([f"action {action} slot {slot} flags {flags} verdict {verdict} {second}"])
                for port, host in HOSTS:
                    net.send(port, takers, host)
                for port in (24003, 24004, 24099):
                    net.connect(port, listeners)
                log += [["row", row] for row in rows(item)]
                if verdict == 1 and second == 1 and slot == 7:
                    links.append(stack.enter_context(item.programs["again"].attach_netns()))
            for link in links:
                link.close()
            net.send(24099, takers)
            log += [["row", row] for row in rows(item)]
        return log

    both_sockets(scenario)


@pytest.mark.parametrize("kind", [UDP, TCP])
def test_reuseport_groups(linux_kernel: LinuxKernel, kind: int) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        net = Net(side, log)
        with load(OBJECT, side.kernel, programs=["choose", "by_index"]) as item, ExitStack() as stack:
            maps = item.maps["array"], item.maps["sockets"]
            alone = stack.enter_context(net.bound(kind, 24100))
            choose, by_index = item.programs["choose"], item.programs["by_index"]
            attempt(log, "no group", lambda: choose.attach_socket(alone).detach())
            attempt(log, "array of none", lambda: put(maps[0], 5, alone))
            fresh = stack.enter_context(net.make(kind))
            attempt(log, "unbound", lambda: put(maps[0], 5, fresh))
            other = stack.enter_context(net.bound(kind, 24102, reuse=True))
            takers = {f"taker {n}": stack.enter_context(net.bound(kind, 24101, reuse=True)) for n in range(3)}
            attempt(log, "not sharing", lambda: net.bound(kind, 24101).close())
            bss, data = item.bss, item.data
            send = net.send if kind == UDP else net.connect
            attached = choose.attach_socket(takers["taker 1"])
            for action, here in enumerate(maps):
                for number, one in enumerate([*takers.values(), other, alone]):
                    attempt(log, f"map {number}", lambda m=here, n=number, o=one: put(m, n, o))
                    attempt(log, "again", lambda m=here, n=number, o=one: put(m, n, o))
                    attempt(log, "also", lambda m=maps[1 - action], n=number, o=one: put(m, n, o))
                for index in range(6):
                    for verdict in (1, 0):
                        if index > 2 and verdict:
                            continue  # nobody is chosen: a hash with a secret decides
                        bss.action, bss.which, data.verdict = action, index, verdict
                        log.append([f"action {action} index {index} verdict {verdict}"])
                        send(24101, takers)
                        log += [["row", row] for row in rows(item)]
                log.append(["kept", left(here)])
                for number in range(4):
                    attempt(log, f"out {number}", lambda m=here, n=number: m.__delitem__(n))
            attached.detach()
            attempt(log, "detached already", lambda: side.kernel.sites.socket_detach(other.fileno(), reuseport=True))
            with by_index.attach_socket(takers["taker 0"], reuseport=True):
                for index in range(3):
                    bss.which = index
                    send(24101, takers)
                    log += [["row", row] for row in rows(item)]
                takers.pop("taker 0").close()
                for index in range(2):  # the last took its place
                    bss.which = index
                    send(24101, takers)
                    log += [["row", row] for row in rows(item)]
            put(maps[0], 3, takers["taker 1"])
            put(maps[1], 4, alone)
            for one in (takers["taker 1"], alone):  # they leave maps when they are closed
                one.close()
            log += [["left", left(one)] for one in maps]
        return log

    both_sockets(scenario)


def put(item: Any, key: int, value: Any) -> None:
    item[key] = value.fileno()


def left(item: Any) -> list[int]:
    found = []
    for key in range(8):
        try:
            if item.raw.lookup(key.to_bytes(4, "little")) is not None:
                found.append(key)
        except OSError:
            continue
    return found


def test_look_ups_by_programs(linux_kernel: LinuxKernel) -> None:
    """bpf_sk_lookup_udp and bpf_sk_lookup_tcp of every packet that leaves."""

    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        net = Net(side, log)
        with load(OBJECT, side.kernel, programs=["finder"]) as item, ExitStack() as stack:
            udp, wide = net.bound(UDP, 24201), net.bound(UDP, 24202, "0.0.0.0")
            tcp = stack.enter_context(net.bound(TCP, 24203))
            for one in (udp, wide):
                stack.enter_context(one)
            with item.programs["finder"].attach_cgroup(side.path):
                for port in (24201, 24202, 24299):
                    net.send(port, {"udp": udp, "wide": wide})
                if not isinstance(side, UserSockets):
                    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("32768 32768")
                net.connect(24203, {"tcp": tcp})
                net.connect(24299, {})
            log += [["row", row] for row in rows(item)]
        return log

    both_sockets(scenario)
