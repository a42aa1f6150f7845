"""Programs at the addresses of UNIX sockets: the same programs and the same calls on both kernels."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from test_parity import UserSockets, attempt, both_sockets, running

from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.object.read import open_object

pytestmark = pytest.mark.linux
OBJECT = open_object(Path(__file__).parent / "data" / "unixes.bpf.o")
CONNECT, SENDMSG, RECVMSG, PEER, OWN = range(1, 6)
FORBID = 100


def sockets(side: Any, log: list[Any]) -> Any:
    """Makes UNIX sockets, and says what a call answers."""
    if isinstance(side, UserSockets):
        side.kernel = UserKernel(running(), btf=LinuxKernel().vmlinux_btf())
        side.kernel.cgroups.mkdir(side.path)
        return lambda kind: side.kernel.unix_socket(kind, cgroup=side.path)

    def make(kind: int) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, kind)
        made.setblocking(False)
        return made

    return make


def name_of(what: Any) -> str:
    return what.hex() if isinstance(what, bytes) else f"path {Path(what).name}"


def datagrams(log: list[Any], make: Any, one: Any, other: Any, programs: bool = False) -> None:
    """Two bound sockets and one without a name, whose address programs see as what lies on Linux' stack."""
    with make(socket.SOCK_DGRAM) as first, make(socket.SOCK_DGRAM) as second, make(socket.SOCK_DGRAM) as bare:
        attempt(log, "no name", lambda: name_of(bare.getsockname()))
        attempt(log, "bind", lambda: first.bind(one))
        attempt(log, "taken", lambda: second.bind(one))
        attempt(log, "bind other", lambda: second.bind(other))
        attempt(log, "bind again", lambda: second.bind(one))
        attempt(log, "names", lambda: name_of(first.getsockname()))
        attempt(log, "not connected", lambda: first.send(b"x"))
        attempt(log, "no peer", lambda: name_of(first.getpeername()))
        attempt(log, "send", lambda: first.sendto(b"hello", other))
        if not programs:
            attempt(log, "from a bare one", lambda: bare.sendto(b"from nobody", one))
        receive(log, first, second)
        attempt(log, "connect", lambda: first.connect(other))
        attempt(log, "peer", lambda: name_of(first.getpeername()))
        attempt(log, "send connected", lambda: first.send(b"again"))
        receive(log, first, second)
        attempt(log, "connect back", lambda: second.connect(one))
        attempt(log, "to a connected one", lambda: bare.sendto(b"not for you", one))
        attempt(log, "nowhere", lambda: bare.sendto(b"lost", b"\0bombus none"))
        attempt(log, "connect nowhere", lambda: bare.connect(b"\0bombus none"))
        attempt(log, "cut", lambda: second.send(b"0123456789"))
        attempt(log, "receive", lambda: first.recvfrom(4)[0].hex())
        attempt(log, "rest", lambda: first.recvfrom(4)[0].hex())
        attempt(log, "listen", first.listen)


def receive(log: list[Any], *takers: Any) -> None:
    def one(taker: Any) -> list[str]:
        data, sender = taker.recvfrom(100)
        return [data.hex(), name_of(sender) if sender else "nobody"]

    for number, taker in enumerate(takers):
        attempt(log, f"receive {number}", lambda t=taker: one(t))


def streams(log: list[Any], make: Any, one: Any, other: Any, programs: bool = False) -> None:
    with make(socket.SOCK_STREAM) as server, make(socket.SOCK_STREAM) as client, make(socket.SOCK_DGRAM) as wrong:
        attempt(log, "listen without a name", server.listen)
        attempt(log, "bind", lambda: server.bind(one))
        attempt(log, "not yet", lambda: client.connect(one))
        attempt(log, "listen", lambda: server.listen(1))
        attempt(log, "accept", lambda: server.accept()[1])
        attempt(log, "wrong kind", lambda: wrong.connect(one))
        attempt(log, "nowhere", lambda: client.connect(b"\0bombus none"))
        attempt(log, "name of the client", lambda: client.bind(other))
        attempt(log, "connect", lambda: client.connect(one))
        attempt(log, "connect again", lambda: client.connect(one))
        attempt(log, "peer", lambda: name_of(client.getpeername()))
        found: list[Any] = []
        attempt(log, "accepted", lambda: found.append(server.accept()))
        if not found:
            return
        made, peer = found[0]
        with made:
            if isinstance(made, socket.socket):
                made.setblocking(False)
            else:
                made.getsockname()  # as Python does with a descriptor that it makes a socket of
            log.append(["peer", name_of(peer)])
            for what, where in (("made", made), ("client", client)):
                attempt(log, f"{what} own", lambda w=where: name_of(w.getsockname()))
                attempt(log, f"{what} peer", lambda w=where: name_of(w.getpeername()))
            attempt(log, "send", lambda: client.send(b"hello"))
            attempt(log, "sendto", lambda: client.sendto(b"hello", one))
            attempt(log, "first part", lambda: name_of(made.recvfrom(3)[0]))
            receive(log, made, client)
            attempt(log, "back", lambda: made.send(b"good bye"))
            receive(log, client)
        receive(log, client)
        attempt(log, "broken", lambda: client.send(b"x"))
        attempt(log, "no peer", lambda: name_of(client.getpeername()))


def pair_of_names(kind: str, path: Path) -> tuple[Any, Any]:
    if kind == "abstract":
        return b"\0bombus one", b"\0bombus\0two"
    return str(path / "one"), str(path / "other")


@pytest.mark.parametrize("kind", ["abstract", "path"])
@pytest.mark.parametrize("what", [datagrams, streams])
def test_unix_sockets_as_such(linux_kernel: LinuxKernel, tmp_path: Path, kind: str, what: Any) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        what(log, sockets(side, log), *pair_of_names(kind, tmp_path))
        return log

    both_sockets(scenario)


CHANGES = [
    (0, b""), (OWN, b"\0bombus own"), (OWN, b"/own/name"), (PEER, b"\0bombus peer"), (PEER, b"/a\0b"), (PEER, b""),
    (RECVMSG, b"\0bombus sender"), (RECVMSG, b"/sender\0"), (CONNECT, b"\0bombus none"), (CONNECT, b"\0bombus\0two"),
    (SENDMSG, b"\0bombus one"), (SENDMSG, b"\0bombus none"), (CONNECT, b"x" * 108), (CONNECT + FORBID, b""),
    (SENDMSG + FORBID, b""), (SENDMSG, b"nothing/there"),
]  # fmt: skip


@pytest.mark.parametrize("what", [datagrams, streams])
def test_programs_at_unix_addresses(linux_kernel: LinuxKernel, what: Any) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        make = sockets(side, log)
        with load(OBJECT, side.kernel) as item, ExitStack() as stack:
            for program in item.programs.values():
                stack.enter_context(program.attach_cgroup(side.path))
            raw, bss = item.maps["rows"].raw, item.bss
            for hook, text in CHANGES:
                bss.hook, bss.length, bss.used = hook, len(text), 0
                bss.text = text.ljust(108, b"\0")
                log.append([f"{hook} {text[:20]!r}"])
                what(log, make, *pair_of_names("abstract", Path()), programs=True)
                keys = [at.to_bytes(4, "little") for at in range(64)]
                log += [[f"row {at}", (raw.lookup(keys[at]) or b"").hex()] for at in range(int(bss.used))]
                for key in keys:
                    raw.update(key, bytes(88))
        return log

    both_sockets(scenario)
