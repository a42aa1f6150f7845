"""The verifier: walks every path of a program until it ends, is covered by an earlier one, or fails.

Linux 6.12 kernel/bpf/verifier.c: bpf_check, do_check, do_check_common, do_check_subprogs.
"""

from __future__ import annotations

import gc
import time
from typing import Final

from bombus.isa import opcodes as op
from bombus.isa.facts import Facts
from bombus.isa.insn import Insn
from bombus.verifier import (
    alu,
    arguments,
    attach,
    branch,
    calls,
    flow,
    helpers,
    kfuncs,
    load_imm,
    loops,
    memory,
    prune,
    refs,
    sections,
    setup,
    static_live,
)
from bombus.verifier.disasm import insn_text
from bombus.verifier.env import (
    ALL_TOUCHED,
    E2BIG,
    EACCES,
    EFAULT,
    EINVAL,
    EPERM,
    MAX_INSNS,
    Aux,
    Check,
    Env,
    Recorder,
)
from bombus.verifier.log import LEVEL2, LEVELS, STATS, frame_text, print_source, print_touched
from bombus.verifier.precision import remember
from bombus.verifier.program import Function, Program, Refused, Verdict
from bombus.verifier.regs import BASE_MASK, PTR_TO_BTF_ID, PTR_TO_CTX, PTR_UNTRUSTED, ZERO, Reg
from bombus.verifier.special import SPIN_UNLOCK
from bombus.verifier.state import Frame, State


def verify(program: Program, recorder: Recorder | None = None) -> Verdict:
    """What the kernel of `program.version` says of a program. NotSupported when it needs what bombus does not know.

    recorder: called with the index of each instruction and the state before it, which it must not keep (copy it).
    States are then covered by older ones only where all that they hold is, so that any run of the program has its
    registers and stack inside a recorded state at each instruction; more states are explored than without.
    """
    started = time.perf_counter_ns()
    env = Env(program, recorder)
    errno = 0
    where = -1
    # States refer to older states only: the cycle collector would walk over hundreds of thousands of objects again and
    # again and find nothing.
    collects = gc.isenabled()
    gc.disable()
    try:
        _check(env)
    except Refused as refused:
        errno = refused.errno
        where = refused.insn
    finally:
        if collects:
            gc.enable()
    microseconds = (time.perf_counter_ns() - started) // 1000
    _statistics(env, microseconds, accepted=not errno)
    env.log.settle()
    return Verdict(
        errno, env.log.text(), where, env.processed, env.total_states, env.peak_states, env.max_states_per_insn,
        env.mark_read_walk, tuple(subprog.stack_depth for subprog in env.subprogs), microseconds,
        env.max_ctx_offset, env.log.start, env.log.peak, _facts(env), _functions(env), _callback(env),
    )


def _functions(env: Env) -> tuple[Function, ...]:
    return tuple(
        Function(one.name, one.type_id, one.unreliable, one.changes_packet, one.might_sleep) for one in env.subprogs
    )


def _callback(env: Env) -> int:
    """The number of the function that exceptions call, when the program names one."""
    start = env.exception_callback
    return next((i for i, one in enumerate(env.subprogs) if one.start == start), -1) if start > 0 else -1


def _is_probe(env: Env, at: int) -> bool:
    """Whether a load goes through a typed pointer, which need not be valid."""
    type_ = env.aux[at].pointer_type
    return env.insns[at].opcode & 7 == op.BPF_LDX and (
        type_ & BASE_MASK == PTR_TO_BTF_ID or bool(type_ & PTR_UNTRUSTED)
    )


def _facts(env: Env) -> Facts:
    aux = env.aux
    return Facts(
        {i: one.access for i, one in enumerate(aux) if one.access},
        {i: one.pointer_operand for i, one in enumerate(aux) if one.pointer_operand},
        frozenset(i for i, one in enumerate(aux) if one.stack_argument),
        {subprog.start: subprog.stack_depth for subprog in env.subprogs},
        {i: one.map.id for i, one in enumerate(aux) if one.map is not None and not one.map_poisoned and one.map.id},
        {i: one.loop_function if one.loop_inlines else one.callback
         for i, one in enumerate(aux) if one.loop_inlines or one.callback >= 0},
        {i: one.step for i, one in enumerate(aux) if one.step is not None},
        frozenset(i for i, one in enumerate(aux) if one.pointer_type and _is_probe(env, i)),
        {i: map_.type for i, one in enumerate(aux) if (map_ := one.map) and not one.map_poisoned and not map_.id},
        frozenset(i for i, one in enumerate(aux) if one.stack_number),
    )  # fmt: skip


