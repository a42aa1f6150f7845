"""Interrupt flags that programs save on their stack, and restore in the opposite order.

As Linux 6.14 and later answer (process_irq_flag, observed).
"""

from __future__ import annotations

from typing import Final

from bombus.verifier import dynptr, memory, refs
from bombus.verifier.env import EACCES, EINVAL, ERANGE, WRITE, Env
from bombus.verifier.irqreg import IrqReg
from bombus.verifier.live import mark_slot_read, mark_slot_written
from bombus.verifier.regs import PTR_TO_STACK, UNINIT, Reg
from bombus.verifier.state import IRQ, Slot, uniform

NATIVE: Final = "native"
LOCK: Final = "lock"
_EMPTY: Final = uniform(0, UNINIT)


def save(env: Env, regno: int, saved_by: str) -> None:
    reg = env.regs[regno]
    _on_stack(env, regno, reg)
    at = dynptr.slot_of(env, reg, "irq_flag", 1)
    stack = env.frame_of(reg).stack
    if at != -ERANGE and (at < 0 or IRQ in stack[at].kinds):
        env.fail(EINVAL, f"expected uninitialized irq flag as arg#{regno - 1}")
    memory.access(env, regno, 0, 8, WRITE, -1)
    at = dynptr.slot_of(env, reg, "irq_flag", 1)
    if at < 0:
        env.fail(-at)
    frame = env.frame_of(reg)
    frame.stack[at] = Slot((IRQ,) * 8, IrqReg(refs.acquire(env, env.insn_idx, "irq"), saved_by))
    mark_slot_written(env, frame, at)
    env.touched_slots |= 1 << at


def restore(env: Env, regno: int, saved_by: str) -> None:
    reg = env.regs[regno]
    _on_stack(env, regno, reg)
    at = dynptr.slot_of(env, reg, "irq_flag", 1)
    frame = env.frame_of(reg)
    found = frame.stack[at].reg if at >= 0 else UNINIT
    if not isinstance(found, IrqReg) or any(kind != IRQ for kind in frame.stack[at].kinds):
        env.fail(EINVAL, f"expected an initialized irq flag as arg#{regno - 1}")
    mark_slot_read(env, frame, at)
    env.touched_slots |= 1 << at
    if found.saved_by != saved_by:
        env.fail(
            EINVAL, f"irq flag acquired by {found.saved_by} kfuncs cannot be restored with {saved_by} kfuncs"
        )
    last = refs.last_of(env, "irq")
    if last is None or last.id != found.ref_id:
        expected, place = (last.id, last.insn) if last is not None else (0, 0)
        env.fail(
            EACCES, f"cannot restore irq state out of order, expected id={expected} acquired at insn_idx={place}"
        )
    refs.forget(env, last)
    frame.stack[at] = _EMPTY
    mark_slot_written(env, frame, at)


def _on_stack(env: Env, regno: int, reg: Reg) -> None:
    if reg.type != PTR_TO_STACK:
        env.fail(EINVAL, f"arg#{regno - 1} doesn't point to an irq flag on stack")
