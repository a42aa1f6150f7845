"""Precision as kernels before 6.4 track it: within one function, and through the stack only where r10 is the base.

Linux 6.1 kernel/bpf/verifier.c: __mark_chain_precision, backtrack_insn, propagate_precision.
"""

from __future__ import annotations

from typing import Final, NoReturn

from bombus.isa import opcodes as op
from bombus.verifier.disasm import insn_text
from bombus.verifier.env import EFAULT, Env
from bombus.verifier.log import frame_text
from bombus.verifier.regs import SCALAR_VALUE
from bombus.verifier.special import ASYNC_CALLBACKS, SYNC_CALLBACKS
from bombus.verifier.state import FP, LIVE_READ, NR_REGS, SPILL, Slot, State

_ARGS: Final = 0b111110


class _Unknown(Exception):
    """The value went a way that cannot be retraced."""


def _bug(env: Env, text: str) -> NoReturn:
    env.fail(EFAULT, text)


def _slot_of(env: Env, off: int) -> int:
    number = max(0, (-off - 1) // 8)
    if number >= 64:
        _bug(env, f"BUG spi {number}")
    return 1 << number


def _step(env: Env, index: int, regs: int, slots: int) -> tuple[int, int]:
    """Retrace one instruction: what it made is exchanged for what it was made from."""
    code, dst, src, off, imm = env.insns[index]
    if code == 0:
        return regs, slots
    if env.prints_all:
        env.log.write(f"regs={regs:x} stack={slots:x} before {index}: {insn_text(env, index)}\n")
    made, source = 1 << dst, 1 << src
    klass, operation, mode = code & 7, code & 0xF0, code & 0xE0
    fetches = klass == op.BPF_STX and mode == op.BPF_ATOMIC and imm & op.BPF_FETCH
    if klass in (op.BPF_ALU, op.BPF_ALU64):
        if regs & made and operation not in (op.BPF_END, op.BPF_NEG):
            if operation == op.BPF_MOV:
                regs &= ~made
            if code & op.BPF_X:
                regs |= source
    elif klass == op.BPF_LDX or fetches:
        base = src
        if fetches:
            base = dst
            made = 1 if imm == op.BPF_CMPXCHG else source
        if regs & made:
            regs &= ~made
            if base == FP:
                slots |= _slot_of(env, off)
    elif klass in (op.BPF_STX, op.BPF_ST):
        if regs & made:
            raise _Unknown
        if dst == FP:
            slot = _slot_of(env, off)
            if slots & slot:
                slots &= ~slot
                if klass == op.BPF_STX:
                    regs |= source
    elif klass == op.BPF_LD:
        if regs & made:
            regs &= ~made
            if mode in (op.BPF_IND, op.BPF_ABS):
                raise _Unknown
    elif operation == op.BPF_CALL:
        if src == op.BPF_PSEUDO_CALL or (src == 0 and imm in SYNC_CALLBACKS | ASYNC_CALLBACKS):
            raise _Unknown
        regs &= ~1
        if regs & _ARGS:
            _bug(env, f"BUG regs {regs:x}")
    elif operation == op.BPF_EXIT:
        raise _Unknown
    elif code & op.BPF_X and regs & (made | source):
        regs |= made | source
    return regs, slots


def mark(env: Env, number: int, reg: int = -1, slot: int = -1) -> None:
    """The bounds of a register or slot of a frame were needed."""
    if not env.bpf_capable:
        return
    state = env.state
    frame = state.frames[number]
    if reg >= 0:
        if frame.regs[reg].type != SCALAR_VALUE:
            _bug(env, "")
    elif frame.stack[slot].kinds[7] != SPILL or frame.stack[slot].reg.type != SCALAR_VALUE:
        return
    regs = 1 << reg if reg >= 0 else 0
    slots = 1 << slot if slot >= 0 else 0
    last, first = env.insn_idx, state.first_insn
    skip_first = True
    while True:
        if env.prints_all:
            env.log.write(f"last_idx {last} first_idx {first}\n")
        if last < 0:
            _at_entry(env, state, regs, slots)
            return
        index = last
        left = len(state.history)
        while True:
            if not skip_first:
                try:
                    regs, slots = _step(env, index, regs, slots)
                except _Unknown:
                    _mark_all(state)
                    return
            skip_first = False
            if not regs and not slots:
                return
            here = left > 0 and state.history[left - 1].insn == index
            if index == first and (left == 0 or (left == 1 and here)):
                break
            if here:
                left -= 1
                index = state.history[left].previous
            else:
                index -= 1
            if index < 0:
                _bug(env, f"BUG backtracking idx {index}")
        if state.parent is None:
            return
        state = state.parent
        marked = _mark(env, state, number, regs, slots)
        if marked is None:
            return
        regs, slots = marked
        last, first = state.last_insn, state.first_insn


def _mark(env: Env, state: State, number: int, regs: int, slots: int) -> tuple[int, int] | None:
    """Mark what is wanted in a checkpoint. Returns what is still wanted before it; None: nothing is."""
    frame = state.frames[number]
    new = False
    for i in range(regs.bit_length()):
        if not regs >> i & 1:
            continue
        reg = frame.regs[i]
        if reg.type != SCALAR_VALUE:
            regs &= ~(1 << i)
        elif not reg.precise:
            new = True
            frame.regs[i] = reg.with_precision(True)
            frame.precise |= 1 << i
    for i in range(slots.bit_length()):
        if not slots >> i & 1:
            continue
        if i >= len(frame.stack):  # it was written through a copy of r10
            _mark_all(state)
            return None
        slot = frame.stack[i]
        if slot.kinds[7] != SPILL or slot.reg.type != SCALAR_VALUE:
            slots &= ~(1 << i)
        elif not slot.reg.precise:
            new = True
            frame.stack[i] = Slot(slot.kinds, slot.reg.with_precision(True))
            frame.precise |= 1 << NR_REGS + i
    state.marked |= new
    if env.prints_all:
        had = "didn't have" if new else "already had"
        env.log.write(f"parent {had} regs={regs:x} stack={slots:x} marks:{frame_text(env, frame, True, state)}\n")
    return (regs, slots) if new and (regs or slots) else None


def _mark_all(state: State | None) -> None:
    """Retracing failed in a state: every scalar before it becomes precise."""
    while state is not None and (state := state.parent) is not None:
        state.marked = True
        for frame in state.frames:
            for i, reg in enumerate(frame.regs[:FP]):
                if reg.type == SCALAR_VALUE and not reg.precise:
                    frame.regs[i] = reg.with_precision(True)
                    frame.precise |= 1 << i
            for i, slot in enumerate(frame.stack):
                if slot.kinds[7] == SPILL and slot.reg.type == SCALAR_VALUE and not slot.reg.precise:
                    frame.stack[i] = Slot(slot.kinds, slot.reg.with_precision(True))
                    frame.precise |= 1 << NR_REGS + i


def _at_entry(env: Env, state: State, regs: int, slots: int) -> None:
    """The arguments of a global function, verified on its own."""
    frame = state.frames[0]
    if len(state.frames) > 1 or not frame.subprog or frame.callsite != -1 or slots or regs & ~_ARGS:
        _bug(env, f"BUG backtracking func entry subprog {frame.subprog} reg_mask {regs:x} stack_mask {slots:x}")
    for i in range(1, 6):
        if regs >> i & 1 and frame.regs[i].type == SCALAR_VALUE:
            frame.regs[i] = frame.regs[i].with_precision(True)
            frame.precise |= 1 << i
            state.marked = True


def propagate(env: Env, old: State) -> None:
    """What was precise in an old state that covers the current one is precise on the way to it."""
    for number in range(len(old.frames) - 1, -1, -1):
        frame = old.frames[number]
        for i, reg in enumerate(frame.regs[:FP]):
            if reg.type == SCALAR_VALUE and reg.precise and frame.live[i] & LIVE_READ:
                if env.prints_all:
                    env.log.write(f"frame {number}: propagating r{i}\n")
                mark(env, number, reg=i)
        for i, slot in enumerate(frame.stack):
            reg = slot.reg
            if slot.kinds[7] == SPILL and reg.type == SCALAR_VALUE and reg.precise and frame.stack_live[i] & LIVE_READ:
                if env.prints_all:
                    env.log.write(f"frame {number}: propagating fp{-8 * (i + 1)}\n")
                mark(env, number, slot=i)
