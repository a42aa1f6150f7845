"""The programs of examples/bpf: each means the same as plain Python, as BPF on the user kernel and as BPF on Linux."""

from __future__ import annotations

import ast
import errno
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from packets import packets
from readings import Seen, compiled, plain

from bombus.bpf.machine import use
from bombus.bpf.program import Program
from bombus.compiler.build import build_module
from bombus.compiler.importing import import_file
from bombus.errors import KernelError
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Map
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.plain import PlainMachine

FOLDER = Path(__file__).parent.parent.parent / "examples" / "bpf"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
_PACKET_SECTIONS = ("xdp", "tc", "socket", "cgroup_skb/egress", "cgroup_skb/ingress")
Maps = Callable[[str], Any]
Put = Callable[[str, int, str], None]


def _ports(maps: Maps, put: Put) -> None:
    maps("allowed")[80] = 0
    maps("allowed")[53] = 0


def _firewall(maps: Maps, put: Put) -> None:
    drop, pass_ = bytes([1]) + bytes(23), bytes([2]) + bytes(23)
    for bits, address, rule in ((24, "192.168.1.0", drop), (32, "10.0.0.3", drop), (8, "10.0.0.0", pass_)):
        maps("networks4").raw.update(bytes([bits, 0, 0, 0, *map(int, address.split("."))]), rule)
    maps("networks6").raw.update(bytes([128, 0, 0, 0]) + bytes(15) + b"\1", drop)
    maps("networks6").raw.update(bytes([96, 0, 0, 0]) + bytes(16), pass_)


def _balancer(maps: Maps, put: Put) -> None:
    for index in range(64):
        maps("ring")[index] = index * 7 % 3
    for index in range(3):
        maps("servers").raw.update(index.to_bytes(4, "little"), bytes([10, 1, 0, index + 1]) + bytes(12))


def _nat(maps: Maps, put: Put) -> None:
    maps("targets")[1] = 0x0A020304


def _friends(maps: Maps, put: Put) -> None:
    for last in (3, 5, 9):
        maps("friends")[last] = 0


def _tail(maps: Maps, put: Put) -> None:
    put("jumps", 0, "ipv4")
    put("jumps", 1, "ipv6")


def _tenants(maps: Maps, put: Put) -> None:
    outer = maps("tenants")
    for key in (1, 3, 5):
        outer[key] = Map.create(outer.kernel, "array", 4, 8, 4)


FILL = {
    "xdp_tenants": _tenants,
    "xdp_ports": _ports, "xdp_firewall": _firewall, "xdp_balancer": _balancer, "tc_nat": _nat,
    "cgroup_ingress": _friends, "xdp_tail": _tail,
}  # fmt: skip


def first_program(module: ModuleType) -> Program[Any, Any]:
    return next(value for value in vars(module).values() if isinstance(value, Program))


@cache
def built(name: str) -> tuple[ModuleType, bytes]:
    module = import_file(str(FOLDER / f"{name}.py"))
    return module, build_module(module)


@cache
def in_python(name: str) -> Seen:
    module, _data = built(name)
    return plain(module, first_program(module), packets(), FILL.get(name))


RUN = [name for name in NAMES if name.split("_")[0] in ("xdp", "tc", "socket", "cgroup", "timer")]


@pytest.mark.parametrize("name", RUN)
def test_same_on_user_kernel(name: str) -> None:
    module, data = built(name)
    kernel = UserKernel(version="6.12")
    seen = compiled(module, first_program(module), in_python(name).used, kernel, FILL.get(name), data)
    same(in_python(name), seen)


# The user kernel has no kernel functions.
@pytest.mark.parametrize("name", [*RUN, "kfunc_iterate"])
def test_same_on_linux(name: str, linux_kernel: Kernel) -> None:
    module, data = built(name)
    seen = compiled(module, first_program(module), in_python(name).used, linux_kernel, FILL.get(name), data)
    same(in_python(name), seen)


def same(expected: Seen, seen: Seen) -> None:
    assert seen.verdicts == expected.verdicts
    assert seen.packets == expected.packets
    assert seen.maps == expected.maps


@pytest.mark.parametrize("name", NAMES)
def test_verifier_of_linux_accepts(name: str, linux_kernel: Kernel) -> None:
    _module, data = built(name)
    try:
        with load(read_object(data, name=name), linux_kernel) as loaded:
            assert loaded.programs
    except KernelError as error:
        if error.errno in (errno.EPERM, errno.ENOENT) and not error.log:
            pytest.skip(f"this kernel refuses the program's kind: {error}")
        raise


def inner_counts(outer: Any) -> list[list[int]]:
    found = []
    for key in (1, 3, 5):
        with outer[key] as inner:
            found.append([inner[index] for index in range(4)])
    return found


def test_maps_of_maps_hold_the_same() -> None:
    """What the programs counted in the inner maps, which `contents` does not show."""
    module, data = built("xdp_tenants")
    machine, kernel = PlainMachine(), UserKernel(version="6.12")
    program = first_program(module)
    with use(machine), load(read_object(data), kernel) as loaded:
        _tenants(lambda name: machine.map(module.__dict__[name]), lambda *_: None)
        _tenants(lambda name: loaded.maps[name], lambda *_: None)
        for packet in packets():
            program.run(packet)
            loaded.programs["account"].test_run(packet)
        plain_counts = inner_counts(machine.map(module.tenants))
        assert plain_counts == inner_counts(loaded.maps["tenants"])
    assert sum(map(sum, plain_counts)) > 1000


def test_runs_do_something() -> None:
    """Programs that give every packet the same verdict and leave maps empty would make the comparison worthless."""
    idle = []
    for name in RUN:
        seen = in_python(name)
        if len(set(seen.verdicts)) == 1 and not any(any(map(any, m.values())) for m in seen.maps.values()):
            idle.append(name)
    # they print, redirect to devices that are not there, and fill a ring buffer
    assert idle == ["xdp_print", "xdp_redirect", "xdp_sampler"]


def executed(name: str) -> tuple[int, int]:
    """Lines of a program's functions that the packets reach in plain Python, and how many there are."""
    path = FOLDER / f"{name}.py"
    module = import_file(str(path))
    lines = {
        node.lineno for function in ast.walk(ast.parse(path.read_text())) if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.stmt) and node is not function
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    }  # fmt: skip
    seen: set[int] = set()

    def trace(frame: FrameType, event: str, _arg: Any) -> Any:
        if frame.f_code.co_filename != str(path):
            return None
        seen.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        plain(module, first_program(module), packets(), FILL.get(name))
    finally:
        sys.settrace(before)
    return len(lines & seen), len(lines)


def test_packets_reach_the_code() -> None:
    """Programs that come back at once would make the comparison worthless, too."""
    shares = {name: reached / lines for name, (reached, lines) in ((name, executed(name)) for name in RUN)}
    assert min(shares.values()) > 0.7, min(shares, key=lambda name: shares[name])
    assert sum(shares.values()) / len(shares) > 0.93


def test_enough_programs() -> None:
    assert len(NAMES) >= 60


def test_mypy_understands_the_programs() -> None:
    api = pytest.importorskip("mypy.api")
    out, err, code = api.run(["--strict", "--no-error-summary", *map(str, sorted(FOLDER.glob("*.py")))])
    assert (out, err, code) == ("", "", 0)


def test_plain_programs_print() -> None:
    seen = in_python("xdp_print")
    assert seen.printed[0] == "a packet: 100%"
    assert seen.printed[1].endswith("protocol 0x800")
