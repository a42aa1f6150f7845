"""When a state covers another, as kernels before 6.3 decide it: literally equal, but for a few kinds of values.

Linux 6.1 kernel/bpf/verifier.c: regsafe, stacksafe, func_states_equal, states_equal, states_maybe_looping.
"""

from __future__ import annotations

from typing import Final

from bombus.verifier.compare import same_dynptr, within
from bombus.verifier.env import Env
from bombus.verifier.regs import (
    BASE_MASK,
    NOT_INIT,
    PTR_MAYBE_NULL,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_PACKET,
    PTR_TO_PACKET_META,
    PTR_TO_STACK,
    SCALAR_VALUE,
    Reg,
)
from bombus.verifier.state import INVALID, LIVE_READ, MISC, SPILL, ZEROED, Frame, State

_MAP: Final = (PTR_TO_MAP_KEY, PTR_TO_MAP_VALUE)
_PACKET: Final = (PTR_TO_PACKET, PTR_TO_PACKET_META)


def _same_kind(old: Reg, cur: Reg) -> bool:
    """What the kernel's struct holds before its ids."""
    return (
        old.type == cur.type and old.off == cur.off and old.map is cur.map and old.map_uid == cur.map_uid
        and old.number == cur.number and old.btf is cur.btf and old.btf_id == cur.btf_id and same_dynptr(old, cur)
    )


def _equal(old: Reg, cur: Reg) -> bool:
    return old is cur or (
        _same_kind(old, cur) and old.id == cur.id and old.ref_id == cur.ref_id and old.bounds == cur.bounds
    )


def _same_ids(env: Env, old: int, cur: int) -> bool:
    """Ids may be named anew, several by one name."""
    return env.idmap.setdefault(old, cur) == cur


def _reg_safe(env: Env, old: Reg, cur: Reg) -> bool:
    """Whether all that is possible with `cur` was possible with `old`, which was read."""
    equal = _equal(old, cur)
    if old.type == PTR_TO_STACK:
        return equal and old.frame == cur.frame
    if equal or old.type == NOT_INIT:
        return True
    if cur.type == NOT_INIT:
        return False
    base = old.type & BASE_MASK
    if base == SCALAR_VALUE:
        if env.explore_alu_limits or cur.type != SCALAR_VALUE:
            return False
        return (not old.precise and env.recorder is None) or within(old, cur)
    if base in _MAP:
        if not _same_kind(old, cur):
            return False
        return _same_ids(env, old.id, cur.id) if old.type & PTR_MAYBE_NULL else within(old, cur)
    if base in _PACKET:
        if cur.type != old.type or old.off != cur.off:
            return False
        if old.number != cur.number if old.number < 0 or cur.number < 0 else old.number > cur.number:
            return False
        return (not old.id or _same_ids(env, old.id, cur.id)) and within(old, cur)
    return False


def _stack_safe(env: Env, old: Frame, cur: Frame) -> bool:
    for at, slot in enumerate(old.stack):
        if not old.stack_live[at] & LIVE_READ and env.recorder is None:
            continue
        other = cur.stack[at] if at < len(cur.stack) else None
        for i, kind in enumerate(slot.kinds):
            if kind == INVALID or (kind == MISC and env.uninit_stack_allowed):
                continue
            if other is None:
                return False
            if kind == MISC and other.kinds[i] == ZEROED:
                continue
            if kind != other.kinds[i]:
                return False
            if i == 7 and kind == SPILL and not _reg_safe(env, slot.reg, other.reg):
                return False
    return True


def _frames_equal(env: Env, old: Frame, cur: Frame) -> bool:
    env.idmap = {}
    for i, (before, now) in enumerate(zip(old.regs, cur.regs, strict=True)):
        if not old.live[i] & LIVE_READ and env.recorder is None:
            continue
        if not _reg_safe(env, before, now):
            return False
    if not _stack_safe(env, old, cur) or len(old.refs) != len(cur.refs):
        return False
    return all(
        a.id == b.id and a.insn == b.insn and a.callback_frame == b.callback_frame
        for a, b in zip(old.refs, cur.refs, strict=True)
    )


def states_equal(env: Env, old: State, cur: State) -> bool:
    """Whether everything that can follow from `cur` was verified when `old` was."""
    if len(old.frames) != len(cur.frames) or (old.speculative and not cur.speculative):
        return False
    if (old.lock[1] if old.lock else 0) != (cur.lock[1] if cur.lock else 0):
        return False
    return all(
        before.callsite == now.callsite and _frames_equal(env, before, now)
        for before, now in zip(old.frames, cur.frames, strict=True)
    )


def maybe_looping(old: State, frame: Frame) -> bool:
    """Whether the registers of the innermost frame are as they were in an old state."""
    return all(map(_equal, old.frames[-1].regs, frame.regs))
