"""Captures: every format variant, both byte orders, cut files, hostile bytes."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bombus.capture import Packet, create_capture, open_capture
from bombus.capture.files import read_capture
from bombus.capture.link import to_ethernet
from bombus.errors import BombusError, CaptureError, NotSupported, UsageError

GOPACKET = Path("/usr/share/gocode/src/github.com/google/gopacket")


def pcap(end: str, magic: int, *packets: bytes, extra: int = 0, link: int = 1) -> bytes:
    out = struct.pack(end + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for number, data in enumerate(packets):
        out += struct.pack(end + "IIII", 7, 9 + number, len(data), len(data) + 1) + bytes(extra) + data
    return out


@pytest.mark.parametrize("end, order", [("<", "little"), (">", "big")])
@pytest.mark.parametrize(
    "magic, nano, extra", [(0xA1B2C3D4, False, 0), (0xA1B23C4D, True, 0), (0xA1B2CD34, False, 8)]
)
def test_pcap_variants(end: str, order: str, magic: int, nano: bool, extra: int) -> None:
    reader = read_capture(pcap(end, magic, b"abc", b"", extra=extra))
    packets = list(reader)
    unit = 1 if nano else 1000
    assert (reader.format, reader.byteorder, reader.nanoseconds) == ("pcap", order, nano)
    assert packets == [
        Packet(7_000_000_000 + 9 * unit, b"abc", 4, 1), Packet(7_000_000_000 + 10 * unit, b"", 1, 1)
    ]
    assert reader.truncated is None and reader.position == reader.size


def test_pcap_fcs_bits_are_not_the_link_type() -> None:
    (packet,) = read_capture(pcap("<", 0xA1B2C3D4, b"x", link=0x5400_0001))
    assert packet.linktype == 1


@pytest.mark.parametrize("cut", range(1, 19))
def test_cut_pcap_gives_whole_packets_and_says_so(cut: int) -> None:
    data = pcap("<", 0xA1B2C3D4, b"abcd", b"ef")
    reader = read_capture(data[:-cut])
    packets = list(reader)
    assert [p.data for p in packets] == [b"abcd"]
    assert (reader.truncated is None) == (cut == 18)  # 18 bytes: exactly the last packet is gone


def block(end: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(end + "II", kind, len(body) + 12) + body + struct.pack(end + "I", len(body) + 12)


def section(end: str) -> bytes:
    return block(end, 0x0A0D0D0A, struct.pack(end + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(end: str, link: int = 1, snap: int = 0, options: bytes = b"") -> bytes:
    return block(end, 1, struct.pack(end + "HHI", link, 0, snap) + options)


@pytest.mark.parametrize("end", ["<", ">"])
def test_pcapng_blocks_times_and_interfaces(end: str) -> None:
    nano = struct.pack(end + "HHB3x", 9, 1, 9) + struct.pack(end + "HHq", 14, 8, 100) + bytes(4)
    binary = struct.pack(end + "HHB3x", 9, 1, 0x80 | 10)
    data = (
        section(end)
        + interface(end)
        + interface(end, 113, 0, nano)
        + interface(end, 1, 0, binary)
        + block(end, 6, struct.pack(end + "IIIII", 0, 1, 2, 3, 30) + b"abc")
        + block(end, 0xBAD, b"unknown blocks are passed over")
        + block(end, 6, struct.pack(end + "IIIII", 1, 0, 5, 1, 1) + b"z")
        + block(end, 6, struct.pack(end + "IIIII", 2, 0, 512, 0, 0))
        + block(end, 3, struct.pack(end + "I", 2) + b"sp")
        + block(end, 2, struct.pack(end + "HHIIII", 1, 0, 0, 6, 1, 1) + b"o")
        + section("<" if end == ">" else ">")
    )
    reader = read_capture(data)
    assert list(reader) == [
        Packet((1 << 32 | 2) * 1000, b"abc", 30, 1, 0),
        Packet(5 + 100 * 10**9, b"z", 1, 113, 1),
        Packet(500_000_000, b"", 0, 1, 2),
        Packet(0, b"sp", 2, 1, 0),
        Packet(6 + 100 * 10**9, b"o", 1, 113, 1),
    ]
    assert reader.nanoseconds


def test_cut_pcapng() -> None:
    whole = section("<") + interface("<") + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 2, 2) + b"ab")
    for cut in range(1, 36):
        reader = read_capture(whole[:-cut])
        assert list(reader) == []
        assert reader.truncated
    assert len(list(read_capture(whole))) == 1


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "too few"),
        (b"\0\0\0\0\0", "neither pcap nor pcapng"),
        (struct.pack("<IHH", 0xA1B2C3D4, 2, 4), "needs 24 bytes"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 9, 4, 0, 0, 0, 1), "version 9.4"),
        (section("<") + block("<", 6, bytes(20)), "interface 0, but 0 are described"),
        (section("<") + interface("<") + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 99, 99)), "99 bytes"),
        (section("<") + struct.pack("<II", 5, 3), "cut off"),
        (section("<") + struct.pack("<III", 5, 0, 0), "block length 0"),
        (section("<") + struct.pack("<III", 5, 12, 16), "16 at its end"),
    ],
)
def test_bad_captures_are_named(data: bytes, message: str) -> None:
    try:
        reader = read_capture(data)
        list(reader)
        said = reader.truncated or ""
    except CaptureError as error:
        said = str(error)
    assert message in said


HEADS = [b"", section("<") + interface("<"), pcap(">", 0xA1B2C3D4, b"q")]


@settings(max_examples=300)
@given(st.binary(max_size=300), st.sampled_from(HEADS))
def test_hostile_bytes(tail: bytes, head: bytes) -> None:
    try:
        for packet in read_capture(head + tail):
            to_ethernet(packet.linktype)(packet.data)
    except BombusError:
        pass


TIMES = st.integers(0, (1 << 32) * 10**9 - 1)
packet = st.builds(
    Packet, TIMES, st.binary(max_size=80), st.integers(0, 99_999), st.just(1), st.just(0)
)

NAMES = ["a.pcap", "a.pcapng", "a.pcap.gz", "a.pcapng.gz"]


@settings(max_examples=100, deadline=None)
@given(packets=st.lists(packet, max_size=5), name=st.sampled_from(NAMES))
def test_round_trip(packets: list[Packet], name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("capture") / name
    with create_capture(path, linktype=1, nanoseconds=True) as writer:
        for one in packets:
            writer.write(one)
    assert list(open_capture(path)) == packets


def test_pcap_refuses_a_second_link_type(tmp_path: Path) -> None:
    with create_capture(tmp_path / "a.pcap", linktype=1) as writer, pytest.raises(UsageError, match="pcapng"):
        writer.write(Packet(0, b"", 0, 113))


def test_bad_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap.gz"
    path.write_bytes(gzip.compress(b"x" * 100)[:12])
    with pytest.raises(CaptureError, match=r"too few|gzip"):
        open_capture(path)


@pytest.mark.parametrize(
    "link, data, frame",
    [
        (101, b"\x45rest", bytes(12) + b"\x08\x00\x45rest"),
        (228, b"\x60rest", bytes(12) + b"\x86\xdd\x60rest"),
        (0, b"\x02\0\0\0ip", bytes(12) + b"\x08\x00ip"),
        (0, b"\0\0\0\x1eip", bytes(12) + b"\x86\xddip"),
        (113, bytes(14) + b"\x08\x06arp", bytes(12) + b"\x08\x06arp"),
        (276, b"\x86\xdd" + bytes(18) + b"ip", bytes(12) + b"\x86\xddip"),
    ],
)
def test_other_link_layers_become_ethernet(link: int, data: bytes, frame: bytes) -> None:
    assert to_ethernet(link)(data) == frame


def test_unknown_link_layer_is_named() -> None:
    with pytest.raises(NotSupported, match="link type 147"):
        to_ethernet(147)


# Packets in each file of the pcapng test collection that the Debian package carries.
GOPACKET_COUNTS = {
    "001": 4, "002": 0, "003": 0, "004": 4, "005": 4, "006": 5, "007": 1, "008": 4, "009": 2, "010": 4,
    "011": 4, "012": 4, "013": 0, "014": 0, "015": 0, "016": 4, "017": 0, "018": 4, "100": 5, "101": 4,
    "102": 5, "200": 0, "201": 4, "202": 8, "902": 1,
}  # fmt: skip


@pytest.mark.debian
@pytest.mark.parametrize("order", ["be", "le"])
def test_pcapng_collection(order: str) -> None:
    folder = GOPACKET / "pcapgo/tests" / order
    if not folder.is_dir():
        pytest.skip("Debian package golang-github-google-gopacket-dev is not installed")
    counts = {name: sum(1 for _ in open_capture(folder / f"test{name}.pcapng")) for name in GOPACKET_COUNTS}
    assert counts == GOPACKET_COUNTS
    with pytest.raises(CaptureError, match=r"version 2\.0"):
        list(open_capture(folder / "test901.pcapng"))
