"""Precision: which scalars' exact bounds a proof needed, found by walking the path backwards.

Old states compare scalars loosely unless a later check depended on their bounds. When one does, the instructions
that made the value are retraced to every checkpoint on the way, and the registers and slots that it came from are
marked precise there (Linux 6.12 kernel/bpf/verifier.c: __mark_chain_precision, backtrack_insn).
"""

from __future__ import annotations

from typing import Final

from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.verifier import early_precision
from bombus.verifier.disasm import insn_text
from bombus.verifier.env import EFAULT, F_DST_STACK, F_SRC_STACK, F_STACK_ACCESS, Env
from bombus.verifier.log import frame_text
from bombus.verifier.regs import SCALAR_VALUE
from bombus.verifier.special import SYNC_CALLBACKS, TAIL_CALL
from bombus.verifier.state import FP, NR_REGS, SPILL, History, Slot, State

_ARGS: Final = 0b111110


class _Unknown(Exception):
    """The value went a way that cannot be retraced."""


class Backtrack:
    """The set of registers and slots that must be precise, by frame, as bit masks."""

    __slots__ = ("frame", "regs", "slots")

    def __init__(self, frame: int) -> None:
        self.frame = frame
        self.regs = [0] * 8
        self.slots = [0] * 8

    @property
    def is_empty(self) -> bool:
        frame = self.frame
        if self.regs[frame] or self.slots[frame]:
            return False
        return frame == 0 or (not any(self.regs[:frame]) and not any(self.slots[:frame]))


def remember(env: Env, flags: int = 0, frame: int = 0, slot: int = 0,
             linked: tuple[tuple[int, bool, int], ...] = ()) -> None:
    """Add the current instruction to the history of the path (push_insn_history)."""
    entry = env.current_history
    if entry is None:
        entry = History(env.insn_idx, env.previous_insn)
        env.state.history.append(entry)
        env.current_history = entry
    if flags & F_STACK_ACCESS:
        entry.frame = frame
        entry.slot = slot
    entry.flags |= flags
    if linked:
        entry.linked = linked


def _regs_text(mask: int) -> str:
    return ",".join(f"r{i}" for i in range(mask.bit_length()) if mask >> i & 1)


def _slots_text(mask: int) -> str:
    return ",".join(str(-8 * (i + 1)) for i in range(mask.bit_length()) if mask >> i & 1)


def _bug(env: Env, text: str) -> None:
    env.fail(EFAULT, text)


def _sync_linked(bt: Backtrack, entry: History | None) -> None:
    if entry is None or not entry.linked:
        return
    for frame, is_reg, number in entry.linked:
        if (bt.regs if is_reg else bt.slots)[frame] >> number & 1:
            break
    else:
        return
    for frame, is_reg, number in entry.linked:
        if is_reg:
            bt.regs[frame] |= 1 << number
        else:
            bt.slots[frame] |= 1 << number


def _enter(env: Env, bt: Backtrack) -> None:
    if bt.frame == 7:
        _bug(env, f"BUG subprog enter from frame {bt.frame}")
    bt.frame += 1


def _leave(env: Env, bt: Backtrack) -> None:
    if bt.frame == 0:
        _bug(env, "BUG subprog exit from frame 0")
    bt.frame -= 1


