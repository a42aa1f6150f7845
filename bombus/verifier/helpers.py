"""Calls of helpers: whether the program may, what the helper takes, what it gives back.

Linux 6.12 kernel/bpf/verifier.c: check_helper_call.
"""

from __future__ import annotations

from typing import Final

from bombus.bits import s64
from bombus.isa.insn import Insn
from bombus.spec.helpers import HELPERS
from bombus.spec.maptypes import MAP_TYPE_BY_ID
from bombus.spec.progtypes import PROG_TYPE
from bombus.verifier import (
    calls,
    dynptr,
    early_dynptr,
    helper_args,
    irqreg,
    memory,
    records,
    refs,
    regions,
    sections,
    special,
    stack,
    typed_args,
)
from bombus.verifier.bounds import Bounds, const, sync
from bombus.verifier.env import (
    ALL_TOUCHED,
    EACCES,
    EFAULT,
    EINVAL,
    ENOTSUPP,
    NO_CALLBACK,
    SEVERAL_CALLBACKS,
    WRITE,
    Env,
)
from bombus.verifier.formats import check_format
from bombus.verifier.helper_args import Meta
from bombus.verifier.precision import mark_precise
from bombus.verifier.program import MapInfo
from bombus.verifier.prototypes import Proto, UnknownHelper, prototype
from bombus.verifier.regs import (
    MEM_ALLOC,
    MEM_PERCPU,
    MEM_RCU,
    MEM_RDONLY,
    MEM_RINGBUF,
    PTR_MAYBE_NULL,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_SOCK_COMMON,
    PTR_TO_SOCKET,
    PTR_TO_TCP_SOCK,
    UNINIT,
    ZERO,
    Dynptr,
    Reg,
    type_name,
)
from bombus.verifier.typed_access import in_rcu_section

MAX_ERRNO: Final = 4095
_LSM: Final = PROG_TYPE["BPF_PROG_TYPE_LSM"].id
_KPROBE: Final = PROG_TYPE["BPF_PROG_TYPE_KPROBE"].id
_TRACING: Final = PROG_TYPE["BPF_PROG_TYPE_TRACING"].id
_SOCK_OPS: Final = PROG_TYPE["BPF_PROG_TYPE_SOCK_OPS"].id
_SOCKMAP_UPDATERS: Final = frozenset(
    PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id
    for name in ("SOCKET_FILTER", "SCHED_CLS", "SCHED_ACT", "XDP", "SK_REUSEPORT", "FLOW_DISSECTOR", "SK_LOOKUP")
)
_TRAMPOLINES: Final = ("BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT", "BPF_MODIFY_RETURN")
_HELPER_TAKES: Final = special.helper_takes()
_VARIADIC: Final = frozenset(row.id for row in HELPERS if row.c_params.endswith("..."))
_RESULTS: Final = {
    "RET_PTR_TO_SOCKET": PTR_TO_SOCKET,
    "RET_PTR_TO_SOCK_COMMON": PTR_TO_SOCK_COMMON,
    "RET_PTR_TO_TCP_SOCK": PTR_TO_TCP_SOCK,
}


def _prototype(env: Env, number: int) -> Proto:
    try:
        proto = prototype(env, number)
    except UnknownHelper:
        env.fail(EINVAL, f"invalid func {special.name(number, env.program.version)}#{number}")
    if proto is None or proto.name in env.program.without:
        word = "program of this type cannot use helper" if env.rules.cannot_use_helper else "unknown func"
        env.fail(EINVAL, f"{word} {special.name(number)}#{number}")
    return proto


