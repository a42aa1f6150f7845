"""Which registers a block needs when it begins, and which of them as pointers.

A register is needed as a pointer where it, or what is computed from it by additions, is the base of a plain access:
then it is a pointer of LLVM's on the whole way from its definition, and LLVM sees which accesses belong to one object.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from bombus.isa import opcodes as op
from bombus.isa.facts import DST, NEGATIVE, SRC
from bombus.isa.insn import Insn
from bombus.vm.flow import Block

_ALL: Final = 0x3FF
_ARGUMENTS: Final = 0b111110
_TAIL_CALL: Final = 12
_MOV64 = op.BPF_ALU64 | op.BPF_MOV | op.BPF_X
_ADDS = (op.BPF_ALU64 | op.BPF_ADD, op.BPF_ALU64 | op.BPF_SUB)


def reads_writes(insn: Insn) -> tuple[int, int]:
    """Registers that an instruction reads and the one that it writes, as bits. Calls also end r1 to r5 for us."""
    opcode, dst, src = insn.opcode, 1 << insn.dst, 1 << insn.src
    cls = opcode & 7
    by_register = bool(opcode & op.BPF_X)
    if cls in (op.BPF_ALU, op.BPF_ALU64):
        operation = opcode & 0xF0
        if operation == op.BPF_MOV:
            return (src if by_register else 0), dst
        if operation in (op.BPF_END, op.BPF_NEG):
            return dst, dst
        return dst | (src if by_register else 0), dst
    if cls == op.BPF_LDX:
        return src, dst
    if cls == op.BPF_ST:
        return dst, 0
    if cls == op.BPF_STX:
        if opcode & 0xE0 != op.BPF_ATOMIC:
            return dst | src, 0
        if insn.imm == op.BPF_LOAD_ACQ:
            return src, dst
        if insn.imm == op.BPF_CMPXCHG:
            return dst | src | 1, 1
        return dst | src, src if insn.imm & op.BPF_FETCH else 0
    if cls == op.BPF_LD:
        if opcode == op.LD_IMM64:
            return 0, dst
        return 1 << 6 | src, 1
    if opcode == op.CALL:
        jumps = insn.imm == _TAIL_CALL and not insn.src  # where there is nothing to jump to r0 stays as it was
        return _ARGUMENTS, 0 if jumps else 1
    if opcode == op.EXIT:
        return 1, 0
    if opcode in (op.JA, op.GOTOL, op.MAY_GOTO):
        return 0, 0
    return dst | (src if by_register else 0), 0


def base_of(insn: Insn) -> int:
    """The register that holds the address of a load, store or atomic."""
    cls = insn.opcode & 7
    acquires = cls == op.BPF_STX and insn.opcode & 0xE0 == op.BPF_ATOMIC and insn.imm == op.BPF_LOAD_ACQ
    return insn.src if cls == op.BPF_LDX or acquires else insn.dst


class Uses:
    """live[block], pointers[block]: registers needed at its start, and as pointers, as bits (r0 to r9). wanted: indices
    of instructions whose result is needed as a pointer."""

    def __init__(
        self, insns: Sequence[Insn], blocks: Mapping[int, Block], plain: Collection[int], pointer: Mapping[int, int],
        lookups: Collection[int] = (),
    ) -> None:  # fmt: skip
        self.live: dict[int, int] = dict.fromkeys(blocks, 0)
        self.pointers: dict[int, int] = dict.fromkeys(blocks, 0)
        self.wanted: set[int] = set()
        self._insns, self._plain, self._pointer, self._lookups = insns, plain, pointer, lookups
        before: dict[int, list[int]] = {start: [] for start in blocks}
        for block in blocks.values():
            for target in block.next:
                if target in before:
                    before[target].append(block.start)
        todo = sorted(blocks)
        waiting = set(todo)
        while todo:
            start = todo.pop()
            waiting.discard(start)
            found = self._walk(blocks[start])
            if found != (self.live[start], self.pointers[start]):
                self.live[start], self.pointers[start] = found
                for other in before[start]:
                    if other not in waiting:
                        waiting.add(other)
                        todo.append(other)

    def _walk(self, block: Block) -> tuple[int, int]:
        live = pointers = 0
        for target in block.next:
            live |= self.live.get(target, 0)
            pointers |= self.pointers.get(target, 0)
        insns, wanted = self._insns, self.wanted
        index = block.end
        starts = []
        at = block.start
        while at < index:
            starts.append(at)
            at += 2 if insns[at].opcode == op.LD_IMM64 else 1
        for at in reversed(starts):
            insn = insns[at]
            read, written = reads_writes(insn)
            if written & pointers:
                wanted.add(at)
            live = (live & ~written) | read
            was = pointers & written
            pointers &= ~written
            opcode = insn.opcode
            if opcode & 7 == op.BPF_ALU64:
                if was and opcode == _MOV64 and not insn.off:
                    pointers |= 1 << insn.src
                elif opcode & ~op.BPF_X in _ADDS:
                    which = self._pointer.get(at, 0) & ~NEGATIVE
                    if opcode & op.BPF_X and which == SRC:
                        pointers |= 1 << insn.src
                    elif which == DST or (was and not opcode & op.BPF_X):
                        pointers |= 1 << insn.dst
            elif at in self._lookups:
                pointers |= 1 << 2  # the key is read here
            elif at in self._plain:
                pointers |= 1 << base_of(insn)
        return live & _ALL, pointers & live & _ALL
