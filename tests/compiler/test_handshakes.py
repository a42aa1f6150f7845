"""Programs over whole exchanges: what one packet leaves decides over the next; the same in every reading."""

from __future__ import annotations

import struct
from pathlib import Path
from types import ModuleType

import pytest
from packets import address, checksum, ethernet, ipv4
from readings import compiled, plain

from bombus.compiler.importing import import_file
from bombus.kernel.api import Kernel
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import Loaded, load
from bombus.object.read import read_object

EXAMPLES = Path(__file__).parents[2] / "examples" / "bpf"
SYN, ACK, RST = 0x02, 0x10, 0x04
DROP, PASS, TX = 1, 2, 3
MASK = 0xFFFF_FFFF


def tcp_packet(source: str, destination: str, ports: tuple[int, int], numbers: tuple[int, int], flags: int) -> bytes:
    """With a right checksum."""
    head = struct.pack("!HHIIBBHHH", *ports, *numbers, 0x50, flags, 512, 0, 0)
    pseudo = address(source) + address(destination) + struct.pack("!HH", 6, len(head))
    segment = head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]
    return ethernet(ipv4(segment, source, destination, 6))


def tcp_sum_is_right(packet: bytes) -> bool:
    segment = packet[34:54]
    return checksum(packet[26:34] + struct.pack("!HH", 6, 20) + segment) == 0


def mixed(state: int, word: int) -> int:
    state ^= word
    state = (state ^ state >> 16) * 0x85EBCA6B & MASK
    state = (state ^ state >> 13) * 0xC2B2AE35 & MASK
    return state ^ state >> 16


def cookie(source: str, destination: str, ports: tuple[int, int], sequence: int, period: int) -> int:
    state = mixed(0x5EC2E75E, int.from_bytes(address(source), "big"))
    state = mixed(state, int.from_bytes(address(destination), "big"))
    return mixed(mixed(mixed(state, ports[0] << 16 | ports[1]), sequence), period)


def exchange() -> list[tuple[bytes, int]]:
    """Packets with the verdicts that they must get."""
    client, server, ports = "10.0.0.2", "10.0.0.1", (40000, 80)
    good = cookie(client, server, ports, 1000, 1)
    older = cookie(client, server, (40001, 80), 5, 0)
    return [
        (tcp_packet(client, server, ports, (1001, 77), ACK), DROP),  # nothing was asked for
        (tcp_packet(client, server, ports, (1000, 0), SYN), TX),
        (tcp_packet(client, server, ports, (1001, good), ACK), DROP),  # not one more than the cookie
        (tcp_packet(client, server, (40002, 80), (1001, good + 1 & MASK), ACK), DROP),  # of another connection
        (tcp_packet(client, server, ports, (1002, good + 1 & MASK), ACK), DROP),  # of another sequence number
        (tcp_packet(client, server, ports, (1001, good + 1 & MASK), ACK), PASS),
        (tcp_packet(client, server, ports, (1001, 0), ACK), PASS),  # known now
        (tcp_packet(client, server, ports, (1001, 0), RST), PASS),
        (tcp_packet(client, server, (40001, 80), (6, older + 1 & MASK), ACK), PASS),  # of the period before
    ]


def modules() -> ModuleType:
    return import_file(str(EXAMPLES / "xdp_syncookie.py"))


def test_syn_cookies(linux_kernel: Kernel) -> None:
    module = modules()
    packets = [packet for packet, _ in exchange()]
    expected = plain(module, module.guard, packets)
    assert expected.verdicts == [verdict for _, verdict in exchange()]
    answer = expected.packets[1]
    assert tcp_sum_is_right(packets[1])
    assert tcp_sum_is_right(answer)
    assert answer[:12] == packets[1][6:12] + packets[1][:6]
    sequence, acknowledged = struct.unpack("!II", answer[38:46])
    assert (sequence, acknowledged) == (cookie("10.0.0.2", "10.0.0.1", (40000, 80), 1000, 1), 1001)
    assert answer[47] == SYN | ACK
    counts = [int.from_bytes(value, "little") for value in expected.maps["statistics"].values()]
    assert counts == [1, 2, 4, 2]
    for kernel in (UserKernel(version="6.12"), linux_kernel):
        seen = compiled(module, module.guard, packets, kernel)
        assert (seen.verdicts, seen.packets, seen.maps) == (expected.verdicts, expected.packets, expected.maps)


def loaded(name: str, kernel: Kernel) -> Loaded:
    from bombus.compiler.build import build_file

    return load(read_object(build_file(str(EXAMPLES / f"{name}.py")), name=name), kernel)


def test_syn_cookies_of_the_kernel(linux_kernel: Kernel) -> None:
    """Linux's own secret: a cookie that its helper made is one that its helper takes."""
    with loaded("syncookie_kernel", linux_kernel) as programs:
        guard = programs.programs["guard"]
        client, server, ports = "10.0.0.2", "10.0.0.1", (40000, 80)
        out = guard.test_run(tcp_packet(client, server, ports, (1000, 0), SYN))
        assert out.retval == TX
        made, acknowledged = struct.unpack("!II", out.data[38:46])
        assert (acknowledged, out.data[47]) == (1001, SYN | ACK)
        back = tcp_packet(client, server, ports, (1001, made + 1 & MASK), ACK)
        assert guard.test_run(back).retval == PASS
        forged = tcp_packet(client, server, ports, (1001, made + 0x1001 & MASK), ACK)  # the lowest bits are the MSS
        assert guard.test_run(forged).retval == DROP
        assert guard.test_run(tcp_packet(client, server, ports, (1001, 5), RST)).retval == DROP
        assert [programs.maps["results"][index] for index in range(4)] == [1, 1, 1, 0]


def owners(servers: list[int], slots: int) -> list[int]:
    """Consistent hashing (highest random weight): which server each slot of the ring belongs to."""
    return [max(servers, key=lambda server: mixed(server + 1, slot)) for slot in range(slots)]


@pytest.mark.parametrize("which", ["user", "linux"])
def test_balancer_moves_only_what_it_must(which: str, request: pytest.FixtureRequest) -> None:
    """When a server goes, flows of the others stay where they were; checksums stay right."""
    kernel: Kernel = request.getfixturevalue(f"{which}_kernel")
    with loaded("xdp_balancer", kernel) as programs:
        for index in range(3):
            programs.maps["servers"].raw.update(
                index.to_bytes(4, "little"), bytes([10, 1, 0, index + 1]) + bytes(12)
            )
        flows = [tcp_packet(f"10.9.{n % 7}.{n % 250}", "10.0.0.1", (1024 + n, 80), (n, 0), SYN) for n in range(300)]

        def placed(servers: list[int]) -> list[str]:
            for slot, server in enumerate(owners(servers, 64)):
                programs.maps["ring"][slot] = server
            found = []
            for flow in flows:
                out = programs.programs["balance"].test_run(flow)
                assert out.retval == TX
                assert tcp_sum_is_right(out.data)
                assert checksum(out.data[14:34]) == 0
                found.append(".".join(map(str, out.data[30:34])))
            return found

        before, after = placed([0, 1, 2]), placed([0, 2])
        assert set(before) == {"10.1.0.1", "10.1.0.2", "10.1.0.3"}
        assert min(before.count(name) for name in set(before)) > 40
        for old, new in zip(before, after, strict=True):
            assert new == old or old == "10.1.0.2"
        assert "10.1.0.2" not in after
