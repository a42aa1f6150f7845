"""Calls between subprograms, callbacks, and how they return.

Linux 6.12 kernel/bpf/verifier.c: check_func_call, push_callback_call, prepare_func_exit, check_return_code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bombus.bits import s32, s64
from bombus.isa.insn import Insn
from bombus.spec.attachtypes import ATTACH_TYPE_BY_ID
from bombus.spec.maptypes import MAP_TYPE
from bombus.spec.progtypes import PROG_TYPE_BY_ID
from bombus.verifier import arguments, attach, btfkit, dynptr, irqreg, prune, refs, special, typed_args
from bombus.verifier.bounds import S32_MAX, S32_MIN, S64_MAX, S64_MIN
from bombus.verifier.env import (
    ALL_TOUCHED,
    E2BIG,
    EACCES,
    EFAULT,
    EINVAL,
    ENOTSUPP,
    MAX_FRAMES,
    MAX_PENDING,
    Env,
    Pending,
    Subprog,
)
from bombus.verifier.live import CALLER_SAVED, define, mark_read, use
from bombus.verifier.log import frame_text
from bombus.verifier.precision import mark_precise
from bombus.verifier.program import Refused
from bombus.verifier.regs import (
    CONST_PTR_TO_DYNPTR,
    CONST_PTR_TO_MAP,
    DYNPTR_PACKET,
    PTR_MAYBE_NULL,
    PTR_TO_BTF_ID,
    PTR_TO_CTX,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_PACKET_END,
    PTR_TO_PACKET_META,
    PTR_TO_STACK,
    SCALAR_VALUE,
    UNINIT,
    UNKNOWN,
    ZERO,
    Dynptr,
    Reg,
    type_name,
)
from bombus.verifier.state import LIVE_READ64, LIVE_WRITTEN, Frame, State

_FOR_EACH_MAPS: Final = frozenset(
    MAP_TYPE[f"BPF_MAP_TYPE_{name}"].id
    for name in ("HASH", "PERCPU_HASH", "LRU_HASH", "LRU_PERCPU_HASH", "ARRAY", "PERCPU_ARRAY")
)


def clear_caller_saved(env: Env, frame: Frame) -> None:
    """A call destroys r0 to r5."""
    for reg in CALLER_SAVED:
        frame.regs[reg] = UNINIT
        frame.live[reg] |= LIVE_WRITTEN
    env.touched_regs |= 0b111111


def clear_packet_pointers(env: Env) -> None:
    """Packet bytes may have moved."""

    def change(reg: Reg) -> Reg | None:
        if reg.type in (PTR_TO_PACKET, PTR_TO_PACKET_META, PTR_TO_PACKET_END):
            return env.invalid()
        if reg.base == PTR_TO_MEM and reg.type & DYNPTR_PACKET:
            return env.invalid()
        return None

    refs.replace_all(env, change)


# What functions take.


def check_arguments(env: Env, number: int, regs: list[Reg]) -> int:
    """0 when registers fit the BTF of a subprogram, else the errno; what does not is said (btf_check_subprog_call).

    A static function is verified with what it gets; that its BTF says otherwise only makes its BTF unreliable.
    """
    if not env.has_btf:
        return EINVAL
    subprog = env.subprogs[number]
    if subprog.unreliable:
        return EINVAL
    try:
        found = arguments.of_subprogram(env, number)
        for i, argument in enumerate(found):
            arguments.check_passed(env, i + 1, regs[i + 1], argument)
    except Refused as refused:
        if refused.errno == EFAULT:
            raise
        subprog.unreliable = True
        return refused.errno
    return 0


def call(env: Env, insn: Insn) -> int:
    """BPF_PSEUDO_CALL. Returns where to go on."""
    here = env.insn_idx
    state = env.state
    target = here + insn.imm + 1
    number = env.subprog_at[target]
    caller = state.frames[-1]
    errno = check_arguments(env, number, caller.regs)
    subprog = env.subprogs[number]
    if subprog.linkage == 1:
        _no_global_call(env, subprog)
        if errno:
            name = f" ('{subprog.name}')" if env.rules.lazy_globals else ""
            env.fail(errno, f"Caller passes invalid args into func#{number}{name}")
        env.say(f"Func#{number} ('{subprog.name}') is global and assumed valid.\n")
        for reg in caller.regs[1:6]:  # to the function it is memory like any other, which helpers may get
            env.note_stack_number(reg)
        if subprog.changes_packet:
            clear_packet_pointers(env)
        subprog.called = True
        clear_caller_saved(env, caller)
        caller.regs[0] = env.unknown
        return here + 1
    enter(env, state, number, here, _pass_arguments)
    clear_caller_saved(env, caller)
    if env.prints:
        env.log.write("caller:\n" + frame_text(env, caller, True) + "\n")
        env.log.write("callee:\n" + frame_text(env, state.frames[-1], True) + "\n")
    return subprog.start


def _no_global_call(env: Env, subprog: Subprog) -> None:
    hint = "use static function instead"
    if env.state.lock is not None:
        env.fail(EINVAL, f"global function calls are not allowed while holding a lock,\n{hint}")
    if env.rules.sleepable_effects:
        state = env.state
        atomic = state.rcu_locked or state.preempt_disabled or irqreg.disabled(env)
        if subprog.might_sleep and (atomic or not (env.sleepable or state.in_sleepable)):
            env.fail(
                EINVAL,
                "global functions that may sleep are not allowed in non-sleepable context,\n"
                "i.e., in a RCU/IRQ/preempt-disabled section, or in\na non-sleepable BPF program context",
            )
    elif env.state.preempt_disabled:
        env.fail(EINVAL, f"global function calls are not allowed with preemption disabled,\n{hint}")


Setup = Callable[[Env, Frame, Frame, int], None]


def enter(env: Env, state: State, number: int, callsite: int, setup: Setup) -> None:
    """Add the frame of a called function (setup_func_entry)."""
    if len(state.frames) >= MAX_FRAMES:
        env.fail(E2BIG, f"the call stack of {len(state.frames) + 1} frames is too deep")
    caller = state.frames[-1]
    callee = Frame(callsite, len(state.frames), number, marked=env.marked)
    env.touched_regs = env.touched_slots = ALL_TOUCHED
    callee.refs = caller.refs
    setup(env, caller, callee, callsite)
    state.frames.append(callee)


def _pass_arguments(_env: Env, caller: Frame, callee: Frame, _callsite: int) -> None:
    for reg in range(1, 6):
        callee.inherit(reg, caller, reg)


# Callbacks.


def _map_key(map_reg: Reg) -> Reg:
    return Reg(PTR_TO_MAP_KEY, ZERO, map_=map_reg.map, map_uid=map_reg.map_uid)


def _map_value(map_reg: Reg) -> Reg:
    return Reg(PTR_TO_MAP_VALUE, ZERO, map_=map_reg.map, map_uid=map_reg.map_uid)


def _for_each(env: Env, caller: Frame, callee: Frame, callsite: int) -> None:
    map_ = env.aux[callsite].map
    if env.aux[callsite].map_poisoned and not env.rules.callbacks_converge:
        env.fail(EINVAL, "tail_call abusing map_ptr")
    if map_ is None or map_.type not in _FOR_EACH_MAPS:
        env.fail(ENOTSUPP, "callback function not allowed for map")
    callee.inherit(1, caller, 1)
    callee.regs[2] = _map_key(caller.regs[1])
    callee.regs[3] = _map_value(caller.regs[1])
    callee.inherit(4, caller, 3)
    callee.in_callback = True
    callee.return_range = (0, 1)


def _loop(_env: Env, caller: Frame, callee: Frame, _callsite: int) -> None:
    callee.regs[1] = UNKNOWN
    callee.inherit(2, caller, 3)
    callee.in_callback = True
    callee.return_range = (0, 1)


def set_up_timer(_env: Env, caller: Frame, callee: Frame, _callsite: int) -> None:
    _pass_value(caller.regs[1], callee)
    callee.return_range = (0, 0)


def set_up_task_work(_env: Env, caller: Frame, callee: Frame, _callsite: int) -> None:
    _pass_value(caller.regs[3], callee)
    callee.return_range = (S32_MIN, S32_MAX)


def _pass_value(timer: Reg, callee: Frame) -> None:
    """A function that runs later gets the map, key and value; timer: something of that map."""
    callee.regs[1] = Reg(CONST_PTR_TO_MAP, ZERO, map_=timer.map, map_uid=timer.map_uid)
    callee.regs[2] = _map_key(timer)
    callee.regs[3] = _map_value(timer)
    callee.in_async_callback = True


def _user_ringbuf(env: Env, caller: Frame, callee: Frame, _callsite: int) -> None:
    callee.regs[1] = Reg(
        CONST_PTR_TO_DYNPTR, ZERO, id_=env.new_id(), dynptr=Dynptr("local", True, 0)
    )
    callee.inherit(2, caller, 3)
    callee.in_callback = True
    callee.return_range = (0, 1)


def _find_vma(env: Env, caller: Frame, callee: Frame, _callsite: int) -> None:
    btf = env.kernel_btf("callbacks of bpf_find_vma")
    callee.inherit(1, caller, 1)
    callee.regs[2] = Reg(PTR_TO_BTF_ID, ZERO, btf=btf, btf_id=typed_args.struct_id(env, "vm_area_struct"))
    callee.inherit(3, caller, 4)
    callee.in_callback = True
    callee.return_range = (0, 1)


SETUPS: Final[dict[int, Setup]] = {
    special.FOR_EACH: _for_each,
    special.LOOP: _loop,
    special.TIMER_SET_CALLBACK: set_up_timer,
    special.USER_RINGBUF_DRAIN: _user_ringbuf,
    special.FIND_VMA: _find_vma,
}


def push_callback(env: Env, helper: int, number: int) -> None:
    """A helper may call a function of the program: queue that path (push_callback_call)."""
    if helper in special.ASYNC_CALLBACKS:
        push_asynchronous(env, number, SETUPS[helper])
    else:
        push(env, number, SETUPS[helper])


def push_asynchronous(env: Env, number: int, setup: Setup, *, sleepable: bool = False) -> None:
    """A function that runs some time later, on its own."""
    caller = env.frame
    check_arguments(env, number, caller.regs)
    subprog = env.subprogs[number]
    subprog.is_callback = True
    subprog.is_async_callback = True
    callee = Frame(-1, 0, number, marked=env.marked)
    env.touched_regs = env.touched_slots = ALL_TOUCHED
    later = State([callee], 0)
    later.in_sleepable = sleepable
    env.pending.append(Pending(later, subprog.start, env.insn_idx, env.log.position))
    if len(env.pending) > MAX_PENDING:
        env.fail(E2BIG, f"The sequence of {len(env.pending)} jumps is too complex for async cb.")
    callee.async_entries = caller.async_entries + 1
    setup(env, caller, callee, env.insn_idx)


def push(env: Env, number: int, setup: Setup) -> None:
    """A function that runs during the call, any number of times."""
    here = env.insn_idx
    state = env.state
    caller = state.frames[-1]
    check_arguments(env, number, caller.regs)
    subprog = env.subprogs[number]
    subprog.is_callback = True
    if not env.rules.callbacks_converge:  # it is walked once, as any function that is called
        depth = len(state.frames)
        if depth >= MAX_FRAMES:
            env.fail(E2BIG, f"the call stack of {depth + 1} frames is too deep")
        entered = Frame(here, depth, number, marked=env.marked)
        entered.refs = caller.refs
        setup(env, caller, entered, here)
        env.entering = entered
        return
    queued = env.push(subprog.start, here)
    enter(env, queued, number, here, setup)
    queued.callback_unroll_depth += 1
    queued.frames[-2].callback_depth += 1
    caller.callback_depth = 0


# Returns.


def within(low: int, high: int, reg: Reg) -> bool:
    return low <= reg.bounds.r64[2] and reg.bounds.r64[3] <= high


def within_32(low: int, high: int, reg: Reg) -> bool:
    return low <= reg.bounds.r32[2] and reg.bounds.r32[3] <= high


def say_invalid_scalar(env: Env, reg: Reg, low: int, high: int, where: str, name: str) -> None:
    text = f"{where} the register {name} has"
    _umin, _umax, smin, smax = reg.bounds.r64
    if not env.rules.smin_smax_in_errors:
        from bombus.verifier.log import bits_text

        if reg.bounds.bits[1] == (1 << 64) - 1:
            text += " unknown scalar value"
        else:
            text += f" value {bits_text(env, reg.bounds.bits)}"
        env.say(f"{text} should have been in {bits_text(env, _range_bits(low, high))}\n")
        return
    if smin > S64_MIN:
        text += f" smin={smin}"
    if smax < S64_MAX:
        text += f" smax={smax}"
    if smin == S64_MIN and smax == S64_MAX:
        text += " unknown scalar value"
    env.say(f"{text} should have been in [{low}, {high}]\n")


def _range_bits(low: int, high: int) -> tuple[int, int]:
    from bombus.verifier import tnum

    return tnum.from_range(low, high)


def leave(env: Env) -> int:
    """BPF_EXIT in a called function. Returns where the caller goes on (prepare_func_exit)."""
    if env.slot_live is not None:
        env.slot_live.update(env)
    state = env.state
    callee = state.frames[-1]
    caller = state.frames[-2]
    r0 = callee.regs[0]
    if r0.type == PTR_TO_STACK:
        env.fail(EINVAL, "cannot return stack pointer to the caller")
    in_callback = callee.in_callback
    if in_callback:
        if r0.type != SCALAR_VALUE:
            env.fail(EACCES, "R0 not a scalar value")
        mark_read(env, callee, 0, LIVE_READ64)
        mark_precise(env, 0)
        r0 = callee.regs[0]
        low, high = callee.return_range
        if not within(low, high, r0):
            say_invalid_scalar(env, r0, low, high, "At callback return", "R0")
            env.fail(EINVAL)
        target = callee.callsite if env.rules.callbacks_converge else callee.callsite + 1
        if env.rules.refs_in_state:
            caller.refs = callee.refs
    else:
        caller.inherit(0, callee, 0)
        caller.refs = callee.refs
        target = callee.callsite + 1
    if env.prints:
        env.log.write("returning from callee:\n" + frame_text(env, callee, True) + "\n")
        env.log.write(f"to caller at {target}:\n" + frame_text(env, caller, True) + "\n")
    state.frames.pop()
    if in_callback and env.rules.callbacks_converge:
        previous = prune.previous_entry(env, state, target)
        if previous is not None:
            prune.widen(env, previous, state)
    return target


def check_return(env: Env, regno: int = 0) -> None:
    """BPF_EXIT of the program, or of a global function: is R0 what it may be? (check_return_code).

    regno: 1 where an exception without callback gives the result.
    """
    frame = env.state.frames[0]
    is_subprog = frame.subprog != 0 and not frame.in_exception_callback
    target = env.target
    if not is_subprog and target is not None and target.is_void and target.attach in ("", "BPF_LSM_MAC"):
        return
    use(env, regno)
    regs = env.regs
    if env.is_pointer(regs[regno]):
        env.fail(EACCES, f"R{regno} leaks addr as return value")
    reg = regs[regno]
    where = "At program exit"
    if frame.in_async_callback:
        where = "At async callback return" if env.rules.smin_smax_in_errors else "At async callback"
        allowed = frame.return_range
    elif is_subprog:
        if reg.type != SCALAR_VALUE:
            env.fail(
                EINVAL,
                f"At subprogram exit the register R{regno} is not a scalar value ({type_name(reg.type)})",
            )
        return
    elif target is not None:
        limits = attach.return_range(env, target)
        if limits is None:
            return
        allowed = limits
    else:
        program = env.program
        row = PROG_TYPE_BY_ID[program.prog_type]
        kind = ATTACH_TYPE_BY_ID.get(program.expected_attach_type)
        known = kind is not None and kind.since <= program.version
        rule = row.return_range(kind.name if kind is not None and known else "")
        if rule is None:
            return
        allowed = (rule.min, rule.max)
    if reg.type != SCALAR_VALUE:
        env.fail(EINVAL, f"{where} the register R{regno} is not a known value ({type_name(reg.type)})")
    if env.rules.exits_precise:
        mark_precise(env, regno)
        reg = regs[regno]
    in_32_bits = target is not None and target.attach == "BPF_LSM_MAC" and not frame.in_async_callback
    if not (within_32(*allowed, reg) if in_32_bits else within(*allowed, reg)):
        say_invalid_scalar(env, reg, *allowed, where, f"R{regno}")
        if target is not None and target.attach == "BPF_LSM_CGROUP" and target.is_void:
            env.say("Note, BPF_LSM_CGROUP that attach to void LSM hooks can't modify return value!\n")
        env.fail(EINVAL)


def global_arguments(env: Env, number: int, frame: Frame) -> None:
    """The registers with which a global function is verified on its own."""
    for i, argument in enumerate(arguments.of_subprogram(env, number)):
        if argument.kind == "ctx":
            reg = Reg(PTR_TO_CTX, ZERO)
        elif argument.kind == "scalar":
            reg = env.unknown
        elif argument.kind == "dynptr":
            reg = Reg(CONST_PTR_TO_DYNPTR, ZERO, id_=env.new_id(), dynptr=Dynptr("local", True, 0))
        elif argument.kind == "typed":
            if argument.btf_id:
                reg = Reg(PTR_TO_BTF_ID | argument.flags, ZERO, id_=env.new_id(),
                          btf=env.kernel_btf("typed arguments"), btf_id=argument.btf_id)
            else:
                reg = Reg(PTR_TO_MEM | argument.flags, ZERO)
        elif argument.kind == "arena":
            reg = env.unknown
        else:
            type_ = PTR_TO_MEM | (PTR_MAYBE_NULL if argument.nullable else 0)
            with_id = argument.nullable or not env.rules.plain_memory_arguments
            reg = Reg(type_, ZERO, id_=env.new_id() if with_id else 0, number=argument.size)
        frame.regs[i + 1] = reg


__all__ = ["btfkit", "define", "dynptr", "s32", "s64"]
