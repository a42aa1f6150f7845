"""Functions as compiled, in llvm-objdump's syntax, with the relocations that the loader will resolve."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from bombus.asm import disassemble
from bombus.btf.ext import CoreKind, CoreRelo
from bombus.cli.xlated import opcodes
from bombus.isa.insn import encode

if TYPE_CHECKING:
    from bombus.object.model import Function, Object, Reference


def _reference(ref: Reference) -> str:
    where = f" + {ref.offset}" if ref.kind == "data" and ref.offset else ""
    return f"{ref.kind} {ref.name}{where}"


def _core(obj: Object, relo: CoreRelo) -> str:
    assert obj.btf is not None
    try:
        kind = CoreKind(relo.kind).name.lower()
    except ValueError:
        kind = f"kind {relo.kind}"
    return f"CO-RE {kind} {obj.btf.name(relo.type_id) or relo.type_id} {obj.btf.string(relo.access)}"


def _notes(obj: Object, function: Function) -> dict[int, list[str]]:
    notes: dict[int, list[str]] = {}
    for ref in function.references:
        notes.setdefault(ref.insn, []).append(_reference(ref))
    for relo in function.core:
        notes.setdefault(relo.insn_off, []).append(_core(obj, relo))
    return notes


def function_text(obj: Object, function: Function, flags: Collection[str]) -> Iterator[str]:
    """Lines; flags: "opcodes", "linum"."""
    notes = _notes(obj, function)
    lines = {info.insn_off: info for info in function.line_info}
    yield f"{function.start * 8:016x} <{function.name}>:"
    for line in disassemble(function.insns, "llvm"):
        info = lines.get(line.index)
        if info is not None and obj.btf is not None:
            text = obj.btf.string(info.line).strip()
            place = f" [file:{obj.btf.string(info.file)} line_num:{info.line_number} line_col:{info.column}]"
            yield f"; {text}" + (place if "linum" in flags else "")
        at = function.start + line.index
        code = ""
        if "opcodes" in flags:
            code = encode(function.insns[line.index : line.index + line.slots]).hex(" ") + "\t"
        yield f"{at:8}:\t{code}{line.text}"
        for note in notes.get(line.index, ()):
            yield f"\t\t{at * 8:016x}:  {note}"


def function_rows(obj: Object, function: Function, flags: Collection[str]) -> dict[str, Any]:
    """The same for JSON."""
    notes = _notes(obj, function)
    lines = {info.insn_off: info for info in function.line_info}
    rows = []
    for line in disassemble(function.insns, "llvm"):
        row: dict[str, Any] = {"insn": line.index}
        info = lines.get(line.index)
        if info is not None and obj.btf is not None:
            row["src"] = obj.btf.string(info.line).strip()
            if "linum" in flags:
                row["file"] = obj.btf.string(info.file)
                row["line_num"] = info.line_number
                row["line_col"] = info.column
        row["disasm"] = line.text
        if line.index in notes:
            row["relocations"] = notes[line.index]
        if "opcodes" in flags:
            row["opcodes"] = opcodes(list(function.insns), line)
        rows.append(row)
    return {"name": function.name, "section": function.section, "insns": rows}
