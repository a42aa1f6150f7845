"""The same object and traffic on both kernels: XDP redirects and metadata, rewritten UDP, addresses of IPv6."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from test_parity import XDP_PASS, A, B, Result, attempt, both, both_sockets, frame, maps

from bombus.kernel.handles import Program
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object, read_object

pytestmark = pytest.mark.linux
OBJECT = open_object(Path(__file__).parent / "data" / "parity_more.bpf.o")


@pytest.mark.parametrize("mode", ["native", "skb"])
def test_xdp_redirects(linux_kernel: LinuxKernel, mode: str) -> None:
    def scenario(side: Any) -> Result:
        found: Result = {}
        with ExitStack() as stack:
            other = side.index("vc")
            item = stack.enter_context(load(OBJECT, side.kernel, programs=["xdp_redirects"], data={"other": other}))
            item.maps["ports"][1] = other
            item.maps["hashed"][300] = other
            if mode == "native":  # the ends that frames go to must take frames of XDP
                for name in ("va", "vd"):
                    stack.enter_context(Program.load(side.kernel, "xdp", XDP_PASS).attach_xdp(name, mode=mode))
            stack.enter_context(item.programs["xdp_redirects"].attach_xdp("vb", mode=mode))
            for command in range(14):
                found[str(command)] = side.exchange(frame(command))
            return found | maps(item)

    both(scenario)


@pytest.mark.parametrize("mode", ["native", "skb"])
def test_xdp_hands_metadata_on(linux_kernel: LinuxKernel, mode: str) -> None:
    def scenario(side: Any) -> Result:
        found: Result = {}
        with load(OBJECT, side.kernel, programs=["xdp_meta", "tc_meta"]) as item, ExitStack() as stack:
            stack.enter_context(item.programs["xdp_meta"].attach_xdp("vb", mode=mode))
            stack.enter_context(item.programs["tc_meta"].attach_tcx("vb", "ingress"))
            for size in (0, 3, 4, 8, 32, 100):
                found[str(size)] = side.exchange(frame(size))
            return found | maps(item)

    both(scenario)


@pytest.mark.parametrize("mode", ["native", "skb"])
def test_metadata_of_frames_that_xdp_sends_on(linux_kernel: LinuxKernel, mode: str) -> None:
    """Whether it arrives at XDP of the other end, and at its tc."""

    def scenario(side: Any) -> Result:
        found: Result = {}
        with ExitStack() as stack:
            other = side.index("vc")
            names = ["xdp_sends_meta", "xdp_sees_meta", "tc_meta"]
            item = stack.enter_context(load(OBJECT, side.kernel, programs=names, data={"other": other}))
            item.maps["ports"][1] = other
            stack.enter_context(item.programs["xdp_sends_meta"].attach_xdp("vb", mode=mode))
            for name in ("va", "vc", "vd"):
                stack.enter_context(item.programs["xdp_sees_meta"].attach_xdp(name, mode=mode))
            for name in ("va", "vb", "vd"):
                stack.enter_context(item.programs["tc_meta"].attach_tcx(name, "ingress"))
            for command in range(5):
                found[str(command)] = side.exchange(frame(command))
                found |= {f"{command}/{name}": value for name, value in maps(item).items()}
            return found

    both(scenario)


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def datagram(port: int, payload: bytes, *, zero: bool = False) -> bytes:
    """UDP over IPv4 from 10.0.0.1:7000 to 10.0.0.2, with right checksums; zero: without the one of UDP."""
    source, target = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
    udp = struct.pack("!HHHH", 7000, port, 8 + len(payload), 0) + payload
    pseudo = source + target + struct.pack("!HH", 17, len(udp))
    if not zero:
        udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp + b"\0" * (len(udp) % 2))) + udp[8:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + source + target
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return B + A + b"\x08\x00" + head + udp


def test_tc_rewrites_udp(linux_kernel: LinuxKernel) -> None:
    def scenario(side: Any) -> Result:
        found: Result = {}
        with load(OBJECT, side.kernel, programs=["tc_udp"]) as item:
            with item.programs["tc_udp"].attach_tcx("va", "egress"):
                for port in range(11):
                    for payload in (b"some payload", b"odd payload!x" * 9):
                        for zero in (False, True):
                            sent = datagram(port, payload, zero=zero)
                            found[f"{port}/{len(payload)}/{zero}"] = side.exchange(sent)
            return found | maps(item)

    both(scenario)


def test_addresses_of_ipv6(linux_kernel: LinuxKernel) -> None:
    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        names = ["post6", "name6", "source6", "release", "byte4"]
        with load(OBJECT, side.kernel, programs=names) as item, ExitStack() as stack:
            for name in names:
                stack.enter_context(item.programs[name].attach_cgroup(side.path))
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                for family, host, ports in (
                    (socket.AF_INET6, "::1", (1006, 24001)), (socket.AF_INET6, "::", (24002,)),
                    (socket.AF_INET, "127.0.0.1", (1007, 1008, 24003)), (socket.AF_INET, "0.0.0.0", (24004,)),
                ):  # fmt: skip
                    for port in ports:
                        with side.make(family, kind) as one:
                            attempt(log, f"bind {host} {port}", lambda o=one, h=host, p=port: o.bind((h, p)))
                            attempt(log, "name", one.getsockname)
            with (
                side.make(socket.AF_INET6, socket.SOCK_DGRAM) as taker,
                side.make(socket.AF_INET6, socket.SOCK_DGRAM) as sender,
            ):
                taker.bind(("::1", 25001))
                for port in (1005, 25001):
                    attempt(log, f"sendto {port}", lambda p=port: sender.sendto(b"hello", ("::1", p)))
                    attempt(log, "recv", lambda: taker.recvfrom(100)[0].hex())
                sender.connect(("::1", 25001))
                attempt(log, "send", lambda: sender.send(b"connected"))
                attempt(log, "recv", lambda: taker.recvfrom(100)[0].hex())
            log.append(["maps", maps(item)])
        return log

    both_sockets(scenario)


def test_filters_say_how_much_of_a_datagram_is_kept(linux_kernel: LinuxKernel) -> None:
    """Every length around the header and the end; in batches of datagrams the order is kept."""

    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        with (
            side.make(socket.AF_INET, socket.SOCK_DGRAM) as taker,
            side.make(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            taker.bind(("127.0.0.1", 25005))
            for kept in (0, 1, 7, 8, 9, 12, 13, 14, 1000, 0xFFFFFFFF, 0x80000000):
                code = struct.pack("<BBhi", 0xB4, 0, 0, kept - (1 << 32) if kept >> 31 else kept) + XDP_PASS[8:]
                with Program.load(side.kernel, "socket_filter", code) as program, program.attach_socket(taker):
                    for text in (b"first", b"second!", b""):
                        attempt(log, f"send {kept}", lambda t=text: sender.sendto(t, ("127.0.0.1", 25005)))
                    for _ in range(4):
                        attempt(log, "recv", lambda: taker.recvfrom(100)[0].hex())
        return log

    both_sockets(scenario)


STORAGE = """
from __future__ import annotations
from bombus import bpf
from bombus.bpf import Struct, map, u64
LICENSE = bpf.license("GPL")
class Seen(Struct):
    packets: u64
    bytes: u64
