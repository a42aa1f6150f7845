"""A small interpreter over `isa.semantics` for either byte order: what big-endian machines have to answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bombus.bits import U64
from bombus.isa import opcodes as op
from bombus.isa import semantics as sem
from bombus.isa.insn import ByteOrder, Insn, imm64
from bombus.isa.ints import INTS
from bombus.vm.run import FRAME_STRIDE

DATA = 0x10_0000
STACK = 0x20_0000


class Machine:
    """`data` lies at DATA; r1 is its address. Runs one program and leaves `data` as it made it."""

    def __init__(self, order: ByteOrder, data: bytes) -> None:
        self.order: ByteOrder = order
        self.data = bytearray(data)
        self.stack = bytearray(8 * FRAME_STRIDE)

    def _at(self, address: int, size: int) -> tuple[bytearray, int]:
        for memory, start in ((self.data, DATA), (self.stack, STACK)):
            if start <= address and address + size <= start + len(memory):
                return memory, address - start
        raise AssertionError(f"{size} bytes at {address:#x}")

    def load(self, address: int, size: int) -> int:
        memory, at = self._at(address, size)
        return int.from_bytes(memory[at : at + size], self.order)

    def store(self, address: int, size: int, value: int) -> None:
        memory, at = self._at(address, size)
        memory[at : at + size] = value.to_bytes(size, self.order)

    def run(self, insns: Sequence[Insn]) -> int:
        return self._function(insns, 0, [DATA, 0, 0, 0, 0], 0)

    def _function(self, insns: Sequence[Insn], at: int, args: list[int], depth: int) -> int:
        regs = [0] * 11
        regs[1:6] = args
        regs[10] = STACK + depth * FRAME_STRIDE + op.MAX_BPF_STACK
        while True:
            insn = insns[at]
            second = insns[at + 1] if at + 1 < len(insns) else None
            effect: Any = sem.effect(insn, INTS, regs.__getitem__, second, self.order)
            at += 1
            match effect:
                case sem.Write(reg, value):
                    regs[reg] = value & U64
                case sem.Load(reg, address, size):
                    regs[reg] = effect.extend(INTS, self.load(address & U64, size)) & U64
                case sem.Store(address, size, value):
                    self.store(address & U64, size, value & (1 << 8 * size) - 1)
                case sem.Branch(condition):
                    at += insn.off if condition else 0
                case sem.Goto(off):
                    at += off
                case sem.Exit():
                    return regs[0]
                case sem.CallLocal(off):
                    regs[0] = self._function(insns, at + off, regs[1:6], depth + 1)
                case sem.Atomic():
                    self._atomic(effect, regs)
                case sem.LoadPseudo(reg, _, _) if second is not None:
                    regs[reg] = imm64(insn, second)
                case _:
                    raise AssertionError(effect)
            if insn.opcode == op.LD_IMM64:
                at += 1

    def _atomic(self, effect: Any, regs: list[int]) -> None:
        mask = (1 << 8 * effect.size) - 1
        address, operand = effect.address & U64, effect.operand & mask
        old = self.load(address, effect.size)
        if effect.operation == "cmpxchg":
            new = operand if old == effect.expected & mask else old
        else:
            new = {"add": old + operand, "or": old | operand, "and": old & operand, "xor": old ^ operand,
                   "xchg": operand}[effect.operation] & mask  # fmt: skip
        self.store(address, effect.size, new)
        if effect.result is not None:
            regs[effect.result] = effect.fetched(INTS, old) & U64
