"""Conditional jumps: which way they can go, and what each way teaches.

Linux 6.12 kernel/bpf/verifier.c: check_cond_jmp_op.
"""

from __future__ import annotations

from typing import Final

from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.verifier import bounds_alu, bounds_early, prune, refs, tnum
from bombus.verifier.bounds import Bounds, Range, const, sync
from bombus.verifier.bounds_cond import OPPOSITE, SWAPPED, is_const, refine, taken
from bombus.verifier.env import EACCES, EINVAL, F_DST_STACK, F_SRC_STACK, MAX_PACKET_OFF, MAX_VAR_OFF, Aux, Env, single
from bombus.verifier.live import use
from bombus.verifier.log import print_touched
from bombus.verifier.precision import mark_precise, remember
from bombus.verifier.records import has_field, has_lock, of_object
from bombus.verifier.regs import (
    ADD_CONST,
    ADD_CONST32,
    BASE_MASK,
    CONST_PTR_TO_MAP,
    ID_BITS,
    MEM_ALLOC,
    MEM_PERCPU,
    NOT_INIT,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_BUF,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_PACKET_END,
    PTR_TO_PACKET_META,
    PTR_TO_SOCK_COMMON,
    PTR_TO_SOCKET,
    PTR_TO_STACK,
    PTR_TO_TCP_SOCK,
    PTR_TO_XDP_SOCK,
    PTR_UNTRUSTED,
    SCALAR_VALUE,
    UNINIT,
    ZERO,
    Reg,
    known,
)
from bombus.verifier.special import SOCK_MAPS, XSK_MAP
from bombus.verifier.state import FP, SPILL, Slot, State
from bombus.verifier.trust import is_trusted

AT_PACKET_END: Final = -1
BEYOND_PACKET_END: Final = -2
_PACKET_ANY: Final = (PTR_TO_PACKET, PTR_TO_PACKET_META, PTR_TO_PACKET_END)
_MAX_LINKED: Final = 6
_NOT_NULL: Final = frozenset(
    (
        PTR_TO_SOCKET, PTR_TO_TCP_SOCK, PTR_TO_XDP_SOCK, PTR_TO_BUF, PTR_TO_MAP_VALUE, PTR_TO_MAP_KEY,
        PTR_TO_SOCK_COMMON, PTR_TO_MEM, CONST_PTR_TO_MAP,
    )
)
_EXTREMES: Final = (op.BPF_JEQ, op.BPF_JNE)


def not_null(reg: Reg) -> bool:
    """Whether a pointer can never be 0."""
    type_ = reg.type
    if type_ & PTR_MAYBE_NULL:
        return False
    if reg.bounds.r64[2] <= -MAX_VAR_OFF or reg.bounds.r64[3] >= MAX_VAR_OFF:
        return False
    base = type_ & BASE_MASK
    if base == PTR_TO_MEM and type_ & PTR_UNTRUSTED:
        return False
    return base in _NOT_NULL or (base == PTR_TO_BTF_ID and is_trusted(reg))


def _decide(a: Reg, b: Reg, condition: int, is32: bool, halves_not_zero: bool) -> bool | None:
    """Whether the jump is always taken, never, or either (is_branch_taken)."""
    if a.type in _PACKET_ANY and b.type in _PACKET_ANY and not is32:
        return _decide_packet(a, b, condition)
    if a.type != SCALAR_VALUE or b.type != SCALAR_VALUE:
        if is32 and not halves_not_zero:
            return None
        seen = 0xFFFFFFFF if is32 else -1
        if b.type != SCALAR_VALUE or b.bounds.bits[1] & seen:
            condition = SWAPPED[condition]
            a, b = b, a
        if b.type != SCALAR_VALUE or (b.bounds.bits[0] | b.bounds.bits[1]) & seen or not not_null(a):
            return None
        return False if condition == op.BPF_JEQ else True if condition == op.BPF_JNE else None
    return taken(condition, a.bounds, b.bounds, is32=is32)


