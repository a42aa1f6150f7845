"""An index of a large BTF that can be kept in a file: where records are, and ids by name.

Made once for a kernel, mapped afterwards: a look-up is a binary search. Layout, native byte order, all u32:
header (8 words: magic, version, types, names, flavours, crc32 of the rest, size of the BTF, 0); word offset of each
record; string offset of each record's name; crc32 of each named type's name, sorted, and beside it the ids; the same
for the names before "___" of CO-RE flavours.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from bisect import bisect_left

from bombus.errors import BtfError

_MAGIC, _VERSION = 0x58544642, 1
_HEADER = struct.Struct("=8I")


class Index:
    """offsets, names: per record. `named` and `flavoured` give candidates whose name is still to be compared."""

    __slots__ = ("_flavours", "_hashes", "names", "offsets")

    def __init__(
        self, offsets: memoryview, names: memoryview, hashes: tuple[memoryview, memoryview],
        flavours: tuple[memoryview, memoryview],
    ) -> None:  # fmt: skip
        self.offsets, self.names = offsets, names
        self._hashes, self._flavours = hashes, flavours

    def named(self, name: bytes) -> list[int]:
        return _found(self._hashes, name)

    def flavoured(self, name: bytes) -> list[int]:
        return _found(self._flavours, name)


def _found(table: tuple[memoryview, memoryview], name: bytes) -> list[int]:
    hashes, ids = table
    wanted = zlib.crc32(name)
    at = bisect_left(hashes, wanted)
    out = []
    while at < len(hashes) and hashes[at] == wanted:
        out.append(ids[at])
        at += 1
    return out


def pack(
    size: int, offsets: array[int] | memoryview, names: array[int] | memoryview, named: list[int], flavoured: list[int]
) -> bytes:
    """The file. size: of the BTF that it is for; named, flavoured: crc32 of a name << 32 | id."""
    body = array("I", offsets)
    body.extend(array("I", names))
    counts = []
    for rows in (named, flavoured):
        rows.sort()
        counts.append(len(rows))
        body.extend([row >> 32 for row in rows])
        body.extend([row & 0xFFFF_FFFF for row in rows])
    data = body.tobytes()
    return _HEADER.pack(_MAGIC, _VERSION, len(offsets), *counts, zlib.crc32(data), size, 0) + data


def unpack(data: memoryview, size: int) -> Index:
    """An index over mapped memory. BtfError when it is damaged, or for another BTF than one of `size` bytes."""
    if len(data) < _HEADER.size:
        raise BtfError("the index is too short")
    magic, version, count, named, flavoured, check, made_for, _ = _HEADER.unpack_from(data)
    words = data[_HEADER.size :]
    if (magic, version, made_for) != (_MAGIC, _VERSION, size) or len(words) != 8 * (count + named + flavoured):
        raise BtfError("the index is of another version or for another BTF")
    if zlib.crc32(words) != check:
        raise BtfError("the index is damaged")
    cells = words.cast("I")
    at = 2 * count
    first = cells[at : at + named], cells[at + named : at + 2 * named]
    at += 2 * named
    second = cells[at : at + flavoured], cells[at + flavoured :]
    return Index(cells[:count], cells[count : 2 * count], first, second)