def _check(env: Env) -> None:
    if not env.insns:
        raise Refused(E2BIG, 0)  # bpf_prog_load
    setup.check_functions_early(env)
    flow.find_subprograms(env)
    flow.check_subprograms(env)
    setup.check_functions(env)
    setup.check_lines(env)
    if not env.rules.target_checked_late:
        attach.check(env)
    setup.resolve_references(env)
    flow.check_graph(env)
    if env.rules.target_checked_late:
        attach.check(env)
    flow.mark_fastcall(env)
    _choose_checks(env)
    if env.rules.live_registers:
        static_live.compute(env)
    if env.rules.lazy_globals:
        _walk_from(env, 0)
        _check_globals(env)
    else:
        _check_globals(env, all_of_them=True)
        _walk_from(env, 0)
    env.explored = {}
    flow.remove_fastcall_spills(env)
    flow.check_stack_depth(env)
    flow.count_inlined_loops(env)
    flow.count_may_goto(env)
    kfuncs.check_missing(env)
    flow.check_tail_calls(env)
    flow.remove_dead_functions(env)


def _check_globals(env: Env, *, all_of_them: bool = False) -> None:
    """Global functions are verified on their own, each once, when something calls them (or all of them)."""
    if not env.has_btf:
        return
    if env.exception_callback > 0:
        env.subprogs[env.subprog_at[env.exception_callback]].called = True
    again = True
    while again:
        again = False
        for number, subprog in enumerate(env.subprogs):
            if number and subprog.linkage == 1 and (subprog.called or all_of_them) and not subprog.verified:
                _walk_from(env, number)
                if env.prints:
                    env.log.write(
                        f"Func#{number} ('{subprog.name}') is safe for any args that match its prototype\n"
                    )
                subprog.verified = True
                again = True


def _walk_from(env: Env, number: int) -> None:
    """Verify the main program (0) or a global function (do_check_common)."""
    subprog = env.subprogs[number]
    env.last_line = None
    env.insn_idx = subprog.start
    frame = Frame(-1, 0, number, marked=env.marked)
    env.state = State([frame], subprog.start)
    env.touched_regs = env.touched_slots = ALL_TOUCHED
    env.pending = []
    env.explored = {}
    env.bucket_sizes = [0] * len(env.insns)
    env.to_clean = {}
    env.visits = {}
    if not env.rules.states_stay_counted:
        env.kept_states = env.free_states = 0
    env.back_edges = 0
    if number or env.extends:
        env.say(f"Validating {subprog.name}() func#{number}...\n")
        calls.global_arguments(env, number, frame)
        if number and subprog.start == env.exception_callback:
            frame.in_exception_callback = True
            if [argument.kind for argument in subprog.arguments or ()] != ["scalar"]:
                env.fail(EINVAL, "exception cb only supports single integer argument")
    else:
        if env.has_btf:
            arguments.main_program(env)
        frame.regs[1] = Reg(PTR_TO_CTX, ZERO)
    _walk(env)
    if not env.log.level & LEVEL2:
        env.log.cut(0)


