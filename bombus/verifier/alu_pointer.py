"""Arithmetic on pointers: pointer plus or minus a scalar.

Linux 6.12 kernel/bpf/verifier.c: adjust_ptr_min_max_vals; what unprivileged programs may not do because of
speculation: sanitize_ptr_alu.
"""

from __future__ import annotations

from typing import Final

from bombus.bits import U64, s64
from bombus.isa import opcodes as op
from bombus.isa.facts import DST, NEGATIVE, SRC
from bombus.isa.insn import Insn
from bombus.verifier import regions, tnum
from bombus.verifier.bounds import ANY32, S64_MAX, S64_MIN, Bounds
from bombus.verifier.env import EACCES, EINVAL, MAX_STACK, MAX_VAR_OFF, Env
from bombus.verifier.log import bits_text
from bombus.verifier.program import Refused
from bombus.verifier.regs import (
    BASE_MASK,
    CONST_PTR_TO_DYNPTR,
    CONST_PTR_TO_MAP,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_BUF,
    PTR_TO_CTX,
    PTR_TO_FLOW_KEYS,
    PTR_TO_FUNC,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_PACKET_META,
    PTR_TO_STACK,
    PTR_TO_TP_BUFFER,
    PTR_UNTRUSTED,
    Reg,
    type_name,
)

NAMES: Final = {
    op.BPF_ADD: "+=", op.BPF_SUB: "-=", op.BPF_MUL: "*=", op.BPF_DIV: "/=", op.BPF_OR: "|=", op.BPF_AND: "&=",
    op.BPF_LSH: "<<=", op.BPF_RSH: ">>=", op.BPF_NEG: "neg", op.BPF_MOD: "%=", op.BPF_XOR: "^=", op.BPF_MOV: "=",
    op.BPF_ARSH: "s>>=", op.BPF_END: "endian",
}
SUMS: Final = (op.BPF_ADD, op.BPF_SUB)
_MOVABLE: Final = frozenset(
    (
        PTR_TO_CTX, PTR_TO_MAP_VALUE, PTR_TO_MAP_KEY, PTR_TO_STACK, PTR_TO_PACKET_META, PTR_TO_PACKET,
        PTR_TO_TP_BUFFER, PTR_TO_BTF_ID, PTR_TO_MEM, PTR_TO_BUF, PTR_TO_FUNC, CONST_PTR_TO_DYNPTR,
    )
)
_PACKETS: Final = (PTR_TO_PACKET, PTR_TO_PACKET_META)
# Why pointer arithmetic is refused to unprivileged programs (Linux 6.12: enum of REASON_*).
_BOUNDS, _TYPE, _PATHS, _LIMIT = "bounds", "type", "paths", "limit"
# How the kernel will mask an offset (include/linux/bpf_verifier.h: BPF_ALU_*).
_SANITIZE_SRC, _SANITIZE_DST, _NEGATIVE, _NON_POINTER, _IMMEDIATE = 1, 2, 4, 8, 16


# Pointers.


def _sane_offset(env: Env, reg: Reg, type_: int) -> None:
    value, mask = reg.bounds.bits
    smin = reg.bounds.r64[2]
    if -MAX_VAR_OFF < reg.off < MAX_VAR_OFF and -MAX_VAR_OFF < smin < MAX_VAR_OFF and (mask or value == smin & U64):
        return
    name = type_name(type_)
    number = s64(value)
    if mask == 0 and not -MAX_VAR_OFF < number < MAX_VAR_OFF:
        env.fail(EINVAL, f"math between {name} pointer and {number} is not allowed")
    if not -MAX_VAR_OFF < reg.off < MAX_VAR_OFF:
        env.fail(EINVAL, f"{name} pointer offset {reg.off} is not allowed")
    if smin == S64_MIN:
        env.fail(
            EINVAL, f"math between {name} pointer and register with unbounded min value is not allowed"
        )
    if not -MAX_VAR_OFF < smin < MAX_VAR_OFF:
        env.fail(EINVAL, f"value {smin} makes {name} pointer be out of bounds")


