"""Whether a state is covered by an older one: all that can follow from it was verified then.

Linux 6.12 kernel/bpf/verifier.c: states_equal, regsafe, stacksafe.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from bombus.verifier import irqreg, iterreg
from bombus.verifier.bounds import ANY
from bombus.verifier.env import Env
from bombus.verifier.regs import (
    ADD_CONST,
    ADD_CONST32,
    BASE_MASK,
    ID_BITS,
    NOT_INIT,
    PTR_TO_ARENA,
    PTR_TO_BUF,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_PACKET_META,
    PTR_TO_STACK,
    PTR_TO_TP_BUFFER,
    SCALAR_VALUE,
    UNINIT,
    UNKNOWN,
    Reg,
)
from bombus.verifier.state import (
    DYNPTR,
    INVALID,
    IRQ,
    ITER,
    LIVE_READ,
    MISC,
    NR_REGS,
    SPILL,
    SPILLED,
    ZEROED,
    Frame,
    Slot,
    State,
    uniform,
)

NOT_EXACT: Final = 0
EXACT: Final = 1
RANGE_WITHIN: Final = 2

_MEMORY: Final = (PTR_TO_MAP_KEY, PTR_TO_MAP_VALUE, PTR_TO_MEM, PTR_TO_BUF, PTR_TO_TP_BUFFER)
DEAD: Final = uniform(INVALID, UNINIT)  # a slot that no path reads


# Ids: two states may name the same relations by other numbers.


def _same_ids(env: Env, old: int, cur: int) -> bool:
    if (old != 0) != (cur != 0):
        return False
    if old == 0:
        return True
    known = env.idmap.get(old)
    if known is not None:
        return known == cur
    if cur in env.idmap_cur:
        return False
    env.idmap[old] = cur
    env.idmap_cur.add(cur)
    return True


def _same_scalar_ids(env: Env, old: int, cur: int) -> bool:
    if not old:
        return True
    if not cur:
        env.idmap_next += 1
        cur = env.idmap_next
    if not _same_ids(env, old, cur):
        return False
    if old & ADD_CONST:
        return _same_ids(env, old & ID_BITS, cur & ID_BITS)
    return True


def reset_ids(env: Env) -> None:
    if env.idmap:
        env.idmap = {}
        env.idmap_cur = set()
    env.idmap_next = env.id_gen


# Registers.


def _same_content(old: Reg, cur: Reg) -> bool:
    """All that the kernel's struct holds before its ids."""
    return (
        old.type == cur.type
        and old.off == cur.off
        and old.bounds == cur.bounds
        and old.map is cur.map
        and old.map_uid == cur.map_uid
        and old.number == cur.number
        and old.btf is cur.btf
        and old.btf_id == cur.btf_id
        and same_dynptr(old, cur)
    )


def same_dynptr(old: Reg, cur: Reg) -> bool:
    a, b = old.dynptr, cur.dynptr
    if a is None or b is None:
        return a is b
    return a.kind == b.kind and a.first == b.first and a.id == b.id


def within(old: Reg, cur: Reg) -> bool:
    a, b = old.bounds, cur.bounds
    if a is b or a is ANY:
        return True
    x, y = a.r64, b.r64
    if not (x[0] <= y[0] and x[1] >= y[1] and x[2] <= y[2] and x[3] >= y[3]):
        return False
    x, y = a.r32, b.r32
    if not (x[0] <= y[0] and x[1] >= y[1] and x[2] <= y[2] and x[3] >= y[3]):
        return False
    value, mask = a.bits
    return b.bits[1] & ~mask == 0 and b.bits[0] & ~mask == value


def _exact(env: Env, old: Reg, cur: Reg) -> bool:
    return _same_content(old, cur) and _same_ids(env, old.id, cur.id) and _same_ids(env, old.ref_id, cur.ref_id)