def _walk(env: Env) -> None:
    insns = env.insns
    aux = env.aux
    log = env.log
    printing = log.level & LEVELS != 0
    keep_log = log.level & LEVEL2 != 0
    count = len(insns)
    slot_live = env.slot_live
    recorder = env.recorder
    if slot_live is not None:
        slot_live.moved()
    came_back = False  # the state was restored: it must be printed whole
    previous = -1
    checks = env.checks
    straight = env.straight
    barriers = env.rules.speculation_barriers
    state = env.state
    plain = not printing and recorder is None
    nearly_too_many = MAX_INSNS - count
    while True:
        here = env.insn_idx
        if plain and not state.speculative and env.processed < nearly_too_many:
            # Straight on, as long as nothing but the instruction itself is to be looked at.
            while (check := straight[here]) is not None:
                env.insn_idx = here
                env.current_history = None
                env.previous_insn = previous
                env.processed += 1
                aux[here].seen = True
                check(env, insns[here])
                previous = here
                here = env.insn_idx = env.insn_idx + 1
        if here >= count:
            env.fail(EFAULT, f"invalid insn idx {here} insn_cnt {count}")
        env.current_history = None
        env.previous_insn = previous
        env.processed += 1
        if env.processed > MAX_INSNS:
            env.fail(E2BIG, f"BPF program is too large. Processed {env.processed} insn")
        here_aux = aux[here]
        ended = False
        if here_aux.prune_point:
            state.last_insn = previous
            if prune.visited(env, here):
                if printing:
                    if came_back:
                        log.write(f"\nfrom {previous} to {here}{_speculative(state)}: safe\n")
                    else:
                        log.write(f"{here}: safe\n")
                ended = True
            elif here_aux.jump_point:
                remember(env)
        if not ended:
            if printing:
                if keep_log and came_back:
                    frame = frame_text(env, state.frames[-1], True)
                    log.write(f"\nfrom {previous} to {here}{_speculative(state)}:{frame}\n")
                    came_back = False
                _print_insn(env, here)
            if not state.speculative:
                here_aux.seen = True
                if recorder is not None:
                    recorder(here, state)
            previous = here
            insn = insns[here]
            check = checks[here]
            if barriers and state.speculative:
                target = _speculatively(env, insn, here_aux, check)
            elif check is not None:
                check(env, insn)
                env.insn_idx += 1
                continue
            elif insn.opcode & 0xF0 not in _LEAVING:
                env.jumps += 1
                target = branch.check(env, insn)
            else:
                running = state.frames[-1]
                target = _jump(env, insn)
                if slot_live is not None and insn.opcode in _FRAMES:
                    _note_slots(env, insn, here, running)
            if target >= 0:
                env.insn_idx = target
                if target == -1:
                    came_back = True
                continue
            if target == _RETURNED:
                came_back = True
                continue
        env.touched_regs = env.touched_slots = ALL_TOUCHED
        prune.finish(env, state)
        if slot_live is not None:
            slot_live.update(env)
        if not env.pending:
            return
        pending = env.pending.pop()
        if not keep_log and log.position != pending.log_position:
            log.cut(pending.log_position)
        state = env.state = pending.state
        env.insn_idx = pending.insn
        previous = pending.previous
        came_back = True


def _choose_checks(env: Env) -> None:
    """Fill `env.checks` and `env.straight`."""
    classes: tuple[Check | None, ...] = (
        _load, memory.load, _store_imm, _store, alu.check, None, None, alu.check,
    )
    for insn, aux in zip(env.insns, env.aux, strict=True):
        klass = insn.opcode & 7
        check = alu.handler(insn) if klass in (op.BPF_ALU, op.BPF_ALU64) else classes[klass]
        env.checks.append(check)
        env.straight.append(None if aux.prune_point else check)
    env.straight.append(None)


_RETURNED: Final = -1
_ENDED: Final = -2
_FRAMES: Final = (op.CALL, op.EXIT)


def _note_slots(env: Env, insn: Insn, here: int, running: Frame) -> None:
    """What a jump instruction did to the stack, for the liveness of slots. running: the frame before it."""
    slot_live = env.slot_live
    if slot_live is not None:
        if insn.opcode == op.CALL and insn.src != op.BPF_PSEUDO_CALL and env.state.frames[-1] is running:
            slot_live.commit(env, here)
        elif insn.opcode in (op.CALL, op.EXIT):
            slot_live.moved()


def _speculatively(env: Env, insn: Insn, aux: Aux, check: Check | None) -> int:
    """One instruction of a path that only speculation takes: what it must not do gets a barrier, and the path ends.

    As Linux 6.17 and later answer (observed). Returns as `_jump`.
    """
    if aux.barrier:
        return _ENDED
    here = env.insn_idx
    running = env.state.frames[-1]
    try:
        if check is None:
            target = _jump(env, insn)
        else:
            check(env, insn)
            target = env.insn_idx + 1
    except Refused as refused:
        if refused.errno not in (EPERM, EACCES, EINVAL):
            raise
        if check is not None and env.slot_live is not None and insn.opcode & 7 in (op.BPF_ST, op.BPF_STX):
            env.slot_live.commit(env, here)
        aux.barrier = True
        aux.alu = None
        target = _ENDED
    if check is None:
        _note_slots(env, insn, here, running)
    return _ENDED if aux.barrier_after else target


def _speculative(state: State) -> str:
    return " (speculative execution)" if state.speculative else ""


def _print_insn(env: Env, here: int) -> None:
    log = env.log
    if env.touched_regs or env.touched_slots:
        print_touched(env, env.state.frames[-1])
    print_source(env, here, "; ")
    before = log.position
    log.write(f"{here}: {insn_text(env, here)}\n")
    env.insn_line_width = log.position - before
    env.insn_line_end = log.position


def _load(env: Env, insn: Insn) -> None:
    """BPF_LD."""
    mode = insn.opcode & 0xE0
    if mode in (op.BPF_ABS, op.BPF_IND):
        load_imm.packet(env, insn)
    elif mode == op.BPF_IMM:
        load_imm.immediate(env, insn)
        env.insn_idx += 1
    else:
        env.fail(EINVAL, "invalid BPF_LD mode")


