"""The shape of a program before it is verified: subprograms, edges, where to keep checkpoints, stack depth.

Linux 6.12 kernel/bpf/verifier.c: add_subprog_and_kfunc, check_subprogs, check_cfg, mark_fastcall_patterns,
check_max_stack_depth.
"""

from __future__ import annotations

from typing import Final

from bombus.bits import s32
from bombus.isa import opcodes as op
from bombus.spec.helpers import HELPER_BY_ID
from bombus.spec.progtypes import PROG_TYPE
from bombus.verifier import kfuncs, setup, special
from bombus.verifier.env import E2BIG, EACCES, EFAULT, EINVAL, EPERM, MAX_FRAMES, MAX_STACK, MAX_SUBPROGS, Env, Subprog
from bombus.verifier.log import print_source
from bombus.verifier.program import Refused
from bombus.verifier.prototypes import UnknownHelper, prototype

# include/linux/bpf_verifier.h: bpf_enable_priv_stack, BPF_PRIV_STACK_MIN_SIZE
_PRIVATE_STACKS: Final = frozenset(
    PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id for name in ("KPROBE", "TRACEPOINT", "PERF_EVENT", "RAW_TRACEPOINT")
)
_PRIVATE_STACK_MIN: Final = 64
_EXT: Final = PROG_TYPE["BPF_PROG_TYPE_EXT"].id
_STRUCT_OPS: Final = PROG_TYPE["BPF_PROG_TYPE_STRUCT_OPS"].id
_FAST_KFUNCS: Final = ("bpf_cast_to_kern_ctx", "bpf_rdonly_cast")
_DISCOVERED: Final = 0x10
_EXPLORED: Final = 0x20
_FALLTHROUGH: Final = 1
_BRANCH: Final = 2


def _find_starts(env: Env, starts: set[int]) -> None:
    """Add the first instruction of each subprogram."""
    for i, insn in enumerate(env.insns):
        is_func = insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_FUNC
        is_call = insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_CALL
        is_kfunc = insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_KFUNC_CALL
        if not (is_func or is_call or is_kfunc):
            continue
        if not env.bpf_capable:
            env.fail(
                EPERM,
                "loading/calling other bpf or kernel functions are allowed for CAP_BPF and CAP_SYS_ADMIN",
            )
        if is_kfunc:
            kfuncs.add(env, insn)
            continue
        _add_start(env, starts, i + insn.imm + 1)
    setup.find_exception_callback(env)
    if env.exception_callback > 0:
        _add_start(env, starts, env.exception_callback)


def _add_start(env: Env, starts: set[int], target: int) -> None:
    if not 0 <= target < len(env.insns):
        env.fail(EINVAL, "call to invalid destination")
    if target not in starts and len(starts) >= MAX_SUBPROGS:
        env.fail(E2BIG, "too many subprograms")
    starts.add(target)


def find_subprograms(env: Env) -> None:
    """Every target of a call or of a function address starts a subprogram."""
    starts = {0}
    try:
        _find_starts(env, starts)
    except Refused:
        env.subprogs = [Subprog(start) for start in sorted(starts)]
        raise
    ordered = sorted(starts)
    ends = [*ordered[1:], len(env.insns)]
    env.subprogs = [Subprog(start, end) for start, end in zip(ordered, ends, strict=True)]
    env.subprog_at = {start: i for i, start in enumerate(ordered)}
    if env.exception_callback > 0:
        callback = env.subprogs[env.subprog_at[env.exception_callback]]
        callback.is_callback = callback.is_async_callback = True
    if env.prints_all:
        for i, start in enumerate(ordered):
            env.log.write(f"func#{i} @{start}\n")


def check_subprograms(env: Env) -> None:
    """Jumps stay inside their subprogram, and each ends where nothing falls out of it."""
    number = 0
    subprog = env.subprogs[0]
    for i, (code, _dst, src, off, imm) in enumerate(env.insns):
        klass = code & 7
        if code == op.CALL and src == 0 and imm == special.TAIL_CALL:
            subprog.has_tail_call = subprog.tail_call_reachable = True
        if klass == op.BPF_LD and code & 0xE0 in (op.BPF_ABS, op.BPF_IND):
            subprog.has_ld_abs = True
        if klass in (op.BPF_JMP, op.BPF_JMP32) and code & 0xF0 not in (op.BPF_EXIT, op.BPF_CALL):
            target = i + 1 + (imm if code == op.GOTOL else off)
            if not subprog.start <= target < subprog.end:
                env.fail(EINVAL, f"jump out of range from insn {i} to {s32(target)}")
        if i == subprog.end - 1:
            if code not in (op.EXIT, op.GOTOL, op.JA):
                env.fail(EINVAL, "last insn is not an exit or jmp")
            number += 1
            if number < len(env.subprogs):
                subprog = env.subprogs[number]


