"""Instruction text as llvm-objdump writes it.

`version` is LLVM's major number. It changes the text, not what can be written: instructions that an old
llvm-objdump shows as `<unknown>` are written as the first one that knew them does.

- 16 and later write numbers in hexadecimal, earlier ones in decimal;
- 20 and later disassemble for -mcpu=v3, where loads, stores and atomics below 64 bits name `w` registers.

Two things are written that llvm-objdump drops: the immediate of an indirect packet load (`skb[r1 + 0x4]`,
clang makes none), and the upper half of ld_pseudo.

Source: output of llvm-objdump 14, 19 and 22 over every instruction form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bombus.asm.names import NameHooks
from bombus.asm.tables import ALU_OPERATORS, CONDITIONS, TYPE_NAMES
from bombus.isa import opcodes as op
from bombus.isa.forms import BY_OPCODE, Form
from bombus.isa.insn import Insn, imm64

UNKNOWN = "<unknown>"

_ATOMIC_OPERATORS = {"atomic_add": "+=", "atomic_or": "|=", "atomic_and": "&=", "atomic_xor": "^="}


def form_for_text(insn: Insn) -> Form | None:
    """The form that the text of `insn` is about, whatever its reserved fields hold; None when there is none."""
    forms = BY_OPCODE.get(insn.opcode)
    if forms is None:
        return None
    if len(forms) == 1:
        return forms[0]
    for form in forms:
        src, off, imm = form.src, form.off, form.imm
        if (
            (src.__class__ is not tuple or insn.src in src)
            and (off.__class__ is not tuple or insn.off in off)
            and (imm.__class__ is not tuple or insn.imm in imm)
        ):
            return form
    return None


class LlvmStyle:
    """Formats instructions for one LLVM version."""

    def __init__(self, version: int = 19) -> None:
        self.hexadecimal = version >= 16
        self.alu32 = version >= 20

    def number(self, value: int) -> str:
        if not self.hexadecimal:
            return str(value)
        return f"-{-value:#x}" if value < 0 else f"{value:#x}"

    def signed(self, value: int) -> str:
        """With a sign in any case: jump distances."""
        return f"+{self.number(value)}" if value >= 0 else self.number(value)

    def place(self, base: int, off: int) -> str:
        """`r1 + 0x8`, the address of a load or store."""
        return f"r{base} + {self.number(off)}" if off >= 0 else f"r{base} - {self.number(-off)}"

    def format(self, insns: Sequence[Insn], index: int, names: NameHooks) -> str:
        insn = insns[index]
        if insn.opcode == op.CALLX:
            return f"callx r{insn.dst}"
        if insn.opcode == op.GOTOX:
            return f"gotox r{insn.dst}"
        form = form_for_text(insn)
        if form is None or insn.dst > 10 or (insn.src > 10 and form.src in ("read", "write")):
            return UNKNOWN
        writer = _WRITERS.get(form.name)
        if writer is not None:
            return writer(self, insn, form)
        if form.name == "ld_imm64":
            return self.wide(insns, index, names)
        if form.name.startswith("call"):
            return f"call {self.callee(insn, index, names)}"
        return self.jump(insn, form, index, names)

    def wide(self, insns: Sequence[Insn], index: int, names: NameHooks) -> str:
        if index + 1 >= len(insns):
            return UNKNOWN
        first, second = insns[index], insns[index + 1]
        if names.imm64 is not None and (text := names.imm64(index, first, second)) is not None:
            return f"r{first.dst} = {text}"
        value = imm64(first, second)
        if first.src:
            return f"ld_pseudo\tr{first.dst}, {self.number(first.src)}, {self.number(value)}"
        return f"r{first.dst} = {self.number(value - (1 << 64) if value >> 63 else value)} ll"

    def callee(self, insn: Insn, index: int, names: NameHooks) -> str:
        if insn.src == op.BPF_PSEUDO_CALL:
            if names.subprog is not None and (text := names.subprog(index, insn)) is not None:
                return f"pc{text}" if text[0] in "+-" else text
        elif insn.src == op.BPF_PSEUDO_KFUNC_CALL:
            if names.kfunc is not None and (text := names.kfunc(insn.imm, insn.off)) is not None:
                return f"{text}#{insn.imm}"
        elif names.helper is not None and (text := names.helper(insn.imm)) is not None:
            return text
        return self.number(insn.imm)

    def jump(self, insn: Insn, form: Form, index: int, names: NameHooks) -> str:
        distance = insn.imm if form.name == "gotol" else insn.off
        target = self.signed(distance)
        if names.label is not None and (label := names.label(index + 1 + distance)) is not None:
            target += f" <{label}>"
        if form.name == "ja":
            return f"goto {target}"
        if form.name in ("gotol", "may_goto"):
            return f"{form.name} {target}"
        r = "r" if form.bits == 64 else "w"
        right = f"{r}{insn.src}" if insn.opcode & op.BPF_X else self.number(insn.imm)
        return f"if {r}{insn.dst} {CONDITIONS[form.name]} {right} goto {target}"


_Writer = Callable[[LlvmStyle, Insn, Form], str]


def _alu(style: LlvmStyle, insn: Insn, form: Form) -> str:
    r = "r" if form.bits == 64 else "w"
    right = f"{r}{insn.src}" if insn.opcode & op.BPF_X else style.number(insn.imm)
    return f"{r}{insn.dst} {ALU_OPERATORS[form.name]} {right}"


def _neg(style: LlvmStyle, insn: Insn, form: Form) -> str:
    r = "r" if form.bits == 64 else "w"
    return f"{r}{insn.dst} = -{r}{insn.dst}"


def _movsx(style: LlvmStyle, insn: Insn, form: Form) -> str:
    r = "r" if form.bits == 64 else "w"
    return f"{r}{insn.dst} = (s{insn.off}){r}{insn.src}"


def _cast(style: LlvmStyle, insn: Insn, form: Form) -> str:
    to, from_ = insn.imm >> 16 & 0xFFFF, insn.imm & 0xFFFF
    return f"r{insn.dst} = addr_space_cast(r{insn.src}, {style.number(to)}, {style.number(from_)})"


def _swap(style: LlvmStyle, insn: Insn, form: Form) -> str:
    if insn.imm not in (16, 32, 64):
        return UNKNOWN
    return f"r{insn.dst} = {form.name}{insn.imm} r{insn.dst}"


def _ldx(style: LlvmStyle, insn: Insn, form: Form) -> str:
    r = "w" if style.alu32 and form.bits < 64 else "r"
    return f"{r}{insn.dst} = *(u{form.bits} *)({style.place(insn.src, insn.off)})"


def _ldsx(style: LlvmStyle, insn: Insn, form: Form) -> str:
    return f"r{insn.dst} = *(s{form.bits} *)({style.place(insn.src, insn.off)})"


def _st(style: LlvmStyle, insn: Insn, form: Form) -> str:
    return f"*(u{form.bits} *)({style.place(insn.dst, insn.off)}) = {style.number(insn.imm)}"


def _stx(style: LlvmStyle, insn: Insn, form: Form) -> str:
    r = "w" if style.alu32 and form.bits < 64 else "r"
    return f"*(u{form.bits} *)({style.place(insn.dst, insn.off)}) = {r}{insn.src}"


def _lock(style: LlvmStyle, insn: Insn, form: Form) -> str:
    # Only += exists without -mcpu=v3, so the others name w registers in any version.
    r = "w" if form.bits < 64 and (style.alu32 or form.name != "atomic_add") else "r"
    place = style.place(insn.dst, insn.off)
    return f"lock *(u{form.bits} *)({place}) {_ATOMIC_OPERATORS[form.name]} {r}{insn.src}"


def _fetch(style: LlvmStyle, insn: Insn, form: Form) -> str:
    r = "r" if form.bits == 64 else "w"
    place = style.place(insn.dst, insn.off)
    return f"{r}{insn.src} = {form.name}((u{form.bits} *)({place}), {r}{insn.src})"


def _xchg(style: LlvmStyle, insn: Insn, form: Form) -> str:
    r, suffix = ("r", "_64") if form.bits == 64 else ("w", "32_32")
    return f"{r}{insn.src} = xchg{suffix}({style.place(insn.dst, insn.off)}, {r}{insn.src})"


def _cmpxchg(style: LlvmStyle, insn: Insn, form: Form) -> str:
    r, suffix = ("r", "_64") if form.bits == 64 else ("w", "32_32")
    return f"{r}0 = cmpxchg{suffix}({style.place(insn.dst, insn.off)}, {r}0, {r}{insn.src})"


def _load_acquire(style: LlvmStyle, insn: Insn, form: Form) -> str:
    r = "r" if form.bits == 64 else "w"
    return f"{r}{insn.dst} = load_acquire((u{form.bits} *)({style.place(insn.src, insn.off)}))"


def _store_release(style: LlvmStyle, insn: Insn, form: Form) -> str:
    r = "r" if form.bits == 64 else "w"
    return f"store_release((u{form.bits} *)({style.place(insn.dst, insn.off)}), {r}{insn.src})"


def _ld_abs(style: LlvmStyle, insn: Insn, form: Form) -> str:
    return f"r0 = *({TYPE_NAMES[form.bits]} *)skb[{style.number(insn.imm)}]"


def _ld_ind(style: LlvmStyle, insn: Insn, form: Form) -> str:
    # llvm-objdump drops the immediate, which clang always makes 0.
    extra = f" + {style.number(insn.imm)}" if insn.imm else ""
    return f"r0 = *({TYPE_NAMES[form.bits]} *)skb[r{insn.src}{extra}]"


def _exit(style: LlvmStyle, insn: Insn, form: Form) -> str:
    return "exit"


_WRITERS: dict[str, _Writer] = {
    **dict.fromkeys(ALU_OPERATORS, _alu),
    "neg": _neg,
    "movsx": _movsx,
    "addr_space_cast": _cast,
    **dict.fromkeys(("le", "be", "bswap"), _swap),
    "ldx": _ldx,
    "ldsx": _ldsx,
    "st": _st,
    "stx": _stx,
    **dict.fromkeys(_ATOMIC_OPERATORS, _lock),
    **dict.fromkeys((name.replace("atomic_", "atomic_fetch_") for name in _ATOMIC_OPERATORS), _fetch),
    "xchg": _xchg,
    "cmpxchg": _cmpxchg,
    "load_acquire": _load_acquire,
    "store_release": _store_release,
    "ld_abs": _ld_abs,
    "ld_ind": _ld_ind,
    "exit": _exit,
}
