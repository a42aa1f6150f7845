"""Checkpoints: when to keep a state, and when a new one is covered by an old one.

Linux 6.12 kernel/bpf/verifier.c: is_state_visited, states_equal, regsafe, stacksafe.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from bombus.isa import opcodes as op
from bombus.verifier import live, loops
from bombus.verifier.bounds import ANY
from bombus.verifier.env import EINVAL, MAX_STATES_PER_INSN, Env
from bombus.verifier.log import frame_text, print_source
from bombus.verifier.precision import Backtrack, mark_precise_set, remember
from bombus.verifier.regs import (
    ADD_CONST,
    ADD_CONST32,
    BASE_MASK,
    ID_BITS,
    NOT_INIT,
    PTR_MAYBE_NULL,
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
    FP,
    INVALID,
    LIVE_DONE,
    LIVE_READ,
    MISC,
    NR_REGS,
    SPILL,
    ZEROED,
    Frame,
    Slot,
    State,
    uniform,
)

NOT_EXACT: Final = 0
EXACT: Final = 1
RANGE_WITHIN: Final = 2

_U32: Final = (1 << 32) - 1
_MEMORY: Final = (PTR_TO_MAP_KEY, PTR_TO_MAP_VALUE, PTR_TO_MEM, PTR_TO_BUF, PTR_TO_TP_BUFFER)
_DEAD: Final = uniform(INVALID, UNINIT)


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


def _reset_ids(env: Env) -> None:
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
        and _same_dynptr(old, cur)
    )


def _same_dynptr(old: Reg, cur: Reg) -> bool:
    a, b = old.dynptr, cur.dynptr
    if a is None or b is None:
        return a is b
    return a.kind == b.kind and a.first == b.first and a.id == b.id


def _within(old: Reg, cur: Reg) -> bool:
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
        return (not env.rules.ids_compared or _same_scalar_ids(env, old.id, cur.id)) and _within(old, cur)
    base = type_ & BASE_MASK
    if base in _MEMORY:
        return (
            old.off == cur.off
            and old.map is cur.map
            and old.map_uid == cur.map_uid
            and old.number == cur.number
            and _same_dynptr(old, cur)
            and _within(old, cur)
            and (not (env.rules.ids_compared or type_ & PTR_MAYBE_NULL) or _same_ids(env, old.id, cur.id))
            and _same_ids(env, old.ref_id, cur.ref_id)
        )
    if base in (PTR_TO_PACKET, PTR_TO_PACKET_META):
        if old.number < 0 or cur.number < 0:
            if old.number != cur.number:
                return False
        elif old.number > cur.number:
            return False
        return old.off == cur.off and (
            _same_ids(env, old.id, cur.id) or not (env.rules.ids_compared or old.id)
        ) and _within(old, cur)
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
    for at, slot in enumerate(old.stack):
        if slot is _DEAD and exact == NOT_EXACT:
            continue
        if at < size and slot is now[at]:
            kind = slot.kinds[7]
            if kind < DYNPTR and (kind != SPILL or not (slot.reg.id or slot.reg.ref_id)):
                continue
        if not _slot_covered(env, old, cur, at, exact):
            old.misfit = NR_REGS + at
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
    for i, kind in enumerate(slot.kinds):
        if kind == INVALID or (uninit and kind == MISC):
            continue
        if other is None:
            return False
        a, b = _scalar_of(env, slot), _scalar_of(env, other)
        if a is not None and b is not None:
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
    return True


@lru_cache(maxsize=1 << 11)
def _numbers(mask: int) -> tuple[int, ...]:
    """The registers of a mask."""
    return tuple(i for i in range(NR_REGS) if mask >> i & 1)


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
    if env.rules.live_registers and env.recorder is None:
        numbers = _numbers(env.live_before[insn])
    else:
        numbers = _ALL_REGS
    marked = exact == NOT_EXACT and not env.rules.live_registers and env.recorder is None
    before, now = old.regs, cur.regs
    for i in numbers:
        a, b = before[i], now[i]
        if a is b and not a.id and not a.ref_id:
            continue
        if marked and not old.live[i] & LIVE_READ:
            continue
        if not _reg_safe(env, a, b, exact):
            old.misfit = i
            return False
    if not _stack_safe(env, old, cur, exact):
        return False
    if len(old.refs) != len(cur.refs):
        return False
    return all(_same_ids(env, a.id, b.id) for a, b in zip(old.refs, cur.refs, strict=True))


def states_equal(env: Env, old: State, cur: State, exact: int) -> bool:
    """Whether everything that can follow from `cur` was verified when `old` was."""
    if len(old.frames) != len(cur.frames):
        return False
    _reset_ids(env)
    if old.speculative and not cur.speculative:
        return False
    a, b = old.lock, cur.lock
    if (a is None) != (b is None):
        return False
    if a is not None and b is not None and (a[0] is not b[0] or not _same_ids(env, a[1], b[1])):
        return False
    if (
        old.rcu_locked != cur.rcu_locked
        or old.preempt_disabled != cur.preempt_disabled
        or old.in_sleepable != cur.in_sleepable
    ):
        return False
    top = len(old.frames) - 1
    if old.frames[top].misfit >= 0:
        if _still_misfits(env, old.frames[top], cur.frames[top], exact):
            return False
        _reset_ids(env)
        if a is not None and b is not None:
            _same_ids(env, a[1], b[1])
    for number in range(top + 1):
        x, y = old.frames[number], cur.frames[number]
        insn = old.insn if number == top else old.frames[number + 1].callsite
        if x.callsite != y.callsite or not _frames_equal(env, x, y, insn, exact):
            return False
    return True


# Loops.


def _loop_entry(state: State) -> State | None:
    top = state.loop_entry
    while top is not None and top.loop_entry is not None and top is not top.loop_entry:
        top = top.loop_entry
    current: State | None = state
    while current is not None and current.loop_entry is not top:
        following = current.loop_entry
        current.loop_entry = top
        current = following
    return top


def _enter_loop(cur: State, head: State) -> None:
    inner = _loop_entry(cur) or cur
    outer = _loop_entry(head) or head
    if outer.branches and outer.depth <= inner.depth:
        cur.loop_entry = head
        head.used_as_loop_entry = True


def finish(env: Env, state: State | None) -> None:
    """A path ended: the checkpoints on it have one branch less to wait for (update_branch_counts)."""
    by_scc = env.rules.loops_by_scc
    while state is not None:
        state.branches -= 1
        if by_scc:
            if state.branches:
                break
            env.to_clean.add(state.insn)
            if state.opens_loop:
                loops.leave(env, state)
            if state.dropped and not loops.is_open(env, state):
                env.free_states -= 1
            state = state.parent
            continue
        if state.branches == 0 and state.parent is not None and state.loop_entry is not None:
            _enter_loop(state.parent, state.loop_entry)
        if state.branches:
            break
        env.to_clean.add(state.insn)
        state = state.parent


def _bucket(env: Env, insn: int) -> int:
    return (insn ^ (env.state.frames[-1].callsite & _U32)) % len(env.insns)


def previous_entry(env: Env, like: State | None, insn: int) -> State | None:
    """The newest unfinished checkpoint at `insn` on the way to `like` (find_prev_entry)."""
    if like is None:
        return None
    for state in reversed(env.explored.get(_bucket(env, insn), ())):
        if state.insn == insn and state.branches and state.same_callsites(like) and state.depth < like.depth:
            return state
    return None


def widen(env: Env, old: State, cur: State) -> None:
    """Forget the bounds of scalars that changed in a loop and that nothing depends on (widen_imprecise_scalars)."""
    _reset_ids(env)
    for number in range(len(old.frames) - 1, -1, -1):
        before, here = old.frames[number], cur.frames[number]
        for i in range(NR_REGS):
            here.regs[i] = _widened(env, before.regs[i], here.regs[i])
        for i in range(min(len(before.stack), len(here.stack))):
            a, b = before.stack[i], here.stack[i]
            if a.kinds[7] == SPILL and b.kinds[7] == SPILL:
                new = _widened(env, a.reg, b.reg)
                if new is not b.reg:
                    here.stack[i] = Slot(b.kinds, new)


def _widened(env: Env, old: Reg, cur: Reg) -> Reg:
    if old.type != SCALAR_VALUE or cur.type != SCALAR_VALUE or old.precise or cur.precise or _exact(env, old, cur):
        return cur
    return env.unknown


def _maybe_looping(old: State, frame: Frame) -> bool:
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


# Checkpoints.


def _clean(env: Env, insn: int, states: list[State], cur: State) -> None:
    """Forget in finished checkpoints what no path read (clean_live_states)."""
    left = False
    for state in states:
        if state.branches or state.cleaned or state.insn != insn:
            continue
        if not state.same_callsites(cur):
            left = True
            continue
        if env.rules.loops_by_scc:
            if env.back_edges and loops.is_open(env, state):
                left = True
                continue
        else:
            entry = _loop_entry(state)
            if entry is not None and entry.branches:
                left = True
                continue
        state.cleaned = True
        if env.slot_live is not None:
            dead_slots = env.slot_live.dead(env, state)
            for number, frame in enumerate(state.frames):
                _forget(frame, env.live_before[loops.insn_of(state, number)], dead_slots[number])
            continue
        for number, frame in enumerate(state.frames):
            live_regs = env.live_before[loops.insn_of(state, number)] if env.rules.live_registers else -1
            for i in range(FP):
                if not (live_regs >> i & 1 if live_regs >= 0 else frame.live[i] & LIVE_READ):
                    frame.regs[i] = UNINIT
                frame.live[i] |= LIVE_DONE
            for i, marks in enumerate(frame.stack_live):
                if not marks & LIVE_READ:
                    frame.stack[i] = _DEAD
                frame.stack_live[i] = marks | LIVE_DONE
    if not left:
        env.to_clean.discard(insn)


def _forget(frame: Frame, live_regs: int, dead_slots: int) -> None:
    regs = frame.regs
    for i in range(FP):
        if not live_regs >> i & 1:
            regs[i] = UNINIT
    stack = frame.stack
    i = 0
    while dead_slots:
        if dead_slots & 1:
            stack[i] = _DEAD
        dead_slots >>= 1
        i += 1


def propagate_precision(env: Env, old: State, state: State, insn: int) -> bool:
    """What was precise in an old state that covers `state` is precise on the way to it. True when that is new."""
    if not old.marked and env.bpf_capable:  # checkpoints begin without precise scalars
        return False
    bt = Backtrack(len(state.frames) - 1)
    for number in range(len(old.frames) - 1, -1, -1):
        frame = old.frames[number]
        first = True
        for i, reg in enumerate(frame.regs):
            if not reg.precise or reg.type != SCALAR_VALUE or i == FP:
                continue
            if not (env.rules.live_registers or frame.live[i] & LIVE_READ):
                continue
            if env.prints_all:
                env.log.write(f"frame {number}: propagating r{i}" if first else f",r{i}")
            bt.regs[number] |= 1 << i
            first = False
        for i, slot in enumerate(frame.stack):
            if not slot.reg.precise or slot.kinds[7] != SPILL or slot.reg.type != SCALAR_VALUE \
                    or not (env.slot_live is not None or frame.stack_live[i] & LIVE_READ):
                continue
            if env.prints_all:
                off = -8 * (i + 1)
                env.log.write(f"frame {number}: propagating fp{off}" if first else f",fp{off}")
            bt.slots[number] |= 1 << i
            first = False
        if not first:
            env.say("\n")
    return mark_precise_set(env, bt, state, insn)


def _infinite_loop(env: Env, insn: int, old: State, cur: State) -> None:
    print_source(env, insn, "; ")
    env.say(f"infinite loop detected at insn {insn}\n")
    number = len(cur.frames) - 1
    env.say("cur state:" + frame_text(env, cur.frames[number], True) + "\n")
    env.say("old state:" + frame_text(env, old.frames[number], True) + "\n")
    env.fail(EINVAL)


def _is_may_goto(env: Env, insn: int) -> bool:
    return env.insns[insn].opcode == op.MAY_GOTO


def _clearly_misfits(old: Frame, cur: Frame, at: int) -> bool:
    """Whether what made the last comparison fail (at: old.misfit) plainly fails again. `False` says nothing.

    Most comparisons end here: paths that differ in a packet pointer or in a precise scalar.
    """
    if at < NR_REGS:
        x, y = old.regs[at], cur.regs[at]
    else:
        at -= NR_REGS
        if at >= len(old.stack) or at >= len(cur.stack):
            return False
        slot, other = old.stack[at], cur.stack[at]
        if slot.kinds[7] != SPILL or slot.kinds != other.kinds:
            return False
        x, y = slot.reg, other.reg
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


def visited(env: Env, insn: int) -> bool:
    """Whether the state here is covered by an old one; keeps a new checkpoint when it is time to (is_state_visited)."""
    cur = env.state
    aux = env.aux[insn]
    force = aux.force_checkpoint
    force_new = env.test_state_freq or force or len(cur.history) > 40
    jumps = env.jumps - env.jumps_before
    processed = env.processed - env.processed_before
    add = force_new or (jumps >= 2 and processed >= 8)
    frame = cur.frames[-1]
    key = (insn ^ (frame.callsite & _U32)) % len(env.insns)
    states = env.explored.get(key)
    count = 0
    if states:
        if insn in env.to_clean and env.recorder is None:
            _clean(env, insn, states, cur)
        depth = len(cur.frames)
        by_scc = env.rules.loops_by_scc
        plain = not aux.calls_callback and env.insns[insn].opcode != op.MAY_GOTO
        for state in reversed(states):
            count += 1
            if state.insn != insn:
                continue
            hit = loop = False
            old = state.frames[-1]
            if by_scc and not state.branches and old.misfit >= 0 and _clearly_misfits(old, frame, old.misfit):
                if add:
                    state.misses += 1
                if state.misses > state.hits * 3 + 3:
                    _drop(env, states, state)
                continue
            if state.branches:
                verdict: bool | None = None
                if not plain or (len(state.frames) == depth and _maybe_looping(state, frame)):
                    verdict = _against_open(env, insn, state, cur)
                if verdict is None:
                    if not force_new and jumps < 20 and processed < 100:
                        add = False
                else:
                    hit = verdict
                    loop = verdict and not aux.calls_callback
            elif by_scc:
                loop = env.back_edges > 0 and loops.is_open(env, state)
                hit = states_equal(env, state, cur, RANGE_WITHIN if loop else NOT_EXACT)
            else:
                entry = _loop_entry(state)
                exact = entry is not None and entry.branches > 0
                if states_equal(env, state, cur, RANGE_WITHIN if exact else NOT_EXACT):
                    if exact and entry is not None:
                        _enter_loop(cur, entry)
                    hit = True
            if hit:
                state.hits += 1
                live.propagate(env, state, cur)
                if env.aux[env.insn_idx].jump_point:
                    remember(env)
                propagate_precision(env, state, cur, env.insn_idx)
                if loop and by_scc:
                    loops.add_back_edge(env, state, cur, insn)
                return True
            if add:
                state.misses += 1
            factor = 64 if force and state.branches > 0 else 3
            if state.misses > state.hits * factor + factor:
                _drop(env, states, state)
    if count > env.max_states_per_insn:
        env.max_states_per_insn = count
    if not env.bpf_capable and count > MAX_STATES_PER_INSN:
        return False
    if add:
        _keep(env, insn, key, cur)
    return False


def _drop(env: Env, states: list[State], state: State) -> None:
    """A checkpoint that covers too little is not looked at any more."""
    states.remove(state)
    if not env.rules.loops_by_scc:
        if state.cleaned and not state.used_as_loop_entry:
            env.peak_states -= 1
        return
    env.kept_states -= 1
    # In a loop that is not settled it is kept although nothing looks at it.
    if state.branches or loops.is_open(env, state):
        state.dropped = True
        env.free_states += 1


def _against_open(env: Env, insn: int, state: State, cur: State) -> bool | None:
    """Compare with a checkpoint whose branches are not finished. True: covered; None: go on, it may be a loop."""
    frame = state.frames[-1]
    if frame.in_async_callback and frame.async_entries != cur.frames[-1].async_entries:
        return None
    if (
        _is_may_goto(env, insn)
        and state.may_goto_depth != cur.may_goto_depth
        and states_equal(env, state, cur, RANGE_WITHIN)
    ):
        if not env.rules.loops_by_scc:
            _enter_loop(cur, state)
        return True
    if env.aux[insn].calls_callback:
        return True if states_equal(env, state, cur, RANGE_WITHIN) else None
    if (
        len(state.frames) == len(cur.frames)
        and _maybe_looping(state, cur.frames[-1])
        and states_equal(env, state, cur, EXACT if env.rules.exact_loops else NOT_EXACT)
        and state.may_goto_depth == cur.may_goto_depth
        and state.callback_unroll_depth == cur.callback_unroll_depth
    ):
        _infinite_loop(env, insn, state, cur)
    return None


def _keep(env: Env, insn: int, key: int, cur: State) -> None:
    env.total_states += 1
    if env.rules.loops_by_scc:
        env.kept_states += 1
        env.note_peak()
    else:
        env.peak_states += 1
    env.jumps_before = env.jumps
    env.processed_before = env.processed
    if env.bpf_capable:
        _forget_precision(cur)
    new = cur.copy()
    new.insn = insn
    cur.parent = new
    cur.first_insn = insn
    cur.history = []
    cur.depth = new.depth + 1
    env.explored.setdefault(key, []).append(new)
    if env.rules.loops_by_scc:
        loops.enter(env, new)
    for frame, kept in zip(cur.frames, new.frames, strict=True):
        frame.parent = kept
        frame.foreign = None
        frame.live = [0] * FP + [frame.live[FP]]
        frame.stack_live = [0] * len(frame.stack)


def _forget_precision(state: State) -> None:
    for frame in state.frames:
        for i in range(FP):
            reg = frame.regs[i]
            if reg.precise and reg.type == SCALAR_VALUE:
                frame.regs[i] = reg.with_precision(False)
        for i, slot in enumerate(frame.stack):
            if slot.kinds[7] == SPILL and slot.reg.precise and slot.reg.type == SCALAR_VALUE:
                frame.stack[i] = Slot(slot.kinds, slot.reg.with_precision(False))