def _decide_packet(a: Reg, b: Reg, condition: int) -> bool | None:
    if b.type == PTR_TO_PACKET_END:
        packet = a
    elif a.type == PTR_TO_PACKET_END:
        packet = b
        condition = SWAPPED[condition]
    else:
        return None
    if packet.number >= 0:
        return None
    if condition in (op.BPF_JLE, op.BPF_JGT):
        if packet.number == BEYOND_PACKET_END:
            return condition == op.BPF_JGT
    elif condition in (op.BPF_JLT, op.BPF_JGE):
        return condition == op.BPF_JGE
    return None


def _speculate(env: Env, insn: Insn, target: int) -> None:
    """The way not taken may still be executed speculatively, with unknown operands."""
    branch = env.push(target, env.insn_idx, speculative=True)
    regs = branch.frames[-1].regs
    regs[insn.dst] = env.unknown
    if insn.opcode & op.BPF_X:
        regs[insn.src] = env.unknown


def check(env: Env, insn: Insn) -> int:
    """A conditional jump. Returns where the current path goes on; the other way is queued."""
    code, dst, src, off, imm = insn
    condition = code & 0xF0
    here = env.insn_idx
    if condition == op.BPF_JA or condition > op.BPF_JCOND:
        env.fail(EINVAL, f"invalid BPF_JMP/JMP32 opcode {condition:x}")
    if condition == op.BPF_JCOND:
        return _may_goto(env, insn)
    state = env.state
    regs = state.frames[-1].regs
    if env.marked or dst > FP or regs[dst].type == NOT_INIT:
        use(env, dst)
    env.touched_regs |= 1 << dst
    by_register = code & op.BPF_X
    flags = 0
    a = regs[dst]
    aux = env.aux[here]
    if by_register:
        if imm:
            env.fail(EINVAL, "BPF_JMP/JMP32 uses reserved fields")
        if env.marked or src > FP or regs[src].type == NOT_INIT:
            use(env, src)
        env.touched_regs |= 1 << src
        b = regs[src]
        if not (a.type in _PACKET_ANY and b.type in _PACKET_ANY) and env.is_pointer(b):
            env.fail(EACCES, f"R{src} pointer comparison prohibited")
        if b.type == PTR_TO_STACK:
            flags |= F_SRC_STACK
    else:
        if src:
            env.fail(EINVAL, "BPF_JMP/JMP32 uses reserved fields")
        if aux.constant is None:
            aux.constant = known(imm)
        b = aux.constant
    if a.type == PTR_TO_STACK:
        flags |= F_DST_STACK
    if flags and env.rules.precise_history:
        remember(env, flags)
    is32 = code & 7 == op.BPF_JMP32
    scalars = a.type == SCALAR_VALUE and b.type == SCALAR_VALUE
    decided: bool | None
    if scalars:
        if aux.before_a is not a.bounds or aux.before_b is not b.bounds or aux.outcome is None:
            aux.before_a, aux.before_b = a.bounds, b.bounds
            aux.outcome = Outcome(_decide_scalars(env, a, b, condition, is32))
        decided = aux.outcome.decided
    else:
        decided = None
        comparable = env.rules.maps_not_null or a.base not in (CONST_PTR_TO_MAP, PTR_TO_MEM)
        by_constant = comparable and b.type == SCALAR_VALUE and is_const(b.bounds, is32)
        if env.rules.compare_ranges or by_constant or a.type in _PACKET_ANY:
            decided = _decide(a, b, condition, is32, env.rules.pointer_halves_not_zero)
    if decided is not None:
        if a.type == SCALAR_VALUE:
            mark_precise(env, dst)
        if by_register and b.type == SCALAR_VALUE:
            mark_precise(env, src)
        if not env.bypass_spec_v1:
            _speculate(env, insn, here + 1 if decided else here + off + 1)
        if env.prints:
            print_touched_if_any(env)
        return here + off + 1 if decided else here + 1
    if (a.id or (by_register and b.id)) and env.rules.linked_history:
        _remember_linked(env, a, b, bool(by_register))
        a = regs[dst]
        b = regs[src] if by_register else b
    other = env.push(here + off + 1, here)
    if scalars:
        _refine(env, insn, aux, other, a, b, is32)
    else:
        _pointers(env, insn, other, b, is32)
    if env.prints:
        print_touched_if_any(env)
    return here + 1


