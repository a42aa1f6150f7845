"""Arithmetic: what an ALU instruction does to registers.

Linux 6.12 kernel/bpf/verifier.c: check_alu_op, adjust_reg_min_max_vals.
"""

from __future__ import annotations

from typing import Final

from bombus.bits import U32, U64, s32, s64
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.verifier import bounds_alu, tnum
from bombus.verifier.alu_pointer import NAMES, SUMS, pointer, prohibited, sanitize_value
from bombus.verifier.bounds import ANY32, ANY64, S32_MAX, S32_MIN, Bounds, const, sync
from bombus.verifier.env import EACCES, EINVAL, Aux, Check, Env
from bombus.verifier.live import define, use
from bombus.verifier.precision import mark_precise
from bombus.verifier.regs import (
    ADD_CONST,
    ADD_CONST32,
    NOT_INIT,
    PTR_TO_ARENA,
    SCALAR_VALUE,
    Reg,
    known,
)
from bombus.verifier.stack import linked, width
from bombus.verifier.state import FP, LIVE_WRITTEN

_BINARY: Final = (op.BPF_MOD, op.BPF_XOR, op.BPF_ARSH)
_DIVISIONS: Final = (op.BPF_DIV, op.BPF_MOD)
_SHIFTS: Final = (op.BPF_LSH, op.BPF_RSH, op.BPF_ARSH)
_ANY_SOURCE: Final = (op.BPF_ADD, op.BPF_SUB, op.BPF_AND)



def handler(insn: Insn) -> Check:
    """What checks this instruction: the function of its kind when its fields are as they should be, else `check`."""
    code, dst, src, off, imm = insn
    operation = code & 0xF0
    if off or dst >= FP or src > FP:
        return check
    if operation == op.BPF_MOV:
        if not code & op.BPF_X:
            return check if src else _set
        if imm:
            return check
        return _copy if code & 7 == op.BPF_ALU64 else _copy_low
    if operation < op.BPF_NEG or operation in _BINARY:
        if code & op.BPF_X:
            return check if imm else _by_register
        if not src and not (imm == 0 and operation in _DIVISIONS) and not _bad_shift(code, imm):
            return _by_constant
    return check


def _bad_shift(code: int, imm: int) -> bool:
    return code & 0xF0 in _SHIFTS and not 0 <= imm < (64 if code & 7 == op.BPF_ALU64 else 32)


def check(env: Env, insn: Insn) -> None:
    """BPF_ALU and BPF_ALU64, of which nothing is known."""
    code = insn.opcode
    operation = code & 0xF0
    if operation < op.BPF_NEG or operation in _BINARY:
        _binary(env, insn)
        return
    if operation == op.BPF_MOV:
        _move(env, insn)
        if not insn.off:
            return
    elif operation > op.BPF_END:
        env.fail(EINVAL, f"invalid BPF_ALU opcode {operation:x}")
    else:
        _unary(env, insn)
    regs = env.state.frames[-1].regs
    regs[insn.dst] = env.sane(regs[insn.dst], "alu")


