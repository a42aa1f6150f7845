"""Programs that run on a context, not on packets: the same in plain Python, on the user kernel and on Linux."""

from __future__ import annotations

import errno
import socket
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from readings import contents, declared, reset_globals, shown

from bombus.bpf.machine import use
from bombus.bpf.program import Program
from bombus.compiler.build import build_module
from bombus.compiler.importing import import_file
from bombus.kernel.api import Kernel
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.plain import PlainMachine

EXAMPLES = Path(__file__).parents[2] / "examples" / "bpf"
Fill = Callable[[Callable[[str], Any]], None]


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


def lookup_context(address: str, port: int) -> bytes:
    """struct bpf_sk_lookup of a TCP connection: cookie, family, protocol, remote and local addresses."""
    from bombus.bpf.contexts import BpfSkLookup

    made = BpfSkLookup(family=socket.AF_INET, protocol=socket.IPPROTO_TCP, local_port=port)
    made.local_ip4 = int.from_bytes(socket.inet_aton(address), "big")
    made.remote_ip4 = int.from_bytes(socket.inet_aton("127.0.0.1"), "big")
    return bytes(made)


def nothing(maps: Callable[[str], Any]) -> None:
    pass


def closed_ports(maps: Callable[[str], Any]) -> None:
    for port in (23, 80):
        maps("closed")[port] = 0


CASES: dict[str, tuple[str, Fill, list[bytes], list[int]]] = {
    "syscount": ("enter", nothing, [words(0, 1), words(0, 2), words(0, 1), words(0, 39)], [0, 0, 0, 0]),
    "sk_lookup_steer": ("steer", closed_ports, [lookup_context("127.0.0.1", port) for port in (22, 23, 80, 23, 443)],
                        [1, 0, 0, 0, 1]),
}  # fmt: skip


def maps_of(module: ModuleType, handle: Callable[[str], Any]) -> dict[str, dict[bytes, bytes]]:
    """Without the process's number in keys, which plain Python and the user kernel make up."""
    found = {name: contents(handle(name)) for name, item in declared(module).items() if shown(item)}
    if "calls" in found:
        found["calls"] = {key[4:]: value for key, value in found["calls"].items()}
    return found


def typed(program: Program[Any, Any], context: bytes) -> Any:
    """The struct that the program takes, over a copy of the bytes."""
    kind = typing.get_type_hints(program.function)["ctx"]
    made = kind()
    view = made._view
    view[:] = context[: len(view)].ljust(len(view), b"\0")
    return made


def in_python(module: ModuleType, program: Program[Any, Any], fill: Fill, contexts: list[bytes]) -> Any:
    machine = PlainMachine()
    reset_globals()
    fill(lambda name: machine.map(vars(module)[name]))
    with use(machine):
        verdicts = [int(program.run(ctx=typed(program, context)).verdict) for context in contexts]
    return verdicts, maps_of(module, lambda name: machine.map(vars(module)[name]))


def in_kernel(module: ModuleType, program: Program[Any, Any], fill: Fill, contexts: list[bytes], kernel: Kernel) -> Any:
    with load(read_object(build_module(module), name=module.__name__), kernel) as loaded:
        fill(lambda name: loaded.maps[name])
        runs = [loaded.programs[program.__name__].test_run(ctx=context).retval for context in contexts]
        return runs, maps_of(module, lambda name: loaded.maps[name])


@pytest.mark.parametrize("name", CASES)
def test_same_in_all_readings(name: str, linux_kernel: Kernel) -> None:
    program_name, fill, contexts, expected = CASES[name]
    module = import_file(str(EXAMPLES / f"{name}.py"))
    program = vars(module)[program_name]
    plain = in_python(module, program, fill, contexts)
    assert plain[0] == expected
    assert any(any(map(any, rows.values())) for rows in plain[1].values())
    for kernel in (UserKernel(version="6.12"), linux_kernel):
        assert in_kernel(module, program, fill, contexts, kernel) == plain