def _pointers(env: Env, insn: Insn, other: State, b: Reg, is32: bool) -> None:
    """What a comparison teaches of which one side at least is a pointer."""
    _code, dst, src, _off, imm = insn
    state = env.state
    regs = state.frames[-1].regs
    by_register = insn.opcode & op.BPF_X
    condition = insn.opcode & 0xF0
    if by_register:
        if not is32 and env.rules.equal_not_null:
            _equal_pointers(insn, regs, other.frames[-1].regs)
        b = regs[src]
    a = regs[dst]
    if not by_register and not is32 and imm == 0 and condition in _EXTREMES and a.type & PTR_MAYBE_NULL:
        _null_checked(env, state, dst, condition == op.BPF_JNE)
        _null_checked(env, other, dst, condition == op.BPF_JEQ)
    elif not _match_packet(env, insn, a, b, state, other) and env.is_pointer(a):
        env.fail(EACCES, f"R{dst} pointer comparison prohibited")


def print_touched_if_any(env: Env) -> None:
    if env.touched_regs or env.touched_slots:
        print_touched(env, env.frame)


def _may_goto(env: Env, insn: Insn) -> int:
    if insn.opcode != op.MAY_GOTO or insn.src != op.BPF_MAY_GOTO or insn.dst or insn.imm \
            or not (insn.off or env.rules.may_goto_zero):
        env.fail(EINVAL, f"invalid may_goto imm {insn.imm}" if env.rules.may_goto_zero
                 else f"invalid may_goto off {insn.off} imm {insn.imm}")
    here = env.insn_idx
    previous = prune.previous_entry(env, env.state.parent, here)
    queued = env.push(here + 1, here)
    queued.may_goto_depth += 1
    if previous is not None:
        prune.widen(env, previous, queued)
    return here + insn.off + 1


# What each way teaches.


class Outcome:
    """What a comparison of scalars gave: whether it was decided, and if not what each way teaches of both sides.

    a, b: the registers from which the new ones were made; their bounds are those that the outcome is of.
    """

    __slots__ = ("a", "b", "decided", "false_a", "false_b", "true_a", "true_b")

    def __init__(self, decided: bool | None) -> None:
        self.decided: Final = decided
        self.a = self.true_a = self.false_a = UNINIT
        self.b = self.true_b = self.false_b = UNINIT


def _decide_scalars(env: Env, a: Reg, b: Reg, condition: int, is32: bool) -> bool | None:
    if env.rules.compare_ranges:
        return taken(condition, a.bounds, b.bounds, is32=is32)
    if not is_const(b.bounds, is32):
        return None
    decided = taken(condition, a.bounds, b.bounds, is32=is32)
    if decided is not None and condition in _EXTREMES and not is_const(a.bounds, is32):
        return None
    return decided


def _refine(env: Env, insn: Insn, aux: Aux, other: State, a: Reg, b: Reg, is32: bool) -> None:
    condition = insn.opcode & 0xF0
    dst, src = insn.dst, insn.src
    by_register = insn.opcode & op.BPF_X
    state = env.state
    regs = state.frames[-1].regs
    other_regs = other.frames[-1].regs
    if by_register and src == dst and env.rules.compare_ranges:
        _refine_same(env, insn, other, a, is32)
        return
    outcome = aux.outcome
    if outcome is None or outcome.a is not a or outcome.b is not b:
        outcome = _learn(env, condition, outcome, a, b, is32)
    regs[dst] = outcome.false_a
    other_regs[dst] = outcome.true_a
    if by_register:
        regs[src] = outcome.false_b
        other_regs[src] = outcome.true_b
        if b.id:
            _sync_linked(env, state, regs[src])
            _sync_linked(env, other, other_regs[src])
    if a.id:  # as it is by now: linked to the source, it has what was learned of that
        _sync_linked(env, state, regs[dst])
        _sync_linked(env, other, other_regs[dst])