def _unary(env: Env, insn: Insn) -> None:
    code, dst, src, off, imm = insn
    if code & 0xF0 == op.BPF_NEG:
        if code & op.BPF_X or src or off or imm:
            env.fail(EINVAL, "BPF_NEG uses reserved fields")
    elif src or off or imm not in (16, 32, 64) or (
        code & 7 == op.BPF_ALU64 and (code & op.BPF_X or not env.rules.cpu_v4)
    ):
        env.fail(EINVAL, "BPF_END uses reserved fields")
    use(env, dst)
    regs = env.regs
    if env.is_pointer(regs[dst]):
        env.fail(EACCES, f"R{dst} pointer arithmetic prohibited")
    env.note_stack_number(regs[dst])
    define(env, dst)
    if code & 0xF0 == op.BPF_NEG and env.rules.neg_tracked and regs[dst].type == SCALAR_VALUE:
        is32 = code & 7 == op.BPF_ALU
        result = bounds_alu.alu(op.BPF_SUB, const(0), regs[dst].bounds, is32=is32, table=env.alu_table)
        assert result is not None
        regs[dst] = Reg(SCALAR_VALUE, result, precise=regs[dst].precise)
        return
    if code & 0xF0 == op.BPF_END and env.rules.swaps_tracked and regs[dst].type == SCALAR_VALUE:
        regs[dst] = _swapped(regs[dst], imm // 8, swaps=code & 7 == op.BPF_ALU64 or code & op.BPF_X != 0)
        return
    regs[dst] = env.unknown


def _swapped(reg: Reg, size: int, *, swaps: bool) -> Reg:
    """A scalar whose low `size` bytes were reversed (on a little-endian machine), the others cleared."""
    bounds = reg.bounds
    if swaps:
        value, mask = ((part & (1 << 8 * size) - 1).to_bytes(size, "little") for part in bounds.bits)
        bits = int.from_bytes(value, "big"), int.from_bytes(mask, "big")
        return Reg(SCALAR_VALUE, sync(bits, ANY64, ANY32), precise=reg.precise)
    if size == 8:
        return reg
    bounds = bounds_alu.truncate(bounds, size)
    return Reg(SCALAR_VALUE, bounds, precise=reg.precise)


def _move(env: Env, insn: Insn) -> None:
    code, dst, src, off, imm = insn
    is32 = code & 7 == op.BPF_ALU
    if not code & op.BPF_X:
        if src or off:
            env.fail(EINVAL, "BPF_MOV uses reserved fields")
        define(env, dst)
        _set(env, insn)
        return
    if off and not env.rules.cpu_v4:
        env.fail(EINVAL, "BPF_MOV uses reserved fields")
    if is32:
        if off not in (0, 8, 16) or imm:
            env.fail(EINVAL, "BPF_MOV uses reserved fields")
    elif off == op.BPF_ADDR_SPACE_CAST:
        if imm not in (1, 1 << 16):
            env.fail(EINVAL, "addr_space_cast insn can only convert between address space 1 and 0")
        if env.arena is None:
            env.fail(EINVAL, "addr_space_cast insn can only be used in a program that has an associated arena")
    elif off not in (0, 8, 16, 32) or imm:
        env.fail(EINVAL, "BPF_MOV uses reserved fields")
    use(env, src)
    define(env, dst)
    if off == 0:
        if is32:
            _copy_low(env, insn)
        else:
            _copy(env, insn)
        return
    regs = env.state.frames[-1].regs
    reg = regs[src]
    if imm:
        regs[dst] = Reg(PTR_TO_ARENA, env.unknown.bounds) if imm == 1 else env.unknown
    elif env.is_pointer(reg):
        env.fail(EACCES, f"R{src} partial copy of pointer" if is32 else f"R{src} sign-extension part of pointer")
    elif reg.type != SCALAR_VALUE:
        env.note_stack_number(reg)
        regs[dst] = _low_half(env.unknown) if is32 else env.unknown
    else:
        reg = _sign_extended_copy(env, src, off)
        if is32:
            regs[dst] = _low_half(reg.with_bounds(bounds_alu.sign_extend32(reg.bounds, off >> 3)))
        else:
            regs[dst] = reg.with_bounds(bounds_alu.sign_extend(reg.bounds, off >> 3))


def _low_half(reg: Reg) -> Reg:
    """The low half of a register, zero-extended."""
    low = bounds_alu.zext32(reg.bounds)
    return reg.with_bounds(sync(low.bits, low.r64, low.r32))


def _set(env: Env, insn: Insn) -> None:
    """A register becomes an immediate."""
    aux = env.aux[env.insn_idx]
    reg = aux.constant
    if reg is None:
        reg = aux.constant = env.known(insn.imm & U32 if insn.opcode & 7 == op.BPF_ALU else insn.imm)
    dst = insn.dst
    frame = env.state.frames[-1]
    env.touched_regs |= 1 << dst
    if env.marked:
        frame.live[dst] |= LIVE_WRITTEN
    frame.regs[dst] = reg


def _copy(env: Env, insn: Insn) -> None:
    """A register becomes another; scalars are linked from now on."""
    _code, dst, src, _off, _imm = insn
    frame = env.state.frames[-1]
    regs = frame.regs
    reg = regs[src]
    if env.marked or reg.type == NOT_INIT:
        use(env, src)
        define(env, dst)
    env.touched_regs |= 1 << dst | 1 << src
    bounds = reg.bounds
    if reg.type == SCALAR_VALUE and ((bounds.bits[1] and not reg.id) or reg.id & ADD_CONST):
        reg = linked(env, frame, src)
    regs[dst] = reg if bounds.checked >= env.sane_at else env.sane(reg, "alu")


def _copy_low(env: Env, insn: Insn) -> None:
    """A register becomes the low half of another."""
    _code, dst, src, _off, _imm = insn
    frame = env.state.frames[-1]
    reg = frame.regs[src]
    if env.marked or reg.type == NOT_INIT:
        use(env, src)
        define(env, dst)
    env.touched_regs |= 1 << dst | 1 << src
    if env.is_pointer(reg):
        env.fail(EACCES, f"R{src} partial copy of pointer")
    if reg.type != SCALAR_VALUE:
        env.note_stack_number(reg)
        reg = env.unknown
    elif width(reg) <= 32 and env.rules.narrow_moves_linked:
        reg = linked(env, frame, src)
    elif reg.id or reg.off:
        reg = reg.with_id(0, 0)
    aux = env.aux[env.insn_idx]
    bounds = aux.bounds_after
    if bounds is None or aux.before_a is not reg.bounds:
        low = bounds_alu.zext32(reg.bounds)
        aux.before_a = reg.bounds
        bounds = aux.bounds_after = env.sync(low.bits, low.r64, low.r32)
    new = reg if bounds is reg.bounds else reg.with_bounds(bounds)
    frame.regs[dst] = new if bounds.checked >= env.sane_at else env.sane(new, "alu")


def _sign_extended_copy(env: Env, src: int, bits: int) -> Reg:
    """The source of a sign extension: still linked to the result when the sign bit is known to be clear."""
    frame = env.frame
    reg = frame.regs[src]
    if reg.bounds.r64[1] < 1 << (bits - 1):
        return linked(env, frame, src)
    return reg.but(id_=0, off=0)


def _binary(env: Env, insn: Insn) -> None:
    code, dst, src, off, imm = insn
    operation = code & 0xF0
    by_register = code & op.BPF_X
    if (by_register and imm) or (not by_register and src) or (off and off != 1) or (
        off == 1 and (operation not in _DIVISIONS or not env.rules.cpu_v4)
    ):
        env.fail(EINVAL, "BPF_ALU uses reserved fields")
    if by_register:
        use(env, src)
    use(env, dst)
    if not by_register:
        if imm == 0 and operation in _DIVISIONS:
            env.fail(EINVAL, "div by zero")
        if _bad_shift(code, imm):
            env.fail(EINVAL, f"invalid shift {imm}")
    define(env, dst)
    if by_register:
        _by_register(env, insn)
    else:
        _by_constant(env, insn)


def _by_constant(env: Env, insn: Insn) -> None:
    aux = env.aux[env.insn_idx]
    b = aux.constant
    if b is None:
        b = aux.constant = known(insn.imm)
    dst = insn.dst
    regs = env.state.frames[-1].regs
    a = regs[dst]
    if env.marked or a.type == NOT_INIT:
        use(env, dst)
        define(env, dst)
    env.touched_regs |= 1 << dst
    if a.type == SCALAR_VALUE:
        _scalars(env, insn, aux, a, b)
    elif a is aux.before and aux.after is not None:
        regs[dst] = aux.after
    else:
        _with_pointer(env, insn, a, b)
        if env.bypass_spec_v1 and a.bounds is regs[dst].bounds:
            aux.before, aux.after = a, regs[dst]


def _by_register(env: Env, insn: Insn) -> None:
    _code, dst, src, _off, _imm = insn
    regs = env.state.frames[-1].regs
    a = regs[dst]
    b = regs[src]
    if env.marked or a.type == NOT_INIT or b.type == NOT_INIT:
        use(env, src)
        use(env, dst)
        define(env, dst)
    env.touched_regs |= 1 << dst | 1 << src
    if a.type == SCALAR_VALUE and b.type == SCALAR_VALUE:
        if a.precise:
            mark_precise(env, src)
        _scalars(env, insn, env.aux[env.insn_idx], a, b)
    else:
        _with_pointer(env, insn, a, b)


def _with_pointer(env: Env, insn: Insn, a: Reg, b: Reg) -> None:
    dst, src = insn.dst, insn.src
    regs = env.state.frames[-1].regs
    if a.type == PTR_TO_ARENA or b.type == PTR_TO_ARENA:
        if a.type != PTR_TO_ARENA:
            regs[dst] = b
        regs[dst] = env.sane(regs[dst], "alu")
        return
    operation = insn.opcode & 0xF0
    if b.type == SCALAR_VALUE:
        if insn.opcode & op.BPF_X:
            mark_precise(env, src)
        pointer(env, insn, a, b, pointer_is_dst=True)
    elif a.type != SCALAR_VALUE:
        if operation != op.BPF_SUB or not env.leaks_allowed:
            env.fail(EACCES, f"R{dst} pointer {NAMES[operation]} pointer prohibited")
        env.note_stack_number(a)
        env.note_stack_number(b)
        regs[dst] = env.unknown
    else:
        mark_precise(env, dst)
        pointer(env, insn, b, a, pointer_is_dst=False)
    regs[dst] = env.sane(regs[dst], "alu")


def _scalars(env: Env, insn: Insn, aux: Aux, a: Reg, b: Reg) -> None:
    code = insn.opcode
    operation = code & 0xF0
    is32 = code & 7 != op.BPF_ALU64
    y = b.bounds
    id_ = 0
    off = 0
    if operation in SUMS:
        if not env.bypass_spec_v1:
            reason = sanitize_value(env, insn)
            if reason:
                prohibited(env, insn, reason, insn.dst, insn.src)
        if a.id and env.bpf_capable and not (code & op.BPF_X and insn.src == insn.dst):
            id_, off = _link(env, a, y, is32, operation == op.BPF_SUB)
    elif operation in (op.BPF_AND, op.BPF_OR) and y.bits[1] == 0 and env.rules.fork_sign_masks:
        a = _fork(env, insn, a)
    x = a.bounds
    if aux.before_a is not x or aux.before_b is not y:
        aux.before_a, aux.before_b = x, y
        aux.bounds_after = _result(env, operation, is32, x, y)
        aux.scalar_after = None
    bounds = aux.bounds_after
    if bounds is None:
        new = env.unknown
    elif id_ or a.precise:
        new = Reg(SCALAR_VALUE, bounds, off, id_, 0, 0, a.precise)
    elif aux.scalar_after is not None:
        new = aux.scalar_after
    else:
        new = aux.scalar_after = Reg(SCALAR_VALUE, bounds)
    if new.bounds.checked < env.sane_at:
        new = env.sane(new, "alu")
    env.state.frames[-1].regs[insn.dst] = new


def _result(env: Env, operation: int, is32: bool, a: Bounds, b: Bounds) -> Bounds | None:
    """What is known of `a operation b`; None: nothing."""
    if not env.rules.any_source:
        if not _followed_early(operation, b, is32):
            return None
        if is32 and (operation in _DIVISIONS or (operation in _SHIFTS and b.r64[1] >= 32)):
            return env.sync((0, U32), (0, U32, 0, U32), ANY32)
        if operation in _SHIFTS and b.r64[1] >= 64:
            return None
    if operation in _DIVISIONS or (operation in _SHIFTS and not _shift_known(b, is32)):
        return None
    return bounds_alu.alu(operation, a, b, is32=is32, table=env.alu_table, synced=env.sync)


def _followed_early(operation: int, b: Bounds, is32: bool) -> bool:
    """Whether kernels before 6.10 follow an operation with this operand (Linux 6.1: adjust_scalar_min_max_vals)."""
    umin, umax, smin, smax = b.r32 if is32 else b.r64
    known = b.is_const32 if is32 else b.is_const
    if umin > umax or smin > smax or (known and (umin != umax or smin != smax)):
        return False
    return known or operation in _ANY_SOURCE


def _link(env: Env, a: Reg, b: Bounds, is32: bool, is_difference: bool) -> tuple[int, int]:
    """The id and distance by which a sum stays linked to its first term, or (0, 0).

    Linux 6.12 kernel/bpf/verifier.c: adjust_reg_min_max_vals; with 32-bit sums and differences Linux 6.18, by
    experiment.
    """
    if a.id & ADD_CONST:
        return 0, 0
    if not env.rules.linked_differences:
        if is32 or is_difference or not env.rules.linked_offsets or b.bits[1] or b.bits[0] > S32_MAX:
            return 0, 0
        return a.id | ADD_CONST, b.bits[0]
    if not (b.is_const32 if is32 else b.is_const) or (is32 and a.bounds.r64[1] > U32):
        return 0, 0
    distance = s32(b.bits[0]) if is32 else s64(b.bits[0])
    if is_difference and S32_MIN <= distance <= S32_MAX:
        distance = S32_MIN - 1 if distance == S32_MIN else -distance
    if not S32_MIN <= distance <= S32_MAX:
        return 0, 0
    return a.id | ADD_CONST | (ADD_CONST32 if is32 else 0), distance


def _shift_known(b: Bounds, is32: bool) -> bool:
    if is32:
        known = b.is_const32 and b.r32[2] == b.r32[3] and b.r32[0] == b.r32[1]
        return known and b.r64[1] < 32
    return b.is_const and b.r64[2] == b.r64[3] and b.r64[0] == b.r64[1] and b.r64[1] < 64


def _fork(env: Env, insn: Insn, a: Reg) -> Reg:
    """A mask of a value that is -1 or 0 goes both ways as constants (maybe_fork_scalars)."""
    r64, r32 = a.bounds.r64, a.bounds.r32
    if r64[2] == -1 and r64[3] == 0:
        zero, ones = const(0), const(U64)
    elif r32[2] == -1 and r32[3] == 0:
        zero, ones = _low_known(a.bounds, 0), _low_known(a.bounds, 0xFFFFFFFF)
    else:
        return a
    branch = env.push(env.insn_idx, env.insn_idx)
    keep_id = a.bounds.r64[2:] != (-1, 0)
    branch.frames[-1].regs[insn.dst] = _replaced(a, zero, keep_id)
    return _replaced(a, ones, keep_id)


def _replaced(reg: Reg, bounds: Bounds, keep_id: bool) -> Reg:
    if keep_id:
        return reg.but(bounds=bounds)
    return Reg(SCALAR_VALUE, bounds, precise=reg.precise)


def _low_known(b: Bounds, number: int) -> Bounds:
    """The low half replaced by a constant (Linux: __mark_reg32_known)."""
    low = const(number)
    return Bounds(tnum.with_low32(b.bits, (number, 0)), b.r64, low.r32)
