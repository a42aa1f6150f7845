"""TCP segments in frames of the loopback. RFC 9293; options as Linux 6.12 net/ipv4/tcp_output.c tcp_options_write."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from bombus.kernel.user.helpers.checksum import fold, partial

FIN, SYN, RST, PSH, ACK, ECE, CWR = 1, 2, 4, 8, 16, 64, 128
SCALE: Final = 7  # of windows after the handshake
Place = tuple[bytes, int]


@dataclass(slots=True)
class Segment:
    """mss: the option of a SYN. stamps: (own clock, the other's last). window: as in the header, not scaled."""

    source: Place
    target: Place
    seq: int
    ack: int
    flags: int
    window: int
    data: bytes = b""
    mss: int = 0
    stamps: tuple[int, int] | None = None
    ect: bool = False

    @property
    def span(self) -> int:
        """How much of the sequence space it takes."""
        return len(self.data) + bool(self.flags & SYN) + bool(self.flags & FIN)

    def header(self) -> bytes:
        """With options, without a checksum."""
        options = b""
        stamps = struct.pack("!BBII", 8, 10, *self.stamps) if self.stamps is not None else b""
        if self.flags & SYN:
            options = struct.pack("!BBHBB", 2, 4, self.mss, 4, 2) + stamps + bytes((1, 3, 3, SCALE))
        elif stamps:
            options = b"\x01\x01" + stamps
        size = 20 + len(options)
        ports = self.source[1], self.target[1]
        rest = size // 4 << 4, self.flags, self.window, 0, 0
        return struct.pack("!HHIIBBHHH", *ports, self.seq, self.ack, *rest) + options

    def frame(self) -> bytes:
        """The segment in a frame, with checksums."""
        source, target = self.source[0], self.target[0]
        tcp = self.header() + self.data
        pseudo = source + target + struct.pack("!IHH" if len(source) == 16 else "!HH", *(
            (len(tcp), 0, 6) if len(source) == 16 else (6, len(tcp))))  # fmt: skip
        tcp = tcp[:16] + fold(partial(pseudo + tcp)).to_bytes(2, "little") + tcp[18:]
        tos = 2 if self.ect else 0
        if len(source) == 4:
            ip = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + source + target
            ip = ip[:10] + fold(partial(ip)).to_bytes(2, "little") + ip[12:]
            return bytes(12) + b"\x08\x00" + ip + tcp
        ip = struct.pack("!IHBB", 0x6 << 28 | tos << 20, len(tcp), 6, 64) + source + target
        return bytes(12) + b"\x86\xdd" + ip + tcp


def parse(frame: bytes) -> Segment | None:
    """The TCP segment of a frame; None when there is none, or it is cut short."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and len(frame) >= 34 and frame[14] >> 4 == 4 and frame[23] == 6:
        at, source, target, tos = 14 + (frame[14] & 15) * 4, frame[26:30], frame[30:34], frame[15]
        end = 14 + int.from_bytes(frame[16:18], "big")
    elif kind == b"\x86\xdd" and len(frame) >= 54 and frame[20] == 6:
        at, source, target, tos = 54, frame[22:38], frame[38:54], frame[15] >> 4
        end = 54 + int.from_bytes(frame[18:20], "big")
    else:
        return None
    end = min(end, len(frame))
    if end < at + 20:
        return None
    sport, dport, seq, ack, size, flags, window = struct.unpack_from("!HHIIBBH", frame, at)
    data_at = at + (size >> 4) * 4
    if data_at < at + 20 or data_at > end:
        return None
    made = Segment((source, sport), (target, dport), seq, ack, flags, window, frame[data_at:end], ect=bool(tos & 3))
    _options(made, frame[at + 20 : data_at])
    return made


def _options(made: Segment, options: bytes) -> None:
    while options and options[0]:
        if options[0] == 1:
            options = options[1:]
            continue
        size = options[1] if len(options) > 1 else 0
        if not 2 <= size <= len(options):
            return
        if options[0] == 2 and size == 4:
            made.mss = int.from_bytes(options[2:4], "big")
        elif options[0] == 8 and size == 10:
            made.stamps = struct.unpack_from("!II", options, 2)
        options = options[size:]