def _learn(env: Env, condition: int, outcome: Outcome | None, a: Reg, b: Reg, is32: bool) -> Outcome:
    """Both sides as each way leaves them. outcome: that of the last comparison of the same bounds, to be kept."""
    if outcome is not None and outcome.a is not UNINIT:  # the same bounds, in other registers
        true_a, true_b = outcome.true_a.bounds, outcome.true_b.bounds
        false_a, false_b = outcome.false_a.bounds, outcome.false_b.bounds
    else:
        forget = env.rules.forget_ranges_on_not_set
        if env.rules.compare_ranges:
            false_a, false_b = refine(OPPOSITE[condition], a.bounds, b.bounds, is32=is32, forget_ranges=forget)
            true_a, true_b = refine(condition, a.bounds, b.bounds, is32=is32, forget_ranges=forget)
        else:
            false_a, false_b = bounds_early.refine(OPPOSITE[condition], a.bounds, b.bounds, is32=is32)
            true_a, true_b = bounds_early.refine(condition, a.bounds, b.bounds, is32=is32)
    new = Outcome(None)
    new.true_a = _checked(env, a, true_a, "true_reg1")
    new.true_b = _checked(env, b, true_b, "true_reg2")
    new.false_a = _checked(env, a, false_a, "false_reg1")
    new.false_b = _checked(env, b, false_b, "false_reg2")
    if outcome is not None and new.true_a.bounds is true_a and new.true_b.bounds is true_b \
            and new.false_a.bounds is false_a and new.false_b.bounds is false_b:  # no contradiction was found
        new.a, new.b = a, b
        env.aux[env.insn_idx].outcome = new
    return new


def _checked(env: Env, reg: Reg, bounds: Bounds, where: str) -> Reg:
    new = reg if reg.bounds is bounds else reg.with_bounds(bounds)
    return new if bounds.checked >= env.sane_at else env.sane(new, where)


# Comparisons of which neither outcome includes equality: the lower index of their limits in a Range.
_STRICT: Final = {op.BPF_JLT: 0, op.BPF_JGT: 0, op.BPF_JSLT: 2, op.BPF_JSGT: 2}


def _refine_same(env: Env, insn: Insn, other: State, reg: Reg, is32: bool) -> None:
    """A register compared with itself: one side learns from the other, which is itself, so that strict ones shrink."""
    regs, other_regs = env.state.frames[-1].regs, other.frames[-1].regs
    dst = insn.dst
    condition = insn.opcode & 0xF0
    new_true = env.sane(_shrunk(env, reg, _STRICT.get(condition, -1), is32, "true_reg1"), "true_reg2")
    regs[dst] = env.sane(_shrunk(env, reg, _STRICT.get(OPPOSITE[condition], -1), is32, "false_reg1"), "false_reg2")
    other_regs[dst] = new_true
    if reg.id:
        _sync_linked(env, env.state, regs[dst])
        _sync_linked(env, other, new_true)


def _shrunk(env: Env, reg: Reg, low: int, is32: bool, where: str) -> Reg:
    if low < 0:
        return env.sane(reg.with_bounds(sync(*_parts(reg.bounds))), where)
    ranges = list(reg.bounds.r32 if is32 else reg.bounds.r64)
    ranges[low] = _wrap(ranges[low] + 1, low, is32)
    ranges[low + 1] = _wrap(ranges[low + 1] - 1, low, is32)
    changed = (ranges[0], ranges[1], ranges[2], ranges[3])
    bounds = reg.bounds
    raw = Bounds(bounds.bits, bounds.r64, changed) if is32 else Bounds(bounds.bits, changed, bounds.r32)
    if env.rules.single_values:
        raw = single(reg.with_bounds(raw)).bounds
    return env.sane(reg.with_bounds(sync(*_parts(sync(raw.bits, raw.r64, raw.r32)))), where)


def _parts(bounds: Bounds) -> tuple[tnum.Tnum, Range, Range]:
    return bounds.bits, bounds.r64, bounds.r32


def _wrap(value: int, low: int, is32: bool) -> int:
    bits = 32 if is32 else 64
    value &= (1 << bits) - 1
    return value - (1 << bits) if low and value >> (bits - 1) else value


