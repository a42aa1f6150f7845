"""`.BTF.ext`: function info, line info and CO-RE relocations per section.

Facts: Linux 6.12 Documentation/bpf/btf.rst section 4, include/uapi/linux/bpf.h (bpf_func_info, bpf_line_info,
bpf_core_relo). Records may be longer than those known here; the rest is kept in `tail`. Instruction offsets
count bytes from the start of the section.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from bombus.btf.types import MAGIC, VERSION
from bombus.errors import BtfError

MIN_HEADER = 24
FULL_HEADER = 32


class CoreKind(IntEnum):
    """enum bpf_core_relo_kind."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


class FuncInfo(NamedTuple):
    insn_off: int
    type_id: int
    tail: bytes = b""


class LineInfo(NamedTuple):
    """`file` and `line` are string offsets in the BTF that goes with this."""

    insn_off: int
    file: int
    line: int
    line_col: int
    tail: bytes = b""

    @property
    def line_number(self) -> int:
        return self.line_col >> 10

    @property
    def column(self) -> int:
        return self.line_col & 0x3FF


class CoreRelo(NamedTuple):
    """`access` is the string offset of an access string such as "0:1:2"; `kind` may be unknown to CoreKind."""

    insn_off: int
    type_id: int
    access: int
    kind: int
    tail: bytes = b""


Record = TypeVar("Record", FuncInfo, LineInfo, CoreRelo)


class Section(NamedTuple, Generic[Record]):
    """The records of one ELF section; `name` is the string offset of its name."""

    name: int
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class BtfExt:
    """A parsed .BTF.ext. Record sizes are those of the input (0: that part is absent)."""

    func_info: tuple[Section[FuncInfo], ...] = ()
    line_info: tuple[Section[LineInfo], ...] = ()
    core_relo: tuple[Section[CoreRelo], ...] = ()
    func_info_size: int = 8
    line_info_size: int = 16
    core_relo_size: int = 16
    byteorder: str = field(default="little", compare=False)

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> BtfExt:
        """Either byte order. Raises BtfError for bad framing."""
        raw = bytes(data)
        if len(raw) < MIN_HEADER:
            raise BtfError(f".BTF.ext: {len(raw)} bytes are too short for the header", offset=0)
        mark = {MAGIC.to_bytes(2, "little"): "<", MAGIC.to_bytes(2, "big"): ">"}.get(raw[:2])
        if mark is None:
            raise BtfError(f".BTF.ext: magic is {raw[:2].hex()}", offset=0)
        version, flags, size = struct.unpack_from(mark + "BBI", raw, 2)
        if version != VERSION:
            raise BtfError(f".BTF.ext: version {version}", offset=2)
        if flags:
            raise BtfError(f".BTF.ext: unknown flags {flags:#x}", offset=3)
        if size < MIN_HEADER or size > len(raw):
            raise BtfError(f".BTF.ext: header length {size}", offset=4)
        parts = struct.unpack_from(mark + "4I", raw, 8)
        core = struct.unpack_from(mark + "2I", raw, 24) if size >= FULL_HEADER else (0, 0)
        func_size, funcs = _sections(raw, size, parts[0], parts[1], mark, "func_info", 8, FuncInfo)
        line_size, lines = _sections(raw, size, parts[2], parts[3], mark, "line_info", 16, LineInfo)
        relo_size, relos = _sections(raw, size, core[0], core[1], mark, "core_relo", 16, CoreRelo)
        return cls(funcs, lines, relos, func_size, line_size, relo_size, "little" if mark == "<" else "big")

    def to_bytes(self, byteorder: str | None = None) -> bytes:
        """Raw .BTF.ext; parts without records are left out."""
        mark = "<" if (byteorder or self.byteorder) == "little" else ">"
        blocks = [
            _block(self.func_info, self.func_info_size, mark, 2),
            _block(self.line_info, self.line_info_size, mark, 4),
            _block(self.core_relo, self.core_relo_size, mark, 4),
        ]
        places: list[int] = []
        at = 0
        for block in blocks:
            places += (at, len(block))
            at += len(block)
        return struct.pack(mark + "HBBI6I", MAGIC, VERSION, 0, FULL_HEADER, *places) + b"".join(blocks)


def remap(ext: BtfExt, string: Callable[[int], int], type_id: Callable[[int], int]) -> BtfExt:
    """The same records for another BTF: string offsets and type ids go through the two functions.

    After deduplication, say: `remap(ext, lambda o: new.add_string(old.string(o)), lambda i: ids[i])`.
    """
    return replace(
        ext,
        func_info=tuple(
            Section(string(s.name), tuple(r._replace(type_id=type_id(r.type_id)) for r in s.records))
            for s in ext.func_info
        ),
        line_info=tuple(
            Section(string(s.name), tuple(r._replace(file=string(r.file), line=string(r.line)) for r in s.records))
            for s in ext.line_info
        ),
        core_relo=tuple(
            Section(
                string(s.name),
                tuple(r._replace(type_id=type_id(r.type_id), access=string(r.access)) for r in s.records),
            )
            for s in ext.core_relo
        ),
    )


def _sections(
    raw: bytes, header: int, offset: int, length: int, mark: str, what: str, known: int, row: Callable[..., Record]
) -> tuple[int, tuple[Section[Record], ...]]:
    if not length:
        return known, ()
    at = header + offset
    end = at + length
    if offset % 4 or length < 4 or end > len(raw):
        raise BtfError(f".BTF.ext: {what} of {length} bytes at {offset} does not fit", offset=header)
    (size,) = struct.unpack_from(mark + "I", raw, at)
    if size < known or size % 4:
        raise BtfError(f".BTF.ext: {what} record size {size}", offset=at)
    at += 4
    words = struct.Struct(f"{mark}{known // 4}I")
    sections: list[Section[Record]] = []
    while at < end:
        if end - at < 8:
            raise BtfError(f".BTF.ext: {what} section header is cut off", offset=at)
        name, count = struct.unpack_from(mark + "2I", raw, at)
        at += 8
        if not count or count * size > end - at:
            raise BtfError(f".BTF.ext: {what} section with {count} records", offset=at - 4)
        stop = at + count * size
        if size == known:
            rows = tuple([row(*values) for values in words.iter_unpack(raw[at:stop])])
        else:
            rows = tuple([row(*words.unpack_from(raw, i), raw[i + known : i + size]) for i in range(at, stop, size)])
        sections.append(Section(name, rows))
        at = stop
    return size, tuple(sections)


def _block(
    sections: Sequence[Section[FuncInfo]] | Sequence[Section[LineInfo]] | Sequence[Section[CoreRelo]],
    size: int,
    mark: str,
    words: int,
) -> bytes:
    if not sections:
        return b""
    parts = [struct.pack(mark + "I", size)]
    pack = struct.Struct(f"{mark}{words}I").pack
    for section in sections:
        parts.append(struct.pack(mark + "2I", section.name, len(section.records)))
        for record in section.records:
            if words * 4 + len(record.tail) > size:
                raise BtfError(f".BTF.ext: record of {words * 4 + len(record.tail)} bytes, record size {size}")
            try:
                parts.append(pack(*record[:words]) + record.tail.ljust(size - words * 4, b"\0"))
            except struct.error as error:
                raise BtfError(f".BTF.ext: {error}") from None
    return b"".join(parts)
