"""Write traffic.pcap: a small, always equal capture for the demo.

Three TCP conversations, DNS over UDP, pings, telnet attempts, an ARP pair, IPv6 and one broken IPv4 header.
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from bombus.capture import Packet, create_capture

CLIENT = bytes([192, 0, 2, 10])
SERVER = bytes([198, 51, 100, 7])
RESOLVER = bytes([203, 0, 113, 53])
ETHERNET = 1


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(kind: int, payload: bytes) -> bytes:
    return bytes.fromhex("02000000000102000000000a") + struct.pack(">H", kind) + payload


def ipv4(protocol: int, source: bytes, target: bytes, payload: bytes) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0) + source + target
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    return ethernet(0x0800, head + payload)


def layer4(protocol: int, source: bytes, target: bytes, segment: bytes, at: int) -> bytes:
    """Put the pseudo-header checksum at byte `at` of the segment, wrap it in IPv4."""
    pseudo = source + target + struct.pack(">BBH", 0, protocol, len(segment))
    total = struct.pack(">H", checksum(pseudo + segment))
    return ipv4(protocol, source, target, segment[:at] + total + segment[at + 2 :])


def tcp(source: bytes, target: bytes, sport: int, dport: int, flags: int, payload: bytes = b"") -> bytes:
    head = struct.pack(">HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 64240, 0, 0)
    return layer4(6, source, target, head + payload, 16)


def udp(source: bytes, target: bytes, sport: int, dport: int, payload: bytes) -> bytes:
    return layer4(17, source, target, struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload, 6)


def ping(number: int) -> bytes:
    echo = struct.pack(">BBHHH", 8, 0, 0, 7, number) + bytes(range(32))
    return ipv4(1, CLIENT, SERVER, echo[:2] + struct.pack(">H", checksum(echo)) + echo[4:])


def frames(rng: random.Random) -> Iterator[bytes]:
    arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + bytes(20)
    yield ethernet(0x0806, arp)
    yield ethernet(0x0806, arp[:7] + b"\x02" + arp[8:])
    for sport, dport in ((40001, 443), (40002, 443), (40003, 80)):
        yield udp(CLIENT, RESOLVER, sport, 53, b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1")
        yield udp(RESOLVER, CLIENT, 53, sport, bytes(60))
        yield tcp(CLIENT, SERVER, sport, dport, 0x02)
        yield tcp(SERVER, CLIENT, dport, sport, 0x12)
        yield tcp(CLIENT, SERVER, sport, dport, 0x10)
        for _ in range(rng.randrange(8, 16)):
            yield tcp(CLIENT, SERVER, sport, dport, 0x18, rng.randbytes(rng.randrange(20, 200)))
            yield tcp(SERVER, CLIENT, dport, sport, 0x18, rng.randbytes(rng.randrange(200, 1400)))
    for number in range(4):
        yield ping(number)
    for sport in (50001, 50002):
        yield tcp(CLIENT, SERVER, sport, 23, 0x02)
    yield ethernet(0x86DD, b"\x60" + bytes(39))
    yield ethernet(0x0800, b"\x41" + bytes(19))


def main(path: Path) -> None:
    rng = random.Random(2026)
    time = 1_700_000_000_000_000_000
    with create_capture(path, linktype=ETHERNET) as out:
        for frame in frames(rng):
            time += rng.randrange(50_000, 5_000_000) // 1000 * 1000
            out.write(Packet(time, frame, len(frame), ETHERNET))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("traffic.pcap"))