def _members(env: Env, id_: int) -> list[tuple[int, bool, int]]:
    """Registers and slots linked by an id, in the kernel's order: inner frame first, registers before slots."""
    id_ &= ID_BITS
    found: list[tuple[int, bool, int]] = []
    at = env.insn_idx
    spilled = 7 if env.rules.part_spills_linked else 0
    for number in range(len(env.state.frames) - 1, -1, -1):
        frame = env.state.frames[number]
        live = -1
        if env.rules.live_links:
            live = env.live_before[at]
            at = frame.callsite
        for i in range(FP):
            reg = frame.regs[i]
            if reg.id and live >> i & 1 and reg.type == SCALAR_VALUE and reg.id & ID_BITS == id_:
                found.append((number, True, i))
        for i, slot in enumerate(frame.stack):
            reg = slot.reg
            if reg.id and slot.kinds[spilled] == SPILL and reg.type == SCALAR_VALUE and reg.id & ID_BITS == id_:
                found.append((number, False, i))
    return found


def _remember_linked(env: Env, a: Reg, b: Reg, by_register: bool) -> None:
    """The condition will change every linked scalar: precision must follow them all."""
    found: list[tuple[int, bool, int]] = []
    for reg, wanted in ((b, by_register), (a, True)):
        if wanted and reg.type == SCALAR_VALUE and reg.id:
            for place in _members(env, reg.id):
                if len(found) < _MAX_LINKED:
                    found.append(place)
                else:  # too many: this one is no longer linked
                    number, is_reg, i = place
                    frame = env.state.frames[number]
                    if is_reg:
                        frame.regs[i] = frame.regs[i].but(id_=0, off=0)
                    else:
                        slot = frame.stack[i]
                        frame.stack[i] = Slot(slot.kinds, slot.reg.but(id_=0, off=0))
    if len(found) > 1:
        remember(env, linked=tuple(found))


def _sync_linked(env: Env, state: State, known: Reg) -> None:
    """Give what was learned of one scalar to all that are linked to it (sync_linked_regs)."""
    entry = env.current_history
    if env.rules.linked_history:
        places = entry.linked if entry is not None else ()
    else:
        places = tuple(_members(env, known.id))
    for number, is_reg, i in places:
        frame = state.frames[number]
        reg = frame.regs[i] if is_reg else frame.stack[i].reg
        if reg is known or reg.type != SCALAR_VALUE or reg.id & ID_BITS != known.id & ID_BITS:
            continue
        if reg.id & known.id & ADD_CONST and (reg.id ^ known.id) & ADD_CONST32:
            continue
        if (not reg.id & ADD_CONST and not known.id & ADD_CONST) or reg.off == known.off:
            new = known
        else:
            distance = const(reg.off - known.off)
            moved = env.rules.alu_table[op.BPF_ADD](known.bounds, distance)
            if (reg.id | known.id) & ADD_CONST32:
                moved = bounds_alu.zext32(moved)
            if env.rules.linked_differences:
                moved = sync(moved.bits, moved.r64, moved.r32)
            new = known.but(bounds=moved, id_=reg.id, off=reg.off)
        if is_reg:
            frame.regs[i] = new
        else:
            frame.stack[i] = Slot(frame.stack[i].kinds, new)


def _equal_pointers(insn: Insn, regs: list[Reg], other_regs: list[Reg]) -> None:
    """A pointer that equals one which is never 0 is not 0 either."""
    a, b = regs[insn.dst], regs[insn.src]
    if a.type == SCALAR_VALUE or b.type == SCALAR_VALUE or PTR_TO_BTF_ID in (a.base, b.base):
        return
    condition = insn.opcode & 0xF0
    if condition == op.BPF_JEQ:
        where = other_regs
    elif condition == op.BPF_JNE:
        where = regs
    else:
        return
    if not_null(a) and b.type & PTR_MAYBE_NULL:
        where[insn.src] = without_null(where[insn.src])
    if not_null(b) and a.type & PTR_MAYBE_NULL:
        where[insn.dst] = without_null(where[insn.dst])