def call(env: Env, insn: Insn) -> None:
    """BPF_CALL of a helper."""
    number = insn.imm
    proto = _prototype(env, number)
    if proto.gpl_only and not env.gpl:
        env.fail(EINVAL, "cannot call GPL-restricted function from non-GPL compatible program")
    if proto.forbidden:
        env.fail(EINVAL, "helper call is not allowed in probe")
    if proto.might_sleep and not (env.sleepable or env.state.in_sleepable):
        env.fail(EINVAL, "helper call might sleep in a non-sleepable prog")
    if env.state.rcu_locked and proto.might_sleep:
        env.fail(EINVAL, f"sleepable helper {special.name(number)}#{number} in rcu_read_lock region")
    if env.state.preempt_disabled and proto.might_sleep:
        env.fail(EINVAL, f"sleepable helper {special.name(number)}#{number} in non-preemptible region")
    if proto.might_sleep and irqreg.disabled(env):
        env.fail(EINVAL, f"sleepable helper {special.name(number)}#{number} in IRQ-disabled region")
    changes_packet = number in special.CHANGE_PACKET
    meta = Meta(proto)
    for i, spec in enumerate(proto.args):
        if spec.kind != "ARG_DONTCARE":
            helper_args.check(env, i, spec, meta, proto)
        elif number in _VARIADIC:
            env.note_stack_argument(i + 1)
    _note_map(env, number, meta)
    if meta.access_size and not stack.clobber(env, meta.raw_reg, meta.access_size):
        for i in range(meta.access_size):
            memory.access(env, meta.raw_reg, i, 1, WRITE, -1)
    if meta.new_dynptr:
        early_dynptr.create(env, meta.new_dynptr, proto.args[meta.new_dynptr - 1].dynptr)
    if meta.release_reg:
        _release(env, number, meta, proto)
    if number in _SPECIAL:
        changes_packet |= _special(env, number, meta, insn)
    calls.clear_caller_saved(env, env.frame)
    regs = env.regs
    regs[0] = _result(env, number, meta, proto)
    env.frame.regs[0] = _refined(env, number, meta, proto, regs[0])
    _check_map(env, number, meta.map)
    if number == special.GET_FUNC_IP and env.program.prog_type == _TRACING:
        if env.target is None or env.target.attach not in _TRAMPOLINES:
            env.fail(
                ENOTSUPP,
                f"func {special.name(number)}#{number} supported only for fentry/fexit/fmod_ret programs",
            )
    elif number == special.GET_FUNC_IP and env.program.prog_type != _KPROBE:
        env.fail(ENOTSUPP, f"func {special.name(number)}#{number} not supported for program type "
                           f"{env.program.prog_type}")
    if number == special.TAIL_CALL and len(env.state.frames) > 1 and env.rules.tail_call_exits_subprogs:
        env.touched_regs |= 1
        env.push(env.insn_idx + 1, env.insn_idx)
        calls.clear_packet_pointers(env)
        env.regs[0] = env.unknown
        env.insn_idx = calls.leave(env) - 1
        return
    if number == special.TAIL_CALL and env.rules.tail_call_exits_subprogs:
        changes_packet = False  # when it fails, nothing moved
    if changes_packet:
        calls.clear_packet_pointers(env)
    if env.entering is not None:
        callee = env.entering
        env.entering = None
        env.state.frames.append(callee)
        env.touched_regs = env.touched_slots = ALL_TOUCHED
        env.insn_idx = env.subprogs[callee.subprog].start - 1


def _note_map(env: Env, number: int, meta: Meta) -> None:
    """Remember the map of a call, which the kernel inlines (record_func_map, record_func_key)."""
    map_ = meta.map
    aux = env.aux[env.insn_idx]
    if number in special.MAP_OPERATIONS:
        if map_ is None:
            env.fail(EINVAL, "kernel subsystem misconfigured verifier")
        if regions.read_only(map_) and number in special.MAP_WRITERS:
            env.fail(EACCES, "write into map forbidden")
    if number in special.MAP_OPERATIONS or number in special.RING_OPERATIONS:  # the latter for our own JIT only
        if aux.map is not None and aux.map is not map_:
            aux.map_poisoned = True
        aux.map = map_
    if number == special.TAIL_CALL:
        if map_ is None or MAP_TYPE_BY_ID[map_.type].name != "BPF_MAP_TYPE_PROG_ARRAY":
            if env.rules.tail_call_map_named:
                env.say("expected prog array map for tail call")
                env.fail(EINVAL)
            env.fail(EINVAL, "kernel subsystem misconfigured verifier")
        index = env.regs[3]
        if index.bounds.bits[1] == 0 and index.type == 1 and index.bounds.bits[0] < map_.max_entries:
            mark_precise(env, 3)


def _release(env: Env, number: int, meta: Meta, proto: Proto) -> None:
    regno = meta.release_reg
    released = False
    if proto.args[regno - 1].kind == "ARG_PTR_TO_DYNPTR":
        if env.rules.dynptrs_guarded:
            dynptr.release(env, regno)
            released = True
        else:
            released = early_dynptr.release(env, regno)
    elif number == special.KPTR_XCHG and meta.ref_id:
        released = _handed_over(env, meta.ref_id)
    elif meta.ref_id:
        released = refs.release(env, meta.ref_id)
    elif stack.is_null(env.regs[regno]):
        released = True
    if not released:
        env.fail(EINVAL, f"func {special.name(number)}#{number} reference has not been acquired before")


