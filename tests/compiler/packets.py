"""Packets for the suite of programs: what a small network carries, and some that are cut or odd."""

from __future__ import annotations

import random
import struct


def checksum(data: bytes) -> int:
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(payload: bytes, protocol: int = 0x0800) -> bytes:
    return bytes.fromhex("0200000000020200000000aa") + struct.pack("!H", protocol) + payload


def ipv4(payload: bytes, source: str, destination: str, protocol: int, ttl: int = 64, options: bytes = b"",
         tos: int = 0) -> bytes:  # fmt: skip
    ihl = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | ihl, tos, ihl * 4 + len(payload), 7, 0, ttl, protocol, 0,
                       address(source), address(destination)) + options  # fmt: skip
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def address(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


def tcp(source: int, destination: int, flags: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHIIBBHHH", source, destination, 1000, 2000, 0x50, flags, 512, 0x1234, 0) + payload


def udp(source: int, destination: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0x4321) + payload


def dns(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def packets() -> list[bytes]:
    rng = random.Random(4)
    found: list[bytes] = []
    syn, ack, fin, rst = 0x02, 0x10, 0x01, 0x04
    clients = [f"10.0.0.{n}" for n in range(2, 9)]
    for n, client in enumerate(clients):
        port = 40000 + n
        get = b"GET / HTTP/1.1\r\nHost: a\r\n"
        for flags, payload in ((syn, b""), (ack, get), (ack | fin, b"POST /x"), (rst, b"")):
            segment = tcp(port, 80, flags, payload)
            found.append(ethernet(ipv4(segment, client, "10.0.0.1", 6, ttl=60 + n)))
        found.append(ethernet(ipv4(tcp(80, port, syn | ack), "10.0.0.1", client, 6)))
    for n, request in enumerate((b"POST /form HTTP/1.1\r\n", b"HEAD / HTTP/1.1\r\n\r\n", b"BREW /pot HTTP/1.0\r\n")):
        found.append(ethernet(ipv4(tcp(50000 + n, 80, ack, request), "10.0.0.8", "10.0.0.1", 6)))
    for name in ("example.org", "a.b", "example.org", "x" * 31):
        found.append(ethernet(ipv4(udp(5353, 53, dns(name, len(name))), "192.168.1.9", "8.8.8.8", 17)))
    found.append(ethernet(ipv4(udp(1, 2, b"abc"), "1.2.3.4", "4.3.2.1", 17, tos=8)))
    found.append(ethernet(ipv4(b"\x08\x00\x12\x34\x00\x01\x00\x02" + bytes(40), "10.0.0.9", "10.0.0.1", 1)))
    found.append(ethernet(ipv4(tcp(1, 2, ack), "10.0.0.9", "10.0.0.1", 6, options=bytes(8))))
    found.append(ethernet(ipv4(b"", "10.0.0.9", "10.0.0.1", 99, ttl=1)))
    found.append(ethernet(struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + bytes(20), 0x0806))
    vlan = struct.pack("!HH", 0x6042, 0x0800) + ipv4(udp(9, 9, bytes(20)), "1.1.1.1", "2.2.2.2", 17)
    found.append(ethernet(vlan, 0x8100))
    six = struct.pack("!IHBB", 6 << 28, 40, 0, 9) + bytes(15) + b"\1" + bytes(15) + b"\2"
    found.append(ethernet(six + bytes([60, 0]) + bytes(6) + bytes([17, 1]) + bytes(14) + udp(3, 4, bytes(10)), 0x86DD))
    found.append(ethernet(struct.pack("!IHBB", 6 << 28, 20, 6, 1) + bytes(32) + tcp(1, 2, 2), 0x86DD))
    found.append(ethernet(ipv4(tcp(1, 2, ack), "10.0.0.9", "10.0.0.1", 6))[:30].ljust(34, b"\0"))
    broken = bytearray(found[0])
    broken[24] ^= 0xFF
    found.append(bytes(broken))
    for size in (14, 15, 33, 34, 60, 200, 1000, 1500):
        found.append(rng.randbytes(12) + rng.choice([b"\x08\x00", b"\x86\xdd", b"\x81\x00"]) + rng.randbytes(size - 14))
    return found
