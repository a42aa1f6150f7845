"""sk_msg programs of sockmaps over TCP connections: the same programs and the same calls on both kernels."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from test_parity import LinuxSockets, attempt, both_sockets

from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object

pytestmark = pytest.mark.linux
OBJECT = open_object(Path(__file__).parent / "data" / "messages.bpf.o")
FIELDS = ("size", "linear", "family", "local_port", "remote_port", "local_ip4", "answer", "state", "first", "extra")
# By their first byte: see judge(). The digit is a key of the map, or a number of bytes.
SENT = [
    b"z plain", b"e2 by another", b"e3 by the other end", b"i1 for the peer", b"i0 for itself", b"h0 by port",
    b"a3 zz zz zz zzz", b"z after that", b"a9 long", b"zzzz half of that", b"w writes", b"p pulls some",
    b"q cannot", b"z again",
]  # fmt: skip
# Who is dropped once is dropped for ever, by Linux as it is.
DROPPED = {"made 0": b"d dropped", "client 1": b"i7 nobody", "made 1": b"f1 bad flags", "client 2": b"h9 no such",
           "made 2": b"x4 drops four"}  # fmt: skip


def rows(item: Loaded) -> list[dict[str, int]]:
    bss = item.bss
    found = [{name: int(getattr(row, name)) for name in FIELDS} for row in list(bss.rows)[: int(bss.count)]]
    bss.count = 0
    bss.rows = [dict.fromkeys(FIELDS, 0)] * 64
    return found


@pytest.mark.parametrize("link", [True, False])
def test_messages(linux_kernel: LinuxKernel, link: bool) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []

        if isinstance(side, LinuxSockets):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # packets keep their order on one CPU

        def make() -> Any:
            made = side.make(socket.AF_INET, socket.SOCK_STREAM)
            if isinstance(made, socket.socket):
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.settimeout(0.1)
            return made

        with load(OBJECT, side.kernel) as item, ExitStack() as stack:
            maps = item.maps["sockets"], item.maps["hashed"]
            judge = stack.enter_context(item.programs["judge"].attach_sockmap(maps[0], link=link))
            if link:
                attempt(log, "second", lambda: item.programs["judge"].attach_sockmap(maps[0], link=True).close())
                log.append(["link", judge.type, int(judge.info().sockmap_attach_type)])
            enter = stack.enter_context(item.programs["enter"].attach_cgroup(side.path))
            server = stack.enter_context(make())
            server.bind(("127.0.0.1", 25000))
            server.listen(5)
            ends: dict[str, Any] = {}
            for number in range(3):  # keys 0, 1: a connection's ends; 2, 3: another's; 4, 5
                client = ends[f"client {number}"] = stack.enter_context(make())
                client.bind(("127.0.0.1", 26000 + 1000 * number))
                attempt(log, "connect", lambda c=client: c.connect(("127.0.0.1", 25000)))
                made = ends[f"made {number}"] = stack.enter_context(server.accept()[0])
                if isinstance(made, socket.socket):
                    made.settimeout(0.1)
            enter.close()
            log.append(["updates", list(map(int, item.bss.updates)), list(map(int, item.bss.again))])
            for text in SENT:
                attempt(log, f"send {text!r}", lambda t=text: ends["client 0"].send(t))
                for name in ("client 0", "made 0", "client 1", "made 1"):
                    attempt(log, name, lambda o=ends[name]: o.recv(100).hex())
                log += [["row", row] for row in rows(item)]
            for sender, text in DROPPED.items():
                for what in (text, b"z plain again"):
                    attempt(log, f"{sender} {what!r}", lambda s=sender, t=what: ends[s].send(t))
                log += [["row", row] for row in rows(item)]
            for name, one in ends.items():
                attempt(log, name, lambda o=one: o.recv(100).hex())
            ends["client 1"].close()
            attempt(log, "closed", lambda: ends["client 0"].send(b"e2 nobody"))
            attempt(log, "out of the map", lambda: maps[0].__delitem__(0))
            attempt(log, "still judged", lambda: ends["client 0"].send(b"z in another map"))
            log += [["row", row] for row in rows(item)]
        return log

    both_sockets(scenario)
