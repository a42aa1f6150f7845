"""The classic pcap format: 24-byte file header, then records.

Format: draft-ietf-opsawg-pcap. Magic numbers tell byte order and time unit; the variant of Alexey Kuznetzov's
libpcap patch (0xa1b2cd34) has 8 more bytes in every record header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from bombus.capture.model import OpenFile, Packet
from bombus.errors import CaptureError, UsageError

# magic as little endian number -> (byte order, nanoseconds, bytes of a record header)
MAGICS: dict[int, tuple[str, bool, int]] = {
    0xA1B2C3D4: ("little", False, 16),
    0xD4C3B2A1: ("big", False, 16),
    0xA1B23C4D: ("little", True, 16),
    0x4D3CB2A1: ("big", True, 16),
    0xA1B2CD34: ("little", False, 24),
    0x34CDB2A1: ("big", False, 24),
}
LINKTYPE_MASK = 0x03FF_FFFF  # the upper bits tell whether and how long a frame check sequence follows
SNAPLEN = 262_144


class PcapReader:
    """Reads packets from the bytes of a pcap file (any object with the buffer interface, mmap too).

    whole: the file. file: the same to be read in order; None to use `whole`. header: bytes of a record before its
    packet. A second iteration goes on at `position`.
    """

    format = "pcap"

    def __init__(self, data: memoryview) -> None:
        self.whole = data
        self.file: OpenFile | None = None
        self.size = len(data)
        self.truncated: str | None = None
        if self.size < 24:
            raise CaptureError(f"the file header needs 24 bytes, the file has {self.size}", offset=0)
        (magic,) = struct.unpack_from("<I", data)
        if magic not in MAGICS:
            raise CaptureError(f"unknown magic number {magic:#010x}", offset=0)
        self.byteorder, self.nanoseconds, self.header = MAGICS[magic]
        end = "<" if self.byteorder == "little" else ">"
        major, minor, _zone, _sigfigs, self.snaplen, link = struct.unpack_from(end + "HHiIII", data, 4)
        if major != 2:
            raise CaptureError(f"version {major}.{minor}; only 2.x is known", offset=4)
        self.linktype = link & LINKTYPE_MASK
        self._record = struct.Struct(end + "IIII")
        self.position = 24

    def __iter__(self) -> Iterator[Packet]:
        data, size, head = self.whole, self.size, self.header
        unpack, link = self._record.unpack_from, self.linktype
        unit = 1 if self.nanoseconds else 1000
        at = self.position
        while at + head <= size:
            seconds, fraction, kept, length = unpack(data, at)
            start = at + head
            if start + kept > size:
                self.truncated = f"the packet at byte {at} has {kept} bytes, {size - start} are there"
                return
            at = self.position = start + kept
            yield Packet(seconds * 1_000_000_000 + fraction * unit, bytes(data[start:at]), length, link)
        if at < size:
            self.truncated = f"the record header at byte {at} is cut off after {size - at} bytes"


class PcapWriter:
    """Writes a pcap file in little endian, with times in nanoseconds when asked."""

    def __init__(self, out: BinaryIO, *, linktype: int, nanoseconds: bool = False) -> None:
        self._out = out
        self._linktype = linktype
        self._unit = 1 if nanoseconds else 1000
        magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
        out.write(struct.pack("<IHHiIII", magic, 2, 4, 0, 0, SNAPLEN, linktype))

    def write(self, packet: Packet) -> None:
        """Append a packet. UsageError for another link type than the file's, or a time pcap cannot hold."""
        if packet.linktype != self._linktype:
            raise UsageError(
                f"a pcap file has one link type ({self._linktype}), not {packet.linktype} too; write .pcapng"
            )
        seconds, fraction = divmod(packet.time_ns, 1_000_000_000)
        if not 0 <= seconds < 1 << 32:
            raise UsageError(f"a pcap file cannot hold the time {seconds} s; write .pcapng")
        record = struct.pack("<IIII", seconds, fraction // self._unit, len(packet.data), packet.length)
        self._out.write(record + packet.data)

    def close(self) -> None:
        self._out.close()

    def __enter__(self) -> PcapWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
