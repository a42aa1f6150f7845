"""Checkpoints: when to keep a state, and what becomes of those that are kept.

Linux 6.12 kernel/bpf/verifier.c: is_state_visited, update_branch_counts, clean_live_states.
"""

from __future__ import annotations

from typing import Final

from bombus.isa import opcodes as op
from bombus.verifier import early_precision, early_states, iterreg, live, loops
from bombus.verifier.compare import (
    DEAD,
    EXACT,
    NOT_EXACT,
    RANGE_WITHIN,
    clearly_misfits,
    maybe_looping,
    numbers,
    reset_ids,
    states_equal,
    widened,
)
from bombus.verifier.env import EINVAL, MAX_STATES_PER_INSN, Env
from bombus.verifier.log import frame_text, print_source
from bombus.verifier.precision import Backtrack, mark_precise_set, remember
from bombus.verifier.regs import SCALAR_VALUE, UNINIT
from bombus.verifier.state import FP, LIVE_DONE, LIVE_READ, NR_REGS, SPILL, Frame, Slot, State

_U32: Final = (1 << 32) - 1
_BELOW_FP: Final = (1 << FP) - 1


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
            _finished(env, state)
            if state.opens_loop:
                loops.leave(env, state)
            if state.dropped and not loops.is_open(env, state):
                env.free_states -= 1
        else:
            if state.branches == 0 and state.parent is not None and state.loop_entry is not None:
                _enter_loop(state.parent, state.loop_entry)
            if state.branches:
                break
            _finished(env, state)
        state = state.parent


def _finished(env: Env, state: State) -> None:
    """Nothing more is learned of a checkpoint: what is not used of it is forgotten when it is next looked at."""
    if state.kept and env.recorder is None:
        waiting = env.to_clean.get(state.insn)
        if waiting is None:
            env.to_clean[state.insn] = [state]
        else:
            waiting.append(state)


def _bucket(env: Env, insn: int, frame: Frame) -> int:
    """The number of the kernel's list of checkpoints that a state at `insn` belongs to (explored_state)."""
    return (insn ^ (frame.callsite & _U32)) % len(env.insns)


def previous_entry(env: Env, like: State | None, insn: int) -> State | None:
    """The newest unfinished checkpoint at `insn` on the way to `like` (find_prev_entry)."""
    if like is None:
        return None
    for state in reversed(env.explored.get((_bucket(env, insn, env.state.frames[-1]), insn), ())):
        if state.branches and state.same_callsites(like) and state.depth < like.depth:
            return state
    return None


def widen(env: Env, old: State, cur: State) -> None:
    """Forget the bounds of scalars that changed in a loop and that nothing depends on (widen_imprecise_scalars)."""
    reset_ids(env)
    for number in range(len(old.frames) - 1, -1, -1):
        before, here = old.frames[number], cur.frames[number]
        for i in range(NR_REGS):
            here.regs[i] = widened(env, before.regs[i], here.regs[i])
        for i in range(min(len(before.stack), len(here.stack))):
            a, b = before.stack[i], here.stack[i]
            if a.kinds[7] == SPILL and b.kinds[7] == SPILL:
                new = widened(env, a.reg, b.reg)
                if new is not b.reg:
                    here.stack[i] = Slot(b.kinds, new)


# Checkpoints.


def _clean(env: Env, insn: int, waiting: list[State], cur: State) -> None:
    """Forget in finished checkpoints what no path read (clean_live_states). waiting: those that were not cleaned."""
    left: list[State] = []
    for state in waiting:
        if not state.kept:
            continue
        if not state.same_callsites(cur):
            left.append(state)
            continue
        if env.rules.loops_by_scc:
            if env.back_edges and loops.is_open(env, state):
                left.append(state)
                continue
        else:
            entry = _loop_entry(state)
            if entry is not None and entry.branches:
                left.append(state)
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
                    frame.stack[i] = DEAD
                frame.stack_live[i] = marks | LIVE_DONE
    if left:
        env.to_clean[insn] = left
    else:
        del env.to_clean[insn]


