"""Reads and writes of the stack: spills, fills, partly known slots.

Linux 6.12 kernel/bpf/verifier.c: check_stack_write_fixed_off, check_stack_read_fixed_off and their variable-offset
kin, check_stack_range_initialized.
"""

from __future__ import annotations

from typing import Final

from bombus.bits import s64
from bombus.isa import opcodes as op
from bombus.verifier import dynptr
from bombus.verifier.bounds import const
from bombus.verifier.env import EACCES, EFAULT, EINVAL, F_STACK_ACCESS, MAX_STACK, MAX_VAR_OFF, READ, WRITE, Env
from bombus.verifier.live import mark_slot_read, mark_slot_written
from bombus.verifier.log import bits_text, print_source
from bombus.verifier.precision import mark_precise, remember
from bombus.verifier.regs import (
    ADD_CONST,
    BASE_MASK,
    CONST_PTR_TO_MAP,
    NOT_INIT,
    PTR_TO_ARENA,
    PTR_TO_BTF_ID,
    PTR_TO_BUF,
    PTR_TO_CTX,
    PTR_TO_FLOW_KEYS,
    PTR_TO_FUNC,
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
    SCALAR_VALUE,
    UNINIT,
    Reg,
)
from bombus.verifier.state import (
    DYNPTR,
    FP,
    INVALID,
    IRQ,
    ITER,
    LIVE_WRITTEN,
    MISC,
    SPILL,
    SPILLED,
    ZEROED,
    Frame,
    Slot,
)

SPILLABLE: Final = frozenset(
    (
        PTR_TO_MAP_VALUE, PTR_TO_STACK, PTR_TO_CTX, PTR_TO_PACKET, PTR_TO_PACKET_META, PTR_TO_PACKET_END,
        PTR_TO_FLOW_KEYS, CONST_PTR_TO_MAP, PTR_TO_SOCKET, PTR_TO_SOCK_COMMON, PTR_TO_TCP_SOCK, PTR_TO_XDP_SOCK,
        PTR_TO_BTF_ID, PTR_TO_BUF, PTR_TO_MEM, PTR_TO_FUNC, PTR_TO_MAP_KEY, PTR_TO_ARENA,
    )
)


def is_null(reg: Reg) -> bool:
    return reg.type == SCALAR_VALUE and reg.bounds.bits == (0, 0)


def width(reg: Reg) -> int:
    """Bits that the register's value may need."""
    return reg.bounds.r64[1].bit_length()


def linked(env: Env, frame: Frame, number: int) -> Reg:
    """The register, after a scalar without id got one so that a copy stays linked (assign_scalar_id_before_mov)."""
    reg = frame.regs[number]
    new = with_id(env, reg)
    if new is not reg:
        frame.regs[number] = new
    return new


def with_id(env: Env, reg: Reg) -> Reg:
    if reg.type != SCALAR_VALUE:
        return reg
    if reg.id & ADD_CONST:
        reg = reg.with_id(0, 0)
    if not reg.id and reg.bounds.bits[1]:
        reg = reg.with_id(env.new_id(), reg.off)
    return reg


def within_bounds(env: Env, regno: int, off: int, size: int, access: int, *, by_helper: bool) -> None:
    """Check that an access stays on the stack and make the stack deep enough (check_stack_access_within_bounds)."""
    frames = env.state.frames
    reg = frames[-1].regs[regno]
    frame = frames[reg.frame]
    bits = reg.bounds.bits
    if bits[1] == 0 and (low := s64(bits[0]) + off if bits[0] else off) >= -MAX_STACK and low + size <= 0 < size and (
        access == WRITE or env.uninit_stack_allowed
    ):
        if -low > 8 * len(frame.stack):
            grow(env, frame, -low)
        return
    indirect = by_helper and not env.rules.helper_reads_keep_stack
    where = " indirect access to" if indirect else " read from" if access == READ else " write to"
    if bits[1] == 0:
        low = s64(bits[0]) + off
        high = low + size
    else:
        _umin, _umax, smin, smax = reg.bounds.r64
        if smax >= MAX_VAR_OFF or smin <= -MAX_VAR_OFF:
            env.fail(EACCES, f"invalid unbounded variable-offset{where} stack R{regno}")
        low = smin + off
        high = smax + off + size
    lowest = -MAX_STACK if access == WRITE or env.uninit_stack_allowed else -8 * len(frame.stack)
    errno = 0
    if low < lowest or low > -1:
        errno = EACCES
    elif high > 0:
        errno = EINVAL
    elif size < 0:
        errno = EFAULT
    if errno:
        if bits[1] == 0:
            env.fail(errno, f"invalid{where} stack R{regno} off={off} size={size}")
        env.fail(
            errno,
            f"invalid variable-offset{where} stack R{regno} var_off={bits_text(env, bits)}"
            f"{f' off={off}' if env.rules.stack_off_in_errors else ''} size={size}",
        )
    grow(env, frame, -low)