def without_null(reg: Reg) -> Reg:
    """A pointer after it was found not to be 0 (mark_ptr_not_null_reg)."""
    if reg.base != PTR_TO_MAP_VALUE or reg.map is None:
        return reg.but(type_=reg.type & ~PTR_MAYBE_NULL)
    if reg.map.inner is not None:
        inner = reg.map.inner
        uid = reg.id if any(has_field(inner, kind) for kind in ("timer", "wq", "task_work")) else reg.map_uid
        return Reg(CONST_PTR_TO_MAP, reg.bounds, reg.off, reg.id, reg.ref_id, map_=inner, map_uid=uid)
    if reg.map.type == XSK_MAP:
        return reg.but(type_=PTR_TO_XDP_SOCK)
    if reg.map.type in SOCK_MAPS:
        return reg.but(type_=PTR_TO_SOCKET)
    return reg.but(type_=PTR_TO_MAP_VALUE)


def _null_checked(env: Env, state: State, regno: int, is_null: bool) -> None:
    """A pointer was compared with 0: so were all its copies (mark_ptr_or_null_regs)."""
    reg = state.frames[-1].regs[regno]
    id_ = reg.id
    if reg.ref_id and reg.ref_id == id_ and is_null:
        refs.drop(env, state, id_)

    def change(other: Reg) -> Reg | None:
        if not other.type & PTR_MAYBE_NULL:
            return None
        if is_null:
            return Reg(SCALAR_VALUE, ZERO, precise=other.precise or not env.bpf_capable)
        new = without_null(other)
        return new if _may_hold_lock(env, new) else new.but(id_=0)

    refs.replace_all(env, change, state, id_=id_)


def _may_hold_lock(env: Env, reg: Reg) -> bool:
    """Its id tells whose lock it is."""
    if reg.base == PTR_TO_MAP_VALUE:
        return reg.map is not None and has_lock(reg.map.fields)
    if reg.base != PTR_TO_BTF_ID or not reg.type & MEM_ALLOC or reg.type & MEM_PERCPU or reg.btf is None:
        return False
    return has_lock(of_object(reg.btf, reg.btf_id, env.program.version))


# Packets.


def _match_packet(env: Env, insn: Insn, a: Reg, b: Reg, here: State, there: State) -> bool:
    """A comparison with the packet's end tells how far the packet may be read (try_match_pkt_pointers)."""
    if not insn.opcode & op.BPF_X or insn.opcode & 7 == op.BPF_JMP32:
        return False
    condition = insn.opcode & 0xF0
    if condition not in (op.BPF_JGT, op.BPF_JLT, op.BPF_JGE, op.BPF_JLE):
        return False
    if _comparable(a, b):
        packet, number = a, insn.dst
    elif _comparable(b, a):
        packet, number = b, insn.src
        condition = SWAPPED[condition]
    else:
        return False
    # On which way the packet pointer lies before the end, and whether it may equal it there.
    if condition == op.BPF_JGT:
        good, bad, open_, bad_open = here, there, False, True
    elif condition == op.BPF_JLT:
        good, bad, open_, bad_open = there, here, True, False
    elif condition == op.BPF_JGE:
        good, bad, open_, bad_open = here, there, True, False
    else:
        good, bad, open_, bad_open = there, here, False, True
    _good_packet(env, good, packet, open_)
    regs = bad.frames[-1].regs
    if regs[number].type == PTR_TO_PACKET:
        regs[number] = regs[number].with_number(BEYOND_PACKET_END if bad_open else AT_PACKET_END)
    return True


def _comparable(packet: Reg, end: Reg) -> bool:
    if packet.type == PTR_TO_PACKET:
        return end.type == PTR_TO_PACKET_END
    return packet.type == PTR_TO_PACKET_META and end.type == PTR_TO_PACKET and end.off == 0 \
        and end.id == 0 and end.bounds.bits == (0, 0)


def _good_packet(env: Env, state: State, packet: Reg, range_open: bool) -> None:
    """Every pointer from the same place may be read up to here (find_good_pkt_pointers)."""
    if packet.off < 0 or (packet.off == 0 and range_open):
        return
    umax = packet.bounds.r64[1]
    if umax > MAX_PACKET_OFF or umax + packet.off > MAX_PACKET_OFF:
        return
    reach = packet.off + range_open
    type_, id_ = packet.type, packet.id

    def change(reg: Reg) -> Reg | None:
        return reg.with_number(reach) if reg.number < reach else None

    refs.replace_all(env, change, state, id_=id_, type_=type_)


__all__ = ["Bounds", "check", "not_null", "without_null"]