class _Graph:
    """Depth-first search over the instructions."""

    __slots__ = ("env", "stack", "state")

    def __init__(self, env: Env) -> None:
        self.env = env
        self.state = [0] * len(env.insns)
        self.stack: list[int] = []

    def edge(self, source: int, target: int, kind: int, loop_ok: bool = True) -> bool:
        """Follow an edge. True when the target is new and must be visited first."""
        env = self.env
        state = self.state
        if state[source] >= (_DISCOVERED | kind):
            return False
        if not 0 <= target < len(env.insns):
            print_source(env, source, f"{source}: ")
            env.fail(EINVAL, f"jump out of range from insn {source} to {target}")
        if kind == _BRANCH:
            mark_target(env, target)
        if state[target] == 0:
            state[source] = _DISCOVERED | kind
            state[target] = _DISCOVERED
            if len(self.stack) >= len(env.insns):
                env.fail(E2BIG)
            self.stack.append(target)
            return True
        if state[target] & 0xF0 == _DISCOVERED:
            if env.bpf_capable and (loop_ok or env.rules.loops_on_any_edge):
                return False
            print_source(env, source, f"{source}: ")
            print_source(env, target, f"{target}: ")
            env.fail(EINVAL, f"back-edge from insn {source} to {target}")
        state[source] = _DISCOVERED | kind
        return False

    def walk(self, start: int) -> None:
        self.state[start] = _DISCOVERED
        self.stack = [start]
        while self.stack:
            insn = self.stack[-1]
            if not self.visit(insn):
                self.state[insn] = _EXPLORED
                self.stack.pop()

    def visit(self, at: int) -> bool:
        env = self.env
        code, _dst, src, off, imm = env.insns[at]
        klass = code & 7
        if klass not in (op.BPF_JMP, op.BPF_JMP32):
            size = 2 if code == op.LD_IMM64 else 1
            if size == 2 and src == op.BPF_PSEUDO_FUNC:
                return self.call(at, size, at + imm + 1)
            return self.edge(at, at + size, _FALLTHROUGH, loop_ok=False)
        operation = code & 0xF0
        aux = env.aux[at]
        if operation == op.BPF_EXIT:
            return False
        if operation == op.BPF_CALL:
            if src == 0 and code == op.CALL:
                if imm in special.ASYNC_CALLBACKS:
                    aux.prune_point = True
                if imm in special.SYNC_CALLBACKS and env.rules.callbacks_converge:
                    aux.calls_callback = aux.force_checkpoint = aux.prune_point = aux.jump_point = True
                if imm in special.CHANGE_PACKET and env.rules.packet_effects:
                    env.subprogs[env.subprog_of(at)].changes_packet = True
                if env.rules.sleepable_effects and _sleeps(env, imm):
                    env.subprogs[env.subprog_of(at)].might_sleep = True
            elif src == op.BPF_PSEUDO_KFUNC_CALL:
                _note_kfunc(env, at)
            return self.call(at, 1, at + imm + 1 if src == op.BPF_PSEUDO_CALL else -1)
        if operation == op.BPF_JA:
            if code & op.BPF_X:
                env.fail(EINVAL)
            target = at + 1 + (off if klass == op.BPF_JMP else imm)
            if self.edge(at, target, _FALLTHROUGH):
                return True
            mark_target(env, target)
            return False
        aux.prune_point = True
        if code == op.MAY_GOTO and src == op.BPF_MAY_GOTO:
            aux.force_checkpoint = True
        return self.edge(at, at + 1, _FALLTHROUGH) or self.edge(at, at + off + 1, _BRANCH)

    def call(self, at: int, size: int, callee: int) -> bool:
        env = self.env
        if self.edge(at, at + size, _FALLTHROUGH, loop_ok=False):
            return True
        after = env.aux[at + size]
        after.prune_point = after.jump_point = True
        if callee < 0:
            return False
        env.aux[at].prune_point = True
        called = env.subprogs[env.subprog_of(callee)]
        caller = env.subprogs[env.subprog_of(at)]
        caller.changes_packet |= called.changes_packet
        caller.might_sleep |= called.might_sleep
        return self.edge(at, callee, _BRANCH, loop_ok=size == 2)


