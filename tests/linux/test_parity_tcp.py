"""TCP connections over the loopback: the same programs and the same calls on both kernels."""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from test_parity import UserSockets, attempt, both_sockets

from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object

pytestmark = pytest.mark.linux
OBJECT = open_object(Path(__file__).parent / "data" / "sockops.bpf.o")
STATE, RTT = 4, 8
FIELDS = ("op", "args", "family", "local_port", "remote_port", "local_ip4", "remote_ip4", "fullsock", "flags", "state",
          "cwnd", "flight", "mss", "ssthresh", "packets_out", "retrans", "total_retrans", "segs_in", "data_segs_in",
          "segs_out", "data_segs_out", "received", "acked", "skb_len", "tcp_flags", "sk_state", "answer")  # fmt: skip


class Talk:
    """A conversation on one side, and what programs were told after each step."""

    def __init__(self, side: Any, item: Loaded, log: list[Any], family: int = socket.AF_INET) -> None:
        self.side, self.item, self.log, self.family = side, item, log, family
        self.host = "127.0.0.1" if family == socket.AF_INET else "::1"
        if not isinstance(side, UserSockets):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # packets keep their order on one CPU
            Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text("reno")

    def make(self) -> Any:
        made = self.side.make(self.family, socket.SOCK_STREAM)
        if isinstance(made, socket.socket):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.settimeout(0.3)
        return made

    def told(self) -> None:
        """One line of the log for each call of a program."""
        bss = self.item.bss
        before, quiet = -1, isinstance(self.side, UserSockets)
        while not quiet:  # Linux may leave packets to a thread of its own
            time.sleep(0.005)
            now = int(bss.count) + int(bss.packet_count) + int(bss.fact_count)
            quiet, before = now == before, now
        for row in list(bss.rows)[: int(bss.count)]:
            values = {name: getattr(row, name) for name in FIELDS}
            shown = {n: list(map(int, v)) if n == "args" else int(v) for n, v in values.items()}
            if shown["local_ip4"]:
                shown["local_ip4"] = socket.inet_ntoa(struct.pack("<i", shown["local_ip4"]))
            self.log.append([f"op {shown.pop('op')}", {n: v for n, v in shown.items() if v}])
        bss.count = 0

    def quiet(self, name: str, what: Any) -> None:
        """A step after which an acknowledgement may be held back, for as long as Linux likes: what programs are told
        is logged by `later`."""
        attempt(self.log, name, what)

    def step(self, name: str, what: Any) -> Any:
        found: list[Any] = []

        def run() -> Any:
            value = what()
            found.append(value)
            return None if isinstance(value, (tuple, socket.socket)) else value

        attempt(self.log, name, run)
        self.told()
        return found[0] if found else None

    def later(self) -> None:
        """What is held back is sent."""
        if isinstance(self.side, UserSockets):
            self.side.kernel.idle()
        else:
            time.sleep(0.3)
        self.log.append(["later"])
        self.told()

    def opened(self, port: int = 25000) -> tuple[Any, Any, Any]:
        """(who listens, who connected, the other end)."""
        server, client = self.make(), self.make()
        self.step("bind", lambda: server.bind((self.host, port)))
        self.step("listen", lambda: server.listen(5))
        client.bind((self.host, port + 1000))
        self.step("connect", lambda: client.connect((self.host, port)))
        made, _ = self.step("accept", server.accept)
        if isinstance(made, socket.socket):
            made.settimeout(0.3)
        return server, client, made

    def close(self, name: str, one: Any) -> None:
        self.step(f"close {name}", one.close)


def conversation(talk: Talk) -> None:
    """Data both ways, then one side closes and the other follows."""
    server, client, made = talk.opened()
    talk.step("send 100", lambda: client.send(b"x" * 100))
    talk.step("recv", lambda: made.recv(1000).hex())
    talk.step("back 50", lambda: made.send(b"y" * 50))
    talk.step("recv back", lambda: client.recv(1000).hex())
    talk.quiet("send 10", lambda: client.send(b"z" * 10))
    talk.quiet("recv 4", lambda: made.recv(4).hex())
    talk.quiet("recv the rest", lambda: made.recv(100).hex())
    talk.later()
    talk.step("nothing", lambda: made.recv(100).hex())
    talk.step("name", client.getsockname)
    talk.step("peer", client.getpeername)
    talk.quiet("close client", client.close)
    talk.quiet("end", lambda: made.recv(10).hex())
    talk.later()
    talk.step("half closed", lambda: made.send(b""))
    talk.close("server's", made)
    talk.close("listener", server)
    talk.later()


def server_first(talk: Talk) -> None:
    """The side that was asked closes first; both close before the other's FIN is seen otherwise."""
    server, client, made = talk.opened(25010)
    talk.step("send", lambda: made.send(b"welcome"))
    talk.step("recv", lambda: client.recv(100).hex())
    talk.close("listener", server)
    talk.quiet("close server's", made.close)
    talk.later()
    talk.step("end", lambda: client.recv(10).hex())
    talk.close("client", client)
    talk.later()