def _store(env: Env, insn: Insn) -> None:
    """BPF_STX."""
    if insn.opcode & 0xE0 == op.BPF_ATOMIC:
        memory.atomic(env, insn)
    else:
        memory.store(env, insn)
    if env.slot_live is not None:
        env.slot_live.commit(env, env.insn_idx)


def _store_imm(env: Env, insn: Insn) -> None:
    """BPF_ST."""
    memory.store_imm(env, insn)
    if env.slot_live is not None:
        env.slot_live.commit(env, env.insn_idx)


_LEAVING: Final = (op.BPF_CALL, op.BPF_JA, op.BPF_EXIT)


def _jump(env: Env, insn: Insn) -> int:
    """BPF_JMP and BPF_JMP32. Returns where to go on, or _RETURNED (insn_idx is set), or _ENDED."""
    env.jumps += 1
    operation = insn.opcode & 0xF0
    if operation not in _LEAVING:
        return branch.check(env, insn)
    code, dst, src, off, imm = insn
    klass = code & 7
    if operation == op.BPF_CALL:
        if code & op.BPF_X or (src != op.BPF_PSEUDO_KFUNC_CALL and off) or src not in (0, 1, 2) or dst \
                or klass == op.BPF_JMP32:
            env.fail(EINVAL, "BPF_CALL uses reserved fields")
        if env.state.lock is not None and (
            (src == 0 and imm != SPIN_UNLOCK)
            or (src == op.BPF_PSEUDO_KFUNC_CALL and not kfuncs.allowed_under_lock(env, insn))
        ):
            env.fail(EINVAL, "function calls are not allowed while holding a lock")
        if src == op.BPF_PSEUDO_CALL:
            target = calls.call(env, insn)
        elif src == op.BPF_PSEUDO_KFUNC_CALL:
            if kfuncs.call(env, insn):
                env.touched_regs |= 1
                return leave(env, thrown=True)
            target = env.insn_idx + 1
        else:
            helpers.call(env, insn)
            target = env.insn_idx + 1
        env.touched_regs |= 1
        return target
    if operation == op.BPF_JA:
        if code & op.BPF_X or src or dst or (klass == op.BPF_JMP and imm) or (klass == op.BPF_JMP32 and off):
            env.fail(EINVAL, "BPF_JA uses reserved fields")
        return env.insn_idx + 1 + (off if klass == op.BPF_JMP else imm)
    if operation == op.BPF_EXIT:
        if code & op.BPF_X or imm or src or dst or klass == op.BPF_JMP32:
            env.fail(EINVAL, "BPF_EXIT uses reserved fields")
        return leave(env)
    raise AssertionError(f"jump {code:#x}")


def leave(env: Env, *, thrown: bool = False) -> int:
    """The running function ends, or with an exception the program."""
    state = env.state
    outermost = len(state.frames) == 1
    if thrown:
        sections.check_thrown(env)
        if env.rules.loops_by_scc and not state.speculative:
            loops.check_thrown(env, state)
        return _ENDED
    if state.lock is not None and not env.rules.locks_across_functions:
        env.fail(EINVAL, "bpf_spin_unlock is missing")
    if outermost:
        if not env.rules.refs_in_state:
            if state.lock is not None:
                env.fail(EINVAL, "bpf_spin_unlock is missing")
            sections.check_missing(env)
            refs.check_leaks(env)
        else:
            sections.check_ended(env, "BPF_EXIT instruction in main prog")
        calls.check_return(env)
        return _ENDED
    refs.check_leaks(env, "BPF_EXIT instruction in callback would lead to reference leak"
                     if env.rules.refs_in_state else "")
    env.insn_idx = calls.leave(env)
    return _RETURNED


def _statistics(env: Env, microseconds: int, *, accepted: bool) -> None:
    """The last lines of the log (print_verification_stats)."""
    if env.log.level & STATS:
        shown = [str(subprog.stack_depth) for subprog in env.subprogs]
        if accepted and env.throws and env.exception_callback < 0:
            shown.append("0")  # of the callback that the kernel itself adds
        depths = "+".join(shown)
        env.log.write(f"verification time {microseconds} usec\nstack depth {depths}\n")
    env.say(
        f"processed {env.processed} insns (limit {MAX_INSNS}) max_states_per_insn {env.max_states_per_insn} "
        f"total_states {env.total_states} peak_states {env.peak_states} mark_read {env.mark_read_walk}\n"
    )