def _reg_safe(env: Env, old: Reg, cur: Reg, exact: int) -> bool:
    """Whether all that is possible with `cur` was possible with `old`; liveness was looked at by the caller."""
    if exact == EXACT:
        return _exact(env, old, cur)
    type_ = old.type
    if type_ == NOT_INIT and (exact == NOT_EXACT or cur.type == NOT_INIT):
        return True
    if type_ != cur.type:
        return False
    if type_ == SCALAR_VALUE:
        if env.explore_alu_limits:
            return _same_content(old, cur) and _same_scalar_ids(env, old.id, cur.id)
        if not old.precise and exact == NOT_EXACT and env.recorder is None:
            return True
        if old.id & ADD_CONST:
            if not cur.id & ADD_CONST or (old.id ^ cur.id) & ADD_CONST32 or old.off != cur.off:
                return False
        elif old.id and cur.id & ADD_CONST:
            return False
        return _same_scalar_ids(env, old.id, cur.id) and within(old, cur)
    base = type_ & BASE_MASK
    if base in _MEMORY:
        return (
            old.off == cur.off
            and old.map is cur.map
            and old.map_uid == cur.map_uid
            and old.number == cur.number
            and same_dynptr(old, cur)
            and within(old, cur)
            and _same_ids(env, old.id, cur.id)
            and _same_ids(env, old.ref_id, cur.ref_id)
        )
    if base in (PTR_TO_PACKET, PTR_TO_PACKET_META):
        if old.number < 0 or cur.number < 0:
            if old.number != cur.number:
                return False
        elif old.number > cur.number:
            return False
        return old.off == cur.off and _same_ids(env, old.id, cur.id) and within(old, cur)
    if base == PTR_TO_STACK:
        return _exact(env, old, cur) and old.frame == cur.frame
    if base == PTR_TO_ARENA:
        return True
    return _exact(env, old, cur)


def _scalar_of(env: Env, slot: Slot) -> Reg | None:
    """A slot as one 64-bit scalar, when it is one or nothing is known of it."""
    kinds = slot.kinds
    if kinds[0] == SPILL and kinds[7] == SPILL and slot.reg.type == SCALAR_VALUE:
        return slot.reg
    for kind in kinds:
        if kind != MISC and not (kind == INVALID and env.uninit_stack_allowed):
            return None
    return UNKNOWN


def _stack_safe(env: Env, old: Frame, cur: Frame, exact: int) -> bool:
    now = cur.stack
    size = len(now)
    loosely = exact == NOT_EXACT and not env.explore_alu_limits and env.recorder is None
    before = old.stack
    for at in range(len(before)) if old.slots is None or exact != NOT_EXACT else old.slots:
        slot = before[at]
        if at < size:
            other = now[at]
            kinds = slot.kinds
            if slot is other:
                if kinds[7] < DYNPTR and (kinds[7] != SPILL or not (slot.reg.id or slot.reg.ref_id)):
                    continue
            elif loosely and kinds is SPILLED and other.kinds is SPILLED:
                a = slot.reg
                if a.type == SCALAR_VALUE and not a.precise and other.reg.type == SCALAR_VALUE:
                    continue
        if slot is DEAD and exact == NOT_EXACT:
            continue
        if not _slot_covered(env, old, cur, at, exact):
            old.misfit = NR_REGS + at
            old.unfit = None
            return False
    return True


def _slot_covered(env: Env, old: Frame, cur: Frame, at: int, exact: int) -> bool:
    slot = old.stack[at]
    other = cur.stack[at] if at < len(cur.stack) else None
    if exact != NOT_EXACT:
        if other is None or slot.kinds != other.kinds:
            return False
    elif env.slot_live is None and not old.stack_live[at] & LIVE_READ and env.recorder is None:
        return True
    if slot is other:
        kind = slot.kinds[7]
        if kind < DYNPTR and (kind != SPILL or not (slot.reg.id or slot.reg.ref_id)):
            return True
    return _slot_safe(env, slot, other, exact)


