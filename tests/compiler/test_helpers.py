"""Every helper of spec can be called from the dialect: its binding makes the call instruction with its number."""

from __future__ import annotations

from functools import cache

import pytest

from bombus.compiler.bindings import class_name
from bombus.compiler.build import build_source
from bombus.compiler.prototypes import INTS, argument_kinds, parameters, result_kind
from bombus.isa import opcodes as op
from bombus.object.read import read_object
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.helpers import HELPERS, Helper, allowed
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.sections import SECTIONS, Section

TOP = '''\
from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Ref, Struct, array, be16, contexts, helpers, map, s32, s64, section, u16, u32, u64

LICENSE = bpf.license("GPL")
table = map.array(u32, u64, max_entries=1)
jumps = map.prog_array(max_entries=1)


class Memory(Struct):
    room: Array[u64] = array(8)


def call_back(index: u32, room: Memory) -> s64:
    return s64(0)

'''
# Called through other words: formats are checked, tail calls belong to their map.
THROUGH = {
    "trace_printk": 'bpf.printk("text")',
    "trace_vprintk": 'bpf.printk(f"{u32(1)} {u32(2)} {u32(3)} {u32(4)}")',
    "tail_call": "jumps.tail_call(ctx, 0)",
}


def section_of(row: Helper) -> Section:
    for section in SECTIONS:
        kind = PROG_TYPE[section.prog_type]
        attach = ATTACH_TYPE[section.attach_type].id if section.attach_type else 0
        if allowed(row.name, kind.id, attach):
            return section
    raise AssertionError(f"no program may call {row.name}")


def context_of(section: Section) -> str:
    ctx = PROG_TYPE[section.prog_type].ctx
    return f"contexts.{class_name(ctx)}" if ctx and ctx != "u64" else "Memory"


def call_of(row: Helper) -> str:
    if row.name in THROUGH:
        return THROUGH[row.name]
    args = ["Memory"] if result_kind(row) == "pointer" else []
    for (_name, c_type), kind in zip(parameters(row), argument_kinds(row), strict=True):
        if c_type in INTS:
            args.append(f"{INTS[c_type]}(1)")
        elif kind.startswith("ARG_CONST_MAP_PTR") or c_type == "struct bpf_map *":
            args.append("table")
        elif kind.startswith("ARG_PTR_TO_FUNC"):
            args.append("call_back")
        elif kind.startswith("ARG_PTR_TO_CTX"):
            args.append("ctx")
        else:
            args.append("memory")
    return f"helpers.{row.name}({', '.join(args)})"


def program(row: Helper) -> str:
    section = section_of(row)
    name = section.base + ("/x" if section.name.endswith("+") else "")
    return f'''
@section("{name}")
def call_{row.id}(ctx: {context_of(section)}) -> int:
    memory = Memory()
    {call_of(row)}
    return 0
'''


@cache
def calls() -> dict[str, set[int]]:
    text = TOP + "\n".join(program(row) for row in HELPERS)
    obj = read_object(build_source(text, "helpers.py"))
    return {
        spec.name: {insn.imm for insn in spec.function.insns if insn.opcode == op.CALL and insn.src == 0}
        for spec in obj.programs
    }


@pytest.mark.parametrize("row", HELPERS, ids=lambda row: row.name)
def test_helper_is_called(row: Helper) -> None:
    assert row.id in calls()[f"call_{row.id}"]