def refused(talk: Talk) -> None:
    client = talk.make()
    client.bind((talk.host, 26020))
    talk.step("nobody", lambda: client.connect((talk.host, 25020)))
    talk.close("client", client)


def reset(talk: Talk) -> None:
    """A side closes with data that it did not read."""
    server, client, made = talk.opened(25030)
    talk.step("send", lambda: client.send(b"never read"))
    talk.close("server's", made)
    talk.step("recv", lambda: client.recv(10).hex())
    talk.step("recv again", lambda: client.recv(10).hex())
    talk.step("send", lambda: client.send(b"x"))
    talk.close("client", client)
    talk.close("listener", server)


def late_data(talk: Talk) -> None:
    """Data for a side that is closed already."""
    server, client, made = talk.opened(25040)
    talk.quiet("close client", client.close)
    talk.later()
    talk.step("send", lambda: made.send(b"too late"))
    talk.step("send again", lambda: made.send(b"too late"))
    talk.close("server's", made)
    talk.close("listener", server)


def nobody_accepts(talk: Talk) -> None:
    server, client = talk.make(), talk.make()
    talk.step("listen first", lambda: server.accept())
    server.bind((talk.host, 25050))
    talk.step("listen", lambda: server.listen(1))
    client.bind((talk.host, 26050))
    talk.step("connect", lambda: client.connect((talk.host, 25050)))
    talk.step("send", lambda: client.send(b"hello"))
    talk.close("listener", server)
    talk.step("recv", lambda: client.recv(10).hex())
    talk.close("client", client)


CONVERSATIONS = [conversation, server_first, refused, reset, late_data, nobody_accepts]


@pytest.mark.parametrize("what", CONVERSATIONS)
@pytest.mark.parametrize("flags", [0, STATE, RTT, STATE | RTT | 3])
def test_sockops_are_told_of_connections(linux_kernel: LinuxKernel, what: Any, flags: int) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        with load(OBJECT, side.kernel) as item, item.programs["watch"].attach_cgroup(side.path):
            item.bss.flags = flags
            what(Talk(side, item, log))
        return log

    both_sockets(scenario)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("replies", [{}, {6: 1}, {1: 30, 2: 4}])
def test_what_sockops_reply(linux_kernel: LinuxKernel, family: int, replies: dict[int, int]) -> None:
    """ECN when a program wants it; first windows and time-outs, which change nothing that is compared."""

    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        with load(OBJECT, side.kernel) as item, item.programs["watch"].attach_cgroup(side.path):
            item.bss.flags = STATE | RTT
            item.bss.reply = [replies.get(op, 0) for op in range(16)]
            conversation(Talk(side, item, log, family))
        return log

    both_sockets(scenario)


def packets(item: Loaded, log: list[Any]) -> None:
    names = ("out", "len", "family", "tos", "flags", "data", "local_port", "remote_port", "sk_state")
    bss = item.bss
    for row in list(bss.packets)[: int(bss.packet_count)]:
        log.append(["packet", {name: int(getattr(row, name)) for name in names if int(getattr(row, name))}])


@pytest.mark.parametrize("what", [conversation, server_first, refused, reset, late_data, nobody_accepts])
@pytest.mark.parametrize("ecn", [0, 1])
def test_packets_of_connections(linux_kernel: LinuxKernel, what: Any, ecn: int) -> None:
    """Every packet as programs of the cgroup see it, going out and coming in."""

    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        with load(OBJECT, side.kernel) as item, ExitStack() as stack:
            for name in ("watch", "out", "in"):
                stack.enter_context(item.programs[name].attach_cgroup(side.path))
            item.bss.reply = [0] * 6 + [ecn] + [0] * 9
            what(Talk(side, item, log))
            packets(item, log)
        return log

    both_sockets(scenario)


FACTS = ("mss", "segs_in", "segs_out", "data_segs_in", "data_segs_out", "received", "acked", "packets_out",
         "flight", "stamps", "mss_option")  # fmt: skip


@pytest.mark.parametrize("what", [conversation, server_first, refused, nobody_accepts])
def test_options_and_headers_of_connections(linux_kernel: LinuxKernel, what: Any) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        with load(OBJECT, side.kernel) as item, item.programs["options"].attach_cgroup(side.path):
            what(Talk(side, item, log))
            for row in list(item.bss.facts)[: int(item.bss.fact_count)]:
                shown: dict[str, Any] = {name: int(getattr(row, name)) for name in FACTS}
                shown |= {name: list(map(int, getattr(row, name))) for name in ("set", "got", "values", "option")}
                log.append([f"op {int(row.op)}", shown])
        return log

    both_sockets(scenario)
