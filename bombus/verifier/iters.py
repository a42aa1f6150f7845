"""Open-coded iterators: state on the stack that bpf_iter_*_new makes, _next moves and _destroy ends.

Linux 6.12 kernel/bpf/verifier.c: mark_stack_slots_iter, process_iter_arg, process_iter_next_call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bombus.btf.parse import Btf
from bombus.btf.types import Ptr, Struct
from bombus.verifier import dynptr, memory, prune, refs
from bombus.verifier.env import EFAULT, EINVAL, EPROTO, ERANGE, WRITE, Env
from bombus.verifier.iterreg import ACTIVE, DRAINED, IterReg
from bombus.verifier.live import mark_slot_read, mark_slot_written
from bombus.verifier.regs import MEM_RCU, PTR_TO_STACK, PTR_UNTRUSTED, UNINIT, Reg
from bombus.verifier.state import ITER, Slot, State, uniform
from bombus.verifier.typed_access import in_rcu_section

if TYPE_CHECKING:
    from bombus.verifier.kfunc_args import Meta

_EMPTY: Final = uniform(0, UNINIT)


def process(env: Env, meta: Meta, regno: int) -> None:
    """An argument that is an iterator."""
    reg = env.regs[regno]
    if reg.type != PTR_TO_STACK:
        env.fail(EINVAL, f"arg#{regno - 1} expected pointer to an iterator on stack")
    kfunc = meta.kfunc
    btf = kfunc.btf
    pointer = btf.resolved(kfunc.params[regno - 1].type)
    type_id = btf.resolve(pointer.type) if isinstance(pointer, Ptr) else 0
    struct = btf.type(type_id)
    if not isinstance(struct, Struct) or not struct.name.startswith("bpf_iter_"):
        env.fail(EINVAL, f"expected valid iter pointer as arg #{regno - 1}")
    short = struct.name.removeprefix("bpf_iter_")
    count = struct.size // 8
    if "iter_new" in kfunc.flags:
        if not _unused(env, reg, count):
            env.fail(EINVAL, f"expected uninitialized iter_{short} as arg #{regno - 1}")
        for off in range(0, 8 * count, 8):
            memory.access(env, regno, off, 8, WRITE, -1)
        _create(env, meta, reg, btf, type_id, count)
        return
    errno = _initialised(env, reg, btf, type_id, count)
    if errno == EPROTO:
        env.fail(EPROTO, f"expected an RCU CS when using {kfunc.name}")
    if errno:
        env.fail(EINVAL, f"expected an initialized iter_{short} as arg #{regno - 1}")
    at = dynptr.slot_of(env, reg, "iter", count)
    frame = env.frame_of(reg)
    for i in range(count):
        mark_slot_read(env, frame, at - i)
        env.touched_slots |= 1 << (at - i)
    meta.iter_frame, meta.iter_slot = reg.frame, at
    meta.ref_id = frame.stack[at].reg.ref_id
    if "iter_destroy" in kfunc.flags:
        refs.release(env, meta.ref_id)
        for i in range(count):
            frame.stack[at - i] = _EMPTY
            mark_slot_written(env, frame, at - i)
            env.touched_slots |= 1 << (at - i)


def _unused(env: Env, reg: Reg, count: int) -> bool:
    at = dynptr.slot_of(env, reg, "iter", count)
    if at == -ERANGE:
        return True
    if at < 0:
        return False
    stack = env.frame_of(reg).stack
    return all(ITER not in stack[at - i].kinds for i in range(count))


def _create(env: Env, meta: Meta, reg: Reg, btf: Btf, type_id: int, count: int) -> None:
    at = dynptr.slot_of(env, reg, "iter", count)
    if at < 0:
        env.fail(-at)
    frame = env.frame_of(reg)
    id_ = refs.acquire(env, env.insn_idx)
    type_ = PTR_TO_STACK
    if "rcu_protected" in meta.kfunc.flags:
        type_ |= MEM_RCU if in_rcu_section(env) else PTR_UNTRUSTED
    for i in range(count):
        made = IterReg(type_, btf, type_id, 0 if i else id_, ACTIVE, 0)
        frame.stack[at - i] = Slot((ITER,) * 8, made)
        mark_slot_written(env, frame, at - i)
        env.touched_slots |= 1 << (at - i)


def _initialised(env: Env, reg: Reg, btf: Btf, type_id: int, count: int) -> int:
    at = dynptr.slot_of(env, reg, "iter", count)
    if at < 0:
        return EINVAL
    stack = env.frame_of(reg).stack
    for i in range(count):
        slot = stack[at - i]
        found = slot.reg
        if found.type & PTR_UNTRUSTED:
            return EPROTO
        if not isinstance(found, IterReg) or bool(found.ref_id) is not (i == 0):
            return EINVAL
        if found.btf is not btf or found.btf_id != type_id or any(kind != ITER for kind in slot.kinds):
            return EINVAL
    return 0


def current(env: Env, meta: Meta, state: State | None = None) -> IterReg:
    reg = (state or env.state).frames[meta.iter_frame].stack[meta.iter_slot].reg
    assert isinstance(reg, IterReg)
    return reg


def _set(state: State, meta: Meta, reg: IterReg) -> None:
    stack = state.frames[meta.iter_frame].stack
    stack[meta.iter_slot] = Slot(stack[meta.iter_slot].kinds, reg)


def advance(env: Env, meta: Meta) -> None:
    """The next element: one path has it, on the other the iterator is at its end."""
    from bombus.verifier.branch import without_null

    state = env.state
    iterator = current(env, meta)
    here = env.insn_idx
    if iterator.state == ACTIVE:
        parent = state.parent
        if parent is None or parent.insn != here or not parent.same_callsites(state):
            env.fail(EFAULT, "bug: bad parent state for iter next call")
        previous = prune.previous_entry(env, parent, here)
        queued = env.push(here + 1, here)
        _set(queued, meta, current(env, meta, queued).moved(ACTIVE, 1))
        if previous is not None:
            prune.widen(env, previous, queued)
        regs = queued.frames[-1].regs
        regs[0] = without_null(regs[0])
    _set(state, meta, iterator.moved(DRAINED))
    state.frames[-1].regs[0] = env.known(0)
