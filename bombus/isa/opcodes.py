"""Names and numbers of the instruction encoding, spelled as in the uapi headers.

Sources: RFC 9669 sections 3 to 5; Linux 6.18 include/uapi/linux/{bpf,bpf_common}.h, include/linux/filter.h.

An opcode byte is `class | ...`:
- ALU, ALU64, JMP, JMP32: operation in the upper four bits, source bit 0x08 (K immediate, X register);
- LD, LDX, ST, STX: mode in the upper three bits, size in 0x18.
"""

from __future__ import annotations

from typing import Final

# Instruction classes (low three bits).
BPF_LD: Final = 0x00
BPF_LDX: Final = 0x01
BPF_ST: Final = 0x02
BPF_STX: Final = 0x03
BPF_ALU: Final = 0x04
BPF_JMP: Final = 0x05
BPF_JMP32: Final = 0x06
BPF_ALU64: Final = 0x07

# Operand source of ALU and JMP classes; for BPF_END the byte order to convert to.
BPF_K: Final = 0x00
BPF_X: Final = 0x08
BPF_TO_LE: Final = 0x00
BPF_TO_BE: Final = 0x08

# Sizes of memory accesses.
BPF_W: Final = 0x00
BPF_H: Final = 0x08
BPF_B: Final = 0x10
BPF_DW: Final = 0x18

# Modes of memory accesses.
BPF_IMM: Final = 0x00
BPF_ABS: Final = 0x20
BPF_IND: Final = 0x40
BPF_MEM: Final = 0x60
BPF_MEMSX: Final = 0x80
BPF_ATOMIC: Final = 0xC0
BPF_XADD: Final = 0xC0  # the name of BPF_ATOMIC before Linux 5.12

# ALU and ALU64 operations.
BPF_ADD: Final = 0x00
BPF_SUB: Final = 0x10
BPF_MUL: Final = 0x20
BPF_DIV: Final = 0x30
BPF_OR: Final = 0x40
BPF_AND: Final = 0x50
BPF_LSH: Final = 0x60
BPF_RSH: Final = 0x70
BPF_NEG: Final = 0x80
BPF_MOD: Final = 0x90
BPF_XOR: Final = 0xA0
BPF_MOV: Final = 0xB0
BPF_ARSH: Final = 0xC0
BPF_END: Final = 0xD0

# JMP and JMP32 operations.
BPF_JA: Final = 0x00
BPF_JEQ: Final = 0x10
BPF_JGT: Final = 0x20
BPF_JGE: Final = 0x30
BPF_JSET: Final = 0x40
BPF_JNE: Final = 0x50
BPF_JSGT: Final = 0x60
BPF_JSGE: Final = 0x70
BPF_CALL: Final = 0x80
BPF_EXIT: Final = 0x90
BPF_JLT: Final = 0xA0
BPF_JLE: Final = 0xB0
BPF_JSLT: Final = 0xC0
BPF_JSLE: Final = 0xD0
BPF_JCOND: Final = 0xE0

# `src` of BPF_JMP|BPF_JCOND.
BPF_MAY_GOTO: Final = 0

# imm of BPF_ATOMIC instructions: an ALU operation (ADD, OR, AND, XOR) with or without BPF_FETCH, or one of
# these whole values.
BPF_FETCH: Final = 0x01
BPF_XCHG: Final = 0xE0 | BPF_FETCH
BPF_CMPXCHG: Final = 0xF0 | BPF_FETCH
BPF_LOAD_ACQ: Final = 0x100
BPF_STORE_REL: Final = 0x110

# `src` of BPF_LD|BPF_IMM|BPF_DW: what the 64-bit immediate stands for.
BPF_PSEUDO_MAP_FD: Final = 1
BPF_PSEUDO_MAP_VALUE: Final = 2
BPF_PSEUDO_BTF_ID: Final = 3
BPF_PSEUDO_FUNC: Final = 4
BPF_PSEUDO_MAP_IDX: Final = 5
BPF_PSEUDO_MAP_IDX_VALUE: Final = 6

# `src` of BPF_JMP|BPF_CALL: what imm stands for (0: a helper number).
BPF_PSEUDO_CALL: Final = 1
BPF_PSEUDO_KFUNC_CALL: Final = 2

# `off` of BPF_ALU64|BPF_MOV|BPF_X: address space cast (imm holds both address spaces).
BPF_ADDR_SPACE_CAST: Final = 1

# Registers.
BPF_REG_0: Final = 0
BPF_REG_1: Final = 1
BPF_REG_2: Final = 2
BPF_REG_3: Final = 3
BPF_REG_4: Final = 4
BPF_REG_5: Final = 5
BPF_REG_6: Final = 6
BPF_REG_7: Final = 7
BPF_REG_8: Final = 8
BPF_REG_9: Final = 9
BPF_REG_10: Final = 10
BPF_REG_FP: Final = BPF_REG_10
MAX_BPF_REG: Final = 11
MAX_BPF_STACK: Final = 512

LD_IMM64: Final = BPF_LD | BPF_IMM | BPF_DW
CALL: Final = BPF_JMP | BPF_CALL
CALLX: Final = BPF_JMP | BPF_CALL | BPF_X
EXIT: Final = BPF_JMP | BPF_EXIT
JA: Final = BPF_JMP | BPF_JA
GOTOL: Final = BPF_JMP32 | BPF_JA
GOTOX: Final = BPF_JMP | BPF_JA | BPF_X  # jump to the address in dst: LLVM 22, Linux 6.19
MAY_GOTO: Final = BPF_JMP | BPF_JCOND

SIZE_BYTES: Final[dict[int, int]] = {BPF_B: 1, BPF_H: 2, BPF_W: 4, BPF_DW: 8}
SIZE_CODE: Final[dict[int, int]] = {size: code for code, size in SIZE_BYTES.items()}


def BPF_CLASS(opcode: int) -> int:
    """The instruction class of an opcode byte."""
    return opcode & 0x07


def BPF_SIZE(opcode: int) -> int:
    """The size bits of a load or store."""
    return opcode & 0x18


def BPF_MODE(opcode: int) -> int:
    """The mode bits of a load or store."""
    return opcode & 0xE0


def BPF_OP(opcode: int) -> int:
    """The operation bits of an ALU or JMP class instruction."""
    return opcode & 0xF0


def BPF_SRC(opcode: int) -> int:
    """The source bit (BPF_K or BPF_X) of an ALU or JMP class instruction."""
    return opcode & 0x08
