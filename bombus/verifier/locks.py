"""Locks in map values and objects: bpf_spin_lock, of which a program may hold one, and bpf_res_spin_lock.

Linux 6.12 kernel/bpf/verifier.c: process_spin_lock; as Linux 6.15 and later answer about resilient locks (observed).
"""

from __future__ import annotations

from typing import Final

from bombus.bits import s64
from bombus.btf.types import DataSec, Struct
from bombus.verifier import graph, refs
from bombus.verifier.env import EACCES, EINVAL, Env
from bombus.verifier.program import MapInfo
from bombus.verifier.regs import Reg

# Kinds of references that are locks; those of fields are SPIN and RESILIENT.
SPIN: Final = "spin_lock"
RESILIENT: Final = "res_spin_lock"
RESILIENT_IRQ: Final = "res_spin_lock_irq"
_WORDS: Final = {SPIN: "bpf_spin", RESILIENT: "bpf_res_spin", RESILIENT_IRQ: "bpf_res_spin"}


def _holder(env: Env, regno: int, reg: Reg, kind: str, errno: int) -> object:
    """What has the lock that a register points to. Refuses where none lies there."""
    word = _WORDS[kind]
    map_ = reg.map
    value, mask = reg.bounds.bits
    if mask:
        env.fail(errno, f"R{regno} doesn't have constant offset. {word}_lock has to be at the constant offset")
    if map_ is not None and map_.btf is None:
        env.fail(errno, f"map '{map_.name}' has to have BTF in order to use {word}_lock")
    wanted = SPIN if kind == SPIN else RESILIENT
    field = next((one for one in graph.fields_of(env, reg) if one.kind == wanted), None)
    if field is None:
        owner = f"map '{map_.name}'" if map_ is not None else "local 'kptr'"
        if env.rules.lock_errnos or map_ is None:
            env.fail(errno, f"{owner} has no valid {word}_lock")
        env.fail(errno, without(map_, f"{word}_lock"))
    if field.offset != s64(value) + reg.off:
        env.fail(
            errno,
            f"off {s64(value) + reg.off} doesn't point to 'struct {word}_lock'"
            f"{f' that is at {field.offset}' if env.rules.lock_errnos else ''}",
        )
    return map_ if map_ is not None else reg.btf


def without(map_: MapInfo, field: str) -> str:
    """What kernels before 6.2 say of a map whose values have no such field, though it has BTF."""
    assert map_.btf is not None
    if isinstance(map_.btf.resolved(map_.value_type_id), (Struct, DataSec)):
        return f"map '{map_.name}' doesn't have 'struct {field}'"
    return f"map '{map_.name}' is not a struct type or {field} is mangled"


def take(env: Env, regno: int, kind: str) -> None:
    """The register points to a lock that is taken."""
    state = env.state
    reg = env.regs[regno]
    errno = EINVAL if env.rules.lock_errnos else EACCES
    holder = _holder(env, regno, reg, kind, errno)
    if kind == SPIN:
        held = state.lock is not None
        if env.rules.refs_in_state:
            held = any(ref.kind == SPIN for ref in env.frame.refs)
        if held:
            env.fail(errno, "Locking two bpf_spin_locks are not allowed")
    elif any(ref.kind in (RESILIENT, RESILIENT_IRQ) and ref.id == reg.id and ref.holder is holder
             for ref in env.frame.refs):  # fmt: skip
        env.fail(errno, "Acquiring the same lock again, AA deadlock detected")
    if reg.id or env.rules.lock_errnos:  # until then a lock was its id, and 0 none
        state.lock = (holder, reg.id)
        refs.note_lock(env, reg.id, kind, holder)


def give(env: Env, regno: int, kind: str) -> None:
    """The register points to a lock that is given back: it must be the last one that was taken."""
    state = env.state
    reg = env.regs[regno]
    errno = EINVAL if env.rules.lock_errnos else EACCES
    holder = _holder(env, regno, reg, kind, errno)
    word = _WORDS[kind]
    if state.lock is None:
        env.fail(errno, f"{word}_unlock without taking a lock")
    is_last = state.lock[0] is holder and state.lock[1] == reg.id
    if env.rules.refs_in_state:
        if not any(ref.kind == kind and ref.id == reg.id and ref.holder is holder for ref in env.frame.refs):
            env.fail(errno, f"{word}_unlock of different lock")
        if not is_last:
            env.fail(errno, f"{word}_unlock cannot be out of order")
        state.lock = refs.forget_lock(env, reg.id, kind, holder)
    else:
        if not is_last:
            env.fail(errno, f"{word}_unlock of different lock")
        state.lock = None
    graph.unlocked(env)