def _slot_safe(env: Env, slot: Slot, other: Slot | None, exact: int) -> bool:
    uninit = env.uninit_stack_allowed
    if other is not None and slot.kinds == other.kinds:
        kind = slot.kinds[7]
        if kind < DYNPTR and (kind != SPILL or slot.kinds[0] == SPILL):
            return kind != SPILL or _reg_safe(env, slot.reg, other.reg, exact)
    looked = False
    for i, kind in enumerate(slot.kinds):
        if kind == INVALID or (uninit and kind == MISC):
            continue
        if other is None:
            return False
        if not looked:
            looked = True
            a = _scalar_of(env, slot)
            if a is not None:
                b = _scalar_of(env, other)
                if b is not None:
                    return _reg_safe(env, a, b, exact)
        other_kind = other.kinds[i]
        if kind == MISC and other_kind == ZEROED:
            continue
        if kind != other_kind:
            return False
        if i != 7:
            continue
        if kind == SPILL:
            return _reg_safe(env, slot.reg, other.reg, exact)
        if kind == DYNPTR:
            x, y = slot.reg.dynptr, other.reg.dynptr
            return (
                x is not None and y is not None and x.kind == y.kind and x.first == y.first
                and _same_ids(env, slot.reg.ref_id, other.reg.ref_id)
            )
        if kind == IRQ:
            return irqreg.same(slot.reg, other.reg) and _same_ids(env, slot.reg.ref_id, other.reg.ref_id)
        if kind == ITER:
            return iterreg.same(slot.reg, other.reg) and _same_ids(env, slot.reg.ref_id, other.reg.ref_id)
    return True


@lru_cache(maxsize=1 << 11)
def numbers(mask: int) -> tuple[int, ...]:
    """The registers or slots of a mask."""
    return tuple(i for i in range(mask.bit_length()) if mask >> i & 1)


_ALL_REGS: Final = tuple(range(NR_REGS))


def _still_misfits(env: Env, old: Frame, cur: Frame, exact: int) -> bool:
    """Whether the register or slot that made the last comparison fail alone makes this one fail too."""
    at = old.misfit
    if at < NR_REGS:
        if exact == NOT_EXACT and not env.rules.live_registers and not old.live[at] & LIVE_READ:
            return False
        return not _reg_safe(env, old.regs[at], cur.regs[at], exact)
    at -= NR_REGS
    return at < len(old.stack) and not _slot_covered(env, old, cur, at, exact)


def _frames_equal(env: Env, old: Frame, cur: Frame, insn: int, exact: int) -> bool:
    if old.callback_depth > cur.callback_depth:
        return False
    if env.compares_live:
        places = numbers(env.live_before[insn])
        marked = False
    else:
        places = _ALL_REGS
        marked = exact == NOT_EXACT and not env.rules.live_registers and env.recorder is None
    loosely = exact == NOT_EXACT and env.recorder is None and not env.explore_alu_limits
    before, now = old.regs, cur.regs
    for i in places:
        a, b = before[i], now[i]
        if a is b:
            if not a.id and not a.ref_id:
                continue
        elif loosely and a.type == SCALAR_VALUE and not a.precise and b.type == SCALAR_VALUE:
            continue
        if marked and not old.live[i] & LIVE_READ:
            continue
        if not _reg_safe(env, a, b, exact):
            old.misfit = i
            old.unfit = None
            return False
    if old.stack and not _stack_safe(env, old, cur, exact):
        return False
    if not old.refs and not cur.refs:
        return True
    if len(old.refs) != len(cur.refs):
        return False
    return all(
        _same_ids(env, a.id, b.id) and a.kind == b.kind and a.holder is b.holder
        for a, b in zip(old.refs, cur.refs, strict=True)
    )