def grow(env: Env, frame: Frame, size: int) -> None:
    size = (size + 7) & -8
    if size > 8 * len(frame.stack):
        frame.grow(size)
        subprog = env.subprogs[frame.subprog]
        if subprog.stack_depth < size:
            subprog.stack_depth = size


def _fastcall_contract(env: Env, frame: Frame, insn: int, off: int) -> None:
    """Spills around fastcall calls may only vanish while nothing else touches their slots."""
    subprog = env.subprogs[frame.subprog]
    if subprog.fastcall_stack_off <= off or env.aux[insn].fastcall_pattern:
        return
    subprog.fastcall_stack_off = -32768
    for aux in env.aux[subprog.start : subprog.end]:
        aux.fastcall_spills = 0
        aux.fastcall_pattern = False


def _save(env: Env, frame: Frame, at: int, reg: Reg, size: int) -> None:
    """Spill `size` bytes of a register into a slot (save_register_state)."""
    if size == 8:
        frame.stack_live[at] |= LIVE_WRITTEN
        frame.stack[at] = Slot(SPILLED, reg)
        return
    kinds = frame.stack[at].kinds
    kept = (ZEROED, INVALID) if env.rules.zeros_beside_spills else (INVALID,)
    low = tuple(kind if kind in kept else MISC for kind in kinds[: 8 - size])
    frame.stack[at] = Slot(low + SPILLED[8 - size :], reg)


def write(env: Env, reg: Reg, off: int, size: int, value: int) -> None:
    """A store through stack pointer `reg`; `value` is the stored register, -1 for an immediate or unknown."""
    frame = env.state.frames[reg.frame]
    bits = reg.bounds.bits
    if bits[1] == 0:
        _write_fixed(env, frame, off + s64(bits[0]), size, value)
    else:
        _write_variable(env, frame, reg, off, size, value)