def _note_kfunc(env: Env, at: int) -> None:
    kfunc = kfuncs.of(env, env.insns[at])
    if kfunc is None:
        return
    aux = env.aux[at]
    if kfunc.name in kfuncs.CALLING_LATER:
        aux.prune_point = True
    if kfunc.name == "bpf_rbtree_add_impl":
        aux.calls_callback = aux.force_checkpoint = aux.prune_point = aux.jump_point = True
    if not kfunc.allowed:
        return
    if "iter_next" in kfunc.flags:
        aux.next_of_iterator = aux.prune_point = aux.force_checkpoint = True
    if "sleepable" in kfunc.flags and env.rules.sleepable_effects:
        env.subprogs[env.subprog_of(at)].might_sleep = True


def _sleeps(env: Env, helper: int) -> bool:
    if env.program.prog_type == _EXT:
        row = HELPER_BY_ID.get(helper)
        return row is not None and row.prototype.might_sleep
    if env.program.prog_type == _STRUCT_OPS:
        return False  # which helpers they get is known only when what they attach to was looked at, after this
    try:
        proto = prototype(env, helper)
    except UnknownHelper:
        return False
    return proto is not None and proto.might_sleep


def mark_target(env: Env, at: int) -> None:
    aux = env.aux[at]
    aux.prune_point = aux.jump_point = aux.jump_target = True


def check_graph(env: Env) -> None:
    """All code is reachable, jumps hit instructions, and unprivileged programs do not loop."""
    graph = _Graph(env)
    graph.walk(0)
    if env.exception_callback > 0:
        graph.walk(env.exception_callback)
    i = 0
    while i < len(env.insns):
        if graph.state[i] != _EXPLORED:
            env.fail(EINVAL, f"unreachable insn {i}")
        if env.insns[i].opcode == op.LD_IMM64:
            if graph.state[i + 1]:
                env.fail(EINVAL, f"jump into the middle of ldimm64 insn {i}")
            i += 1
        i += 1


# Fastcall: spills and fills around calls that leave registers alone (from Linux 6.12 on).


def mark_fastcall(env: Env) -> None:
    if not env.rules.fastcall:
        return
    store = op.BPF_STX | op.BPF_MEM | op.BPF_DW
    for subprog in env.subprogs:
        body = range(subprog.start, subprog.end)
        lowest = min(
            (env.insns[i].off for i in body if env.insns[i].opcode == store and env.insns[i].dst == 10), default=0
        )
        lowest = min(lowest, 0)
        for i in body:
            if env.insns[i].opcode == op.CALL:
                _mark_fastcall_at(env, subprog, i, lowest)


def _mark_fastcall_at(env: Env, subprog: Subprog, at: int, lowest: int) -> None:
    call = env.insns[at]
    if call.src == op.BPF_PSEUDO_KFUNC_CALL:
        kfunc = kfuncs.of(env, call)
        if kfunc is None or not kfunc.allowed:
            return
        clobbered = kfuncs.clobbered(kfunc)
        inlined = kfunc.name in _FAST_KFUNCS
    elif call.src:
        return
    else:
        try:
            proto = prototype(env, call.imm)
        except UnknownHelper:
            return
        if proto is None:
            return
        clobbered = 0 if proto.ret == "RET_VOID" else 1
        for i, argument in enumerate(proto.args):
            if argument.kind != "ARG_DONTCARE":
                clobbered |= 2 << i
        inlined = proto.fastcall and call.imm == special.GET_SMP_PROCESSOR_ID
    if clobbered == 0b111111:
        return
    expected = ~clobbered & 0b111111
    store = op.BPF_STX | op.BPF_MEM | op.BPF_DW
    load = op.BPF_LDX | op.BPF_MEM | op.BPF_DW
    count = 0
    off = lowest
    for i in range(1, 7):
        if at - i < 0 or at + i >= len(env.insns):
            break
        if env.aux[at - i + 1].jump_target or env.aux[at + i].jump_target:
            break
        stx, ldx = env.insns[at - i], env.insns[at + i]
        if stx.opcode != store or ldx.opcode != load or stx.dst != 10 or ldx.src != 10:
            break
        if stx.src != ldx.dst or not expected >> stx.src & 1 or stx.off != off or ldx.off != off:
            break
        expected &= ~(1 << stx.src)
        env.aux[at - i].fastcall_pattern = True
        env.aux[at + i].fastcall_pattern = True
        count = i
        off += 8
    if not count:
        return
    if inlined:
        env.aux[at].fastcall_spills = count
    else:
        subprog.keep_fastcall_stack = True
    subprog.fastcall_stack_off = min(subprog.fastcall_stack_off, off)


