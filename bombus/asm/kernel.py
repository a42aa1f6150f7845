"""Instruction text as the kernel's verifier log and `bpftool prog dump xlated` write it.

`version` is the kernel's (bpftool carries the printer of the kernel that it was built with): instructions
that it does not know are printed the way it prints them, which is sometimes as another instruction.

Source: Linux 6.1, 6.12 and 6.18 kernel/bpf/disasm.c (behaviour), recorded logs.
"""

from __future__ import annotations

from collections.abc import Sequence

from bombus.asm.names import NameHooks
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, imm64
from bombus.spec.version import KernelVersion

LATEST = KernelVersion(6, 18)

_SX = KernelVersion(6, 6)  # sdiv, smod, movsx, ldsx, bswap, gotol
_CAST = KernelVersion(6, 9)  # addr_space_cast, may_goto
_PERCPU = KernelVersion(6, 10)
_ORDERED = KernelVersion(6, 15)  # load_acquire, store_release
_ATOMICS = KernelVersion(5, 12)
_GOTOX = KernelVersion(6, 19)

_ALU = {
    op.BPF_ADD: "+=",
    op.BPF_SUB: "-=",
    op.BPF_MUL: "*=",
    op.BPF_DIV: "/=",
    op.BPF_OR: "|=",
    op.BPF_AND: "&=",
    op.BPF_LSH: "<<=",
    op.BPF_RSH: ">>=",
    op.BPF_MOD: "%=",
    op.BPF_XOR: "^=",
    op.BPF_MOV: "=",
    op.BPF_ARSH: "s>>=",
}
_JUMPS = {
    op.BPF_JA: "jmp",
    op.BPF_JEQ: "==",
    op.BPF_JGT: ">",
    op.BPF_JLT: "<",
    op.BPF_JGE: ">=",
    op.BPF_JLE: "<=",
    op.BPF_JSET: "&",
    op.BPF_JNE: "!=",
    op.BPF_JSGT: "s>",
    op.BPF_JSLT: "s<",
    op.BPF_JSGE: "s>=",
    op.BPF_JSLE: "s<=",
    op.BPF_EXIT: "exit",
}
_SIZES = {op.BPF_W: "32", op.BPF_H: "16", op.BPF_B: "8", op.BPF_DW: "64"}
_LOCKED = {op.BPF_ADD: "+=", op.BPF_AND: "&=", op.BPF_OR: "|=", op.BPF_XOR: "^="}
_FETCHED = {
    op.BPF_ADD | op.BPF_FETCH: "add",
    op.BPF_AND | op.BPF_FETCH: "and",
    op.BPF_OR | op.BPF_FETCH: "or",
    op.BPF_XOR | op.BPF_FETCH: "xor",
}
_ADDR_PERCPU = -1  # off of the kernel's own mov that resolves per-CPU addresses
_NO_NAME = "(null)"  # what printf makes of an operation without a name
_PTR_SRC = (
    op.BPF_PSEUDO_MAP_FD,
    op.BPF_PSEUDO_MAP_VALUE,
    op.BPF_PSEUDO_MAP_IDX,
    op.BPF_PSEUDO_MAP_IDX_VALUE,
    op.BPF_PSEUDO_BTF_ID,
)


def helper_name(number: int, version: KernelVersion = LATEST) -> str | None:
    """bpf_map_lookup_elem for 1; None where that kernel has no such helper."""
    from bombus.spec.helpers import HELPER_BY_ID  # 200 rows: only for those who print calls

    row = HELPER_BY_ID.get(number)
    return f"bpf_{row.name}" if row is not None and row.since <= version else None


def helper_number(name: str) -> int | None:
    """1 for bpf_map_lookup_elem; None when no helper has that name."""
    if not name.startswith("bpf_"):
        return None
    from bombus.spec.helpers import HELPER

    row = HELPER.get(name.removeprefix("bpf_"))
    return row.id if row is not None else None


