"""Loaded programs as `bpftool prog dump xlated` prints them.

Source: Linux 6.12 tools/bpf/bpftool/xlated_dumper.c, behaviour.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bombus.asm import BPFTOOL, Line, NameHooks, disassemble
from bombus.btf.ext import LineInfo
from bombus.btf.signature import signature
from bombus.errors import KernelError
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode

if TYPE_CHECKING:
    from bombus.btf.parse import Btf
    from bombus.kernel.handles import Program


class _Known(NamedTuple):
    """What goes with the instructions: the program's BTF, function names and source lines by slot."""

    lines: list[Line]
    insns: list[Insn]
    btf: Btf | None
    functions: dict[int, int]
    sources: dict[int, LineInfo]


def _known(program: Program) -> _Known:
    from bombus.kernel.handles import Btf as BtfHandle

    info = program.info()
    insns = program.instructions()
    btf = None
    functions: dict[int, int] = {}
    sources: dict[int, LineInfo] = {}
    if info["btf_id"]:
        try:
            with BtfHandle.from_id(program.kernel, info["btf_id"]) as handle:
                btf = handle.parsed()
        except KernelError:
            btf = None
    if btf is not None:
        for at, type_id in _records(program.func_info(), info["func_info_rec_size"], 2):
            functions[at] = type_id
        for at, file, line, column in _records(program.line_info(), info["line_info_rec_size"], 4):
            sources[at] = LineInfo(at, file, line, column)
    lines = disassemble(insns, "kernel", _names(program, insns), kernel=program.kernel.version)
    return _Known(lines, insns, btf, functions, sources)


def _records(data: bytes, size: int, words: int) -> Iterator[tuple[int, ...]]:
    """The first words of each record of `size` bytes."""
    return (struct.unpack_from(f"={words}I", data, at) for at in range(0, len(data), size or 1))


def graph_lines(program: Program, insns: list[Insn]) -> list[Line]:
    """Instructions for a graph: functions of the program itself are called by distance alone."""
    names = _names(program, insns, local=False)
    return list(disassemble(insns, "kernel", names, kernel=program.kernel.version))


def _names(program: Program, insns: list[Insn], *, local: bool = True) -> NameHooks:
    """Names of what is called. On Linux, calls hold addresses after the verifier: kallsyms knows them.
    local: also of the program's own functions."""
    kernel = program.kernel
    if kernel.name != "linux":
        return BPFTOOL
    from bombus.kernel.linux.symbols import names_of

    base = kernel.kallsyms({"__bpf_call_base"}).get("__bpf_call_base", 0)
    ksyms = program.jited_ksyms() if local else []
    helpers = {i.imm: base + i.imm for i in insns if base and i.opcode == op.CALL and not i.src}
    known = names_of({*helpers.values(), *ksyms})

    def helper(imm: int) -> str | None:
        return known.get(helpers.get(imm, 0))

    def subprog(index: int, insn: Insn) -> str | None:
        if not ksyms:
            return f"{insn.off:+d}"
        address = ksyms[insn.imm] if 0 <= insn.imm < len(ksyms) else base + insn.imm
        return f"{insn.off:+d}#{known.get(address) or hex(address)}"

    return replace(BPFTOOL, helper=helper, subprog=subprog)


def as_text(program: Program, flags: Collection[str]) -> Iterator[str]:
    """Lines; flags: "opcodes", "linum"."""
    known = _known(program)
    for line in known.lines:
        if known.btf is not None and line.index in known.functions:
            text = signature(known.btf, known.functions[line.index])
            if text:
                yield f"{text}:"
        source = known.sources.get(line.index)
        if known.btf is not None and source is not None:
            yield f"; {source_text(known.btf, source)}" + (place(known.btf, source) if "linum" in flags else "")
        yield f"{line.index:4}: {line.text}"
        if "opcodes" in flags:
            yield f"       {_bytes(known.insns, line).hex(' ')}"


def source_text(btf: Btf, info: LineInfo) -> str:
    return btf.string(info.line).lstrip()


def place(btf: Btf, info: LineInfo) -> str:
    return f" [file:{btf.string(info.file)} line_num:{info.line_number} line_col:{info.column}]"


def source_members(btf: Btf, info: LineInfo, linum: bool) -> dict[str, Any]:
    """A source line for JSON."""
    row: dict[str, Any] = {"src": source_text(btf, info)}
    if linum:
        row["file"] = btf.string(info.file)
        if info.line_number:
            row["line_num"] = info.line_number
        if info.column:
            row["line_col"] = info.column
    return row


def _bytes(insns: list[Insn], line: Line) -> bytes:
    return encode(insns[line.index : line.index + line.slots])


def as_rows(program: Program, flags: Collection[str]) -> list[dict[str, Any]]:
    """The same for JSON, with bpftool's member names."""
    known = _known(program)
    rows = []
    for line in known.lines:
        row: dict[str, Any] = {}
        if known.btf is not None and line.index in known.functions:
            text = signature(known.btf, known.functions[line.index])
            if text:
                row["proto"] = text
        source = known.sources.get(line.index)
        if known.btf is not None and source is not None:
            row |= source_members(known.btf, source, "linum" in flags)
        row["disasm"] = line.text
        if "opcodes" in flags:
            row["opcodes"] = opcodes(known.insns, line)
        rows.append(row)
    return rows


def opcodes(insns: list[Insn], line: Line) -> dict[str, Any]:
    """The parts of one instruction as bpftool prints them."""
    data = _bytes(insns, line)

    def hexes(part: bytes) -> list[str]:
        return [f"0x{byte:02x}" for byte in part]

    return {
        "code": f"0x{line.insn.opcode:02x}", "src_reg": f"0x{line.insn.src:x}", "dst_reg": f"0x{line.insn.dst:x}",
        "off": hexes(data[2:4]), "imm": hexes(data[4:]),
    }  # fmt: skip
