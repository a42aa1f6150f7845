"""Short spellings for making instructions in Python: `mov(0, 1)`, `ldx("u32", 0, 1, 4)`, `exit_()`.

Each returns one `Insn`; `ld_imm64` returns the two slots. Operands that may be a register or a number take an
int for the number and a `Reg` for the register: `add(0, R1)`, `add(0, 1)`. Nothing is range checked here;
`encode` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bombus.bits import s32
from bombus.errors import UsageError
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn


class Reg(int):
    """A register number that is meant as a register, not as an immediate."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"R{int(self)}"


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = (Reg(n) for n in range(11))
FP = R10

# Memory types by their C name: size bits, and whether a load sign extends.
_TYPES = {
    "u8": (op.BPF_B, False),
    "u16": (op.BPF_H, False),
    "u32": (op.BPF_W, False),
    "u64": (op.BPF_DW, False),
    "s8": (op.BPF_B, True),
    "s16": (op.BPF_H, True),
    "s32": (op.BPF_W, True),
}

JUMPS: dict[str, int] = {
    "==": op.BPF_JEQ,
    ">": op.BPF_JGT,
    ">=": op.BPF_JGE,
    "&": op.BPF_JSET,
    "!=": op.BPF_JNE,
    "s>": op.BPF_JSGT,
    "s>=": op.BPF_JSGE,
    "<": op.BPF_JLT,
    "<=": op.BPF_JLE,
    "s<": op.BPF_JSLT,
    "s<=": op.BPF_JSLE,
}


def _type(name: str) -> tuple[int, bool]:
    try:
        return _TYPES[name]
    except KeyError:
        raise UsageError(f"memory type {name!r}; use one of {', '.join(_TYPES)}") from None


def alu(operation: int, dst: int, src: int, *, bits: int = 64, off: int = 0) -> Insn:
    """Any two-operand ALU instruction; `operation` is BPF_ADD, ... ; `off` 1 makes div and mod signed."""
    cls = op.BPF_ALU64 if bits == 64 else op.BPF_ALU
    if isinstance(src, Reg):
        return Insn(cls | operation | op.BPF_X, dst, int(src), off, 0)
    return Insn(cls | operation | op.BPF_K, dst, 0, off, src)


_Alu = Callable[..., Insn]


def _family(operation: int, name: str, off: int = 0) -> tuple[_Alu, _Alu]:
    def alu64(dst: int, src: int) -> Insn:
        return alu(operation, dst, src, off=off)

    def alu32(dst: int, src: int) -> Insn:
        return alu(operation, dst, src, bits=32, off=off)

    alu64.__name__, alu32.__name__ = name, f"{name}32"
    return alu64, alu32


add, add32 = _family(op.BPF_ADD, "add")
sub, sub32 = _family(op.BPF_SUB, "sub")
mul, mul32 = _family(op.BPF_MUL, "mul")
div, div32 = _family(op.BPF_DIV, "div")
mod, mod32 = _family(op.BPF_MOD, "mod")
sdiv, sdiv32 = _family(op.BPF_DIV, "sdiv", off=1)
smod, smod32 = _family(op.BPF_MOD, "smod", off=1)
or_, or32 = _family(op.BPF_OR, "or_")
and_, and32 = _family(op.BPF_AND, "and_")
xor, xor32 = _family(op.BPF_XOR, "xor")
lsh, lsh32 = _family(op.BPF_LSH, "lsh")
rsh, rsh32 = _family(op.BPF_RSH, "rsh")
arsh, arsh32 = _family(op.BPF_ARSH, "arsh")
mov, mov32 = _family(op.BPF_MOV, "mov")


def neg(dst: int, *, bits: int = 64) -> Insn:
    return Insn((op.BPF_ALU64 if bits == 64 else op.BPF_ALU) | op.BPF_NEG, dst)


def movsx(dst: int, src: int, from_bits: int, *, bits: int = 64) -> Insn:
    """dst = src sign extended from its low 8, 16 or (64-bit form only) 32 bits."""
    return Insn((op.BPF_ALU64 if bits == 64 else op.BPF_ALU) | op.BPF_MOV | op.BPF_X, dst, int(src), from_bits, 0)


def to_le(dst: int, bits: int) -> Insn:
    return Insn(op.BPF_ALU | op.BPF_END | op.BPF_TO_LE, dst, imm=bits)


def to_be(dst: int, bits: int) -> Insn:
    return Insn(op.BPF_ALU | op.BPF_END | op.BPF_TO_BE, dst, imm=bits)


def bswap(dst: int, bits: int) -> Insn:
    return Insn(op.BPF_ALU64 | op.BPF_END, dst, imm=bits)


