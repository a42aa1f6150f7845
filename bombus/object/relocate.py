"""From functions as compiled to the instructions of one program, in three visible steps.

1. `core`: CO-RE relocations patch each function against a kernel's BTF (bombus.btf.core).
2. `flatten`: the subprograms that a program calls are appended behind it, in the order of their first use, and calls
   point to them; function and line infos move along.
3. `resolve`: references to maps, data and externs become what the kernel takes.

Facts: Linux 6.12 tools/lib/bpf/libbpf.c (bpf_object__relocate_core, bpf_object__reloc_code,
bpf_object__relocate_data).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bombus.bits import s32
from bombus.btf.ext import FuncInfo, LineInfo
from bombus.errors import RelocationError
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.object.model import Extern, Function, Object, ProgramSpec, Reference

if TYPE_CHECKING:
    from bombus.btf.core import Resolver, Result


class Flat(NamedTuple):
    """One program with all that it calls. Slots of references and infos count from its start."""

    program: ProgramSpec
    insns: tuple[Insn, ...]
    references: tuple[Reference, ...]
    func_info: tuple[FuncInfo, ...]
    line_info: tuple[LineInfo, ...]
    subprograms: tuple[tuple[str, int], ...]  # name and first slot, the entry point first

    def func_info_bytes(self) -> bytes:
        return b"".join(struct.pack("<II", *record[:2]) for record in self.func_info)

    def line_info_bytes(self) -> bytes:
        return b"".join(struct.pack("<IIII", *record[:4]) for record in self.line_info)


def core(function: Function, resolver: Resolver) -> tuple[Function, list[Result]]:
    """A function with its CO-RE relocations applied. RelocationError when one cannot be."""
    if not function.core:
        return function, []
    from bombus.btf.core import relocate as relocate_core

    insns = list(function.insns)
    relos = [relo._replace(insn_off=relo.insn_off * 8) for relo in function.core]
    results = relocate_core(relos, insns, resolver.local, resolver=resolver)
    return replace(function, insns=tuple(insns)), results


def flatten(program: ProgramSpec, functions: Mapping[str, Function]) -> Flat:
    """A program and its subprograms as one run of instructions. `functions` are by name, after `core`."""
    insns: list[Insn] = []
    references: list[Reference] = []
    func_info: list[FuncInfo] = []
    line_info: list[LineInfo] = []
    places: dict[str, int] = {}

    def add(function: Function) -> None:
        start = len(insns)
        places[function.name] = start
        insns.extend(function.insns)
        func_info.extend(record._replace(insn_off=record.insn_off + start) for record in function.func_info)
        line_info.extend(record._replace(insn_off=record.insn_off + start) for record in function.line_info)
        for ref in function.references:
            at = start + ref.insn
            if ref.kind not in ("call", "func"):
                references.append(ref._replace(insn=at))
                continue
            target = functions.get(ref.name)
            if target is None:
                raise RelocationError(f"instruction {ref.insn} calls {ref.name!r}, which is not there",
                                      section=function.section, symbol=function.name)
            if ref.name not in places:
                add(target)
            insns[at] = insns[at]._replace(imm=places[ref.name] - at - 1)
            if ref.kind == "func":
                insns[at] = insns[at]._replace(src=op.BPF_PSEUDO_FUNC)
                insns[at + 1] = insns[at + 1]._replace(imm=0)
            else:
                insns[at] = insns[at]._replace(src=op.BPF_PSEUDO_CALL)

    add(functions.get(program.function.name, program.function))
    func_info.sort()
    line_info.sort(key=lambda record: record.insn_off)
    return Flat(
        program, tuple(insns), tuple(references), tuple(func_info), tuple(line_info), tuple(places.items())
    )


class Symbol:
    """What the kernel has for an extern. kind: "kconfig" (offset in the .kconfig map), "btf" (id and descriptor of
    the BTF that has it), "address", "kfunc" (id, descriptor of its module's BTF, and index of that in fd_array; both
    0 for vmlinux), or "missing" (weak and not there)."""

    __slots__ = ("fd", "index", "kind", "value")

    def __init__(self, kind: str, value: int = 0, fd: int = 0, index: int = 0) -> None:
        self.kind = kind
        self.value = value
        self.fd = fd
        self.index = index


# Calls of kernel functions that are not there become calls that no kernel accepts; so does the verifier's message
# name the culprit (libbpf: POISON_CALL_KFUNC_BASE).
_POISON_KFUNC = 2002000000


def resolve(
    flat: Flat, obj: Object, map_fd: Callable[[str], int], symbols: Mapping[str, Symbol]
) -> list[Insn]:
    """The instructions as BPF_PROG_LOAD takes them. `map_fd` gives a map's descriptor by its name in the object."""
    insns = list(flat.insns)
    externs = {extern.name: i for i, extern in enumerate(obj.externs)}
    for ref in flat.references:
        at = ref.insn
        insn = insns[at]
        if ref.kind == "map":
            _wide(insns, at, op.BPF_PSEUDO_MAP_FD, map_fd(ref.name), 0)
        elif ref.kind == "data":
            _wide(insns, at, op.BPF_PSEUDO_MAP_VALUE, map_fd(ref.name), insns[at + 1].imm + ref.offset)
        elif ref.kind == "extern":
            symbol = symbols.get(ref.name)
            if symbol is None:
                raise RelocationError("extern without a value", section=flat.program.section, symbol=ref.name)
            if insn.opcode == op.CALL:
                if symbol.kind == "missing":
                    insns[at] = Insn(op.CALL, 0, op.BPF_PSEUDO_KFUNC_CALL, 0, _POISON_KFUNC + externs[ref.name])
                    insns[at] = insns[at]._replace(src=0)
                else:
                    insns[at] = Insn(op.CALL, 0, op.BPF_PSEUDO_KFUNC_CALL, symbol.index, symbol.value)
            elif symbol.kind == "kconfig":
                _wide(insns, at, op.BPF_PSEUDO_MAP_VALUE, map_fd(".kconfig"), insns[at + 1].imm + symbol.value)
            elif symbol.kind in ("btf", "kfunc"):  # of a function: whether it is there
                _wide(insns, at, op.BPF_PSEUDO_BTF_ID, symbol.value, symbol.fd)
            else:
                value = symbol.value if symbol.kind == "address" else 0
                _wide(insns, at, 0, value, value >> 32)
        else:
            raise RelocationError(f"unknown kind of reference {ref.kind!r}", symbol=ref.name)
    return insns


def _wide(insns: list[Insn], at: int, src: int, low: int, high: int) -> None:
    insns[at] = insns[at]._replace(src=src, imm=s32(low))
    insns[at + 1] = insns[at + 1]._replace(imm=s32(high))


def reachable(program: ProgramSpec, functions: Mapping[str, Function]) -> Sequence[str]:
    """Names of the functions that a program consists of, itself first."""
    found: list[str] = []
    todo = [program.function.name]
    while todo:
        name = todo.pop()
        if name in found or name not in functions:
            continue
        found.append(name)
        todo += [ref.name for ref in functions[name].references if ref.kind in ("call", "func")]
    return found


__all__ = ["Extern", "Flat", "Symbol", "core", "flatten", "reachable", "resolve"]
