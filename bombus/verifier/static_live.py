"""Which registers are live before each instruction, and the strongly connected parts of the program.

From Linux 6.16 on registers' liveness is computed before verification, from 6.17 on loops are found in the same way
(observed in the logs of Linux 6.18; the method is the textbook's: backward data flow, and Tarjan's algorithm).
"""

from __future__ import annotations

from typing import Final

from bombus.isa import opcodes as op
from bombus.verifier.disasm import insn_text
from bombus.verifier.env import Env
from bombus.verifier.prototypes import UnknownHelper, prototype
from bombus.verifier.state import NR_REGS

_CALLER_SAVED: Final = 0b111111
_ALL: Final = (1 << NR_REGS) - 1


def successors(env: Env, at: int) -> tuple[int, ...]:
    """Where control may go after an instruction, fall-through first; a call goes on behind itself."""
    code, _dst, _src, off, imm = env.insns[at]
    klass = code & 7
    size = 2 if code == op.LD_IMM64 else 1
    if klass not in (op.BPF_JMP, op.BPF_JMP32):
        return (at + size,) if at + 1 < len(env.insns) else ()
    operation = code & 0xF0
    if operation == op.BPF_EXIT:
        return ()
    if operation == op.BPF_CALL:
        return (at + 1,) if at + 1 < len(env.insns) else ()
    if operation == op.BPF_JA:
        return (at + 1 + (imm if klass == op.BPF_JMP32 else off),)
    target = at + off + 1
    if at + 1 >= len(env.insns):
        return (target,)
    return (at + 1, target) if target != at + 1 else (target,)


def _uses(env: Env, at: int) -> tuple[int, int]:
    """Masks of the registers that an instruction reads, and of those it overwrites."""
    code, dst, src, _off, imm = env.insns[at]
    klass = code & 7
    d, s = 1 << dst, 1 << src
    mode = code & 0xE0
    if klass in (op.BPF_ALU, op.BPF_ALU64):
        operation = code & 0xF0
        if operation == op.BPF_END:
            return d, d
        if operation == op.BPF_MOV:
            return (s if code & op.BPF_X else 0), d
        return (d | s if code & op.BPF_X else d), d
    if klass == op.BPF_LDX:
        return (s, d) if mode in (op.BPF_MEM, op.BPF_MEMSX) else (_ALL, 0)
    if klass == op.BPF_ST:
        return (d, 0) if mode == op.BPF_MEM else (_ALL, 0)
    if klass == op.BPF_STX:
        if mode == op.BPF_MEM:
            return d | s, 0
        if mode != op.BPF_ATOMIC:
            return _ALL, 0
        if imm == op.BPF_CMPXCHG:
            return 1 | d | s, 1
        if imm == op.BPF_LOAD_ACQ:
            return s, d
        if imm == op.BPF_STORE_REL:
            return d | s, 0
        return d | s, s if imm & op.BPF_FETCH else 0
    if klass == op.BPF_LD:
        return (0, d) if mode == op.BPF_IMM and code & 0x18 == op.BPF_DW else (_ALL, 0)
    operation = code & 0xF0
    if operation in (op.BPF_JA, op.BPF_JCOND):
        return 0, 0
    if operation == op.BPF_EXIT:
        return 1, 0
    if operation == op.BPF_CALL:
        return _call_uses(env, at), _CALLER_SAVED
    return (d | s if code & op.BPF_X else d), 0


def _call_uses(env: Env, at: int) -> int:
    insn = env.insns[at]
    if insn.src == 0:
        try:
            proto = prototype(env, insn.imm)
        except UnknownHelper:
            proto = None
        if proto is not None:
            count = sum(argument.kind != "ARG_DONTCARE" for argument in proto.args)
            return (1 << (count + 1)) - 2
    if insn.src == op.BPF_PSEUDO_KFUNC_CALL:
        kfunc = env.kfuncs.get((insn.imm, insn.off))
        if kfunc is not None and kfunc.allowed:
            return (1 << (len(kfunc.params) + 1)) - 2
    return _CALLER_SAVED & ~1


def compute(env: Env) -> None:
    """Fill `env.live_before` and `env.scc`, and write the table that begins level 2 logs."""
    count = len(env.insns)
    after = [successors(env, i) for i in range(count)]
    uses = [_uses(env, i) for i in range(count)]
    live = [0] * count
    order = _postorder(env, after)
    changed = True
    while changed:
        changed = False
        for i in order:
            out = 0
            for j in after[i]:
                out |= live[j]
            use, kill = uses[i]
            new = out & ~kill | use
            if new != live[i]:
                live[i] = new
                changed = True
    env.live_before = live
    env.after = after
    env.scc = _components(after) if env.rules.loops_by_scc else [0] * count
    if env.prints_all:
        _print(env)


def _print(env: Env) -> None:
    env.log.write("Live regs before insn:\n")
    i = 0
    while i < len(env.insns):
        scc = env.scc[i]
        regs = "".join(str(r) if env.live_before[i] >> r & 1 else "." for r in range(10))
        env.log.write(f"{f'{scc:3d} ' if scc else '    '}{i:3d}: {regs} {insn_text(env, i)}\n")
        i += 2 if env.insns[i].opcode == op.LD_IMM64 else 1


def _postorder(env: Env, after: list[tuple[int, ...]]) -> list[int]:
    """Fill `env.postorder`: an instruction comes after those that may follow it, as far as loops allow."""
    known = bytearray(len(after))
    explored = bytearray(len(after))
    whole: list[int] = []
    for subprog in env.subprogs:
        order: list[int] = []
        stack = [subprog.start]
        known[subprog.start] = 1
        while stack:
            at = stack[-1]
            if explored[at]:
                order.append(at)
                stack.pop()
                continue
            for following in after[at]:
                if not known[following]:
                    known[following] = 1
                    stack.append(following)
            explored[at] = 1
        env.postorder[subprog.start] = order
        whole += order
    return whole


def _components(after: list[tuple[int, ...]]) -> list[int]:
    """By instruction, the number of the loop that it belongs to, from 1 in order of completion; 0 for none."""
    count = len(after)
    found = [0] * count
    before = [0] * count
    low = [0] * count
    stack: list[int] = []
    number = 1
    pre = 1
    for start in range(count):
        if before[start]:
            continue
        walk = [start]
        while walk:
            at = walk[-1]
            if not before[at]:
                before[at] = low[at] = pre
                pre += 1
                stack.append(at)
            pending = False
            for following in after[at]:
                if before[following]:
                    low[at] = min(low[at], low[following])
                else:
                    walk.append(following)
                    pending = True
                    break
            if pending:
                continue
            walk.pop()
            if low[at] < before[at]:
                continue
            is_loop = stack[-1] != at or at in after[at]
            while True:
                member = stack.pop()
                low[member] = count + pre + 1  # out of the way of other components
                if is_loop:
                    found[member] = number
                if member == at:
                    break
            number += is_loop
    return found
