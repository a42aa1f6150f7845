"""Opcode bytes that a kernel knows (Linux 6.12 kernel/bpf/core.c: bpf_opcode_in_insntable)."""

from __future__ import annotations

from bombus.isa import opcodes as op
from bombus.verifier.rules import Rules


def known(rules: Rules) -> frozenset[int]:
    """The opcodes of one kernel version."""
    found = {op.LD_IMM64, op.CALL, op.EXIT, op.JA, op.GOTOL}  # late 6.1 has gotol, too
    if rules.may_goto:
        found.add(op.MAY_GOTO)
    if rules.cpu_v4:
        found.add(op.BPF_ALU64 | op.BPF_END)
    for klass in (op.BPF_ALU, op.BPF_ALU64):
        for operation in range(op.BPF_ADD, op.BPF_ARSH + 1, 0x10):
            found.add(klass | operation)
            if operation != op.BPF_NEG:
                found.add(klass | operation | op.BPF_X)
    found |= {op.BPF_ALU | op.BPF_END, op.BPF_ALU | op.BPF_END | op.BPF_X}
    for klass in (op.BPF_JMP, op.BPF_JMP32):
        for operation in range(op.BPF_JEQ, op.BPF_JSLE + 1, 0x10):
            if operation not in (op.BPF_CALL, op.BPF_EXIT):
                found |= {klass | operation, klass | operation | op.BPF_X}
    for size in (op.BPF_B, op.BPF_H, op.BPF_W, op.BPF_DW):
        found |= {
            op.BPF_LDX | op.BPF_MEM | size, op.BPF_ST | op.BPF_MEM | size, op.BPF_STX | op.BPF_MEM | size,
        }
        if size != op.BPF_DW:
            found |= {op.BPF_LD | op.BPF_ABS | size, op.BPF_LD | op.BPF_IND | size}
            if rules.cpu_v4:
                found.add(op.BPF_LDX | op.BPF_MEMSX | size)
        if size in (op.BPF_W, op.BPF_DW) or rules.acquire_release:
            found.add(op.BPF_STX | op.BPF_ATOMIC | size)
    return frozenset(found)