def states_equal(env: Env, old: State, cur: State, exact: int) -> bool:
    """Whether everything that can follow from `cur` was verified when `old` was."""
    olds, curs = old.frames, cur.frames
    count = len(olds)
    if count != len(curs):
        return False
    if env.idmap:
        env.idmap = {}
        env.idmap_cur = set()
    env.idmap_next = env.id_gen
    if old.speculative and not cur.speculative:
        return False
    a, b = old.lock, cur.lock
    if a is not b:
        if a is None or b is None or a[0] is not b[0] or not _same_ids(env, a[1], b[1]):
            return False
    elif a is not None:
        _same_ids(env, a[1], a[1])
    if (
        old.rcu_locked != cur.rcu_locked
        or old.preempt_disabled != cur.preempt_disabled
        or old.in_sleepable != cur.in_sleepable
    ):
        return False
    top = count - 1
    if olds[top].misfit >= 0:
        if _still_misfits(env, olds[top], curs[top], exact):
            return False
        reset_ids(env)
        if a is not None and b is not None:
            _same_ids(env, a[1], b[1])
    for number in range(count):
        x, y = olds[number], curs[number]
        insn = old.insn if number == top else olds[number + 1].callsite
        if x.callsite != y.callsite or not _frames_equal(env, x, y, insn, exact):
            return False
    return True


def maybe_looping(old: State, frame: Frame) -> bool:
    """Whether the innermost frame may be as it was in an old state: its registers are, and what is spilled.

    The register or slot that differed last (a loop's counter) is looked at first.
    """
    before = old.frames[-1]
    stack = frame.stack
    if len(stack) < len(before.stack):
        return False
    hint = old.changed
    if hint:
        if hint < NR_REGS:
            if not _unchanged(before.regs[hint], frame.regs[hint]):
                return False
        elif not _unchanged_slot(before.stack[hint - NR_REGS], stack[hint - NR_REGS]):
            return False
    regs = frame.regs
    for i, x in enumerate(before.regs):
        y = regs[i]
        if x is not y and not _unchanged(x, y):
            old.changed = i
            return False
    for i, slot in enumerate(before.stack):
        other = stack[i]
        if slot is not other and not _unchanged_slot(slot, other):
            old.changed = NR_REGS + i
            return False
    return True


def _unchanged_slot(old: Slot, cur: Slot) -> bool:
    if old is cur:
        return True
    return old.kinds == cur.kinds and (
        old.kinds[7] != SPILL or old.kinds[0] != SPILL or _same_content(old.reg, cur.reg)
    )


def _unchanged(old: Reg, cur: Reg) -> bool:
    return old is cur or (_same_content(old, cur) and old.id == cur.id and old.ref_id == cur.ref_id)


def clearly_misfits(old: Frame, cur: Frame) -> bool:
    """Whether what made the last comparison with `old` fail plainly fails again. `False` says nothing.

    Most comparisons end here: paths that differ in a packet pointer or in a precise scalar.
    """
    at = old.misfit
    if at >= NR_REGS:
        at -= NR_REGS
        if at >= len(old.stack) or at >= len(cur.stack):
            return False
        slot, other = old.stack[at], cur.stack[at]
        return slot.kinds[7] == SPILL and slot.kinds == other.kinds and _apart(slot.reg, other.reg)
    if at < 0:
        return False
    x, y = old.regs[at], cur.regs[at]
    if not (x.type == PTR_TO_PACKET == y.type and (x.off != y.off or x.number > y.number)) and not _apart(x, y):
        return False
    old.unfit = y
    old.unfit_at = at
    return True


def _apart(x: Reg, y: Reg) -> bool:
    type_ = x.type
    if type_ != y.type:
        return type_ != NOT_INIT
    if type_ == PTR_TO_PACKET:
        number = x.number
        if x.off != y.off or number > y.number or (number < 0 and number != y.number) or (not x.id) != (not y.id):
            return True
    elif type_ != SCALAR_VALUE or not x.precise:
        return False
    c, d = x.bounds, y.bounds
    if c is d:
        return False
    a, b = c.r64, d.r64
    return a[0] > b[0] or a[1] < b[1] or a[2] > b[2] or a[3] < b[3]


def widened(env: Env, old: Reg, cur: Reg) -> Reg:
    if old.type != SCALAR_VALUE or cur.type != SCALAR_VALUE or old.precise or cur.precise or _exact(env, old, cur):
        return cur
    return env.unknown