def remove_fastcall_spills(env: Env) -> None:
    """Spills that vanish make the stack smaller."""
    for subprog in env.subprogs:
        for at in range(subprog.start, subprog.end):
            if env.aux[at].fastcall_spills and not subprog.keep_fastcall_stack:
                subprog.stack_depth = -subprog.fastcall_stack_off


# Stack depth.


def _rounded(env: Env, depth: int) -> int:
    """With a JIT a frame takes multiples of 16 bytes, on old kernels multiples of 32 (round_up_stack_depth)."""
    if env.rules.jit_stack_rounding:
        return (depth + 15) & -16
    return (max(depth, 1) + 31) & -32


def check_stack_depth(env: Env) -> None:
    """The frames of every chain of calls fit 512 bytes together; chains are at most 8 deep."""
    apart = _with_own_stack(env)
    for i in range(len(env.subprogs) - 1, -1, -1):
        if i == 0 or env.subprogs[i].is_async_callback:
            _depth_from(env, i, apart if i == 0 else set())


def _with_own_stack(env: Env) -> set[int]:
    """Functions whose frame is not on the kernel's stack: deep ones of tracing programs without tail calls."""
    if env.extends or not env.rules.private_stack or env.program.prog_type not in _PRIVATE_STACKS:
        return set()
    if any(subprog.has_tail_call or subprog.is_async_callback for subprog in env.subprogs):
        return set()
    return {i for i, subprog in enumerate(env.subprogs) if subprog.stack_depth >= _PRIVATE_STACK_MIN}


def _depth_from(env: Env, number: int, apart: set[int]) -> None:
    subprogs = env.subprogs
    depth = 0
    reachable = False
    chain: list[tuple[int, int]] = []
    insn = subprogs[number].start
    enter = True
    while True:
        subprog = subprogs[number]
        if enter:
            enter = False
            if subprog.has_ld_abs and (subprog.is_callback or any(subprogs[s].is_callback for s, _ in chain)) \
                    and env.rules.ld_abs_in_callback_by_depth:
                env.fail(EINVAL, "cannot use BPF_LD_[ABS|IND] within callback")
            if number and subprog.has_tail_call and depth >= 256:
                env.fail(
                    EACCES,
                    f"tail_calls are not allowed when call stack of previous frames is {depth} bytes. Too large",
                )
            own = number in apart
            if own and subprog.stack_depth > MAX_STACK:
                env.fail(EACCES, f"stack size of subprog {number} is {subprog.stack_depth}. Too large")
            if not own:
                depth += _rounded(env, subprog.stack_depth)
            if depth > MAX_STACK:
                env.fail(EACCES, f"combined stack size of {len(chain) + 1} calls is {depth}. Too large")
        called = False
        while insn < subprog.end:
            code, _dst, src, _off, imm = env.insns[insn]
            if code == op.CALL and src == op.BPF_PSEUDO_KFUNC_CALL and (
                subprog.is_callback or any(subprogs[caller].is_callback for caller, _ in chain)
            ):
                kfunc = kfuncs.of(env, env.insns[insn])
                if kfunc is not None and kfunc.name == "bpf_throw":
                    env.fail(
                        EINVAL,
                        f"bpf_throw kfunc (insn {insn}) cannot be called from callback subprog {number}",
                    )
            is_call = code == op.CALL and src == op.BPF_PSEUDO_CALL
            if not is_call and not (code == op.LD_IMM64 and src == op.BPF_PSEUDO_FUNC):
                insn += 1
                continue
            target = env.subprog_at[insn + imm + 1]
            if is_call and subprogs[target].start == env.exception_callback:
                # Linux 6.18 ends the line no more.
                env.say(f"insn {insn} cannot call exception cb directly" + "\n" * (not env.rules.static_liveness))
                env.fail(EINVAL)
            if subprogs[target].is_async_callback and not is_call:
                insn += 1
                continue
            chain.append((number, insn + 1))
            number = target
            insn = subprogs[target].start
            if subprogs[target].has_tail_call:
                reachable = True
            if len(chain) >= MAX_FRAMES:
                env.fail(E2BIG, f"the call stack of {len(chain)} frames is too deep !")
            called = enter = True
            break
        if called:
            continue
        if reachable:
            for caller, _ in chain:
                subprogs[caller].tail_call_reachable = True
        if not chain:
            return
        if number not in apart:
            depth -= _rounded(env, subprog.stack_depth)
        number, insn = chain.pop()