def addr_space_cast(dst: int, src: int, to: int, from_: int) -> Insn:
    """dst = src as an address of space `to`, coming from space `from_` (the assembler's order)."""
    return Insn(op.BPF_ALU64 | op.BPF_MOV | op.BPF_X, dst, int(src), op.BPF_ADDR_SPACE_CAST, s32(to << 16 | from_))


def ldx(type_: str, dst: int, src: int, off: int = 0) -> Insn:
    """dst = *(type *)(src + off); "s8", "s16", "s32" sign extend."""
    size, signed = _type(type_)
    return Insn(op.BPF_LDX | (op.BPF_MEMSX if signed else op.BPF_MEM) | size, dst, src, off)


def stx(type_: str, dst: int, off: int, src: int) -> Insn:
    """*(type *)(dst + off) = src."""
    return Insn(op.BPF_STX | op.BPF_MEM | _type(type_)[0], dst, src, off)


def st(type_: str, dst: int, off: int, imm: int) -> Insn:
    """*(type *)(dst + off) = imm."""
    return Insn(op.BPF_ST | op.BPF_MEM | _type(type_)[0], dst, 0, off, imm)


def atomic(operation: int, type_: str, dst: int, off: int, src: int) -> Insn:
    """An atomic on *(type *)(dst + off); `operation` is the imm: BPF_ADD | BPF_FETCH, BPF_XCHG, ..."""
    return Insn(op.BPF_STX | op.BPF_ATOMIC | _type(type_)[0], dst, src, off, operation)


def load_acquire(type_: str, dst: int, src: int, off: int = 0) -> Insn:
    return Insn(op.BPF_STX | op.BPF_ATOMIC | _type(type_)[0], dst, src, off, op.BPF_LOAD_ACQ)


def store_release(type_: str, dst: int, off: int, src: int) -> Insn:
    return Insn(op.BPF_STX | op.BPF_ATOMIC | _type(type_)[0], dst, src, off, op.BPF_STORE_REL)


def ld_imm64(dst: int, value: int, src: int = 0) -> list[Insn]:
    """The two slots of dst = value ll; `value` is taken modulo 2**64, `src` is the pseudo kind."""
    return [
        Insn(op.LD_IMM64, dst, src, 0, s32(value)),
        Insn(0, 0, 0, 0, s32(value >> 32)),
    ]


def ld_abs(type_: str, imm: int) -> Insn:
    """r0 = packet bytes at offset imm, host byte order (legacy; needs ctx in r6)."""
    return Insn(op.BPF_LD | op.BPF_ABS | _type(type_)[0], imm=imm)


def ld_ind(type_: str, src: int, imm: int = 0) -> Insn:
    return Insn(op.BPF_LD | op.BPF_IND | _type(type_)[0], src=src, imm=imm)


def jmp(condition: str, dst: int, src: int, off: int, *, bits: int = 64) -> Insn:
    """if dst <condition> src goto +off; conditions as in `JUMPS`."""
    try:
        operation = JUMPS[condition]
    except KeyError:
        raise UsageError(f"condition {condition!r}; use one of {' '.join(JUMPS)}") from None
    cls = op.BPF_JMP if bits == 64 else op.BPF_JMP32
    if isinstance(src, Reg):
        return Insn(cls | operation | op.BPF_X, dst, int(src), off, 0)
    return Insn(cls | operation | op.BPF_K, dst, 0, off, src)


def ja(off: int) -> Insn:
    return Insn(op.JA, off=off)


def gotol(off: int) -> Insn:
    return Insn(op.GOTOL, imm=off)


def may_goto(off: int) -> Insn:
    return Insn(op.MAY_GOTO, src=op.BPF_MAY_GOTO, off=off)


def call(helper: int) -> Insn:
    return Insn(op.CALL, imm=helper)


def call_local(off: int) -> Insn:
    """Call the subprogram `off` instructions after the next one."""
    return Insn(op.CALL, src=op.BPF_PSEUDO_CALL, imm=off)


def call_kfunc(btf_id: int, fd_index: int = 0) -> Insn:
    return Insn(op.CALL, src=op.BPF_PSEUDO_KFUNC_CALL, off=fd_index, imm=btf_id)


def exit_() -> Insn:
    return Insn(op.EXIT)


def program(*parts: Insn | Iterable[Insn]) -> list[Insn]:
    """Flatten single instructions and lists of them: `program(mov(0, 1), ld_imm64(1, 2), exit_())`."""
    out: list[Insn] = []
    for part in parts:
        if isinstance(part, Insn):
            out.append(part)
        else:
            out.extend(part)
    return out
