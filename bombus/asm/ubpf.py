"""Instruction text in the syntax of ubpf and the BPF conformance suites: `mov %r0, 0x1`.

Where those have no word for an instruction (their assemblers lack load-acquire, may_goto, packet loads and
others), this is our own, made the same way; `bombus.asm.usyntax` reads both.
"""

from __future__ import annotations

from collections.abc import Sequence

from bombus.asm.llvm import form_for_text
from bombus.asm.names import NameHooks
from bombus.asm.tables import ALU_OPERATORS, CONDITIONS, SIZE_LETTERS
from bombus.isa import opcodes as op
from bombus.isa.forms import Form
from bombus.isa.insn import Insn, encode, imm64

_ATOMICS = {
    "atomic_add": "add",
    "atomic_or": "or",
    "atomic_and": "and",
    "atomic_xor": "xor",
    "atomic_fetch_add": "fetch add",
    "atomic_fetch_or": "fetch or",
    "atomic_fetch_and": "fetch and",
    "atomic_fetch_xor": "fetch xor",
    "xchg": "xchg",
    "cmpxchg": "cmpxchg",
}


def _number(value: int) -> str:
    return f"{value & 0xFFFF_FFFF:#x}"


def _place(register: int, off: int) -> str:
    return f"[%r{register}{off:+d}]" if off else f"[%r{register}]"


class UbpfStyle:
    """Formats instructions in the %r syntax."""

    def format(self, insns: Sequence[Insn], index: int, names: NameHooks) -> str:
        insn = insns[index]
        if insn.opcode == op.CALLX:
            return f"call %r{insn.dst}"
        if insn.opcode == op.GOTOX:
            return f"ja %r{insn.dst}"
        form = form_for_text(insn)
        if form is None:
            return ".byte " + ", ".join(f"{byte:#04x}" for byte in encode([insn]))
        name = form.name
        suffix = "32" if form.bits == 32 else ""
        if name in ALU_OPERATORS:
            right = f"%r{insn.src}" if insn.opcode & op.BPF_X else _number(insn.imm)
            return f"{name}{suffix} %r{insn.dst}, {right}"
        if name in CONDITIONS:
            right = f"%r{insn.src}" if insn.opcode & op.BPF_X else _number(insn.imm)
            return f"{name}{suffix} %r{insn.dst}, {right}, {self._target(index, insn.off, names)}"
        if name in _ATOMICS:
            return f"lock {_ATOMICS[name]}{suffix} {_place(insn.dst, insn.off)}, %r{insn.src}"
        if name.startswith("call"):
            return self._call(insn, index, names)
        return self._other(insns, index, form, names)

    def _other(self, insns: Sequence[Insn], index: int, form: Form, names: NameHooks) -> str:
        insn = insns[index]
        _, dst, src, off, imm = insn
        letter = SIZE_LETTERS.get(form.bits, "")
        match form.name:
            case "neg":
                return f"neg{'32' if form.bits == 32 else ''} %r{dst}"
            case "le" | "be" | "bswap":
                return f"{form.name}{imm} %r{dst}"
            case "movsx":
                return f"movsx{off}{form.bits} %r{dst}, %r{src}"
            case "addr_space_cast":
                return f"addr_space_cast %r{dst}, %r{src}, {imm >> 16 & 0xFFFF}, {imm & 0xFFFF}"
            case "ldx":
                return f"ldx{letter} %r{dst}, {_place(src, off)}"
            case "ldsx":
                return f"ldxs{letter} %r{dst}, {_place(src, off)}"
            case "st":
                return f"st{letter} {_place(dst, off)}, {_number(imm)}"
            case "stx":
                return f"stx{letter} {_place(dst, off)}, %r{src}"
            case "load_acquire":
                return f"load_acquire{letter} %r{dst}, {_place(src, off)}"
            case "store_release":
                return f"store_release{letter} {_place(dst, off)}, %r{src}"
            case "ld_abs":
                return f"ldabs{letter} {_number(imm)}"
            case "ld_ind":
                return f"ldind{letter} %r{src}, {_number(imm)}"
            case "ja":
                return f"ja {self._target(index, off, names)}"
            case "gotol":
                return f"ja32 {self._target(index, imm, names)}"
            case "may_goto":
                return f"may_goto {self._target(index, off, names)}"
            case "ld_imm64":
                return self._wide(insns, index, names)
            case _:
                return form.name  # exit

    def _wide(self, insns: Sequence[Insn], index: int, names: NameHooks) -> str:
        first = insns[index]
        if index + 1 >= len(insns):
            return ".byte " + ", ".join(f"{byte:#04x}" for byte in encode([first]))
        value = imm64(first, insns[index + 1])
        return f"lddw %r{first.dst}, {value:#x}" + (f", {first.src}" if first.src else "")

    def _call(self, insn: Insn, index: int, names: NameHooks) -> str:
        if insn.src == op.BPF_PSEUDO_CALL:
            text = names.subprog(index, insn) if names.subprog is not None else None
            if text is None and names.label is not None:
                text = names.label(index + 1 + insn.imm)
            return f"call local {text if text is not None else f'{insn.imm:+d}'}"
        if insn.src == op.BPF_PSEUDO_KFUNC_CALL:
            return f"call runtime {_number(insn.imm)}" + (f", {insn.off}" if insn.off else "")
        return f"call {_number(insn.imm)}"

    @staticmethod
    def _target(index: int, distance: int, names: NameHooks) -> str:
        label = names.label(index + 1 + distance) if names.label is not None else None
        return label if label is not None else f"{distance:+d}"
