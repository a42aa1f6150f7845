"""BPF_LD: 64-bit immediates and the packet loads that classic BPF left behind.

Linux 6.12 kernel/bpf/verifier.c: check_ld_imm, check_ld_abs.
"""

from __future__ import annotations

from typing import Final

from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.spec.maptypes import MAP_TYPE
from bombus.spec.progtypes import PROG_TYPE
from bombus.verifier import calls, refs, sections
from bombus.verifier.env import EINVAL, Env
from bombus.verifier.live import define, use
from bombus.verifier.regions import check_plain_pointer
from bombus.verifier.regs import CONST_PTR_TO_MAP, PTR_TO_CTX, PTR_TO_FUNC, PTR_TO_MAP_VALUE, ZERO, Reg

_ARENA: Final = MAP_TYPE["BPF_MAP_TYPE_ARENA"].id
_SKB: Final = tuple(
    PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id for name in ("SOCKET_FILTER", "SCHED_CLS", "SCHED_ACT")
)


def immediate(env: Env, insn: Insn) -> None:
    """ld_imm64 in all its meanings."""
    if insn.opcode & 0x18 != op.BPF_DW:
        env.fail(EINVAL, "invalid BPF_LD_IMM insn")
    if insn.off:
        env.fail(EINVAL, "BPF_LD_IMM64 uses reserved fields")
    define(env, insn.dst)
    regs = env.regs
    here = env.insn_idx
    if insn.src == 0:
        high = env.insns[here + 1].imm
        regs[insn.dst] = env.known((high & 0xFFFFFFFF) << 32 | insn.imm & 0xFFFFFFFF)
        return
    if insn.src == op.BPF_PSEUDO_FUNC:
        number = env.subprog_at[here + insn.imm + 1]
        if not env.has_btf:
            env.fail(EINVAL, "missing btf func_info")
        if env.subprogs[number].linkage != 0:
            env.fail(EINVAL, "callback function not static")
        if number == 0:
            env.fail(EINVAL, "callback function cannot be the main program")
        regs[insn.dst] = Reg(PTR_TO_FUNC, ZERO, number=number)
        return
    aux = env.aux[here]
    if aux.variable is not None:
        regs[insn.dst] = aux.variable
        return
    map_ = aux.map
    assert map_ is not None
    if insn.src in (op.BPF_PSEUDO_MAP_VALUE, op.BPF_PSEUDO_MAP_IDX_VALUE):
        if map_.type == _ARENA:
            regs[insn.dst] = env.unknown
            return
        regs[insn.dst] = Reg(PTR_TO_MAP_VALUE, ZERO, aux.map_off, map_=map_)
        return
    regs[insn.dst] = Reg(CONST_PTR_TO_MAP, ZERO, map_=map_)


def packet(env: Env, insn: Insn) -> None:
    """BPF_LD | BPF_ABS and BPF_LD | BPF_IND: a failed load ends the function with 0."""
    state = env.state
    by_register = insn.opcode & 0xE0 == op.BPF_IND
    if env.program.prog_type not in _SKB:
        env.fail(EINVAL, "BPF_LD_[ABS|IND] instructions not allowed for this program type")
    if env.rules.ld_abs_in_callback_by_depth and any(frame.in_callback for frame in state.frames[1:]):
        env.fail(EINVAL, "cannot use BPF_LD_[ABS|IND] within callback")
    if insn.dst or insn.off or insn.opcode & 0x18 == op.BPF_DW or (not by_register and insn.src):
        env.fail(EINVAL, "BPF_LD_[ABS|IND] uses reserved fields")
    use(env, 6)
    if env.rules.refs_in_state:
        sections.check_ended(env, "BPF_LD_[ABS|IND]")
    else:
        refs.check_leaks(env, "BPF_LD_[ABS|IND] cannot be mixed with socket references")
        if state.lock is not None:
            env.fail(EINVAL, "BPF_LD_[ABS|IND] cannot be used inside bpf_spin_lock-ed region")
        if state.rcu_locked:
            env.fail(EINVAL, "BPF_LD_[ABS|IND] cannot be used inside bpf_rcu_read_lock-ed region")
        if state.preempt_disabled:
            env.fail(EINVAL, "BPF_LD_[ABS|IND] cannot be used inside bpf_preempt_disable-ed region")
    frame = state.frames[-1]
    regs = frame.regs
    if regs[6].type != PTR_TO_CTX:
        env.fail(EINVAL, "at the time of BPF_LD_ABS|IND R6 != pointer to skb")
    if by_register:
        use(env, insn.src)
    check_plain_pointer(env, regs[6], 6)
    calls.clear_caller_saved(env, frame)
    regs[0] = env.unknown
    if len(state.frames) > 1 and env.rules.ld_abs_exits_subprogs:
        env.touched_regs |= 1
        env.push(env.insn_idx + 1, env.insn_idx)
        regs[0] = Reg(1, ZERO, precise=regs[0].precise)
        env.insn_idx = calls.leave(env) - 1
