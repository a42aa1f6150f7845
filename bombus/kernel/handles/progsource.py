"""From addresses of machine code to source lines: what a stack trace through BPF programs needs."""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bombus.errors import BtfError

if TYPE_CHECKING:
    from bombus.kernel.handles.programs import Program

_RECORD = struct.Struct("=4I")  # struct bpf_line_info: insn_off, file_name_off, line_off, line_col


@dataclass(frozen=True, slots=True)
class Source:
    """A line of source. line, column: from 1, column 0 when it is not known; text: the line itself."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text.strip()}"


def source_at(program: Program, address: int) -> Source | None:
    """The source of the instruction at an address of a program's machine code.

    None for addresses outside of it, programs without line information, kernels without machine code
    or that hide addresses (kptr_restrict). Stack traces hold the addresses behind calls: look up `address - 1`.
    """
    lengths = program.jited_lengths()
    inside = any(start <= address < start + size for start, size in zip(program.jited_ksyms(), lengths, strict=False))
    if not inside:
        return None
    rows = sorted(zip(program.jited_line_info(), _lines(program), strict=False), key=lambda row: row[0])
    at = bisect_right(rows, address, key=lambda row: row[0]) - 1
    return rows[at][1] if at >= 0 else None


def _lines(program: Program) -> list[Source]:
    from bombus.kernel.handles.btf import Btf

    info = program.info()
    data, size = program.line_info(), info["line_info_rec_size"]
    if not data or not info["btf_id"]:
        return []
    with Btf.from_id(program.kernel, info["btf_id"]) as handle:
        btf = handle.parsed()
    found = []
    for at in range(0, len(data), size):
        _insn, file, line, place = _RECORD.unpack_from(data, at)
        try:
            found.append(Source(btf.string(file), place >> 10, place & 0x3FF, btf.string(line)))
        except BtfError:
            found.append(Source("", place >> 10, place & 0x3FF, ""))
    return found
