"""Types to raw BTF bytes: new blobs, edited copies, split BTF over a base."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence

from bombus.btf import codec
from bombus.btf.parse import Btf
from bombus.btf.types import HEADER_SIZE, MAGIC, VERSION, Type
from bombus.errors import BtfError


class Strings:
    """A growing string section; offsets count from the end of the base's strings when there is a base."""

    __slots__ = ("_base", "_data", "_offsets", "_start")

    def __init__(self, data: bytes = b"", base: Btf | None = None) -> None:
        self._base = base
        self._start = base.strings_end if base is not None else 0
        self._data = bytearray(data if data or base is not None else b"\0")
        self._offsets: dict[bytes, int] = {}
        at = 0
        while at < len(self._data):
            end = self._data.index(0, at)
            self._offsets.setdefault(bytes(self._data[at:end]), self._start + at)
            at = end + 1

    def add(self, text: str) -> int:
        """The offset of a string, appended when new. A split section uses its base's copy if it has one."""
        raw = text.encode("utf-8", "surrogateescape")
        if not raw:
            return 0
        found = self._offsets.get(raw)
        if found is None and self._base is not None:
            found = self._base.string_offset(text)
        if found is None:
            if b"\0" in raw:
                raise BtfError(f"NUL inside the string {text!r}")
            found = self._start + len(self._data)
            self._data += raw + b"\0"
        self._offsets[raw] = found
        return found

    def to_bytes(self) -> bytes:
        return bytes(self._data)


class Builder:
    """Collects types and emits raw BTF.

    `Builder()` starts empty, `Builder.from_btf(btf)` with a copy of all types and strings of a blob (its base
    stays the base). Ids are those that the blob will have; `types[i]` is the type with id `first_id + i`.
    """

    __slots__ = ("base", "byteorder", "first_id", "strings", "types")

    def __init__(self, base: Btf | None = None, byteorder: str = "little") -> None:
        self.base = base
        self.byteorder = base.byteorder if base is not None else byteorder
        self.first_id = len(base) if base is not None else 1
        self.types: list[Type] = []
        self.strings = Strings(base=base)

    @classmethod
    def from_btf(cls, btf: Btf) -> Builder:
        builder = cls(btf.base, btf.byteorder)
        builder.types = list(btf)
        builder.strings = Strings(btf.strings, btf.base)
        return builder

    def __len__(self) -> int:
        """One more than the last id."""
        return self.first_id + len(self.types)

    def __getitem__(self, type_id: int) -> Type:
        at = type_id - self.first_id
        if not 0 <= at < len(self.types):
            raise BtfError(f"no type with id {type_id} in this builder")
        return self.types[at]

    def items(self) -> Iterator[tuple[int, Type]]:
        return enumerate(self.types, self.first_id)

    def add(self, type_: Type) -> int:
        """Append a type; its id. References may point to ids that come later."""
        self.types.append(type_)
        return len(self) - 1

    def extend(self, types: Sequence[Type]) -> range:
        """Append several types; their ids."""
        start = len(self)
        self.types += types
        return range(start, len(self))

    def replace(self, type_id: int, type_: Type) -> None:
        """Put another type under an id that exists."""
        at = type_id - self.first_id
        if not 0 <= at < len(self.types):
            raise BtfError(f"no type with id {type_id} in this builder")
        self.types[at] = type_

    def add_string(self, text: str) -> int:
        """Make sure that the string section holds `text` (for .BTF.ext); its offset."""
        return self.strings.add(text)

    def to_bytes(self, byteorder: str | None = None) -> bytes:
        """Raw BTF with header, types and strings. BtfError for types that no record can hold."""
        order = byteorder or self.byteorder
        words: array[int] = array("I")
        add = self.strings.add
        for type_id, type_ in self.items():
            try:
                words.extend(codec.encode(type_, add))
            except (OverflowError, TypeError) as error:
                raise BtfError(f"type {type_id} ({type_.kind.name} {type_.name}): {error}") from None
        if order != sys.byteorder:
            words.byteswap()
        types = words.tobytes()
        strings = self.strings.to_bytes()
        mark = "<" if order == "little" else ">"
        header = struct.pack(mark + "HBBIIIII", MAGIC, VERSION, 0, HEADER_SIZE, 0, len(types), len(types), len(strings))
        return header + types + strings

    def build(self) -> Btf:
        """The types as a `Btf`."""
        return Btf.parse(self.to_bytes(), self.base)
