"""Reads and writes of registers, and liveness as kernels before 6.18 track it: by marks on checkpoints.

A read walks up the chain of checkpoints until the place was written; what no later path reads is ignored when states
are compared (Linux 6.12 kernel/bpf/verifier.c: mark_reg_read, propagate_liveness).
"""

from __future__ import annotations

from typing import Final

from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.verifier.env import EACCES, EINVAL, Env
from bombus.verifier.regs import NOT_INIT, SCALAR_VALUE
from bombus.verifier.state import FP, LIVE_READ, LIVE_READ32, LIVE_READ64, LIVE_WRITTEN, NR_REGS, Frame, State


def mark_read(env: Env, frame: Frame, reg: int, flag: int) -> None:
    """The value of a register was used: note it on every checkpoint up to where it was written."""
    if frame.live[reg] & LIVE_WRITTEN or env.slot_live is not None:
        return
    count = 0
    foreign = frame.foreign
    while True:
        if foreign is not None and reg in foreign:
            place = foreign[reg]
            if place is None:
                break
            frame, reg = place
        else:
            parent = frame.parent
            if parent is None:
                break
            frame = parent
        marks = frame.live[reg]
        if marks & LIVE_READ == flag or marks & LIVE_READ64:
            break
        marks |= flag
        frame.live[reg] = marks & ~LIVE_READ32 if flag == LIVE_READ64 else marks
        count += 1
        if marks & LIVE_WRITTEN:
            break
        foreign = frame.foreign
    if count > env.mark_read_walk:
        env.mark_read_walk = count


def mark_slot_read(env: Env, frame: Frame, slot: int) -> None:
    """The value of a stack slot was used."""
    if env.slot_live is not None:
        env.slot_live.read(env, frame, slot)
        return
    if frame.stack_live[slot] & LIVE_WRITTEN:
        return
    count = 0
    parent = frame.parent
    while parent is not None and slot < len(parent.stack_live):
        marks = parent.stack_live[slot]
        if marks & LIVE_READ64:
            break
        parent.stack_live[slot] = (marks | LIVE_READ64) & ~LIVE_READ32
        count += 1
        if marks & LIVE_WRITTEN:
            break
        parent = parent.parent
    if count > env.mark_read_walk:
        env.mark_read_walk = count


def propagate(env: Env, old: State, current: State) -> None:
    """The current path goes on as `old` did: what was read there is read here."""
    if env.slot_live is not None:
        return
    count_before = env.mark_read_walk
    top = len(old.frames) - 1
    for number, frame in enumerate(old.frames):
        here = current.frames[number]
        for reg in range(0 if number == top else 6, FP):
            flag = frame.live[reg] & LIVE_READ
            if not flag:
                continue
            known = here.live[reg] & LIVE_READ
            if known == LIVE_READ64 or known == flag:
                continue
            _propagate_reg(env, here, reg, flag)
        for slot in range(min(len(frame.stack_live), len(here.stack_live))):
            flag = frame.stack_live[slot] & LIVE_READ
            if not flag:
                continue
            known = here.stack_live[slot] & LIVE_READ
            if known == LIVE_READ64 or known == flag:
                continue
            marks = here.stack_live[slot]
            here.stack_live[slot] = (marks | flag) & ~LIVE_READ32 if flag == LIVE_READ64 else marks | flag
            before = env.mark_read_walk
            env.mark_read_walk = 0
            mark_slot_read(env, here, slot)
            env.mark_read_walk = max(before, env.mark_read_walk + 1)
    env.mark_read_walk = max(count_before, env.mark_read_walk)


def _propagate_reg(env: Env, frame: Frame, reg: int, flag: int) -> None:
    marks = frame.live[reg]
    frame.live[reg] = (marks | flag) & ~LIVE_READ32 if flag == LIVE_READ64 else marks | flag
    before = env.mark_read_walk
    env.mark_read_walk = 0
    mark_read(env, frame, reg, flag)
    env.mark_read_walk = max(before, env.mark_read_walk + 1)


def reads_64(insn: Insn, reg_type: int) -> bool:
    """Whether a source register is read as 64 bits (Linux 6.12: is_reg64 for SRC_OP)."""
    code = insn.opcode
    klass = code & 7
    if klass == op.BPF_ALU64:
        return not (code & 0xF0 == op.BPF_END and insn.imm in (16, 32))
    if klass == op.BPF_JMP:
        return not (code & 0xF0 == op.BPF_CALL and insn.src == op.BPF_PSEUDO_CALL)
    if klass == op.BPF_ALU:
        return code & 0xF0 == op.BPF_END and insn.imm == 64
    if klass == op.BPF_JMP32:
        return False
    if klass == op.BPF_STX:
        return reg_type != SCALAR_VALUE or code & 0x18 == op.BPF_DW
    return True


def use(env: Env, reg: int) -> None:
    """The current instruction reads a register (Linux 6.12: check_reg_arg with SRC_OP)."""
    if reg >= NR_REGS:
        env.fail(EINVAL, f"R{reg} is invalid")
    env.touched_regs |= 1 << reg
    frame = env.state.frames[-1]
    type_ = frame.regs[reg].type
    if type_ == NOT_INIT:
        env.fail(EACCES, f"R{reg} !read_ok")
    if reg == FP or env.slot_live is not None or frame.live[reg] & LIVE_WRITTEN:
        return
    insn = env.insns[env.insn_idx]
    mark_read(env, frame, reg, LIVE_READ64 if reads_64(insn, type_) else LIVE_READ32)


def define(env: Env, reg: int) -> None:
    """The current instruction writes a register; its new value is set by the caller (check_reg_arg, DST_OP_NO_MARK)."""
    if reg >= NR_REGS:
        env.fail(EINVAL, f"R{reg} is invalid")
    env.touched_regs |= 1 << reg
    if reg == FP:
        env.fail(EACCES, "frame pointer is read only")
    env.state.frames[-1].live[reg] |= LIVE_WRITTEN


def mark_slot_written(env: Env, frame: Frame, slot: int) -> None:
    """All bytes of a stack slot are overwritten."""
    if env.slot_live is not None:
        env.slot_live.wrote(frame, slot)
    frame.stack_live[slot] |= LIVE_WRITTEN


CALLER_SAVED: Final = (0, 1, 2, 3, 4, 5)
