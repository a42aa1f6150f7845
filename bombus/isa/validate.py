"""Structural checks of a whole program: what the kernel refuses before it looks at any value.

`validate` accepts what Linux accepts here: reserved fields, registers, jump targets, function boundaries.
Whether the program is safe is the verifier's question; which kernel knows an instruction is told by
`spec.instructions`.

Source: Linux 6.12 kernel/bpf/verifier.c: resolve_pseudo_ldimm64, check_subprogs, check_cfg (middle of
ld_imm64), __check_reg_arg and the "uses reserved fields" checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from bombus.errors import EncodingError
from bombus.isa import opcodes as op
from bombus.isa.forms import Form, form_of
from bombus.isa.insn import Insn

_NO_SECOND_IMM = (op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_IDX)
_ENDS = (op.EXIT, op.JA, op.GOTOL)


def validate(insns: Sequence[Insn], *, frame_pointer: bool = True) -> list[Form | None]:
    """Check every instruction and the shape of the program.

    frame_pointer: refuse writes to r10 too; Linux does so only where they can be reached.

    Returns the form of each slot, None for the second slot of an ld_imm64. Raises EncodingError naming
    field and instruction at the first defect.
    """
    if not insns:
        raise EncodingError("a program has at least one instruction", field="length")
    forms: list[Form | None] = []
    index = 0
    while index < len(insns):
        form = check_fields(insns[index], index, frame_pointer=frame_pointer)
        forms.append(form)
        if form.opcode == op.LD_IMM64:
            _check_second_slot(insns, index)
            forms.append(None)
            index += 1
        index += 1
    starts = function_starts(insns, forms)
    _check_jumps(insns, forms, starts)
    return forms


def check_fields(insn: Insn, index: int | None = None, *, frame_pointer: bool = True) -> Form:
    """Check one slot by itself (not its jump target, not a second slot). Returns its form."""
    form = form_of(insn, index)
    for field in ("dst", "src"):
        rule = getattr(form, field)
        register = getattr(insn, field)
        if rule == "zero":
            if register:
                raise EncodingError(f"reserved in {form.name}, must be 0, is {register}", field=field, insn=index)
        elif rule in ("read", "write"):
            if register >= op.MAX_BPF_REG:
                raise EncodingError(f"register {register} does not exist", field=field, insn=index)
            if frame_pointer and rule == "write" and register == op.BPF_REG_FP:
                raise EncodingError("r10, the frame pointer, is read only", field=field, insn=index)
    if form.off == "zero" and insn.off:
        raise EncodingError(f"reserved in {form.name}, must be 0, is {insn.off}", field="off", insn=index)
    if form.off == "loop" and insn.off == 0:
        raise EncodingError("a may_goto to the next instruction is refused", field="off", insn=index)
    _check_imm(insn, form, index)
    return form


def _check_imm(insn: Insn, form: Form, index: int | None) -> None:
    rule, imm = form.imm, insn.imm
    if rule == "zero":
        if imm:
            raise EncodingError(f"reserved in {form.name}, must be 0, is {imm}", field="imm", insn=index)
    elif rule == "shift":
        if not 0 <= imm < form.bits:
            raise EncodingError(f"shift by {imm}; must be 0 to {form.bits - 1}", field="imm", insn=index)
    elif rule == "divisor":
        if imm == 0:
            raise EncodingError("division by zero", field="imm", insn=index)
    elif isinstance(rule, tuple) and imm not in rule:
        choices = ", ".join(map(str, rule))
        raise EncodingError(f"{imm} is not one of {choices} for {form.name}", field="imm", insn=index)


def _check_second_slot(insns: Sequence[Insn], index: int) -> None:
    if index + 1 == len(insns):
        raise EncodingError("the second slot of ld_imm64 is missing", field="length", insn=index)
    second = insns[index + 1]
    for field in ("opcode", "dst", "src", "off"):
        value = getattr(second, field)
        if value:
            raise EncodingError(f"must be 0 in the second slot of ld_imm64, is {value}", field=field, insn=index + 1)
    if insns[index].src in _NO_SECOND_IMM and second.imm:
        raise EncodingError("must be 0 after a map reference", field="imm", insn=index + 1)


def function_starts(insns: Sequence[Insn], forms: Sequence[Form | None]) -> list[int]:
    """First instruction of each function, ascending; 0 is the program's entry."""
    starts = {0}
    for index, (insn, form) in enumerate(zip(insns, forms, strict=True)):
        if form is None:
            continue
        if form.imm == "subprog" or (insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_FUNC):
            target = index + 1 + insn.imm
            if not 0 <= target < len(insns):
                raise EncodingError(f"no instruction {target} to call", field="imm", insn=index)
            if forms[target] is None:
                raise EncodingError(f"calls into the middle of ld_imm64 {target - 1}", field="imm", insn=index)
            starts.add(target)
    return sorted(starts)


def _check_jumps(insns: Sequence[Insn], forms: Sequence[Form | None], starts: Sequence[int]) -> None:
    """Jumps stay inside their function and hit instructions; no function runs into the next one."""
    bounds = [*starts, len(insns)]
    for start, end in pairwise(bounds):
        for index in range(start, end):
            form = forms[index]
            if form is None:
                continue
            field = "imm" if form.imm == "jump" else "off" if form.off in ("jump", "loop") else ""
            if not field:
                continue
            target = index + 1 + int(getattr(insns[index], field))
            if not start <= target < end:
                where = "the program" if len(starts) == 1 else f"its function ({start} to {end - 1})"
                raise EncodingError(f"jump to {target}, out of {where}", field=field, insn=index)
            if forms[target] is None:
                raise EncodingError(f"jump into the middle of ld_imm64 {target - 1}", field=field, insn=index)
        if insns[end - 1].opcode not in _ENDS:
            raise EncodingError("a function must end in exit or a jump", field="opcode", insn=end - 1)
