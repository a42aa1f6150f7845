"""Where the packets of a stretch of a capture lie, found natively: runs of (u32 offset, u32 length) records."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from typing import Final

from bombus.capture import CaptureReader
from bombus.capture.link import ETHERNET
from bombus.capture.pcap import PcapReader
from bombus.capture.pcapng import PcapngReader
from bombus.jit.batch import loop
from bombus.jit.index import CHAIN, CHAIN_BYTES, CHAINS, LONGEST, REACHED

_RECORD_BYTES: Final = 8
_SMALLEST: Final = 16  # bytes of a record of a capture with nothing in it
_MARGIN: Final = 3 * (LONGEST + 24)  # bytes behind a stretch that several chains need
_WORTH: Final = 1 << 20  # bytes of a stretch that several chains are worth
_SEARCH: Final = 1 << 19  # bytes in which the beginning of a record is looked for


class Index:
    """For captures of Ethernet frames in this machine's byte order.

    most: bytes of a stretch. head, wire: bytes of a record before its packet, and before the packet where its length
    on the wire is. position: how far the index has come in the capture. origin: the address that records count from.
    """

    def __init__(self, capture: PcapReader | PcapngReader, most: int) -> None:
        self.capture = capture
        self.position = capture.position
        self.origin = 0
        self._shift = 0  # the address of the capture's first byte, were it in memory
        self.is_pcap = isinstance(capture, PcapReader)
        self.head = capture.header if isinstance(capture, PcapReader) else 28
        self.wire = self.head - 12 if self.is_pcap else 4
        self._chains = ctypes.create_string_buffer(CHAINS * CHAIN_BYTES + 8)
        self._words = memoryview(self._chains).cast("B")[: CHAINS * CHAIN_BYTES].cast("Q")
        room = most // CHAINS + LONGEST + 64
        self._room = room // _SMALLEST * _RECORD_BYTES
        self._whole = (most + LONGEST) // _SMALLEST * _RECORD_BYTES
        # An anonymous mapping: its pages are there when they are written to.
        self._records = mmap.mmap(-1, max(CHAINS * self._room, self._whole))
        self._first = ctypes.addressof(ctypes.c_char.from_buffer(self._records))
        self._near = int.from_bytes(capture.whole[24:28], "little") if isinstance(capture, PcapReader) else 0

    def _set(self, chain: int, **members: int) -> None:
        for name, value in members.items():
            self._words[chain * CHAIN_BYTES // 8 + CHAIN[name] // 8] = value

    def _get(self, chain: int, name: str) -> int:
        return self._words[chain * CHAIN_BYTES // 8 + CHAIN[name] // 8]

    def _call(self, name: str, chain: int = 0) -> int:
        found: int = loop(name)(0, ctypes.addressof(self._chains) + chain * CHAIN_BYTES)
        return found

    def stretch(self, shift: int, origin: int, end: int, stop: int) -> Iterator[tuple[int, int]]:
        """Address and number of records, in order, from where the capture is read next, until the address `stop` is
        reached, or what lies at `position` is left to who reads packets one by one. shift: address of the capture's
        first byte, which need not be there itself; origin: one that is, within 4 GiB before all packets; end: address
        behind the last byte that is there."""
        capture = self.capture
        self.origin, self._shift = origin, shift
        at = shift + capture.position
        starts = [at]
        if self.is_pcap and stop - at >= _WORTH and stop + _MARGIN <= end:
            starts = self._starts(at, stop)
        several = len(starts) == CHAINS
        room = self._room if several else self._whole
        first = self._first
        for chain, start in enumerate(starts):
            following = starts[chain + 1] if chain + 1 < len(starts) else stop
            self._set(
                chain, at=start, stop=following, end=end, records=first + chain * room, count=0, base=origin,
                header=self.head, interfaces=len(capture.interfaces) if isinstance(capture, PcapngReader) else 0,
            )  # fmt: skip
        if several:
            self._call("index_chains")
        name = "index_pcap" if self.is_pcap else "index_pcapng"
        for chain, start in enumerate(starts):
            if at != start:  # that was no beginning
                self._set(chain, at=at, count=0)
            result = self._call(name, chain)
            at = self._get(chain, "at")
            self.position = at - shift
            yield first + chain * room, self._get(chain, "count")
            if result != REACHED:
                return

    def packet_of(self, records: int, number: int) -> int:
        """Where the packet of a record lies in the capture."""
        found = int(ctypes.c_uint32.from_address(records + number * _RECORD_BYTES).value)
        return self.origin + found - self._shift

    def _starts(self, first: int, stop: int) -> list[int]:
        """Where records seem to begin, about the same distance from each other; only the first when some are not."""
        size = stop - first
        starts = [first]
        for chain in range(1, CHAINS):
            at = first + size * chain // CHAINS
            self._set(0, at=at, stop=min(at + _SEARCH, stop), header=self.head, near=self._near)
            if self._call("index_find") != REACHED:
                return starts[:1]
            starts.append(self._get(0, "at"))
        return starts if sorted(set(starts)) == starts else starts[:1]


def can_index(capture: CaptureReader) -> bool:
    """A capture of Ethernet frames in this machine's byte order (of pcapng, as far as it has been read)."""
    if isinstance(capture, PcapReader):
        return capture.linktype == ETHERNET and capture.byteorder == "little"
    return isinstance(capture, PcapngReader)


def is_plain(capture: CaptureReader) -> bool:
    """Can the packets that come next be found? The sections of a pcapng file may differ."""
    if isinstance(capture, PcapngReader):
        return capture.byteorder == "little" and all(one.linktype == ETHERNET for one in capture.interfaces)
    return True
