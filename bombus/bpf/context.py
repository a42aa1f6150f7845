"""What contexts have in common: views of the struct that a program is given."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from bombus.bpf.ints import Scalar, u32
from bombus.bpf.layout import size_of
from bombus.bpf.machine import machine
from bombus.bpf.struct import Struct

S = TypeVar("S", bound=Struct)

REACH = 0x7FFF  # `parse` looks no further: verifiers follow packet offsets up to 0xffff


class Context(Struct):
    """The struct that a program's argument points to."""

    __slots__ = ()


class PacketContext(Context):
    """A context with direct access to packet bytes. _DATA, _DATA_END: offsets of the members with the addresses;
    _WIDTH: bytes of each."""

    __slots__ = ()
    _DATA: ClassVar[int] = 0
    _DATA_END: ClassVar[int] = 0
    _WIDTH: ClassVar[int] = 4

    def _word(self, at: int) -> int:
        return int.from_bytes(self._view[at : at + self._WIDTH], "little")

    @property
    def length(self) -> u32:
        """Bytes that can be accessed directly (data_end - data)."""
        return u32(self._word(self._DATA_END) - self._word(self._DATA))

    def parse(self, kind: type[S], at: Scalar | int = 0) -> S | None:
        """The packet's bytes from offset `at` as a struct, to read and write; None when the packet is too short (or
        `at` above 32767)."""
        offset = int(at)
        size = size_of(kind)
        if not 0 <= offset <= REACH:
            return None
        address = self._word(self._DATA) + offset
        if address + size > self._word(self._DATA_END):
            return None
        region = machine().memory.find(address, size) if size else None
        if region is None:
            return None
        start = address - region.start
        return kind._at(region.view[start : start + size], address, region.writable)