def pointer(env: Env, insn: Insn, ptr: Reg, off: Reg, *, pointer_is_dst: bool) -> None:
    """Pointer plus or minus a scalar (adjust_ptr_min_max_vals)."""
    code, dst, _src, _o, _imm = insn
    operation = code & 0xF0
    regs = env.regs
    b = off.bounds
    fixed = b.bits[1] == 0
    umin, umax, smin, smax = b.r64
    if (fixed and (smin != smax or umin != umax)) or smin > smax or umin > umax:
        regs[dst] = env.unknown
        return
    if code & 7 != op.BPF_ALU64:
        if operation == op.BPF_SUB and env.leaks_allowed:
            env.note_stack_number(ptr)
            regs[dst] = env.unknown
            return
        env.fail(EACCES, f"R{dst} 32-bit pointer arithmetic prohibited")
    type_ = ptr.type
    if type_ & PTR_MAYBE_NULL:
        env.fail(EACCES, f"R{dst} pointer arithmetic on {env.name(type_)} prohibited, null-check it first")
    base = type_ & BASE_MASK
    if base == PTR_TO_MEM and type_ & PTR_UNTRUSTED:  # it is read with probes: where it points to is not followed
        return
    if base not in _MOVABLE and not (base == PTR_TO_FLOW_KEYS and fixed) and not (
        base in (CONST_PTR_TO_MAP, PTR_TO_FLOW_KEYS) and fixed and smin == 0 and operation == op.BPF_ADD
    ):
        env.fail(EACCES, f"R{dst} pointer arithmetic on {type_name(type_)} prohibited")
    if not pointer_is_dst and not env.rules.offset_in_place:
        frame = env.state.frames[-1]
        frame.inherit(dst, frame, insn.src)
    _sane_offset(env, off, type_)
    _sane_offset(env, ptr, type_)
    info = _Sanitize()
    if operation in SUMS and not env.bypass_spec_v1:
        reason = _sanitize_pointer(env, insn, ptr, off, pointer_is_dst, info)
        if reason:
            prohibited(env, insn, reason, *_roles(env, insn, pointer_is_dst))
    if operation == op.BPF_ADD:
        new = _moved(env, ptr, b, fixed and -(1 << 31) <= ptr.off + smin < 1 << 31, forward=True)
    elif operation == op.BPF_SUB:
        if not pointer_is_dst:
            env.fail(EACCES, f"R{dst} tried to subtract pointer from scalar")
        if type_ == PTR_TO_STACK:
            env.fail(EACCES, f"R{dst} subtraction from stack pointer prohibited")
        new = _moved(env, ptr, b, fixed and -(1 << 31) <= ptr.off - smin < 1 << 31, forward=False)
    elif operation in (op.BPF_AND, op.BPF_OR, op.BPF_XOR):
        env.fail(EACCES, f"R{dst} bitwise operator {NAMES[operation]} on pointer prohibited")
    else:
        env.fail(EACCES, f"R{dst} pointer arithmetic with {NAMES[operation]} operator prohibited")
    _sane_offset(env, new, type_)
    bounds = new.bounds
    if bounds is not ptr.bounds or not env.bypass_spec_v1:
        new = new.with_bounds(env.sync(bounds.bits, bounds.r64, bounds.r32))
    regs[dst] = new
    aux = env.aux[env.insn_idx]
    aux.pointer_operand |= (DST if pointer_is_dst else SRC) | (NEGATIVE if smin < 0 else 0)
    if insn.opcode & op.BPF_X:
        aux.step = (smin, smax) if aux.step is None else (min(smin, aux.step[0]), max(smax, aux.step[1]))
    if env.bypass_spec_v1:
        return
    _check_stays_inside(env, dst, new)
    reason = _commit(env, insn, new, off, info)
    if reason:
        prohibited(env, insn, reason, *_roles(env, insn, pointer_is_dst))


def _moved(env: Env, ptr: Reg, b: Bounds, fixed: bool, *, forward: bool) -> Reg:
    umin, umax, smin, smax = b.r64
    if fixed:
        return ptr.with_off(ptr.off + smin if forward else ptr.off - smin)
    pumin, pumax, psmin, psmax = ptr.bounds.r64
    if forward:
        low_s, high_s = psmin + smin, psmax + smax
        low_u, high_u = pumin + umin, pumax + umax
        bits = tnum.add(ptr.bounds.bits, b.bits)
        if low_u > U64 or high_u > U64:
            low_u, high_u = 0, U64
    else:
        low_s, high_s = psmin - smax, psmax - smin
        bits = tnum.sub(ptr.bounds.bits, b.bits)
        low_u, high_u = pumin - umax, pumax - umin
        if pumin < umax:
            low_u, high_u = 0, U64
        high_u &= U64
    if not (S64_MIN <= low_s <= S64_MAX and S64_MIN <= high_s <= S64_MAX):
        low_s, high_s = S64_MIN, S64_MAX
    new = Bounds(bits, (low_u, high_u, low_s, high_s), ANY32)
    if ptr.type in _PACKETS:
        # The range that was checked before says nothing about the new place.
        number = 0 if forward or smin < 0 else ptr.number
        return ptr.but(bounds=new, id_=env.new_id(), number=number)
    return ptr.but(bounds=new)


# Speculation: what unprivileged programs may not do.


class _Sanitize:
    __slots__ = ("limit", "mask_to_left", "state")

    def __init__(self) -> None:
        self.state = 0
        self.limit = 0
        self.mask_to_left = False


def _can_skip(env: Env, insn: Insn) -> bool:
    return env.bypass_spec_v1 or not insn.opcode & op.BPF_X