mine = map.cgroup_local_storage(Seen)
each = map.percpu_cgroup_local_storage(u64)
@bpf.cgroup.egress
def out(ctx: bpf.contexts.Skb) -> int:
    seen = mine.get()
    seen.packets += 1
    seen.bytes += u64(ctx.len)
    each.get().value += 3
    return 1
@bpf.cgroup.ingress
def back(ctx: bpf.contexts.Skb) -> int:
    mine.get().packets += 100
    return 1
"""


def test_storage_of_cgroups(linux_kernel: LinuxKernel) -> None:
    """Made where a program is attached, read by the cgroup's number, kept while it is off; a test run's is its own."""
    pytest.importorskip("llvmlite")
    from bombus.compiler.build import build_source

    obj = read_object(build_source(STORAGE, "storage.py"), name="storage")

    def scenario(side: Any) -> list[Any]:
        log: list[Any] = []
        linux = side.kernel.name == "linux"
        number = Path(side.path).stat().st_ino if linux else side.kernel.cgroups.find(side.path).number
        with load(obj, side.kernel) as item:
            raw, each = item.maps["mine"].raw, item.maps["each"].raw
            key = number.to_bytes(8, "little")

            def show(what: str) -> None:
                log.append([what, len(list(raw)), list(raw) == [key] * len(list(raw))])
                attempt(log, f"{what}: value", lambda: (raw.lookup(key) or b"none").hex())
                attempt(log, f"{what}: sum", lambda: sum((each.lookup(key) or b"")[::8]))

            show("before")
            item.programs["out"].test_run(b"\x45" + bytes(60))
            show("after a test run")
            for _ in range(2):
                with item.programs["out"].attach_cgroup(side.path):
                    show("attached")
                    with (
                        side.make(socket.AF_INET, socket.SOCK_DGRAM) as taker,
                        side.make(socket.AF_INET, socket.SOCK_DGRAM) as sender,
                    ):
                        taker.bind(("127.0.0.1", 25009))
                        for text in (b"first", b"second!"):
                            sender.sendto(text, ("127.0.0.1", 25009))
                    show("sent")
                show("off")
            with item.programs["back"].attach_cgroup(side.path):  # shared by all kinds of hooks
                show("another")
            raw.update(key, bytes(16))
            show("cleared")
        return log

    both_sockets(scenario)
