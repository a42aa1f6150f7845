"""Dynptrs on the stack: two slots that helpers fill, and that nothing else may touch.

Linux 6.12 kernel/bpf/verifier.c: mark_stack_slots_dynptr, unmark_stack_slots_dynptr, process_dynptr_func.
"""

from __future__ import annotations

from typing import Final

from bombus.bits import s64
from bombus.verifier import memory, refs
from bombus.verifier.env import EINVAL, ERANGE, WRITE, Env
from bombus.verifier.live import mark_slot_read, mark_slot_written
from bombus.verifier.regs import (
    CONST_PTR_TO_DYNPTR,
    PTR_MAYBE_NULL,
    PTR_TO_MEM,
    PTR_TO_STACK,
    UNINIT,
    ZERO,
    Dynptr,
    Reg,
)
from bombus.verifier.state import DYNPTR, Frame, Slot, slot_at, uniform

REFCOUNTED: Final = ("ringbuf",)
_EMPTY: Final = uniform(0, UNINIT)


def slot_of(env: Env, reg: Reg, what: str = "dynptr", count: int = 2) -> int:
    """The first slot of a dynptr, or of what else takes `count` of them.

    -ERANGE when the stack is not that deep, -EINVAL (said) when it is misplaced.
    """
    value, mask = reg.bounds.bits
    if mask:
        env.say(f"{what} has to be at a constant offset\n")
        return -EINVAL
    off = reg.off + s64(value)
    if off % 8:
        env.say(f"cannot pass in {what} at an offset={off}\n")
        return -EINVAL
    at = slot_at(off)
    if at + 1 < count:
        env.say(f"cannot pass in {what} at an offset={off}\n")
        return -EINVAL
    if at >= len(env.frame_of(reg).stack):
        return -ERANGE
    return at


def _clear(env: Env, frame: Frame, at: int) -> None:
    for i in (at, at - 1):
        frame.stack[i] = _EMPTY
        mark_slot_written(env, frame, i)


def destroy_slot(env: Env, frame: Frame, at: int) -> None:
    """A slot that may hold half a dynptr is overwritten (destroy_if_dynptr_stack_slot)."""
    slot = frame.stack[at]
    if slot.kinds[0] != DYNPTR or slot.reg.dynptr is None:
        return
    if not slot.reg.dynptr.first:
        at += 1
    reg = frame.stack[at].reg
    assert reg.dynptr is not None
    if reg.dynptr.kind in REFCOUNTED:
        env.fail(EINVAL, "cannot overwrite referenced dynptr")
    env.touched_slots |= 1 << at | 1 << (at - 1)
    frame.stack[at] = frame.stack[at - 1] = _EMPTY
    id_ = reg.id

    def slices(other: Reg) -> Reg | None:
        if other.type in (PTR_TO_MEM, PTR_TO_MEM | PTR_MAYBE_NULL) and other.dynptr is not None \
                and other.dynptr.id == id_:
            return env.invalid()
        return None

    refs.replace_all(env, slices)
    _clear(env, frame, at)


def process(
    env: Env, regno: int, *, uninit: bool, read_only: bool, kind: str, insn_idx: int, clone: int = 0,
    is_clone: bool = False,
) -> None:
    """Check one dynptr argument of a helper (process_dynptr_func). `kind` "" takes any.

    is_clone: what is made is a second dynptr for the data of another one, with `clone` as its reference.
    """
    reg = env.regs[regno]
    if reg.type not in (PTR_TO_STACK, CONST_PTR_TO_DYNPTR):
        env.fail(EINVAL, f"arg#{regno - 1} expected pointer to stack or const struct bpf_dynptr")
    if uninit:
        at = -EINVAL if reg.type == CONST_PTR_TO_DYNPTR else slot_of(env, reg)
        if at < 0 and at != -ERANGE:
            env.fail(EINVAL, "Dynptr has to be an uninitialized dynptr")
        for i in (0, 8):
            memory.access(env, regno, i, 8, WRITE, -1)
        _create(env, regno, kind, insn_idx, clone if is_clone else -1)
        return
    if reg.type == CONST_PTR_TO_DYNPTR and not read_only:
        env.fail(EINVAL, "cannot pass pointer to const bpf_dynptr, the helper mutates it")
    if not _is_initialised(env, reg):
        env.fail(EINVAL, f"Expected an initialized dynptr as arg #{regno - env.rules.lock_errnos}")
    if kind:
        found = of(env, reg)
        if found is None or found.dynptr is None or found.dynptr.kind != kind:
            env.fail(EINVAL, f"Expected a dynptr of type {kind} as arg #{regno - 1}")
    if reg.type != CONST_PTR_TO_DYNPTR:
        frame = env.frame_of(reg)
        at = slot_of(env, reg)
        mark_slot_read(env, frame, at)
        mark_slot_read(env, frame, at - 1)
        if env.rules.dynptr_reads_logged:
            env.touched_slots |= 1 << at | 1 << (at - 1)


def of(env: Env, reg: Reg) -> Reg | None:
    """The register that describes the dynptr behind an argument."""
    if reg.type == CONST_PTR_TO_DYNPTR:
        return reg
    at = slot_of(env, reg)
    return None if at < 0 else env.frame_of(reg).stack[at].reg


def _is_initialised(env: Env, reg: Reg) -> bool:
    if reg.type == CONST_PTR_TO_DYNPTR:
        return True
    at = slot_of(env, reg)
    if at < 0:
        return False
    stack = env.frame_of(reg).stack
    found = stack[at].reg.dynptr
    if found is None or not found.first:
        return False
    return all(k == DYNPTR for k in stack[at].kinds) and all(k == DYNPTR for k in stack[at - 1].kinds)


def _create(env: Env, regno: int, kind: str, insn_idx: int, clone: int) -> None:
    reg = env.regs[regno]
    frame = env.frame_of(reg)
    at = slot_of(env, reg)
    if at < 0:
        env.fail(-at)
    destroy_slot(env, frame, at)
    destroy_slot(env, frame, at - 1)
    id_ = env.new_id()
    ref_id = 0
    if kind in REFCOUNTED:
        ref_id = clone if clone >= 0 else refs.acquire(env, insn_idx)
    for i, first in ((at, True), (at - 1, False)):
        main = Reg(CONST_PTR_TO_DYNPTR, ZERO, id_=id_, ref_id=ref_id, dynptr=Dynptr(kind, first, 0))
        frame.stack[i] = Slot((DYNPTR,) * 8, main)
        mark_slot_written(env, frame, i)


def release(env: Env, regno: int) -> None:
    """A dynptr is given back: it and its clones are no more (unmark_stack_slots_dynptr)."""
    reg = env.regs[regno]
    frame = env.frame_of(reg)
    at = slot_of(env, reg)
    if at < 0:
        env.fail(-at)
    main = frame.stack[at].reg
    if main.dynptr is None or main.dynptr.kind not in REFCOUNTED:
        _clear(env, frame, at)
        return
    ref_id = main.ref_id
    refs.release(env, ref_id)
    for i in range(1, len(frame.stack)):
        slot = frame.stack[i]
        if slot.reg.ref_id == ref_id and slot.reg.dynptr is not None and slot.reg.dynptr.first:
            _clear(env, frame, i)