def test_connections_in_python() -> None:
    """What connect_redirect makes of addresses; on Linux it is attached in test_attached."""
    from bombus.bpf.contexts import BpfSockAddr

    module = import_file(str(EXAMPLES / "connect_redirect.py"))
    machine = PlainMachine()
    target = bytes([127, 0, 0, 1]) + (0x9010).to_bytes(4, "little")
    machine.map(module.targets).raw.update(bytes([7, 113, 0, 203]), target)
    with use(machine):
        for address, port, wanted in (("203.0.113.7", 9, ("127.0.0.1", 0x9010)), ("1.2.3.4", 9, ("1.2.3.4", 9))):
            ctx = BpfSockAddr()
            ctx.user_ip4 = int.from_bytes(socket.inet_aton(address), "big")
            ctx.user_port = port
            assert int(module.redirect.run(ctx=ctx).verdict) == 1
            assert (socket.inet_ntoa(int(ctx.user_ip4).to_bytes(4, "big")), int(ctx.user_port)) == wanted


def test_latency_in_python() -> None:
    """tcpconnlat over the records of one connection; on Linux it is attached in test_attached."""
    module = import_file(str(EXAMPLES / "tcpconnlat.py"))
    machine = PlainMachine()
    reset_globals()

    def change(old: int, new: int) -> Any:
        return module.Change(sock=0x1234, old=old, new=new, source_port=1000, destination_port=80, protocol=6)

    with use(machine):
        assert int(module.state.run(ctx=change(7, 2)).verdict) == 0
        assert len(contents(machine.map(module.begun))) == 1
        assert int(module.state.run(ctx=change(2, 1)).verdict) == 0
        assert len(contents(machine.map(module.begun))) == 0
        from bombus.kernel.handles import RingBuffer

        with RingBuffer(machine.map(module.events)) as reader:
            (event,) = reader.read()
    assert int.from_bytes(event[20:22], "little") == 1000


def test_connections_of_a_cgroup_on_the_user_kernel() -> None:
    """The exchange of test_attached on the user kernel's cgroups and sockets."""
    kernel = UserKernel(version="6.12")
    module = import_file(str(EXAMPLES / "connect_redirect.py"))
    kernel.cgroups.mkdir("/sys/fs/cgroup/redirect")
    target = bytes([127, 0, 0, 1]) + (0x9010).to_bytes(4, "little")
    with load(read_object(build_module(module), name="connect_redirect"), kernel) as loaded:
        loaded.maps["targets"].raw.update(bytes([7, 113, 0, 203]), target)
        stream = (socket.AF_INET, socket.SOCK_STREAM)
        with kernel.socket(*stream, cgroup="/sys/fs/cgroup/redirect") as server:
            server.bind(("127.0.0.1", socket.ntohs(0x9010)))
            server.listen()
            with (
                loaded.programs["redirect"].attach_cgroup("/sys/fs/cgroup/redirect"),
                kernel.socket(*stream, cgroup="/sys/fs/cgroup/redirect") as client,
            ):
                client.connect(("203.0.113.7", 9))
                assert client.getpeername() == ("127.0.0.1", socket.ntohs(0x9010))
            with kernel.socket(*stream, cgroup="/sys/fs/cgroup/redirect") as client, pytest.raises(OSError):
                client.connect(("203.0.113.7", 9))


def test_a_budget_on_the_user_kernel() -> None:
    kernel = UserKernel(version="6.12")
    module = import_file(str(EXAMPLES / "cgroup_egress.py"))
    kernel.cgroups.mkdir("/sys/fs/cgroup/budget")
    with (
        load(read_object(build_module(module), name="cgroup_egress"), kernel, data={"budget": 1000}) as loaded,
        loaded.programs["egress"].attach_cgroup("/sys/fs/cgroup/budget"),
        kernel.socket(socket.AF_INET, socket.SOCK_DGRAM, cgroup="/sys/fs/cgroup/budget") as one,
    ):
        sent = 0
        with pytest.raises(OSError) as caught:
            for _ in range(20):
                one.sendto(bytes(172), ("127.0.0.1", 9))
                sent += 1
        assert (sent, caught.value.errno) == (4, errno.EPERM)
        assert loaded.maps["sent"][0] == 1000