def _handed_over(env: Env, id_: int) -> bool:
    """A map owns the object now. Under RCU, per-CPU objects may still be used."""
    safe = in_rcu_section(env)
    if not refs.drop(env, env.state, id_):
        return False

    def change(reg: Reg) -> Reg | None:
        if reg.ref_id != id_:
            return None
        if safe and reg.type & MEM_ALLOC and reg.type & MEM_PERCPU:
            return reg.but(type_=reg.type & ~MEM_ALLOC | MEM_RCU, ref_id=0)
        return env.invalid()

    refs.replace_all(env, change)
    return True


_SPECIAL: Final = frozenset(
    (
        special.TAIL_CALL, special.GET_LOCAL_STORAGE, special.LOOP, special.SNPRINTF, special.DYNPTR_FROM_MEM,
        special.DYNPTR_DATA, special.DYNPTR_WRITE, *calls.SETUPS,
    )
)


def _special(env: Env, number: int, meta: Meta, insn: Insn) -> bool:
    """What some helpers do beside their prototype. True when packet pointers become invalid."""
    regs = env.regs
    state = env.state
    if number == special.TAIL_CALL:
        if env.rules.refs_in_state:
            sections.check_ended(env, "tail_call")
        else:
            if state.lock is not None:
                env.fail(EINVAL, "tail_call cannot be used inside bpf_spin_lock-ed region")
            refs.check_leaks(env, "tail_call would lead to reference leak")
    elif number == special.GET_LOCAL_STORAGE:
        if not stack.is_null(regs[2]):
            env.fail(EINVAL, "get_local_storage() doesn't support non-zero flags")
        if not env.rules.null_args_not_precise:
            mark_precise(env, 2)
    elif number == special.LOOP:
        _loop(env, meta)
    elif number in calls.SETUPS:
        _note_callback(env, meta)
        calls.push_callback(env, number, meta.subprog)
    elif number == special.SNPRINTF:
        _snprintf(env)
    elif number == special.DYNPTR_FROM_MEM:
        if regs[1].type != PTR_TO_MAP_VALUE:
            env.fail(
                EACCES, f"Unsupported reg type {type_name(regs[1].type)} for bpf_dynptr_from_mem data"
            )
    elif number == special.DYNPTR_DATA and not env.rules.dynptrs_guarded:
        meta.ref_id = early_dynptr.reference(env, regs[1])
    elif number == special.DYNPTR_DATA:
        main = dynptr.of(env, regs[1])
        if main is None:
            env.fail(EFAULT)
        meta.dynptr_id = main.id
        meta.ref_id = main.ref_id
    elif number == special.DYNPTR_WRITE:
        main = dynptr.of(env, regs[1])
        return main is not None and main.dynptr is not None and main.dynptr.kind in ("skb", "skb_meta")
    return False


def _called(env: Env, meta: Meta) -> int:
    return env.subprogs[meta.subprog].start if meta.subprog < len(env.subprogs) else len(env.insns)


def _note_callback(env: Env, meta: Meta) -> None:
    aux = env.aux[env.insn_idx]
    called = _called(env, meta)
    aux.callback = called if aux.callback in (NO_CALLBACK, called) else SEVERAL_CALLBACKS


def _loop(env: Env, meta: Meta) -> None:
    aux = env.aux[env.insn_idx]
    first = aux.loop_function < 0
    called = _called(env, meta)
    if first or aux.loop_inlines:  # update_loop_inline_state
        no_flags = stack.is_null(env.regs[4])
        if no_flags:
            mark_precise(env, 4)
        if first:
            aux.loop_function = called
        aux.loop_inlines = no_flags and aux.loop_function == called
    mark_precise(env, 1)
    frame = env.frame
    if not env.rules.callbacks_converge or frame.callback_depth < env.regs[1].bounds.r64[1]:
        calls.push_callback(env, special.LOOP, meta.subprog)
        return
    frame.callback_depth = 0
    if env.prints_all:
        env.log.write(f"frame{len(env.state.frames) - 1} bpf_loop iteration limit reached\n")


