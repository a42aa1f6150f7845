"""References that a program acquired and must give back, and changes to every copy of a pointer.

Linux 6.12 kernel/bpf/verifier.c: acquire_reference_state, release_reference, check_reference_leak.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bombus.spec.progtypes import PROG_TYPE
from bombus.verifier.env import EINVAL, Env
from bombus.verifier.regs import Reg
from bombus.verifier.state import SPILL, Reference, Slot, State

_STRUCT_OPS: Final = PROG_TYPE["BPF_PROG_TYPE_STRUCT_OPS"].id


def replace_all(
    env: Env, change: Callable[[Reg], Reg | None], state: State | None = None, *, id_: int = -1, type_: int = -1
) -> None:
    """Apply `change` to every register and spilled register of a state; None leaves it as it is.

    id_, type_: only to those with this id and of this type (-1: any).
    """
    for frame in (state or env.state).frames:
        regs = frame.regs
        for i, reg in enumerate(regs):
            if reg.id != id_ >= 0 or reg.type != type_ >= 0:
                continue
            new = change(reg)
            if new is not None:
                regs[i] = new
        for i, slot in enumerate(frame.stack):
            if slot.kinds[7] == SPILL:
                reg = slot.reg
                if reg.id != id_ >= 0 or reg.type != type_ >= 0:
                    continue
                new = change(reg)
                if new is not None:
                    frame.stack[i] = Slot(slot.kinds, new)


def acquire(env: Env, insn_idx: int, kind: str = "pointer") -> int:
    """A new reference, owned by the running frame."""
    frame = env.frame
    id_ = env.new_id()
    frame.refs = (
        *frame.refs,
        Reference(id_, insn_idx, kind, frame.number if frame.in_callback else 0),
    )
    return id_


def note_lock(env: Env, id_: int, kind: str, holder: object) -> None:
    """From Linux 6.14 on a lock that is held is one of the references, which logs show in order."""
    if env.rules.refs_in_state:
        frame = env.frame
        frame.refs = (*frame.refs, Reference(id_, env.insn_idx, kind, holder=holder))


def forget_lock(env: Env, id_: int, kind: str, holder: object) -> tuple[object, int] | None:
    """A lock is given back. Returns the lock that was taken before it, as `State.lock` holds it."""
    before: tuple[object, int] | None = None
    for ref in env.frame.refs:
        if ref.kind == kind and ref.id == id_ and ref.holder is holder:
            forget(env, ref)
            return before
        if ref.holder is not None:
            before = (ref.holder, ref.id)
    return before


def last_of(env: Env, kind: str) -> Reference | None:
    return next((ref for ref in reversed(env.frame.refs) if ref.kind == kind), None)


def forget(env: Env, gone: Reference) -> None:
    frame = env.frame
    frame.refs = tuple(ref for ref in frame.refs if ref is not gone)


def drop(env: Env, state: State, id_: int) -> bool:
    """Forget a reference without touching registers. False when the running frame may not give it back."""
    frame = state.frames[-1]
    refs = list(frame.refs)
    for i, ref in enumerate(refs):
        if ref.id == id_ and ref.kind == "pointer":
            if frame.in_callback and not env.rules.refs_in_state and ref.callback_frame != frame.number:
                return False
            if env.rules.refs_in_state:
                del refs[i]
            else:
                refs[i] = refs[-1]
                refs.pop()
            frame.refs = tuple(refs)
            return True
    return False


def release(env: Env, id_: int) -> bool:
    """Give a reference back: every register that stands for it becomes invalid. False: it was not held."""
    if not drop(env, env.state, id_):
        return False

    def gone(reg: Reg) -> Reg | None:
        return env.invalid() if reg.ref_id == id_ else None

    replace_all(env, gone)
    return True


def leaks(env: Env, *, always: bool = False) -> bool:
    """Say which references would be lost if the running function ended here."""
    frame = env.frame
    returned = 0
    if env.rules.refs_in_state:
        if frame.number and not always:
            return False
        if env.rules.references_returned and not always and env.program.prog_type == _STRUCT_OPS:
            returned = frame.regs[0].ref_id
        always = True
    if not always and frame.number and not frame.in_callback:
        return False
    lost = False
    for ref in frame.refs:
        if ref.kind != "pointer" or (returned and ref.id == returned):
            continue
        if not always and frame.in_callback and ref.callback_frame != frame.number:
            continue
        env.say(f"Unreleased reference id={ref.id} alloc_insn={ref.insn}\n")
        lost = True
    return lost


def check_leaks(env: Env, message: str = "", *, always: bool = False) -> None:
    if leaks(env, always=always):
        env.fail(EINVAL, message)