def _write_fixed(env: Env, frame: Frame, off: int, size: int, value: int) -> None:
    place = -off - 1
    at = place // 8
    slot = frame.stack[at]
    insn = env.insns[env.insn_idx]
    kinds = slot.kinds
    if not env.leaks_allowed and kinds[7] == SPILL and size != 8 and (
        slot.reg.type != SCALAR_VALUE or not env.rules.spills_any_scalar
    ):
        env.fail(EACCES, "attempt to corrupt spilled pointer on stack")
    current = env.frame
    reg = current.regs[value] if value >= 0 else None
    if not env.bypass_spec_v4 and (
        (reg is not None and reg.type & BASE_MASK in SPILLABLE)
        or any(kinds[(place - i) % 8] not in (MISC, ZEROED) for i in range(size))
    ):
        env.aux[env.insn_idx].barrier_after = True
    if kinds[0] == DYNPTR and env.rules.dynptrs_guarded:
        dynptr.destroy_slot(env, frame, at)
    _fastcall_contract(env, frame, env.insn_idx, off)
    env.touched_slots |= 1 << at
    if size == 8:
        mark_slot_written(env, frame, at)
    is_store_imm = insn.opcode & 7 == op.BPF_ST
    flags = F_STACK_ACCESS
    older = not env.rules.spills_any_scalar
    if reg is not None and off % 8 == 0 and reg.type == SCALAR_VALUE and env.bpf_capable and not (
        older and (is_null(reg) or reg.bounds.is_unknown)
    ):
        if older and insn.dst != FP:
            mark_precise(env, value)
        fits = width(reg) <= 8 * size
        if fits and not older:
            reg = linked(env, current, value)
        _save(env, frame, at, reg, size)
        if not fits:
            slot = frame.stack[at]
            frame.stack[at] = Slot(slot.kinds, slot.reg.but(id_=0))
    elif reg is None and off % 8 == 0 and is_store_imm and env.bpf_capable and not (older and insn.imm == 0):
        _save(env, frame, at, Reg(SCALAR_VALUE, const(insn.imm)), size)
    elif reg is not None and reg.type & BASE_MASK in SPILLABLE:
        if size != 8:
            print_source(env, env.insn_idx, "; ")
            env.fail(EACCES, "invalid size of register spill")
        if frame is not current and reg.type == PTR_TO_STACK:
            env.fail(EINVAL, "cannot spill pointers to stack into stack frame of the caller")
        _save(env, frame, at, reg, size)
    else:
        new = list(_scrubbed(frame.stack[at]).kinds)
        kind = MISC
        if (reg is not None and is_null(reg)) or (reg is None and is_store_imm and insn.imm == 0):
            mark_precise(env, value)
            kind = ZEROED
        for i in range(size):
            new[(place - i) % 8] = kind
        frame.stack[at] = Slot(tuple(new), UNINIT)
        flags = 0
    if flags and env.rules.precise_history:
        remember(env, flags, frame.number, at)


def clobber(env: Env, regno: int, size: int) -> bool:
    """Write `size` bytes that nothing is known of, byte by byte as helpers do; the range was checked before.

    False, and nothing was done, where single bytes may be refused or do more.
    """
    reg = env.regs[regno]
    if reg.type != PTR_TO_STACK or reg.bounds.bits[1] or not env.leaks_allowed:
        return False
    frame = env.frame_of(reg)
    low = reg.off + s64(reg.bounds.bits[0])
    first, last = (-low - 1) // 8, -(low + size) // 8
    stack = frame.stack
    if last < 0 or first >= len(stack):
        return False
    for at in range(last, first + 1):
        if stack[at].kinds[0] == DYNPTR:
            return False
    _fastcall_contract(env, frame, env.insn_idx, low)
    for at in range(last, first + 1):
        env.touched_slots |= 1 << at
        bottom = -8 * (at + 1)
        if low <= bottom and bottom + 8 <= low + size:
            stack[at] = _CLOBBERED
            continue
        kinds = list(_scrubbed(stack[at]).kinds)
        for off in range(max(low, bottom), min(low + size, bottom + 8)):
            kinds[-off - 1 & 7] = MISC
        stack[at] = Slot(tuple(kinds), UNINIT)
    return True


_CLOBBERED: Final = Slot((MISC,) * 8, UNINIT)


def _scrubbed(slot: Slot) -> Slot:
    """A slot whose special content is forgotten (scrub_special_slot)."""
    kinds = slot.kinds
    if kinds[7] in (SPILL, DYNPTR, ITER, IRQ):
        kinds = tuple(INVALID if kind == INVALID else MISC for kind in kinds)
    return Slot(kinds, slot.reg.but(type_=NOT_INIT) if slot.reg.type != NOT_INIT else slot.reg)