def count_may_goto(env: Env) -> None:
    """The counter of may_goto takes stack in the function that it stands in (do_misc_fixups)."""
    if not any(insn.opcode == op.MAY_GOTO for insn in env.insns):
        return
    left = _without_nops(env)
    for subprog in env.subprogs:
        body = range(subprog.start, subprog.end)
        if any(env.insns[i].opcode == op.MAY_GOTO and env.aux[i].seen and i in left for i in body):
            subprog.stack_depth += 16 if env.rules.timed_may_goto else 8


_JUMP: Final = op.BPF_JMP | op.BPF_JA


def _without_nops(env: Env) -> set[int]:
    """The instructions that are left when jumps to the next one are taken out (opt_remove_nops).

    After a may_goto, what stands before it is looked at once more.
    """
    insns = env.insns
    left = [i for i in range(len(insns)) if env.aux[i].seen or (i > 0 and insns[i - 1].opcode == op.LD_IMM64)]
    if not env.bpf_capable:
        return set(left)
    at = 0
    while at < len(left):
        here = left[at]
        code, off = insns[here].opcode, insns[here].off
        target = here + 1 + off
        following = left[at + 1] if at + 1 < len(left) else len(insns)
        if code in (_JUMP, op.MAY_GOTO) and off >= 0 and following >= target:
            del left[at]
            if code == op.MAY_GOTO and at:
                at -= 1
        else:
            at += 1
    return set(left)


def count_inlined_loops(env: Env) -> None:
    """A bpf_loop that is compiled in place keeps three registers on the stack (optimize_bpf_loop)."""
    for subprog in env.subprogs:
        if any(env.aux[i].loop_inlines for i in range(subprog.start, subprog.end)):
            subprog.stack_depth = (subprog.stack_depth + 7 & -8) + 24


def check_tail_calls(env: Env) -> None:
    """A tail call through different maps cannot be guarded against speculation (do_misc_fixups)."""
    if env.bypass_spec_v1:
        return
    for aux, insn in zip(env.aux, env.insns, strict=True):
        if aux.seen and aux.map_poisoned and insn.opcode == op.CALL and insn.imm == special.TAIL_CALL and not insn.src:
            env.fail(EINVAL, "tail_call abusing map_ptr")


def remove_dead_functions(env: Env) -> None:
    """Functions that nothing reaches are gone from the finished program (opt_remove_dead_code, jit_subprogs)."""
    if not env.bpf_capable:
        return
    everything = env.subprogs
    env.subprogs = [
        subprog for subprog in everything if any(env.aux[i].seen for i in range(subprog.start, subprog.end))
    ]
    left = len(env.subprogs) + (env.throws and env.exception_callback < 0)  # the kernel adds the callback
    if len(env.subprogs) == len(everything) or left < 2:
        return
    lost = _lost_function(env)
    if lost >= 0:
        env.fail(EFAULT, f"verifier bug: No program to jit at insn {lost} (subprog < 0)"
                 if env.rules.live_registers else "")


def _lost_function(env: Env) -> int:
    """Where an address of a function points that was taken out, when no function begins there; -1: all do.

    Linux 6.12 kernel/bpf/core.c: bpf_adj_delta_to_imm moves what points behind a part that is taken out, not what
    points into it.
    """
    seen = [
        aux.seen or (i > 0 and env.aux[i - 1].seen and env.insns[i - 1].opcode == op.LD_IMM64)
        for i, aux in enumerate(env.aux)
    ]
    addresses = [
        [at, at + insn.imm + 1] for at, insn in enumerate(env.insns)
        if insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_FUNC and seen[at]
    ]
    starts = {sum(seen[: subprog.start]) for subprog in env.subprogs}
    first = 0
    end = len(seen)
    while first < end:
        if seen[first]:
            first += 1
            continue
        last = first
        while last < end and not seen[last]:
            last += 1
        count = last - first
        for address in addresses:
            at, target = address
            if at < first:
                if target >= last:
                    address[1] = target - count
            else:
                address[0] = at - count
                if target - count >= first:  # what it points to moved with it
                    address[1] = target - count
        del seen[first:last]
        end -= count
    return next((target for _at, target in addresses if target not in starts), -1)
