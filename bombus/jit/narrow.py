"""Which registers hold less than 2**32 when a block begins, whatever way led there.

Such a register is 32 bits wide on its way between blocks. LLVM does not see by itself that a sum which is widened and
cut off in every round of a loop never has an upper half, and then it counts three steps for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.jit.uses import reads_writes
from bombus.vm.flow import Block

_ALL: Final = 0x3FF
_KEPT_BY_CALLS: Final = 0b11_1100_0000


def narrow_at(insns: Sequence[Insn], blocks: Mapping[int, Block], entry: int) -> dict[int, int]:
    """Registers as bits, by the block's start. Of what a function is called with nothing is known."""
    narrow = dict.fromkeys(blocks, _ALL)
    narrow[entry] = 0
    todo = sorted(blocks, reverse=True)
    waiting = set(todo)
    while todo:
        start = todo.pop()
        waiting.discard(start)
        left = _left(insns, blocks[start], narrow[start])
        for target in blocks[start].next:
            if target in narrow and narrow[target] & ~left:
                narrow[target] &= left
                if target not in waiting:
                    waiting.add(target)
                    todo.append(target)
    return narrow


def _left(insns: Sequence[Insn], block: Block, narrow: int) -> int:
    """What the block leaves narrow."""
    at = block.start
    while at < block.end:
        insn = insns[at]
        if insn.opcode == op.CALL:
            narrow &= _KEPT_BY_CALLS
        elif written := reads_writes(insn)[1]:
            wide = insn.opcode == op.LD_IMM64 and (insn.src or at + 1 >= len(insns) or insns[at + 1].imm)
            narrow = narrow | written if not wide and _is_narrow(insn, narrow) else narrow & ~written
        at += 2 if insn.opcode == op.LD_IMM64 else 1
    return narrow


def _is_narrow(insn: Insn, narrow: int) -> bool:
    """Is what an instruction writes (the lower half of a constant, of `ld_imm64`) less than 2**32?"""
    opcode, dst, src, off, imm = insn
    cls = opcode & 7
    if cls == op.BPF_ALU:
        return opcode & 0xF0 != op.BPF_END or imm != 64
    if cls == op.BPF_LDX:
        return opcode & 0xE0 == op.BPF_MEM and opcode & 0x18 != op.BPF_DW
    if cls != op.BPF_ALU64:
        return opcode == op.LD_IMM64
    operation = opcode & 0xF0
    is_narrow = bool(narrow >> dst & 1)
    other = bool(narrow >> src & 1) if opcode & op.BPF_X else imm >= 0
    if operation == op.BPF_MOV:
        return other and not off
    if operation == op.BPF_AND:
        return is_narrow or other
    if operation in (op.BPF_OR, op.BPF_XOR):
        return is_narrow and other
    if operation == op.BPF_RSH:
        return is_narrow or (not opcode & op.BPF_X and imm & 63 >= 32)
    return operation in (op.BPF_DIV, op.BPF_MOD) and is_narrow and not off
