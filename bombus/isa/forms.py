"""The table of instruction forms: which fields each opcode uses, and what the others must hold.

One `Form` row per meaning; several rows share an opcode where another field tells them apart (MOV by off,
CALL by src, ATOMIC by imm). `isa.validate` checks programs against these rows, tests and fuzzers generate
instructions from them.

Source: Linux 6.12 kernel/bpf/verifier.c (resolve_pseudo_ldimm64, do_check, check_alu_op, check_cond_jmp_op,
check_atomic, check_ld_imm, check_ld_abs), kernel/bpf/core.c bpf_opcode_in_insntable; for load-acquire and
store-release Linux 6.18.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from bombus.errors import EncodingError
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn

# zero: reserved, must be 0. read: a register, r0 to r10. write: a register, r0 to r9. any: every value.
# shift: 0 to `bits` - 1. divisor: not 0. jump: slots to the target, seen from the next slot. loop: as jump,
# but not 0. subprog: slots to a function's first instruction. A tuple lists the values allowed.
RegisterRule = Literal["zero", "read", "write"] | tuple[int, ...]
OffRule = Literal["zero", "any", "jump", "loop"] | tuple[int, ...]
ImmRule = Literal["zero", "any", "shift", "divisor", "jump", "subprog"] | tuple[int, ...]


class Form(NamedTuple):
    """One way to use an opcode. `bits`: width of the operation (0 where it has none)."""

    opcode: int
    name: str
    bits: int
    dst: RegisterRule
    src: RegisterRule
    off: OffRule
    imm: ImmRule


_ALU_NAMES = {
    op.BPF_ADD: "add",
    op.BPF_SUB: "sub",
    op.BPF_MUL: "mul",
    op.BPF_OR: "or",
    op.BPF_AND: "and",
    op.BPF_LSH: "lsh",
    op.BPF_RSH: "rsh",
    op.BPF_XOR: "xor",
    op.BPF_ARSH: "arsh",
}
_SHIFTS = (op.BPF_LSH, op.BPF_RSH, op.BPF_ARSH)
_JUMP_NAMES = {
    op.BPF_JEQ: "jeq",
    op.BPF_JGT: "jgt",
    op.BPF_JGE: "jge",
    op.BPF_JSET: "jset",
    op.BPF_JNE: "jne",
    op.BPF_JSGT: "jsgt",
    op.BPF_JSGE: "jsge",
    op.BPF_JLT: "jlt",
    op.BPF_JLE: "jle",
    op.BPF_JSLT: "jslt",
    op.BPF_JSLE: "jsle",
}
_ATOMIC_NAMES = {op.BPF_ADD: "add", op.BPF_OR: "or", op.BPF_AND: "and", op.BPF_XOR: "xor"}


def _alu_forms() -> list[Form]:
    forms = []
    for cls, bits in ((op.BPF_ALU64, 64), (op.BPF_ALU, 32)):
        for code, name in _ALU_NAMES.items():
            imm: ImmRule = "shift" if code in _SHIFTS else "any"
            forms.append(Form(cls | code | op.BPF_K, name, bits, "write", "zero", "zero", imm))
            forms.append(Form(cls | code | op.BPF_X, name, bits, "write", "read", "zero", "zero"))
        for code, name in ((op.BPF_DIV, "div"), (op.BPF_MOD, "mod")):
            for off, sign in ((0, ""), (1, "s")):
                forms.append(Form(cls | code | op.BPF_K, sign + name, bits, "write", "zero", (off,), "divisor"))
                forms.append(Form(cls | code | op.BPF_X, sign + name, bits, "write", "read", (off,), "zero"))
        forms.append(Form(cls | op.BPF_NEG, "neg", bits, "write", "zero", "zero", "zero"))
        forms.append(Form(cls | op.BPF_MOV | op.BPF_K, "mov", bits, "write", "zero", "zero", "any"))
        forms.append(Form(cls | op.BPF_MOV | op.BPF_X, "mov", bits, "write", "read", (0,), "zero"))
        widths = (8, 16, 32) if bits == 64 else (8, 16)
        forms.append(Form(cls | op.BPF_MOV | op.BPF_X, "movsx", bits, "write", "read", widths, "zero"))
    cast = op.BPF_ALU64 | op.BPF_MOV | op.BPF_X
    # imm: 1 is space 1 -> 0, 1 << 16 is 0 -> 1; no other spaces exist.
    forms.append(Form(cast, "addr_space_cast", 64, "write", "read", (op.BPF_ADDR_SPACE_CAST,), (1, 1 << 16)))
    swaps = (
        (op.BPF_ALU | op.BPF_TO_LE, "le"),
        (op.BPF_ALU | op.BPF_TO_BE, "be"),
        (op.BPF_ALU64, "bswap"),
    )
    for opcode, name in swaps:
        forms.append(Form(opcode | op.BPF_END, name, 64, "write", "zero", "zero", (16, 32, 64)))
    return forms


def _memory_forms() -> list[Form]:
    forms = []
    for size, count in op.SIZE_BYTES.items():
        bits = count * 8
        forms.append(Form(op.BPF_LDX | op.BPF_MEM | size, "ldx", bits, "write", "read", "any", "zero"))
        forms.append(Form(op.BPF_ST | op.BPF_MEM | size, "st", bits, "read", "zero", "any", "any"))
        forms.append(Form(op.BPF_STX | op.BPF_MEM | size, "stx", bits, "read", "read", "any", "zero"))
        atomic = op.BPF_STX | op.BPF_ATOMIC | size
        forms.append(Form(atomic, "load_acquire", bits, "write", "read", "any", (op.BPF_LOAD_ACQ,)))
        forms.append(Form(atomic, "store_release", bits, "read", "read", "any", (op.BPF_STORE_REL,)))
        if count < 8:
            forms.append(Form(op.BPF_LDX | op.BPF_MEMSX | size, "ldsx", bits, "write", "read", "any", "zero"))
            forms.append(Form(op.BPF_LD | op.BPF_ABS | size, "ld_abs", bits, "zero", "zero", "zero", "any"))
            forms.append(Form(op.BPF_LD | op.BPF_IND | size, "ld_ind", bits, "zero", "read", "zero", "any"))
        if count >= 4:
            for code, name in _ATOMIC_NAMES.items():
                forms.append(Form(atomic, f"atomic_{name}", bits, "read", "read", "any", (code,)))
                fetch = (code | op.BPF_FETCH,)
                forms.append(Form(atomic, f"atomic_fetch_{name}", bits, "read", "write", "any", fetch))
            forms.append(Form(atomic, "xchg", bits, "read", "write", "any", (op.BPF_XCHG,)))
            forms.append(Form(atomic, "cmpxchg", bits, "read", "read", "any", (op.BPF_CMPXCHG,)))
    pseudo = tuple(range(op.BPF_PSEUDO_MAP_IDX_VALUE + 1))
    forms.append(Form(op.LD_IMM64, "ld_imm64", 64, "write", pseudo, "zero", "any"))
    return forms


def _jump_forms() -> list[Form]:
    forms = []
    for cls, bits in ((op.BPF_JMP, 64), (op.BPF_JMP32, 32)):
        for code, name in _JUMP_NAMES.items():
            forms.append(Form(cls | code | op.BPF_K, name, bits, "read", "zero", "jump", "any"))
            forms.append(Form(cls | code | op.BPF_X, name, bits, "read", "read", "jump", "zero"))
    forms += [
        Form(op.JA, "ja", 0, "zero", "zero", "jump", "zero"),
        Form(op.GOTOL, "gotol", 0, "zero", "zero", "zero", "jump"),
        Form(op.MAY_GOTO, "may_goto", 0, "zero", (op.BPF_MAY_GOTO,), "loop", "zero"),
        Form(op.CALL, "call", 0, "zero", (0,), "zero", "any"),
        Form(op.CALL, "call_local", 0, "zero", (op.BPF_PSEUDO_CALL,), "zero", "subprog"),
        Form(op.CALL, "call_kfunc", 0, "zero", (op.BPF_PSEUDO_KFUNC_CALL,), "any", "any"),
        # The kernel looks at every field of exit but off.
        Form(op.EXIT, "exit", 0, "zero", "zero", "any", "zero"),
    ]
    return forms


FORMS: tuple[Form, ...] = (*_alu_forms(), *_memory_forms(), *_jump_forms())

BY_OPCODE: dict[int, tuple[Form, ...]] = {
    opcode: tuple(form for form in FORMS if form.opcode == opcode) for opcode in sorted({form.opcode for form in FORMS})
}


def form_of(insn: Insn, index: int | None = None) -> Form:
    """The row that `insn` belongs to, chosen by opcode and by the fields that tell rows apart.

    EncodingError naming the field when there is none; `index` is for that message only.
    """
    forms = BY_OPCODE.get(insn.opcode)
    if forms is None:
        raise EncodingError(f"{insn.opcode:#04x} is no instruction", field="opcode", insn=index)
    for form in forms:
        if (
            (not isinstance(form.src, tuple) or insn.src in form.src)
            and (not isinstance(form.off, tuple) or insn.off in form.off)
            and (not isinstance(form.imm, tuple) or len(forms) == 1 or insn.imm in form.imm)
        ):
            return form
    for field in ("off", "src", "imm"):
        allowed = [rule for form in forms if isinstance(rule := getattr(form, field), tuple)]
        value = getattr(insn, field)
        if allowed and not any(value in rule for rule in allowed):
            choices = ", ".join(f"{v:#x}" if v > 0x40 else str(v) for rule in allowed for v in rule)
            raise EncodingError(f"{value:#x} is not one of {choices}", field=field, insn=index)
    raise EncodingError("no instruction has this combination of fields", field="imm", insn=index)
