"""Next hops: bpf_fib_lookup with routes, bpf_redirect_neigh with neighbours, the same on both kernels."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sandbox import run
from test_parity import Result, UserSide, both
from test_parity_more import datagram

from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object

pytestmark = pytest.mark.linux
OBJECT = open_object(Path(__file__).parent / "data" / "neighbours.bpf.o")
HOP, NEAR = bytes.fromhex("020000000777"), bytes.fromhex("020000000999")
ROUTES = [
    ("10.8.0.0/16", "vc", "10.9.0.7", "", 5, "unicast"), ("10.8.3.0/24", "vd", "", "10.7.0.1", 0, "unicast"),
    ("10.8.4.0/24", "", "", "", 0, "blackhole"), ("10.8.5.0/24", "", "", "", 0, "unreachable"),
    ("10.8.6.0/24", "", "", "", 0, "prohibit"), ("10.8.3.128/25", "vc", "10.9.0.8", "", 0, "unicast"),
    ("10.8.0.0/16", "vd", "", "", 3, "unicast"),
]  # fmt: skip
TARGETS = ["10.9.0.7", "10.9.0.1", "10.9.0.255", "10.9.0.77", "10.8.1.1", "10.8.3.5", "10.8.3.200", "10.8.4.1",
           "10.8.5.1", "10.8.6.1", "10.7.0.2", "192.168.7.7"]  # fmt: skip


def prepare(side: Any, *, forward: bool = True) -> None:
    if isinstance(side, UserSide):
        for name in ("vb", "vc", "vd"):  # Linux' devices have these addresses, too
            side.kernel.net.device(name).address = bytes.fromhex("0200000000") + bytes((2 if name != "vc" else 1,))
        routes = side.kernel.net.routes
        routes.address("vb", "10.0.0.2/24")
        routes.address("vc", "10.9.0.1/24")
        routes.address("vd", "10.7.0.1/30")
        for prefix, device, via, source, metric, kind in ROUTES:
            routes.add(prefix, device, via=via, source=source, metric=metric, kind=kind)
        routes.neighbour("vc", "10.9.0.7", HOP)
        routes.neighbour("vd", "10.8.3.5", NEAR)
        if forward:
            side.kernel.sysctl("net/ipv4/ip_forward").write(b"1")
        return
    for device, address in (("vb", "10.0.0.2/24"), ("vc", "10.9.0.1/24"), ("vd", "10.7.0.1/30")):
        run("ip", "address", "add", address, "broadcast", "+", "dev", device)
    for prefix, device, via, source, metric, kind in ROUTES:
        words = ["ip", "route", "add", kind, prefix]
        for name, value in (("dev", device), ("via", via), ("src", source), ("metric", str(metric or ""))):
            words += [name, value] if value else []
        run(*words)
    for device, address, mac in (("vc", "10.9.0.7", HOP), ("vd", "10.8.3.5", NEAR)):
        run("ip", "neighbour", "add", address, "lladdr", mac.hex(":"), "dev", device, "nud", "permanent")
    Path("/proc/sys/net/ipv4/ip_forward").write_text(str(int(forward)))


def number(address: str) -> int:
    return int(struct.unpack("<I", socket.inet_aton(address))[0])


def row(side: Any, item: Loaded) -> list[Any]:
    one = item.bss.row
    names = {side.index(name): name for name in ("va", "vb", "vc", "vd")}
    addresses = [socket.inet_ntoa(struct.pack("<I", int(value))) for value in (one.target, one.source)]
    macs = [bytes(list(map(int, mac))).hex() for mac in (one.smac, one.dmac)]
    device = names.get(int(one.ifindex), "none")
    return [int(one.answer), device, *addresses, int(one.metric), int(one.mtu), int(one.vlan), *macs]


@pytest.mark.parametrize("kind", ["xdp", "tc"])
def test_routes(linux_kernel: LinuxKernel, kind: str) -> None:
    def scenario(side: Any) -> Result:
        found: Result = {}
        prepare(side)
        with load(OBJECT, side.kernel, programs=[f"look_{kind}"]) as item, ExitStack() as stack:
            program = item.programs[f"look_{kind}"]
            stack.enter_context(program.attach_xdp("vb") if kind == "xdp" else program.attach_tcx("vb", "ingress"))
            bss = item.bss
            for device in ("vb", "vd", "none"):
                bss.came = side.index(device) if device != "none" else 9999
                for flags in (0, 2, 4, 16, 20, 64):
                    for length in (0, 1400, 1500, 1501):
                        if device != "vb" and (length or flags not in (0, 2)):
                            continue
                        for target in TARGETS:
                            bss.flags, bss.length, bss.target = flags, length, number(target)
                            side.exchange(datagram(1, b"some payload"))
                            found[f"{device} {flags} {length} {target}"] = row(side, item)
            item.data.family = 7
            side.exchange(datagram(1, b"some payload"))
            found["family"] = row(side, item)
        return found

    both(scenario)


def test_without_forwarding(linux_kernel: LinuxKernel) -> None:
    def scenario(side: Any) -> Result:
        prepare(side, forward=False)
        name = "look_tc"
        with load(OBJECT, side.kernel, programs=[name]) as item, item.programs[name].attach_tcx("vb", "ingress"):
            item.bss.came, item.bss.target = side.index("vb"), number("10.9.0.7")
            side.exchange(datagram(1, b"some payload"))
            return {"row": row(side, item)}

    both(scenario)


def test_neighbours(linux_kernel: LinuxKernel) -> None:
    """Frames leave with the header of their next hop; what has none is not compared: Linux asks for it."""

    def scenario(side: Any) -> Result:
        found: Result = {}
        prepare(side)
        name = "send_on"
        with load(OBJECT, side.kernel, programs=[name]) as item, item.programs[name].attach_tcx("vb", "ingress"):
            bss, data = item.bss, item.data
            for target, device, flags, hop, family in (
                ("10.9.0.7", "vc", 0, "0.0.0.0", 2), ("10.8.1.1", "vc", 0, "0.0.0.0", 2),
                ("10.8.3.5", "vd", 0, "0.0.0.0", 2), ("192.168.7.7", "vc", 1, "10.9.0.7", 2),
                ("192.168.7.7", "vd", 1, "10.8.3.5", 2), ("192.168.7.7", "vc", 2, "10.9.0.7", 2),
                ("192.168.7.7", "vc", 9, "10.9.0.7", 2), ("192.168.7.7", "vc", 1, "10.9.0.7", 7),
                ("10.9.0.7", "none", 0, "0.0.0.0", 2),
            ):  # fmt: skip
                bss.out = side.index(device) if device != "none" else 9999
                bss.flags, bss.next, data.family = flags, number(hop), family
                sent = addressed(target)
                got = [one for one in side.exchange(sent) if one[0] in ("vc", "vd")]
                found[f"{target} {device} {flags} {hop} {family}"] = got
        return found

    both(scenario)


def addressed(target: str) -> bytes:
    """A datagram to an address; its checksums are of another."""
    made = datagram(1, b"some payload")
    return made[:30] + socket.inet_aton(target) + made[34:]
