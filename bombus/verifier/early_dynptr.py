"""Dynptrs as kernels before 6.3 check them: by the kinds of their slots, which anything may overwrite.

Linux 6.1 kernel/bpf/verifier.c: mark_stack_slots_dynptr, unmark_stack_slots_dynptr, is_dynptr_reg_valid_init,
is_dynptr_reg_valid_uninit and the dynptr part of check_func_arg. A dynptr's one id is that of its reference.
"""

from __future__ import annotations

from typing import Final

from bombus.verifier import memory, refs
from bombus.verifier.env import EINVAL, WRITE, Env
from bombus.verifier.regs import CONST_PTR_TO_DYNPTR, UNINIT, ZERO, Dynptr, Reg
from bombus.verifier.state import DYNPTR, Slot, uniform

_REFCOUNTED: Final = ("ringbuf",)
_EMPTY: Final = uniform(0, UNINIT)
_KINDS: Final = (DYNPTR,) * 8


def _slot(env: Env, reg: Reg) -> int:
    """The slot of the first half; -1 when both do not lie in the stack. A variable offset is not looked at."""
    at = (-reg.off - 1) // 8
    return at if 1 <= at < len(env.frame_of(reg).stack) else -1


def reference(env: Env, reg: Reg) -> int:
    """The id of the reference that an argument's dynptr holds, 0 for none."""
    if reg.type == CONST_PTR_TO_DYNPTR:
        return 0
    at = _slot(env, reg)
    return env.frame_of(reg).stack[at].reg.ref_id if at >= 0 else 0


def check_argument(env: Env, regno: int, *, uninit: bool, kind: str) -> bool:
    """Check one argument; `kind` "" takes any dynptr. True: the helper makes it, once all arguments were checked."""
    reg = env.regs[regno]
    if reg.type == CONST_PTR_TO_DYNPTR:
        return False
    at = _slot(env, reg)
    slots = [env.frame_of(reg).stack[i] for i in (at, at - 1)] if at >= 0 else []
    if uninit:
        if any(DYNPTR in slot.kinds for slot in slots):
            env.fail(EINVAL, "Dynptr has to be an uninitialized dynptr")
        return True
    found = slots[0].reg.dynptr if slots else None
    if found is None or not found.first or any(slot.kinds != _KINDS for slot in slots):
        env.fail(EINVAL, f"Expected an initialized dynptr as arg #{regno}")
    if kind and found.kind != kind:
        env.fail(EINVAL, f"Expected a dynptr of type {kind} as arg #{regno}")
    return False


def create(env: Env, regno: int, kind: str) -> None:
    """The helper fills both slots."""
    for i in (0, 8):
        memory.access(env, regno, i, 8, WRITE, -1)
    reg = env.regs[regno]
    at = _slot(env, reg)
    if at < 0:
        env.fail(EINVAL)
    ref_id = refs.acquire(env, env.insn_idx) if kind in _REFCOUNTED else 0
    stack = env.frame_of(reg).stack
    for i, first in ((at, True), (at - 1, False)):
        main = Reg(CONST_PTR_TO_DYNPTR, ZERO, id_=ref_id, ref_id=ref_id, dynptr=Dynptr(kind, first, 0))
        stack[i] = Slot(_KINDS, main)


def release(env: Env, regno: int) -> bool:
    """A dynptr is given back, and what points into it. False: it could not be."""
    reg = env.regs[regno]
    at = _slot(env, reg)
    if at < 0:
        return False
    stack = env.frame_of(reg).stack
    main = stack[at].reg
    stack[at] = stack[at - 1] = _EMPTY
    if main.dynptr is not None and main.dynptr.kind in _REFCOUNTED:
        refs.release(env, main.ref_id)
    return True
