"""The pcapng format: blocks, of which section headers, interfaces and packets matter here.

Format: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from bombus.capture.model import OpenFile, Packet
from bombus.errors import CaptureError

SECTION_HEADER = 0x0A0D0D0A
INTERFACE = 1
OBSOLETE_PACKET = 2
SIMPLE_PACKET = 3
ENHANCED_PACKET = 6
BYTE_ORDER_MAGIC = 0x1A2B3C4D

OPT_END = 0
IF_TSRESOL = 9
IF_TSOFFSET = 14


class Interface(NamedTuple):
    linktype: int
    snaplen: int
    multiplier: int = 1000  # time_ns = ticks * multiplier // divisor + offset
    divisor: int = 1
    offset_ns: int = 0

    def time_ns(self, ticks: int) -> int:
        return ticks * self.multiplier // self.divisor + self.offset_ns


class PcapngReader:
    """Reads packets from the bytes of a pcapng file; sections may differ in byte order."""

    format = "pcapng"

    def __init__(self, data: memoryview) -> None:
        self.whole = data
        self.file: OpenFile | None = None
        self.size = len(data)
        self.position = 0
        self.truncated: str | None = None
        self.byteorder = "little"
        self.nanoseconds = False
        self._end = "<"
        self.interfaces: list[Interface] = []
        if self.size < 28:
            raise CaptureError(f"a section header needs 28 bytes, the file has {self.size}", offset=0)
        self._section(0)

    def _section(self, at: int) -> None:
        (magic,) = struct.unpack_from("<I", self.whole, at + 8)
        if magic == BYTE_ORDER_MAGIC:
            self.byteorder, self._end = "little", "<"
        elif magic == 0x4D3C2B1A:
            self.byteorder, self._end = "big", ">"
        else:
            raise CaptureError(f"bad byte-order magic {magic:#010x}", offset=at + 8)
        major, minor = struct.unpack_from(self._end + "HH", self.whole, at + 12)
        if major != 1:
            raise CaptureError(f"version {major}.{minor}; only 1.x is known", offset=at + 12)
        self.interfaces = []

    def __iter__(self) -> Iterator[Packet]:
        data, size = self.whole, self.size
        at = self.position
        while at < size:
            if at + 12 > size:
                self.truncated = f"the block at byte {at} is cut off after {size - at} bytes"
                return
            (kind,) = struct.unpack_from(self._end + "I", data, at)
            if kind == SECTION_HEADER:  # the same in both byte orders
                if at + 28 > size:
                    self.truncated = f"the section header at byte {at} is cut off after {size - at} bytes"
                    return
                self._section(at)
            (total,) = struct.unpack_from(self._end + "I", data, at + 4)
            if total < 12 or total % 4:
                raise CaptureError(f"block length {total}", offset=at + 4)
            if at + total > size:
                self.truncated = f"the block at byte {at} has {total} bytes, the file ends after {size - at}"
                return
            (trailer,) = struct.unpack_from(self._end + "I", data, at + total - 4)
            if trailer != total:
                raise CaptureError(f"block length {total}, but {trailer} at its end", offset=at)
            packet = self._block(kind, at + 8, at + total - 4)
            at = self.position = at + total
            if packet is not None:
                yield packet

    def _block(self, kind: int, start: int, end: int) -> Packet | None:
        if kind == ENHANCED_PACKET:
            self._need(start, end, 20)
            number, high, low, kept, length = struct.unpack_from(self._end + "IIIII", self.whole, start)
            return self._packet(number, high << 32 | low, kept, length, start + 20, end)
        if kind == INTERFACE:
            self.interfaces.append(self._interface(start, end))
        elif kind == SIMPLE_PACKET:
            self._need(start, end, 4)
            (length,) = struct.unpack_from(self._end + "I", self.whole, start)
            snaplen = self._interface_at(0, start).snaplen
            kept = min(length, snaplen) if snaplen else length
            return self._packet(0, 0, kept, length, start + 4, end)
        elif kind == OBSOLETE_PACKET:
            self._need(start, end, 20)
            fields = struct.unpack_from(self._end + "HHIIII", self.whole, start)
            number, _drops, high, low, kept, length = fields
            return self._packet(number, high << 32 | low, kept, length, start + 20, end)
        return None

    def _packet(self, number: int, ticks: int, kept: int, length: int, start: int, end: int) -> Packet:
        interface = self._interface_at(number, start)
        if start + kept > end:
            raise CaptureError(f"a packet of {kept} bytes, room for {end - start}", offset=start)
        data = bytes(self.whole[start : start + kept])
        return Packet(interface.time_ns(ticks), data, length, interface.linktype, number)

    def _interface_at(self, number: int, offset: int) -> Interface:
        if number >= len(self.interfaces):
            raise CaptureError(f"interface {number}, but {len(self.interfaces)} are described", offset=offset)
        return self.interfaces[number]

    def _interface(self, start: int, end: int) -> Interface:
        self._need(start, end, 8)
        linktype, _reserved, snaplen = struct.unpack_from(self._end + "HHI", self.whole, start)
        multiplier, divisor, offset = 1000, 1, 0
        for code, value in self._options(start + 8, end):
            if code == IF_TSRESOL and len(value) == 1:
                exponent = value[0] & 0x7F
                if exponent > (63 if value[0] & 0x80 else 19):
                    raise CaptureError(f"time resolution {value[0]:#x}", offset=start)
                per_second = 2**exponent if value[0] & 0x80 else 10**exponent
                multiplier, divisor = 1_000_000_000, per_second
                self.nanoseconds |= per_second > 1_000_000
            elif code == IF_TSOFFSET and len(value) == 8:
                (seconds,) = struct.unpack(self._end + "q", value)
                offset = seconds * 1_000_000_000
        return Interface(linktype, snaplen, multiplier, divisor, offset)

    def _options(self, at: int, end: int) -> Iterator[tuple[int, bytes]]:
        while at + 4 <= end:
            code, length = struct.unpack_from(self._end + "HH", self.whole, at)
            if code == OPT_END:
                return
            if at + 4 + length > end:
                raise CaptureError(f"option {code} of {length} bytes runs out of its block", offset=at)
            yield code, bytes(self.whole[at + 4 : at + 4 + length])
            at += 4 + (length + 3 & ~3)

    def _need(self, start: int, end: int, size: int) -> None:
        if end - start < size:
            raise CaptureError(f"a block body of {end - start} bytes where {size} are needed", offset=start)


class PcapngWriter:
    """Writes a pcapng file: one section, one interface per link type, times in nanoseconds."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._interfaces: dict[int, int] = {}
        self._block(SECTION_HEADER, struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1))

    def _block(self, kind: int, body: bytes) -> None:
        body += bytes(-len(body) % 4)
        total = len(body) + 12
        self._out.write(struct.pack("<II", kind, total) + body + struct.pack("<I", total))

    def write(self, packet: Packet) -> None:
        number = self._interfaces.get(packet.linktype)
        if number is None:
            number = self._interfaces[packet.linktype] = len(self._interfaces)
            resolution = struct.pack("<HHB3xHH", IF_TSRESOL, 1, 9, OPT_END, 0)
            self._block(INTERFACE, struct.pack("<HHI", packet.linktype, 0, 0) + resolution)
        ticks = packet.time_ns & 0xFFFF_FFFF_FFFF_FFFF
        head = struct.pack(
            "<IIIII", number, ticks >> 32, ticks & 0xFFFF_FFFF, len(packet.data), packet.length & 0xFFFF_FFFF
        )
        self._block(ENHANCED_PACKET, head + packet.data)

    def close(self) -> None:
        self._out.close()

    def __enter__(self) -> PcapngWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
