"""What all capture formats share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Packet(NamedTuple):
    """One captured packet. `length` is its size on the wire; `data` may be shorter (snap length)."""

    time_ns: int  # since the epoch
    data: bytes
    length: int
    linktype: int  # LINKTYPE_ number of the interface it was seen on
    interface: int = 0


class OpenFile:
    """A descriptor that is open as long as this object lives."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class CaptureReader(Protocol):
    """A capture being read. Iterate once over it.

    `truncated` is None, or says what was cut off; it is known when the iteration has ended. All whole
    packets before the cut are delivered.
    """

    format: str  # "pcap" or "pcapng"
    byteorder: str  # "little" or "big"
    nanoseconds: bool
    truncated: str | None
    position: int  # bytes consumed
    size: int  # bytes in the file

    def __iter__(self) -> Iterator[Packet]: ...


class CaptureWriter(Protocol):
    def write(self, packet: Packet) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> CaptureWriter: ...

    def __exit__(self, *_: object) -> None: ...