def _snprintf(env: Env) -> None:
    regs = env.regs
    length = regs[5].bounds.bits[0]
    if length % 8:
        env.fail(EINVAL)
    map_ = regs[3].map
    assert map_ is not None and map_.contents is not None
    text = map_.contents[regs[3].off + s64(regs[3].bounds.bits[0]) :].split(b"\0")[0]
    problem = check_format(text, length // 8)
    if problem:
        env.fail(problem, "Invalid format string")


# What comes back.


def _result(env: Env, number: int, meta: Meta, proto: Proto) -> Reg:
    ret = proto.ret
    null = PTR_MAYBE_NULL if proto.ret_nullable else 0
    precise = not env.bpf_capable  # shows when a null check makes it a scalar
    if ret == "RET_INTEGER":
        return env.unknown
    if ret == "RET_VOID":
        return UNINIT
    if ret == "RET_PTR_TO_MAP_VALUE":
        map_ = meta.map
        if map_ is None:
            env.fail(EINVAL, "kernel subsystem misconfigured verifier")
        if number == special.LOOKUP and 0 <= meta.key < map_.max_entries:
            null = 0
        type_ = PTR_TO_MAP_VALUE | null
        id_ = 0
        if not null and records.has_lock(map_.fields):
            id_ = env.new_id()
        if null:
            id_ = env.new_id()
        reg = Reg(type_, ZERO, id_=id_, precise=precise, map_=map_, map_uid=meta.map_uid)
    elif ret in _RESULTS:
        reg = Reg(_RESULTS[ret] | null, ZERO, id_=env.new_id() if null else 0, precise=precise)
    elif ret == "RET_PTR_TO_MEM":
        flags = null | (MEM_RINGBUF if proto.ret_ringbuf else 0) | (MEM_RDONLY if proto.ret_read_only else 0)
        reg = Reg(
            PTR_TO_MEM | flags, ZERO, id_=env.new_id() if null else 0, precise=precise, number=meta.mem_size,
            dynptr=Dynptr("", False, meta.dynptr_id) if number == special.DYNPTR_DATA else None,
        )
    else:
        reg = typed_args.result(env, meta, proto)
    if number in special.POINTER_CASTS or number == special.DYNPTR_DATA:
        return reg.but(ref_id=meta.ref_id)
    if _acquires(number, meta):
        id_ = refs.acquire(env, env.insn_idx)
        return reg.but(id_=id_, ref_id=id_)
    return reg


def _acquires(number: int, meta: Meta) -> bool:
    return number in special.ACQUIRING or (
        number == special.LOOKUP and meta.map is not None and meta.map.type in special.SOCK_MAPS
    )


def _refined(env: Env, number: int, meta: Meta, proto: Proto, reg: Reg) -> Reg:
    """Results with known ranges (do_refine_retval_range)."""
    if proto.ret != "RET_INTEGER":
        return reg
    bits, r64, r32 = reg.bounds.bits, reg.bounds.r64, reg.bounds.r32
    if number in special.BOUNDED_RESULTS:
        top = meta.size_max
        bounds = env.sync(
            bits, (r64[0], r64[1], -MAX_ERRNO, s64(top)), (r32[0], r32[1], -MAX_ERRNO, top & 0xFFFFFFFF)
        )
        reg = reg.but(bounds=bounds)
    elif number == special.GET_SMP_PROCESSOR_ID and env.rules.cpu_number_bounded:
        top = env.program.cpus - 1
        reg = reg.but(bounds=const(0) if top == 0 else sync(bits, (0, top, 0, top), (0, top, 0, top)))
    return env.sane(reg, "retval")


def _check_map(env: Env, number: int, map_: MapInfo | None) -> None:
    """Not every helper works on every map (check_map_func_compatibility)."""
    if map_ is None or (number, map_.type) in env.compatible:
        return
    row = MAP_TYPE_BY_ID[map_.type]
    name = row.name.removeprefix("BPF_MAP_TYPE_")
    allowed = special.map_takes(name)
    wrong = allowed is not None and number not in allowed
    if name in ("SOCKMAP", "SOCKHASH") and (wrong or number in (special.UPDATE, special.DELETE)):
        wrong = not _may_update_sockmap(env, number)
    takes = _HELPER_TAKES.get(number)
    if wrong or (takes is not None and name not in takes):
        env.fail(EINVAL, f"cannot pass map_type {map_.type} into func {special.name(number)}#{number}")
    env.compatible.add((number, map_.type))


def _may_update_sockmap(env: Env, number: int) -> bool:
    if number not in (special.UPDATE, special.DELETE):
        return False
    type_ = env.program.prog_type
    iterates = env.target is not None and env.target.attach == "BPF_TRACE_ITER"
    if iterates or type_ in _SOCKMAP_UPDATERS or (type_ == _SOCK_OPS and number == special.DELETE):
        return True
    env.say("cannot update sockmap in this context\n")
    return False


__all__ = ["ENOTSUPP", "Bounds", "call"]