def _write_variable(env: Env, frame: Frame, pointer: Reg, off: int, size: int, value: int) -> None:
    insn = env.insns[env.insn_idx]
    _umin, _umax, smin, smax = pointer.bounds.r64
    low, high = smin + off, smax + off + size
    reg = env.regs[value] if value >= 0 else None
    zero = (reg is not None and is_null(reg)) or (
        reg is None and insn.opcode & 7 == op.BPF_ST and insn.imm == 0 and env.rules.zeros_at_variable_offsets
    )
    for i in range(low, high):
        at = (-i - 1) // 8
        if frame.stack[at].kinds[0] == DYNPTR and env.rules.dynptrs_guarded:
            dynptr.destroy_slot(env, frame, at)
    _fastcall_contract(env, frame, env.insn_idx, low)
    zero_used = False
    for i in range(low, high):
        place = -i - 1
        at = place // 8
        slot = frame.stack[at]
        kind = slot.kinds[place % 8]
        env.touched_slots |= 1 << at
        if not env.leaks_allowed and kind not in (MISC, ZEROED):
            env.say(f"spilled ptr in range of var-offset stack write; insn {env.insn_idx}, ptr off: {i}")
            env.fail(EINVAL)
        if zero and kind == SPILL and slot.kinds[7] == SPILL and is_null(slot.reg):
            zero_used = True
            continue
        slot = _scrubbed(slot)
        new = MISC
        if zero and slot.kinds[place % 8] == ZEROED:
            new = ZEROED
            zero_used = True
        if slot.kinds[place % 8] == INVALID and not env.uninit_stack_allowed:
            env.fail(
                EINVAL,
                f"uninit stack in range of var-offset write prohibited for !root; insn {env.insn_idx}, off: {i}",
            )
        kinds = list(slot.kinds)
        kinds[place % 8] = new
        frame.stack[at] = Slot(tuple(kinds), slot.reg)
    if zero_used:
        mark_precise(env, value)


def read(env: Env, reg: Reg, regno: int, off: int, size: int, target: int) -> None:
    """A load through stack pointer `reg`, held by `regno`, into register `target` (-1: none)."""
    frame = env.state.frames[reg.frame]
    bits = reg.bounds.bits
    if bits[1] == 0:
        _read_fixed(env, frame, off + s64(bits[0]), size, target)
        return
    if target < 0:
        env.fail(
            EACCES,
            "variable offset stack pointer cannot be passed into helper function; "
            f"var_off={bits_text(env, bits)} off={off} size={size}",
        )
    initialized(env, regno, off, size, by_helper=False)
    low = reg.bounds.r64[2] + off
    _read_bytes(env, frame, low, reg.bounds.r64[3] + off + size, target)
    _fastcall_contract(env, frame, env.insn_idx, low)