def _forget(frame: Frame, live_regs: int, dead_slots: int) -> None:
    regs = frame.regs
    for i in numbers(~live_regs & _BELOW_FP):
        regs[i] = UNINIT
    frame.unfit = None
    stack = frame.stack
    for i in numbers(dead_slots):
        stack[i] = DEAD
    frame.slots = numbers((1 << len(stack)) - 1 & ~dead_slots)


def propagate_precision(env: Env, old: State, state: State, insn: int) -> bool:
    """What was precise in an old state that covers `state` is precise on the way to it. True when that is new."""
    if not old.marked and env.bpf_capable:  # checkpoints begin without precise scalars
        return False
    if not env.rules.precision_through_calls:
        early_precision.propagate(env, old)
        return False
    bt = Backtrack(len(state.frames) - 1)
    for number in range(len(old.frames) - 1, -1, -1):
        frame = old.frames[number]
        first = True
        left = frame.precise if env.bpf_capable else (1 << NR_REGS + len(frame.stack)) - 1
        while left:
            place = (left & -left).bit_length() - 1
            left &= left - 1
            if place >= NR_REGS:
                if not _slot_precise(env, frame, place - NR_REGS):
                    continue
                bt.slots[number] |= 1 << place - NR_REGS
            elif place != FP and _reg_precise(env, frame, place):
                bt.regs[number] |= 1 << place
            else:
                continue
            if env.prints_all:
                name = f"r{place}" if place < NR_REGS else f"fp{-8 * (place - NR_REGS + 1)}"
                env.log.write(f"frame {number}: propagating {name}" if first else f",{name}")
            first = False
        if not first:
            env.say("\n")
    return mark_precise_set(env, bt, state, insn)


def _reg_precise(env: Env, frame: Frame, at: int) -> bool:
    """Whether a register is a precise scalar that matters to later paths."""
    reg = frame.regs[at]
    return reg.precise and reg.type == SCALAR_VALUE and (
        env.rules.live_registers or frame.live[at] & LIVE_READ != 0
    )


def _slot_precise(env: Env, frame: Frame, at: int) -> bool:
    """The same of a stack slot."""
    slot = frame.stack[at]
    return slot.reg.precise and slot.kinds[7] == SPILL and slot.reg.type == SCALAR_VALUE and (
        env.slot_live is not None or frame.stack_live[at] & LIVE_READ != 0
    )


def _infinite_loop(env: Env, insn: int, old: State, cur: State) -> None:
    print_source(env, insn, "; ")
    env.say(f"infinite loop detected at insn {insn}\n")
    if env.rules.exact_loops:
        env.say("cur state:" + frame_text(env, cur.frames[-1], True) + "\n")
        env.say("old state:" + frame_text(env, old.frames[-1], True, old) + "\n")
    env.fail(EINVAL)


def _is_may_goto(env: Env, insn: int) -> bool:
    return env.insns[insn].opcode == op.MAY_GOTO


def _equal(env: Env, old: State, cur: State, exact: int) -> bool:
    if not env.rules.ids_compared:
        return early_states.states_equal(env, old, cur)
    return states_equal(env, old, cur, exact)


def _maybe_looping(env: Env, old: State, frame: Frame) -> bool:
    return maybe_looping(old, frame) if env.rules.ids_compared else early_states.maybe_looping(old, frame)