def _step(env: Env, bt: Backtrack, index: int, following: int, entry: History | None) -> None:
    """Retrace one instruction: what it made is exchanged for what it was made from."""
    insn = env.insns[index]
    code, dst, src, _off, imm = insn
    if code == 0:
        return
    if env.prints_all:
        env.log.write(
            f"mark_precise: frame{bt.frame}: regs={_regs_text(bt.regs[bt.frame])} "
            f"stack={_slots_text(bt.slots[bt.frame])} before {index}: {insn_text(env, index)}\n"
        )
    _sync_linked(bt, entry)
    regs = bt.regs
    frame = bt.frame
    klass = code & 7
    operation = code & 0xF0
    mode = code & 0xE0
    if klass in (op.BPF_ALU, op.BPF_ALU64):
        if not regs[frame] >> dst & 1:
            return
        if operation in (op.BPF_END, op.BPF_NEG):
            return
        if operation == op.BPF_MOV:
            regs[frame] &= ~(1 << dst)
        if code & op.BPF_X and src != FP:
            regs[frame] |= 1 << src
    elif klass == op.BPF_LDX or (klass == op.BPF_STX and mode == op.BPF_ATOMIC and is_load(imm)
                                  and (imm == op.BPF_LOAD_ACQ or not env.rules.fetches_not_followed)):
        if klass == op.BPF_LDX:
            target = dst
        elif imm == op.BPF_CMPXCHG:
            target = 0
        elif imm == op.BPF_LOAD_ACQ:
            target = dst
        else:
            target = src
        if not regs[frame] >> target & 1:
            return
        regs[frame] &= ~(1 << target)
        if entry is None or not entry.flags & F_STACK_ACCESS:
            return
        bt.slots[entry.frame] |= 1 << entry.slot
    elif klass in (op.BPF_STX, op.BPF_ST):
        if regs[frame] >> dst & 1:
            raise _Unknown
        if entry is None or not entry.flags & F_STACK_ACCESS:
            return
        if not bt.slots[entry.frame] >> entry.slot & 1:
            return
        bt.slots[entry.frame] &= ~(1 << entry.slot)
        if klass == op.BPF_STX:
            regs[frame] |= 1 << src
    elif klass in (op.BPF_JMP, op.BPF_JMP32):
        _step_jump(env, bt, index, following, entry)
        if klass == op.BPF_JMP and operation in (op.BPF_CALL, op.BPF_EXIT):
            if operation == op.BPF_EXIT or src == op.BPF_PSEUDO_CALL or (
                _calls_back(env, index) and index != following - 1
            ):
                return
        elif code & op.BPF_X and not regs[frame] >> dst & 1 and not regs[frame] >> src & 1:
            return
    elif klass == op.BPF_LD:
        if mode == op.BPF_IMM:
            regs[frame] &= ~(1 << dst)
            return
        if mode in (op.BPF_IND, op.BPF_ABS):
            if regs[frame] >> dst & 1:
                raise _Unknown
            if following != index + 1:
                # A load that failed and returned from the subprogram.
                _enter(env, bt)
            return
    _sync_linked(bt, entry)


def _calls_back(env: Env, index: int) -> bool:
    """Whether a call has the kernel call a function of the program before it returns."""
    insn = env.insns[index]
    return (insn.src == 0 and insn.imm in SYNC_CALLBACKS) or (insn.src == 2 and env.aux[index].calls_callback)


def is_load(imm: int) -> bool:
    """Whether an atomic instruction brings a value into a register."""
    return bool(imm & op.BPF_FETCH) or imm == op.BPF_LOAD_ACQ


def _step_jump(env: Env, bt: Backtrack, index: int, following: int, entry: History | None) -> None:
    code, dst, src, _off, imm = env.insns[index]
    regs = bt.regs
    frame = bt.frame
    operation = code & 0xF0
    if operation == op.BPF_CALL and code & 7 == op.BPF_JMP:
        if src == op.BPF_PSEUDO_CALL:
            subprog = env.subprogs[env.subprog_at[index + imm + 1]]
            if subprog.linkage == 1:
                if regs[frame] & _ARGS:
                    _bug(env, f"BUG regs {regs[frame]:x}")
                regs[frame] &= ~1
                return
            if regs[frame] & ~_ARGS:
                _bug(env, f"BUG regs {regs[frame]:x}")
            if bt.slots[frame]:
                _bug(env, f"BUG stack slots {bt.slots[frame]:x}")
            arguments = regs[frame] & _ARGS
            regs[frame] = 0
            _leave(env, bt)
            regs[bt.frame] |= arguments
            return
        if _calls_back(env, index) and index != following - 1:
            if regs[frame] & ~_ARGS:
                _bug(env, f"BUG regs {regs[frame]:x}")
            if bt.slots[frame]:
                _bug(env, f"BUG stack slots {bt.slots[frame]:x}")
            regs[frame] &= ~_ARGS
            _leave(env, bt)
            return
        regs[frame] &= ~1
        if regs[frame] & _ARGS:
            _bug(env, f"BUG regs {regs[frame]:x}")
        if imm == TAIL_CALL and src == 0 and following not in (index + 1, -1):
            _enter(env, bt)  # a tail call that returned from the subprogram
        return
    if operation == op.BPF_EXIT and code & 7 == op.BPF_JMP:
        caller = env.insns[following - 1] if following >= 1 else None
        from_call = caller is not None and caller.opcode == op.CALL and caller.src == op.BPF_PSEUDO_CALL
        r0_precise = from_call and regs[frame] & 1
        if following >= 0 and env.aux[following].calls_callback and env.rules.callback_exit_clears_args:
            regs[frame] &= ~_ARGS  # the helper made them
        if from_call and regs[frame] & _ARGS:
            _bug(env, f"BUG regs {regs[frame]:x}")
        regs[frame] &= ~1
        _enter(env, bt)
        if r0_precise:
            regs[bt.frame] |= 1
        return
    if code & op.BPF_X:
        if not regs[frame] >> dst & 1 and not regs[frame] >> src & 1:
            return
        flags = 0 if entry is None else entry.flags
        if not flags & F_SRC_STACK:
            regs[frame] |= 1 << src
        if not flags & F_DST_STACK:
            regs[frame] |= 1 << dst