def _read_bytes(env: Env, frame: Frame, low: int, high: int, target: int) -> None:
    """The register becomes 0 when all bytes are zeros, unknown otherwise (mark_reg_stack_read)."""
    zeros = 0
    for i in range(low, high):
        place = -i - 1
        env.touched_slots |= 1 << place // 8
        if frame.stack[place // 8].kinds[place % 8] != ZEROED:
            break
        zeros += 1
    current = env.frame
    current.regs[target] = env.known(0) if zeros == high - low else env.unknown
    current.live[target] |= LIVE_WRITTEN


def _bytes_ok(env: Env, slot: Slot, place: int, off: int, size: int, *, allow_spill: bool) -> tuple[int, int]:
    """Check that bytes may be read as plain data; how many are spilled and how many are zeros."""
    spilled = zeros = 0
    for i in range(size):
        kind = slot.kinds[(place - i) % 8]
        if kind == SPILL and allow_spill:
            spilled += 1
        elif kind == ZEROED:
            zeros += 1
        elif kind == MISC or (kind == INVALID and env.uninit_stack_allowed):
            continue
        else:
            env.fail(EACCES, f"invalid read from stack off {off}+{i} size {size}")
    return spilled, zeros


def _read_fixed(env: Env, frame: Frame, off: int, size: int, target: int) -> None:
    place = -off - 1
    at = place // 8
    slot = frame.stack[at]
    kinds = slot.kinds
    current = env.frame
    env.touched_slots |= 1 << at
    _fastcall_contract(env, current, env.insn_idx, off)
    marked = env.slot_live is not None
    if marked:  # from 6.18 on also where the read is refused, which speculation survives
        mark_slot_read(env, frame, at)
    if kinds[7] != SPILL:
        _bytes_ok(env, slot, place, off, size, allow_spill=False)
        if not marked:
            mark_slot_read(env, frame, at)
        if target >= 0:
            _read_bytes(env, frame, off, off + size, target)
        return
    spilled = 1
    while spilled < 8 and kinds[7 - spilled] == SPILL:
        spilled += 1
    reg = slot.reg
    flags = F_STACK_ACCESS
    if size != 8 or spilled != 8:
        if reg.type != SCALAR_VALUE:
            print_source(env, env.insn_idx, "; ")
            env.fail(EACCES, "invalid size of register fill")
        if not marked:
            mark_slot_read(env, frame, at)
        if target < 0:
            return
        if off % 8 == 0 and (size <= spilled if env.rules.narrow_fills else size == spilled):
            current.regs[target] = reg.but(id_=0, off=0) if width(reg) > 8 * size else reg
        else:
            in_spill, zeros = _bytes_ok(env, slot, place, off, size, allow_spill=True)
            if in_spill == size and reg.bounds.bits == (0, 0):
                current.regs[target] = env.known(0)
            elif zeros == size:
                current.regs[target] = env.known(0)
                flags = 0
            else:
                current.regs[target] = env.unknown
                flags = 0
        current.live[target] |= LIVE_WRITTEN
    elif target >= 0:
        current.regs[target] = reg
        current.live[target] |= LIVE_WRITTEN
    elif env.is_pointer(reg):
        env.fail(EACCES, f"leaking pointer from stack off {off}")
    if not marked:
        mark_slot_read(env, frame, at)
    if flags and env.rules.precise_history:
        remember(env, flags, frame.number, at)


def initialized(
    env: Env, regno: int, off: int, size: int, *, by_helper: bool, zero_size_allowed: bool = False, raw: bool = False,
    access: int = READ,
) -> bool:
    """Check that stack bytes handed out are initialised. True when a helper will write them raw instead.

    Linux 6.12 kernel/bpf/verifier.c: check_stack_range_initialized.
    """
    reg = env.regs[regno]
    frame = env.frame_of(reg)
    by_access = env.rules.helper_reads_keep_stack
    extra = " indirect" if by_helper and not by_access else ""
    clobbers = access == WRITE if by_access else by_helper
    if size == 0 and not zero_size_allowed:
        env.fail(EACCES, "invalid zero-sized read")
    within_bounds(env, regno, off, size, WRITE if clobbers else READ, by_helper=by_helper)
    bits = reg.bounds.bits
    if bits[1] == 0:
        low = high = s64(bits[0]) + off
    else:
        if not env.bypass_spec_v1:
            env.fail(
                EACCES,
                f"R{regno}{extra} variable offset stack access prohibited for !root, var_off={bits_text(env, bits)}",
            )
        raw = False
        low = reg.bounds.r64[2] + off
        high = reg.bounds.r64[3] + off
    if raw:
        for i in range(low, high + size):
            place = -i - 1
            if len(frame.stack) * 8 <= place:
                continue
            if frame.stack[place // 8].kinds[place % 8] == DYNPTR and env.rules.dynptrs_guarded:
                env.fail(EACCES, f"potential write to dynptr at off={i} disallowed")
        return True
    marked = -1
    good = -1  # a slot that is known to be initialised as a whole
    for i in range(low, high + size):
        place = -i - 1
        at = place // 8
        if at == good:
            continue
        slot = frame.stack[at]
        kind = slot.kinds[place % 8]
        if not clobbers and slot.kinds[7] == SPILL and (slot.reg.type == SCALAR_VALUE or env.leaks_allowed):
            good = at
        elif kind == MISC:
            pass
        elif kind == ZEROED or (kind == INVALID and env.uninit_stack_allowed):
            if clobbers:
                kinds = list(slot.kinds)
                kinds[place % 8] = MISC
                frame.stack[at] = Slot(tuple(kinds), slot.reg)
        elif slot.kinds[7] == SPILL and (slot.reg.type == SCALAR_VALUE or env.leaks_allowed):
            if clobbers:
                frame.stack[at] = Slot(
                    tuple(INVALID if k == INVALID else MISC for k in slot.kinds), env.unknown
                )
        elif bits[1] == 0:
            env.fail(EACCES, f"invalid{extra} read from stack R{regno} off {low}+{i - low} size {size}")
        else:
            env.fail(
                EACCES,
                f"invalid{extra} read from stack R{regno} var_off {bits_text(env, bits)}+{i - low} size {size}",
            )
        if at != marked:
            marked = at
            mark_slot_read(env, frame, at)
    return False
