"""An index of a large BTF that can be kept in a file: where records are, and ids by name.

Made once for a kernel, mapped afterwards: a look-up is a binary search. Layout, native byte order, all u32:
header (8 words: magic, version, types, names, flavours, crc32 of the rest, size of the BTF, 0); word offset of each
record; string offset of each record's name; a key for each named type, sorted; the same for the names before "___" of
CO-RE flavours. A key has a hash of the name above the id; both together have 30 bits, which Python sorts fastest.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Mapping

from bombus.errors import BtfError

_MAGIC, _VERSION = 0x58544642, 2
_KEY_BITS = 30
_LEAST_HASH = 6  # bits; with fewer a look-up would compare too many names
_HEADER = struct.Struct("=8I")


class Index:
    """offsets, names: per record. `named` and `flavoured` give candidates whose name is still to be compared."""

    __slots__ = ("_flavours", "_keys", "_shift", "names", "offsets")

    def __init__(self, offsets: memoryview, names: memoryview, keys: memoryview, flavours: memoryview) -> None:
        self.offsets, self.names = offsets, names
        self._keys, self._flavours = keys, flavours
        self._shift = len(offsets).bit_length()

    def named(self, name: bytes) -> list[int]:
        return self._found(self._keys, name)

    def flavoured(self, name: bytes) -> list[int]:
        return self._found(self._flavours, name)

    def _found(self, keys: memoryview, name: bytes) -> list[int]:
        shift = self._shift
        wanted = zlib.crc32(name) >> 32 - _KEY_BITS + shift << shift
        at = bisect_left(keys, wanted)
        out = []
        while at < len(keys) and keys[at] >> shift << shift == wanted:
            out.append(keys[at] - wanted)
            at += 1
        return out


def pack(
    size: int, offsets: array[int] | memoryview, names: array[int] | memoryview, strings: bytes,
    flavours: Mapping[int, bytes],
) -> bytes:  # fmt: skip
    """The file. size: of the BTF that it is for; flavours: what stands before "___", by string offset.

    BtfError when there are too many types for it.
    """
    shift = len(offsets).bit_length()
    drop = 32 - _KEY_BITS + shift
    if _KEY_BITS - shift < _LEAST_HASH:
        raise BtfError(f"{len(offsets)} types are too many for an index")
    crc, end = zlib.crc32, strings.find
    named = [crc(strings[at : end(0, at)]) >> drop << shift | i for i, at in enumerate(names, 1) if at]
    named.sort()
    hashes = {at: crc(name) >> drop << shift for at, name in flavours.items()}
    flavoured = sorted(hashes[at] | i for i, at in enumerate(names, 1) if at in hashes)
    body = array("I", offsets)
    for more in (names, named, flavoured):
        body.extend(more if isinstance(more, array) else array("I", more))
    data = body.tobytes()
    return _HEADER.pack(
        _MAGIC, _VERSION, len(offsets), len(named), len(flavoured), zlib.crc32(data), size, 0
    ) + data  # fmt: skip


def unpack(data: memoryview, size: int) -> Index:
    """An index over mapped memory. BtfError when it is damaged, or for another BTF than one of `size` bytes."""
    if len(data) < _HEADER.size:
        raise BtfError("the index is too short")
    magic, version, count, named, flavoured, check, made_for, _ = _HEADER.unpack_from(data)
    words = data[_HEADER.size :]
    if (magic, version, made_for) != (_MAGIC, _VERSION, size) or len(words) != 4 * (2 * count + named + flavoured):
        raise BtfError("the index is of another version or for another BTF")
    if zlib.crc32(words) != check:
        raise BtfError("the index is damaged")
    cells = words.cast("I")
    at = 2 * count
    return Index(cells[:count], cells[count:at], cells[at : at + named], cells[at + named :])