def force_precise(env: Env, state: State | None) -> bool:
    """Retracing failed: every scalar on the path becomes precise (mark_all_scalars_precise)."""
    assert state is not None
    if env.prints_all:
        env.log.write(
            f"mark_precise: frame{len(state.frames) - 1}: falling back to forcing all scalars precise\n"
        )
    state = state.parent
    changed = False
    while state is not None:
        state.marked = True
        for number, frame in enumerate(state.frames):
            for i in range(FP):
                reg = frame.regs[i]
                if reg.type == SCALAR_VALUE and not reg.precise:
                    frame.regs[i] = reg.with_precision(True)
                    frame.precise |= 1 << i
                    changed = True
                    if env.prints_all:
                        env.log.write(f"force_precise: frame{number}: forcing r{i} to be precise\n")
            for i, slot in enumerate(frame.stack):
                reg = slot.reg
                if slot.kinds[7] == SPILL and reg.type == SCALAR_VALUE and not reg.precise:
                    frame.stack[i] = Slot(slot.kinds, reg.with_precision(True))
                    frame.precise |= 1 << NR_REGS + i
                    changed = True
                    if env.prints_all:
                        env.log.write(f"force_precise: frame{number}: forcing fp{-8 * (i + 1)} to be precise\n")
        state = state.parent
    return changed


def mark_precise(env: Env, reg: int) -> None:
    """The bounds of a register of the running frame were needed. -1: of none."""
    if not env.bpf_capable or reg < 0:
        return
    if not env.rules.precision_through_calls:
        early_precision.mark(env, len(env.state.frames) - 1, reg)
        return
    if env.regs[reg].type != SCALAR_VALUE:
        _bug(env, "verifier bug: backtracking misuse" if env.rules.live_registers else "")
    bt = Backtrack(len(env.state.frames) - 1)
    bt.regs[bt.frame] |= 1 << reg
    _walk(env, bt, env.state, env.insn_idx)


def mark_precise_set(env: Env, bt: Backtrack, state: State, insn: int) -> bool:
    """As `mark_precise`, for registers and slots of a state at `insn`. True when anything became precise."""
    if not env.bpf_capable or bt.is_empty:
        return False
    return _walk(env, bt, state, insn)


# Where the second mask of `_reach` begins, and a bit that is in every set of wanted registers.
_SETTLED: Final = 20
_ALWAYS: Final = 1 << 16


def _reach(insn: Insn) -> int:
    """When an instruction changes the set of wanted registers: masks (any of | but not all of << _SETTLED).

    It does when any register of the first mask is wanted, unless all of a non-zero second one are. _ALWAYS: it may
    always. Stores are told apart by the caller: what they write is a slot of the history.
    """
    some, unless_all = _reach_masks(insn)
    return _ALWAYS if some < 0 else some | unless_all << _SETTLED


def _reach_masks(insn: Insn) -> tuple[int, int]:
    code, dst, src, _off, imm = insn
    klass = code & 7
    if code == 0:
        return 0, 0
    if klass in (op.BPF_ALU, op.BPF_ALU64):
        operation = code & 0xF0
        if operation == op.BPF_MOV:
            return 1 << dst, 0
        if operation in (op.BPF_END, op.BPF_NEG) or not code & op.BPF_X or src == FP:
            return 0, 0
        return 1 << dst, 1 << dst | 1 << src
    if klass in (op.BPF_LDX, op.BPF_ST):
        return 1 << dst, 0
    if klass == op.BPF_STX:
        return (-1, 0) if code & 0xE0 == op.BPF_ATOMIC else (1 << dst, 0)
    if klass == op.BPF_LD:
        return (1 << dst, 0) if code & 0xE0 == op.BPF_IMM else (-1, 0)
    if code & 0xF0 in (op.BPF_CALL, op.BPF_EXIT):
        if code & 0xF0 == op.BPF_CALL and insn.src == 0 and imm != TAIL_CALL and imm not in SYNC_CALLBACKS:
            return _ARGS | 1, 0
        return -1, 0
    if code & 0xF0 == op.BPF_JA or not code & op.BPF_X:
        return 0, 0
    both = 1 << dst | 1 << src
    return both, both


def reaches(env: Env) -> list[int]:
    """`_reach` of every instruction, computed once."""
    if not env.reaches:
        env.reaches = [_reach(insn) for insn in env.insns]
    return env.reaches


def _reaching(env: Env, wanted: int) -> bytearray:
    """1 for each instruction that may change this set of wanted registers. Few sets are met; their tables are kept."""
    found = env.reaching.get(wanted)
    if found is None:
        if (len(env.reaching) + 1) * len(env.insns) > _MAX_REACHING:
            env.reaching.clear()
        found = env.reaching[wanted] = bytearray(map(bool, map(wanted.__and__, reaches(env))))
    return found