class KernelStyle:
    """Formats instructions for one kernel version.

    `leak` False hides pointers of 64-bit loads, as the log does for callers that may not see them.
    """

    def __init__(self, version: KernelVersion = LATEST, *, leak: bool = True) -> None:
        self.version = version
        self.leak = leak
        self.sx = version >= _SX
        self.cast = version >= _CAST
        self.percpu = version >= _PERCPU
        self.ordered = version >= _ORDERED
        self.atomics = version >= _ATOMICS

    def format(self, insns: Sequence[Insn], index: int, names: NameHooks) -> str:
        insn = insns[index]
        cls = insn.opcode & 7
        if cls in (op.BPF_ALU, op.BPF_ALU64):
            return self._alu(insn)
        if cls in (op.BPF_JMP, op.BPF_JMP32):
            return self._jump(insn, index, names)
        if cls == op.BPF_LDX:
            return self._ldx(insn)
        if cls == op.BPF_STX:
            return self._stx(insn)
        if cls == op.BPF_ST:
            return self._st(insn)
        return self._ld(insns, index, names)

    def _alu(self, insn: Insn) -> str:
        opcode, dst, src, off, imm = insn
        operation = opcode & 0xF0
        wide = opcode & 7 == op.BPF_ALU64
        r = "r" if wide else "w"
        if operation == op.BPF_END:
            if wide:
                return f"({opcode:02x}) r{dst} = bswap{imm} r{dst}" if self.sx else f"BUG_alu64_{opcode:02x}"
            return f"({opcode:02x}) r{dst} = {'be' if opcode & op.BPF_TO_BE else 'le'}{imm} r{dst}"
        if operation == op.BPF_NEG:
            return f"({opcode:02x}) {r}{dst} = -{r}{dst}"
        operator = _ALU.get(operation, _NO_NAME)
        if opcode == op.BPF_ALU64 | op.BPF_MOV | op.BPF_X:
            if off == op.BPF_ADDR_SPACE_CAST and self.cast:
                return f"({opcode:02x}) r{dst} = addr_space_cast(r{src}, {imm >> 16 & 0xFFFF}, {imm & 0xFFFF})"
            if off == _ADDR_PERCPU and self.percpu:
                return f"({opcode:02x}) r{dst} = &(void __percpu *)(r{src})"
        if self.sx and off == 1 and operation in (op.BPF_DIV, op.BPF_MOD):
            operator = "s" + operator
        if opcode & op.BPF_X:
            extend = f"(s{off})" if self.sx and operation == op.BPF_MOV and off in (8, 16, 32) else ""
            return f"({opcode:02x}) {r}{dst} {operator} {extend}{r}{src}"
        return f"({opcode:02x}) {r}{dst} {operator} {imm}"

    def _stx(self, insn: Insn) -> str:
        opcode, dst, src, off, imm = insn
        mode = opcode & 0xE0
        size = _SIZES[opcode & 0x18]
        place = f"(u{size} *)(r{dst} {off:+d})"
        if mode == op.BPF_MEM:
            return f"({opcode:02x}) *{place} = r{src}"
        if mode == op.BPF_ATOMIC:
            if not self.atomics:
                return f"({opcode:02x}) lock *{place} += r{src}"
            wide = "64" if size == "64" else ""
            if imm in _LOCKED:
                return f"({opcode:02x}) lock *{place} {_LOCKED[imm]} r{src}"
            if imm in _FETCHED:
                return f"({opcode:02x}) r{src} = atomic{wide}_fetch_{_FETCHED[imm]}({place}, r{src})"
            if imm == op.BPF_CMPXCHG:
                return f"({opcode:02x}) r0 = atomic{wide}_cmpxchg({place}, r0, r{src})"
            if imm == op.BPF_XCHG:
                return f"({opcode:02x}) r{src} = atomic{wide}_xchg({place}, r{src})"
            if self.ordered and imm == op.BPF_LOAD_ACQ:
                return f"({opcode:02x}) r{dst} = load_acquire((u{size} *)(r{src} {off:+d}))"
            if self.ordered and imm == op.BPF_STORE_REL:
                return f"({opcode:02x}) store_release({place}, r{src})"
        return f"BUG_{opcode:02x}"

    def _st(self, insn: Insn) -> str:
        opcode, dst, _, off, imm = insn
        mode = opcode & 0xE0
        if mode == op.BPF_MEM:
            return f"({opcode:02x}) *(u{_SIZES[opcode & 0x18]} *)(r{dst} {off:+d}) = {imm}"
        if mode == 0xC0:  # the kernel's own speculation barrier
            return f"({opcode:02x}) nospec"
        return f"BUG_st_{opcode:02x}"

    def _ldx(self, insn: Insn) -> str:
        opcode, dst, src, off, _ = insn
        mode = opcode & 0xE0
        if mode == op.BPF_MEM:
            sign = "u"
        elif mode == op.BPF_MEMSX and self.sx:
            sign = "s"
        else:
            return f"BUG_ldx_{opcode:02x}"
        size = _SIZES[opcode & 0x18]
        # The kernel has no name for a sign extended 64-bit load, which does not exist either.
        type_ = _NO_NAME if sign == "s" and size == "64" else sign + size
        return f"({opcode:02x}) r{dst} = *({type_} *)(r{src} {off:+d})"

    def _ld(self, insns: Sequence[Insn], index: int, names: NameHooks) -> str:
        insn = insns[index]
        opcode, dst, src, _, imm = insn
        mode = opcode & 0xE0
        if mode == op.BPF_ABS:
            return f"({opcode:02x}) r0 = *(u{_SIZES[opcode & 0x18]} *)skb[{imm}]"
        if mode == op.BPF_IND:
            return f"({opcode:02x}) r0 = *(u{_SIZES[opcode & 0x18]} *)skb[r{src} + {imm}]"
        if opcode != op.LD_IMM64:
            return f"BUG_ld_{opcode:02x}"
        second = insns[index + 1] if index + 1 < len(insns) else Insn(0)
        if names.imm64 is not None and (text := names.imm64(index, insn, second)) is not None:
            return f"({opcode:02x}) r{dst} = {text}"
        value = imm64(insn, second) if self.leak or src not in _PTR_SRC else 0
        return f"({opcode:02x}) r{dst} = {value:#x}"

    def _jump(self, insn: Insn, index: int, names: NameHooks) -> str:
        opcode, dst, src, off, imm = insn
        operation = opcode & 0xF0
        if operation == op.BPF_CALL:
            return f"({opcode:02x}) call {self._callee(insn, index, names)}"
        if opcode == op.JA:
            return f"({opcode:02x}) goto pc{off:+d}"
        if opcode == op.MAY_GOTO and src == op.BPF_MAY_GOTO and self.cast:
            return f"({opcode:02x}) may_goto pc{off:+d}"
        if opcode == op.GOTOL and self.sx:
            return f"({opcode:02x}) gotol pc{imm:+d}"
        if opcode == op.GOTOX and self.version >= _GOTOX:
            return f"({opcode:02x}) gotox r{dst}"
        if opcode == op.EXIT:
            return f"({opcode:02x}) exit"
        r = "r" if opcode & 7 == op.BPF_JMP else "w"
        right = f"{r}{src}" if opcode & op.BPF_X else f"{imm & 0xFFFF_FFFF:#x}"
        return f"({opcode:02x}) if {r}{dst} {_JUMPS.get(operation, _NO_NAME)} {right} goto pc{off:+d}"

    def _callee(self, insn: Insn, index: int, names: NameHooks) -> str:
        if insn.src == op.BPF_PSEUDO_CALL:
            text = names.subprog(index, insn) if names.subprog is not None else None
            return f"pc{text if text is not None else f'{insn.imm:+d}'}"
        name: str | None = None
        if insn.src == 0:
            name = helper_name(insn.imm, self.version)
            if name is None and names.helper is not None:
                name = names.helper(insn.imm)
        elif insn.src == op.BPF_PSEUDO_KFUNC_CALL:
            if names.kfunc is not None:
                name = names.kfunc(insn.imm, insn.off)
            if name is None:
                name = "kernel-function"
        return f"{'unknown' if name is None else name}#{insn.imm}"