def visited(env: Env, insn: int) -> bool:
    """Whether the state here is covered by an old one; keeps a new checkpoint when it is time to (is_state_visited)."""
    cur = env.state
    aux = env.aux[insn]
    force = aux.force_checkpoint
    force_new = force or env.test_state_freq or (len(cur.history) > 40 and env.rules.long_history_kept)
    jumps = env.jumps - env.jumps_before
    processed = env.processed - env.processed_before
    add = force_new or (jumps >= 2 and processed >= 8)
    frame = cur.frames[-1]
    bucket = _bucket(env, insn, frame)
    states = env.explored.get((bucket, insn))
    count = env.bucket_sizes[bucket]
    if states:
        waiting = env.to_clean.get(insn)
        if waiting is not None:
            _clean(env, insn, waiting, cur)
        depth = len(cur.frames)
        by_scc = env.rules.loops_by_scc
        plain = not aux.calls_callback and not aux.next_of_iterator and env.insns[insn].opcode != op.MAY_GOTO
        regs = frame.regs
        loop = False
        for state in reversed(states):
            hit = False
            if state.branches:
                verdict: bool | None = None
                if not plain or (len(state.frames) == depth and _maybe_looping(env, state, frame)):
                    verdict = _against_open(env, insn, state, cur)
                if verdict is None:
                    if not force_new and jumps < 20 and processed < 100:
                        add = False
                else:
                    hit = verdict
                    loop = verdict and not aux.calls_callback
            elif by_scc:
                old = state.top
                if regs[old.unfit_at] is not old.unfit and not clearly_misfits(old, frame):
                    loop = env.back_edges > 0 and loops.is_open(env, state)
                    hit = states_equal(env, state, cur, RANGE_WITHIN if loop else NOT_EXACT)
            else:
                entry = _loop_entry(state)
                exact = entry is not None and entry.branches > 0
                if _equal(env, state, cur, RANGE_WITHIN if exact else NOT_EXACT):
                    if exact and entry is not None:
                        _enter_loop(cur, entry)
                    hit = True
            if hit:
                state.hits += 1
                state.patience += 3
                if env.marked:
                    live.propagate(env, state, cur)
                if aux.jump_point:
                    remember(env)
                propagate_precision(env, state, cur, insn)
                if loop and by_scc:
                    loops.add_back_edge(env, state, cur, insn)
                return True
            if add:
                patience = state.patience - 1
                state.patience = patience
                if patience < 0 and not (force and state.branches and patience >= -61 * (state.hits + 1)):
                    _drop(env, bucket, states, state)
    if count > env.max_states_per_insn:
        env.max_states_per_insn = count
    if not env.bpf_capable and count > MAX_STATES_PER_INSN:
        return False
    if add:
        _keep(env, insn, bucket, cur)
    return False


def _drop(env: Env, bucket: int, states: list[State], state: State) -> None:
    """A checkpoint that covers too little is not looked at any more."""
    states.remove(state)
    env.bucket_sizes[bucket] -= 1
    state.kept = False
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
    if env.aux[insn].next_of_iterator:
        if states_equal(env, state, cur, RANGE_WITHIN) and iterreg.is_active(env):
            if not env.rules.loops_by_scc:
                _enter_loop(cur, state)
            return True
        return None
    if env.aux[insn].calls_callback:
        return True if states_equal(env, state, cur, RANGE_WITHIN) else None
    if (
        len(state.frames) == len(cur.frames)
        and _maybe_looping(env, state, cur.frames[-1])
        and _equal(env, state, cur, EXACT if env.rules.exact_loops else NOT_EXACT)
        and state.may_goto_depth == cur.may_goto_depth
        and state.callback_unroll_depth == cur.callback_unroll_depth
        and not iterreg.depths_differ(state, cur)
    ):
        _infinite_loop(env, insn, state, cur)
    return None


def _keep(env: Env, insn: int, bucket: int, cur: State) -> None:
    env.total_states += 1
    if env.rules.loops_by_scc:
        env.kept_states += 1
        env.note_peak()
    else:
        env.peak_states += 1
    env.jumps_before = env.jumps
    env.processed_before = env.processed
    new = cur.copy()  # in which no scalar is precise yet: only checkpoints learn that
    new.insn = insn
    new.kept = True
    new.top = new.frames[-1]
    cur.parent = new
    cur.first_insn = insn
    cur.history = []
    cur.depth = new.depth + 1
    states = env.explored.get((bucket, insn))
    if states is None:
        env.explored[bucket, insn] = [new]
    else:
        states.append(new)
    env.bucket_sizes[bucket] += 1
    if env.rules.loops_by_scc:
        loops.enter(env, new)
    if env.marked:
        top = len(cur.frames) - 1
        for at, frame in enumerate(cur.frames):
            # Of a caller only r6 to r9 are what the checkpoint holds; what calls clobber is the call's checkpoint's.
            frame.foreign = {reg: frame.parent_of(reg) for reg in live.CALLER_SAVED} if at < top else None
            frame.parent = new.frames[at]
            frame.live = [0] * FP + [frame.live[FP]]
            frame.stack_live = [0] * len(frame.stack)