def _update(env: Env, state: int, limit: int) -> str:
    aux = env.aux[env.insn_idx]
    if aux.alu is not None and aux.alu[0] and aux.alu != (state, limit):
        return _PATHS
    aux.alu = (state, limit)
    return ""


def sanitize_value(env: Env, insn: Insn) -> str:
    if _can_skip(env, insn):
        return ""
    return _update(env, _NON_POINTER, 0)


def _limit_of(reg: Reg, mask_to_left: bool) -> int | str:
    """How far the pointer may speculatively move, or why it may not (retrieve_ptr_limit)."""
    if reg.type == PTR_TO_STACK:
        most = MAX_STACK + mask_to_left
        limit = -(s64(reg.bounds.bits[0]) + reg.off)
    elif reg.type == PTR_TO_MAP_VALUE:
        assert reg.map is not None
        most = reg.map.value_size
        limit = (reg.bounds.r64[2] if mask_to_left else reg.bounds.r64[1]) + reg.off
    else:
        return _TYPE
    limit &= 0xFFFFFFFF
    return _LIMIT if limit >= most else limit


def _sanitize_pointer(env: Env, insn: Insn, ptr: Reg, off: Reg, pointer_is_dst: bool, info: _Sanitize) -> str:
    if _can_skip(env, insn):
        return ""
    b = off.bounds
    by_constant = b.bits[1] == 0
    negative = b.r64[2] < 0
    if not env.state.speculative:
        if not by_constant and negative != (b.r64[3] < 0):
            return _BOUNDS
        operation = insn.opcode & 0xF0
        info.mask_to_left = negative if operation == op.BPF_ADD else not negative
        limit = _limit_of(ptr, info.mask_to_left)
        if isinstance(limit, str):
            return limit
        info.limit = limit
        info.state = (
            (_NEGATIVE if negative else 0)
            | (_IMMEDIATE if by_constant else 0)
            | (_SANITIZE_SRC if pointer_is_dst else _SANITIZE_DST)
        )
        if not by_constant:
            env.explore_alu_limits = True
    if by_constant:
        return ""
    # The path on which the mask turned the offset to 0.
    regs = env.regs
    saved = regs[insn.dst]
    if pointer_is_dst and env.rules.halves_forgotten_first:
        regs[insn.dst] = ptr.with_bounds(Bounds(ptr.bounds.bits, ptr.bounds.r64, ANY32))
    else:
        regs[insn.dst] = ptr
    env.push(env.insn_idx + 1, env.insn_idx, speculative=True)
    regs[insn.dst] = saved
    return ""


def _commit(env: Env, insn: Insn, new: Reg, off: Reg, info: _Sanitize) -> str:
    """The same once the result is known: all paths must agree on the mask."""
    if _can_skip(env, insn) or insn.opcode & 0xF0 not in (op.BPF_ADD, op.BPF_SUB) or env.state.speculative:
        return ""
    limit = _limit_of(new, info.mask_to_left)
    if isinstance(limit, str):
        return limit
    return _update(env, info.state, abs(info.limit - limit))


def _roles(env: Env, insn: Insn, pointer_is_dst: bool) -> tuple[int, int]:
    """Which register messages take for the pointer, which for the offset."""
    if env.rules.offset_in_place and not pointer_is_dst:
        return insn.src, insn.dst
    return insn.dst, insn.src


def prohibited(env: Env, insn: Insn, reason: str, pointer: int, off: int) -> None:
    dst = insn.dst
    verb = "add" if insn.opcode & 0xF0 == op.BPF_ADD else "sub"
    end = "pointer arithmetic with it prohibited for !root"
    texts = {
        _BOUNDS: f"R{off} has unknown scalar with mixed signed bounds, {end}",
        _TYPE: f"R{pointer} has pointer with unsupported alu operation, {end}",
        _PATHS: f"R{dst} tried to {verb} from different maps, paths or scalars, {end}",
        _LIMIT: f"R{dst} tried to {verb} beyond pointer bounds, {end}",
    }
    env.fail(EACCES, texts[reason])


def _check_stays_inside(env: Env, regno: int, reg: Reg) -> None:
    if reg.type == PTR_TO_STACK:
        value, mask = reg.bounds.bits
        off = reg.off + s64(value)
        if mask:
            env.fail(
                EACCES,
                f"R{regno} variable stack access prohibited for !root, "
                f"var_off={bits_text(env, (value, mask))} off={off}",
            )
        if not -MAX_STACK <= off < 0:
            env.fail(
                EACCES, f"R{regno} stack pointer arithmetic goes out of range, prohibited for !root; off={off}"
            )
    elif reg.type == PTR_TO_MAP_VALUE:
        try:
            regions.check_map_value(env, regno, reg.off, 1, False, by_helper=True)
        except Refused:
            env.fail(
                EACCES, f"R{regno} pointer arithmetic of map value goes out of range, prohibited for !root"
            )
