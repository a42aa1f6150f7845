"""What all engines share: calls bound to the bodies behind them, addresses of functions, faults with their place."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from bombus.errors import VmFault
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.vm.env import Env, HelperFn

TAIL_CALL = 12  # the one helper that engines carry out themselves

# Addresses of functions: outside all memory, told apart by program and by instruction.
_FUNCTION_SPACE = 0xFFFF_C000_0000_0000
_programs = itertools.count()


def function_base() -> int:
    """A fresh run of 2**24 addresses for one program's functions: base + 8 * instruction index."""
    return _FUNCTION_SPACE + (next(_programs) << 24)


def bind_calls(insns: Sequence[Insn], env: Env) -> dict[int, HelperFn]:
    """The body behind each helper and kfunc call, by index of the call.

    Also in the second slots of ld_imm64, where only broken programs have something to jump to.
    """
    bound: dict[int, HelperFn] = {}
    for index, insn in enumerate(insns):
        if insn.opcode != op.CALL:
            continue
        try:
            if insn.src == 0 and insn.imm != TAIL_CALL:
                bound[index] = env.helper(insn.imm)
            elif insn.src == op.BPF_PSEUDO_KFUNC_CALL:
                bound[index] = env.kfunc(insn.imm, insn.off)
        except VmFault as fault:
            bound[index] = _raising(fault)
    return bound


def calls_back(insns: Sequence[Insn], env: Env) -> bool:
    """May a call of one of its functions, made while the program is in a helper, belong to that run?"""
    return bool(env.called) or any(i.opcode == op.LD_IMM64 and i.src == op.BPF_PSEUDO_FUNC for i in insns)


def _raising(fault: VmFault) -> HelperFn:
    def helper(r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        raise VmFault(fault.kind, fault.message)

    return helper


def at(fault: VmFault, insn: int) -> VmFault:
    """The fault with its instruction, if it did not have one."""
    if fault.insn >= 0:
        return fault
    return VmFault(fault.kind, fault.message, insn=insn, address=fault.address, size=fault.size)
