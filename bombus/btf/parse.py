"""Raw BTF bytes to types on demand.

Parsing only walks the record headers (one step per type); a type is decoded, checked and cached when asked for,
so that finding a struct in a kernel's BTF does not pay for its 100,000 neighbours.
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from collections.abc import Collection, Iterator
from typing import Final

from bombus.btf import codec
from bombus.btf.index import Index, pack
from bombus.btf.query import LONG_NAMES, Queries
from bombus.btf.types import EXTRA_WORDS, HEADER_SIZE, MAGIC, VERSION, Func, Kind, Type, Void
from bombus.errors import BtfError

# Longer strings do not come from compilers; the limit bounds what overlapping hostile strings can cost.
MAX_STRING = 4096
MAX_TEXT = 1 << 28
# A search costs about 0.5 ms in a kernel's strings, the index of all names 30 ms.
SEARCHES = 12
VOID: Final = Void()

Buffer = bytes | bytearray | memoryview


class Btf(Queries):
    """All types of one BTF blob; with `base` a split BTF whose ids and string offsets go on after the base's.

    `first_id` is the id of the first type of this blob itself (1 without a base). `len(btf)` is one more than
    the last id, void and base included. Look types up with `type`, `find`, `find_all`; see `query` for sizes,
    members and the like.
    """

    __slots__ = (
        "_by_name",
        "_by_text",
        "_cache",
        "_end",
        "_flavours",
        "_index",
        "_lookups",
        "_name_offs",
        "_offsets",
        "_pointer_size",
        "_strings",
        "_strings_start",
        "_text",
        "_words",
        "base",
        "byteorder",
        "first_id",
        "raw",
    )

    def __init__(
        self, words: array[int] | memoryview, strings: bytes, *, base: Btf | None, byteorder: str, raw: bytes,
        index: Index | None = None,
    ) -> None:  # fmt: skip
        self.base = base
        self.byteorder = byteorder
        self.raw = raw
        self.first_id = len(base) if base is not None else 1
        self._words = words
        self._strings = strings
        self._strings_start = base.strings_end if base is not None else 0
        self._index = index
        self._offsets: array[int] | memoryview
        self._name_offs: array[int] | memoryview
        self._offsets, self._name_offs = (index.offsets, index.names) if index is not None else _records(words)
        self._end = self.first_id + len(self._offsets)
        self._cache: dict[int, Type] = {}
        self._text: dict[int, str] = {}
        self._by_name: dict[int, list[int]] | None = None
        self._by_text: dict[bytes, list[int]] | None = None
        self._flavours: dict[str, list[int]] | None = None
        self._lookups = 0
        self._pointer_size: int | None = None

    @classmethod
    def parse(cls, data: Buffer, base: Btf | None = None, *, index: Index | None = None) -> Btf:
        """Raw BTF of either byte order. Raises BtfError for anything but well-framed BTF.

        index: one that `index_of` made of the same bytes (of this machine's byte order, without a base).
        """
        raw = data if isinstance(data, bytes) else bytes(data)
        if len(raw) < HEADER_SIZE:
            raise BtfError(f"{len(raw)} bytes are too short for the header", offset=0)
        little, big = (int.from_bytes(raw[:2], order) for order in ("little", "big"))
        if MAGIC not in (little, big):
            raise BtfError(f"magic is {little:#06x}, not {MAGIC:#06x}", offset=0)
        byteorder = "little" if little == MAGIC else "big"
        mark = "<" if byteorder == "little" else ">"
        _, version, flags, size, type_off, type_len, str_off, str_len = struct.unpack_from(mark + "HBBIIIII", raw)
        if version != VERSION:
            raise BtfError(f"version {version}; this is made for version {VERSION}", offset=2)
        if flags:
            raise BtfError(f"unknown flags {flags:#x}", offset=3)
        if size < HEADER_SIZE or size > len(raw):
            raise BtfError(f"header length {size}", offset=4)
        if any(raw[HEADER_SIZE:size]):
            raise BtfError("header has unknown fields that are not zero", offset=HEADER_SIZE)
        types_at, strings_at = size + type_off, size + str_off
        if type_off % 4 or type_len % 4:
            raise BtfError(f"type section of {type_len} bytes at {type_off} is not made of 32-bit words", offset=8)
        if types_at + type_len > len(raw) or strings_at + str_len > len(raw):
            raise BtfError(f"sections reach beyond the end ({len(raw)} bytes)", offset=8)
        if type_off + type_len > str_off:
            raise BtfError("type section overlaps the strings", offset=16)
        strings = raw[strings_at : strings_at + str_len]
        if (strings or base is None) and not strings.endswith(b"\0"):
            raise BtfError("string section does not end in NUL", offset=strings_at)
        if base is None and strings[0]:
            raise BtfError("string section does not begin with the empty string", offset=strings_at)
        if base is not None and base.byteorder != byteorder:
            raise BtfError(f"{byteorder}-endian split BTF over a {base.byteorder}-endian base", offset=0)
        if index is not None and byteorder == sys.byteorder and base is None:
            cells = memoryview(raw)[types_at : types_at + type_len].cast("I")
            return cls(cells, strings, base=None, byteorder=byteorder, raw=raw, index=index)
        words: array[int] = array("I")
        words.frombytes(memoryview(raw)[types_at : types_at + type_len])
        if byteorder != sys.byteorder:
            words.byteswap()
        return cls(words, strings, base=base, byteorder=byteorder, raw=raw)

    # Strings

    @property
    def strings_end(self) -> int:
        """First string offset after this blob's strings: where a split BTF over it would start its own."""
        return self._strings_start + len(self._strings)

    @property
    def strings(self) -> bytes:
        """This blob's own string section."""
        return self._strings

    def string(self, offset: int) -> str:
        """The string at an offset; BtfError when it lies outside. Bytes that are not UTF-8 become surrogates."""
        text = self._text.get(offset)
        if text is not None:
            return text
        at = offset - self._strings_start
        if at < 0 and self.base is not None:
            return self.base.string(offset)
        if at >= len(self._strings):
            raise BtfError(f"string offset {offset} is beyond the end of the strings ({self.strings_end})")
        end = self._strings.find(b"\0", at, at + MAX_STRING)
        if end < 0:
            raise BtfError(f"string at offset {offset} is longer than {MAX_STRING} bytes")
        text = self._strings[at:end].decode("utf-8", "surrogateescape")
        self._text[offset] = text
        return text

    def string_offset(self, text: str) -> int | None:
        """An offset at which `text` stands as a whole string (base first), or None."""
        if not text:
            return 0
        return next(self._string_offsets(text), None)

    # Types by id

    def __len__(self) -> int:
        return self._end

    @property
    def count(self) -> int:
        """How many types this blob itself holds."""
        return len(self._offsets)

    def ids(self) -> range:
        """Ids of this blob's own types."""
        return range(self.first_id, self._end)

    def __getitem__(self, type_id: int) -> Type:
        return self.type(type_id)

    def type(self, type_id: int) -> Type:
        """The type with this id (0 is void). BtfError when there is none or its record is bad."""
        at = type_id - self.first_id
        if at < 0:
            if self.base is not None:
                return self.base.type(type_id)
            if type_id == 0:
                return VOID
        if not 0 <= at < len(self._offsets):
            raise BtfError(f"no type with id {type_id} (last is {self._end - 1})")
        found = self._cache.get(at)
        if found is None:
            found = codec.decode(self._words, self._offsets[at], self.string, self._end)
            self._cache[at] = found
        return found

    def __iter__(self) -> Iterator[Type]:
        """This blob's own types in order of their ids."""
        return (self.type(type_id) for type_id in self.ids())

    def items(self) -> Iterator[tuple[int, Type]]:
        return ((type_id, self.type(type_id)) for type_id in self.ids())

    def kind(self, type_id: int) -> Kind:
        """The kind of a type, without decoding it."""
        return Kind(self._word(type_id, 1) >> 24 & 0x1F) if type_id else Kind.VOID

    def name(self, type_id: int) -> str:
        """The name of a type, without decoding it."""
        offset = self._word(type_id, 0) if type_id else 0
        return self.string(offset) if offset else ""

    def vlen(self, type_id: int) -> int:
        """How many members, values, parameters or variables a type has, without decoding it."""
        return self._word(type_id, 1) & 0xFFFF if type_id else 0

    def _word(self, type_id: int, which: int) -> int:
        at = type_id - self.first_id
        if at < 0 and self.base is not None:
            return self.base._word(type_id, which)
        if not 0 <= at < len(self._offsets):
            raise BtfError(f"no type with id {type_id} (last is {self._end - 1})")
        return self._words[self._offsets[at] + which]

    # Types by name

    def find_all(self, name: str, kinds: Kind | Collection[Kind] | None = None) -> list[int]:
        """Ids of every type with this name (base first) whose kind is `kinds` or among them, in order."""
        found = self.base.find_all(name, kinds) if self.base is not None else []
        ids = sorted(self._with_name(name))
        if kinds is None:
            return found + ids
        wanted = (kinds,) if isinstance(kinds, Kind) else kinds
        return found + [i for i in ids if (self._word(i, 1) >> 24 & 0x1F) in wanted]

    def find(self, name: str, kinds: Kind | Collection[Kind] | None = None) -> int | None:
        """The first of `find_all`, or None."""
        found = self.find_all(name, kinds)
        return found[0] if found else None

    def flavours(self, name: str) -> list[int]:
        """Ids of this blob's own types named `name` or `name___anything` (CO-RE flavours), in order."""
        ids = self._with_name(name)
        if self._index is not None:
            candidates = self._index.flavoured(name.encode("utf-8", "surrogateescape"))
            return sorted(ids + [i for i in candidates if essential_name(self.name(i)) == name])
        if self._flavours is not None:
            return sorted(ids + self._flavours.get(name, []))
        table = self._name_table()
        for offset in self._string_offsets(name + "___", whole=False):
            if offset in table and essential_name(self.string(offset)) == name:
                ids += table[offset]
        return sorted(ids)

    def _with_name(self, name: str) -> list[int]:
        """Own types of a name. A few lookups search the strings; whoever does more gets an index of all names."""
        if self._index is not None:
            candidates = self._index.named(name.encode("utf-8", "surrogateescape"))
            return [i for i in candidates if self.name(i) == name]
        if self._by_text is None:
            self._lookups += 1
            if self._lookups > SEARCHES:
                self._index_texts()
        if self._by_text is not None:
            return list(self._by_text.get(name.encode("utf-8", "surrogateescape"), ()))
        table = self._name_table()
        return [type_id for offset in self._string_offsets(name) for type_id in table.get(offset, ())]

    def _index_texts(self) -> None:
        by_text: dict[bytes, list[int]] = {}
        flavours: dict[str, list[int]] = {}
        strings, start = self._strings, self._strings_start
        spent = 0
        for offset, ids in self._name_table().items():
            at = offset - start
            if at < 0:
                text = self.string(offset).encode("utf-8", "surrogateescape")
            else:
                text = strings[at : strings.find(0, at, at + MAX_STRING)]
            spent += len(text)
            if spent > MAX_TEXT:
                raise BtfError(f"names take more than {MAX_TEXT} bytes")
            if text in by_text:
                by_text[text] = by_text[text] + ids
            else:
                by_text[text] = ids
            if b"___" in text:
                full = text.decode("utf-8", "surrogateescape")
                essential = essential_name(full)
                if essential != full:
                    flavours.setdefault(essential, []).extend(ids)
        self._by_text = by_text
        self._flavours = flavours

    def names(self) -> Iterator[tuple[str, int]]:
        """(name, id) of every named type of this blob."""
        string = self.string
        return ((string(offset), i) for i, offset in enumerate(self._name_offs, self.first_id) if offset)

    def _name_table(self) -> dict[int, list[int]]:
        if self._by_name is None:
            table: dict[int, list[int]] = {}
            for type_id, offset in enumerate(self._name_offs, self.first_id):
                if offset:
                    if offset in table:
                        table[offset].append(type_id)
                    else:
                        table[offset] = [type_id]
            self._by_name = table
        return self._by_name

    def _string_offsets(self, name: str, *, whole: bool = True) -> Iterator[int]:
        """Offsets where `name` stands: also inside longer strings (tails may be shared), also in the base."""
        if not name or "\0" in name:
            return
        needle = name.encode("utf-8", "surrogateescape") + (b"\0" if whole else b"")
        if self.base is not None:
            yield from self.base._string_offsets(name, whole=whole)
        at = self._strings.find(needle)
        while at >= 0:
            yield self._strings_start + at
            at = self._strings.find(needle, at + 1)

    # Properties of the whole

    @property
    def pointer_size(self) -> int:
        """4 or 8: the size of `long` if these types know it, else 8 (BPF's own)."""
        if self._pointer_size is None:
            self._pointer_size = self._find_pointer_size()
        return self._pointer_size

    def _find_pointer_size(self) -> int:
        if self.base is not None:
            return self.base.pointer_size
        found = [i for name in LONG_NAMES for i in self.find_all(name, Kind.INT)]
        for type_id in sorted(found):
            size = self._word(type_id, 2)
            if size in (4, 8):
                return size
        return 8

    def validate(self) -> None:
        """Decode every type and look for reference cycles. Raises BtfError for the first fault."""
        for type_id in self.ids():
            type_ = self.type(type_id)
            if isinstance(type_, Func) and self.kind(type_.type) != Kind.FUNC_PROTO:
                raise BtfError(f"function {type_.name!r} has a type that is no prototype ({type_.type})")
        self.check_cycles()


def index_of(btf: Btf) -> bytes:
    """An index of a BTF without a base, for `bombus.btf.index.unpack`. BtfError when it has too many types."""
    strings = btf.strings
    flavours: dict[int, bytes] = {}
    at = strings.find(b"___")
    while at >= 0:
        start, end = strings.rfind(b"\0", 0, at) + 1, strings.find(b"\0", at)
        name = strings[start:end]
        essential = essential_name(name.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if essential != name:
            flavours[start] = essential
        at = strings.find(b"___", end)
    return pack(len(btf.raw), btf._offsets, btf._name_offs, strings, flavours)


def essential_name(name: str) -> str:
    """A type name without its CO-RE flavour: "task_struct___v2" is "task_struct".

    Fact: the last "___" that has something on both sides starts the flavour.
    """
    found = re.match(r"(.*[^_])___[^_]", name, re.DOTALL) if "___" in name else None
    return found[1] if found else name


class _Sizes(dict[int, int]):
    """Words of a record by its info word. KeyError for one that no record has."""

    def __missing__(self, info: int) -> int:
        fixed, each = _EXTRA[info >> 16]
        size = self[info] = fixed + each * (info & 0xFFFF)
        return size


# Words of a record and words per element, by the upper half of its info: flag, kind, and bits that must be zero.
_EXTRA = {
    flag << 15 | kind << 8: (3 + fixed, each)
    for kind, (fixed, each) in enumerate(EXTRA_WORDS)
    for flag in (0, 1)
    if kind
}


def _records(words: array[int] | memoryview) -> tuple[array[int], array[int]]:
    """Word index and name offset of every record. BtfError when the records do not fill the section exactly."""
    offsets: list[int] = []
    add, sizes = offsets.append, _Sizes()
    at, end = 0, len(words)
    try:
        while at < end:
            add(at)
            at += sizes[words[at + 1]]
    except KeyError:
        info = words[at + 1]
        kind = info >> 24 & 0x1F
        text = f"unknown kind {kind}" if kind >= len(EXTRA_WORDS) or not kind else "reserved bits are set"
        raise BtfError(f"{text} (info {info:#010x})", offset=at * 4) from None
    except IndexError:
        raise BtfError("type record is cut off", offset=at * 4) from None
    if at != end:
        raise BtfError("last type record is cut off", offset=offsets[-1] * 4)
    return array("I", offsets), array("I", map(words.__getitem__, offsets))