_MAX_REACHING: Final = 1 << 22


def _walk(env: Env, bt: Backtrack, state: State, last: int) -> bool:
    """Walk back from before instruction `last` of a state. True when a checkpoint learned something."""
    changed = False
    skip_first = True
    first = state.first_insn
    following = -1
    printing = env.prints_all
    reach = reaches(env)
    regs, slots = bt.regs, bt.slots
    origin = state
    tabled = -1  # the set of registers that `table` is of
    table = bytearray()
    while True:
        history = state.history
        end = len(history)
        if printing:
            env.log.write(
                f"mark_precise: frame{bt.frame}: last_idx {last} first_idx {first} subseq_idx {following} \n"
            )
        if last < 0:
            _at_entry(env, bt, state)
            return changed
        index = last
        entry: History | None = None
        remembered = -1  # the next instruction back that has an entry
        if end:
            entry = history[end - 1]
            remembered = entry.insn
        wanted = regs[bt.frame] | _ALWAYS
        while True:
            here = index == remembered
            if skip_first:
                skip_first = False
            else:
                mask = reach[index]
                if wanted & mask or printing or (
                    here and entry is not None and (entry.linked or slots[entry.frame] >> entry.slot & 1)
                ):
                    settled = mask >> _SETTLED
                    if not settled or wanted & settled != settled or printing or here:
                        try:
                            _step(env, bt, index, following, entry if here else None)
                        except _Unknown:
                            return force_precise(env, origin) or changed
                        if bt.is_empty:
                            return changed
                        wanted = regs[bt.frame] | _ALWAYS
            following = index
            if index == first and (end == 0 or (end == 1 and here)):
                break
            if not here and not printing:  # straight on to what matters
                if tabled != wanted:
                    table = _reaching(env, wanted)
                    tabled = wanted
                low = remembered if end else first
                index = table.rfind(1, low, index)
                if index < low:
                    index = low
                following = index + 1
                continue
            if here and entry is not None:
                index = entry.previous
                end -= 1
                remembered = -1
                if end:
                    entry = history[end - 1]
                    remembered = entry.insn
            else:
                index -= 1
        parent = state.parent
        if parent is None:
            return force_precise(env, origin) or changed
        state = parent
        changed |= _mark(env, bt, state)
        if bt.is_empty:
            return changed
        following = first
        last = state.last_insn
        first = state.first_insn


def _at_entry(env: Env, bt: Backtrack, state: State) -> None:
    """The arguments of a global function, verified on its own."""
    frame = state.frames[0]
    regs = bt.regs[bt.frame]
    if len(state.frames) == 1 and frame.subprog > 0 and frame.callsite == -1 and not bt.slots[bt.frame] \
            and not regs & ~_ARGS:
        state.marked = True
        for i in range(1, 6):
            if regs >> i & 1 and frame.regs[i].type == SCALAR_VALUE:
                frame.regs[i] = frame.regs[i].with_precision(True)
                frame.precise |= 1 << i
        return
    _bug(
        env,
        f"BUG backtracking func entry subprog {frame.subprog} reg_mask {regs:x} stack_mask {bt.slots[bt.frame]:x}",
    )


def _mark(env: Env, bt: Backtrack, state: State) -> bool:
    """Mark what is wanted in a checkpoint; what is precise there already needs no further retracing."""
    changed = False
    for number in range(bt.frame, -1, -1):
        frame = state.frames[number]
        wanted = bt.regs[number]
        while wanted:
            i = wanted.bit_length() - 1
            wanted &= ~(1 << i)
            reg = frame.regs[i]
            if reg.type != SCALAR_VALUE or reg.precise:
                bt.regs[number] &= ~(1 << i)
            else:
                frame.regs[i] = reg.with_precision(True)
                frame.precise |= 1 << i
                changed = True
        wanted = bt.slots[number]
        while wanted:
            i = wanted.bit_length() - 1
            wanted &= ~(1 << i)
            if i >= len(frame.stack):
                _bug(env, f"BUG backtracking (stack slot {i}, total slots {len(frame.stack)})")
            slot = frame.stack[i]
            if slot.kinds[7] != SPILL or slot.reg.type != SCALAR_VALUE or slot.reg.precise:
                bt.slots[number] &= ~(1 << i)
            else:
                frame.stack[i] = Slot(slot.kinds, slot.reg.with_precision(True))
                frame.precise |= 1 << NR_REGS + i
                changed = True
        if changed:
            state.marked = True
        if env.prints_all:
            env.log.write(
                f"mark_precise: frame{number}: parent state regs={_regs_text(bt.regs[number])} "
                f"stack={_slots_text(bt.slots[number])}: {frame_text(env, frame, True, state)}\n"
            )
    return changed
