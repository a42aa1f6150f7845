"""Ways through a function: what can be reached, whether it loops, and what only runs when a guard allows it.

A guard is a branch on a value that is fixed before the verifier sees the program: whether the kernel has a field,
type or enumerator (CO-RE), whether it has a symbol (weak externs), a kconfig value, a constant in .rodata. Verifiers
follow only one way of such a branch, so what lies on the other is never looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bombus.isa import opcodes as op
from bombus.isa.insn import Insn

STEPS = 4_000_000  # instruction visits that one function's guards may cost
MAX_GUARDS = 8  # more behind one value, and it counts as unknown
STACK = 512


class Guard(NamedTuple):
    """Why an instruction may never be looked at. kind: "core", "ksym", "kconfig" or "rodata"."""

    kind: str
    name: str

    def __str__(self) -> str:
        return self.name


class Source(NamedTuple):
    """What an instruction puts into its register. pointer: the value that guards is behind this address."""

    guard: Guard
    pointer: bool


class _Value(NamedTuple):
    """What is known of a register: "const" (its immediate), "guards", or "pointer" (to a guard's value)."""

    kind: str
    guards: frozenset[Guard] = frozenset()
    number: int = 0


def successors(insns: Sequence[Insn], at: int, end: int) -> tuple[int, ...]:
    """Slots that may run after slot `at` within a function ending at `end`; jumps out of it are left out."""
    insn = insns[at]
    code = insn.opcode
    if code & 7 not in (op.BPF_JMP, op.BPF_JMP32):
        after: tuple[int, ...] = (at + (2 if insn.is_ld_imm64 else 1),)
    elif code == op.EXIT:
        return ()
    elif code == op.JA:
        after = (at + insn.off + 1,)
    elif code == op.GOTOL:
        after = (at + insn.imm + 1,)
    elif code & 0xF0 == op.BPF_CALL:
        after = (at + 1,)
    else:
        after = (at + 1, at + insn.off + 1)
    return tuple(i for i in after if 0 <= i < end)


def reachable(
    insns: Sequence[Insn], start: int, end: int, without: tuple[int, int] | None = None
) -> set[int]:
    """Slots that can run, from `start`; `without` is an edge (from, to) that is taken out."""
    seen = {start}
    todo = [start]
    while todo:
        at = todo.pop()
        for after in successors(insns, at, end):
            if after not in seen and (at, after) != without:
                seen.add(after)
                todo.append(after)
    return seen


def back_edges(insns: Sequence[Insn], start: int, end: int) -> list[int]:
    """Slots that close a loop, found in the kernel's order: what follows an instruction before where it jumps."""
    on_path, done = 1, 2
    found: list[int] = []
    mark: dict[int, int] = {start: on_path}
    stack = [(start, iter(successors(insns, start, end)))]
    while stack:
        at, rest = stack[-1]
        after = next(rest, None)
        if after is None:
            mark[at] = done
            stack.pop()
        elif after not in mark:
            mark[after] = on_path
            stack.append((after, iter(successors(insns, after, end))))
        elif mark[after] == on_path:
            found.append(at)
    return found


def guarded(insns: Sequence[Insn], start: int, end: int, sources: Mapping[int, Source]) -> dict[int, Guard]:
    """Slots that run only on one side of a guard's branch. `sources`: instructions that load guards' values."""
    if not any(start <= at < end for at in sources):
        return {}
    everything = reachable(insns, start, end)
    found: dict[int, Guard] = {}
    cost = 0
    for at, guards in sorted(_branches(insns, start, end, sources).items()):
        ways = successors(insns, at, end)
        if len(set(ways)) < 2:
            continue
        for way in ways:
            cost += len(everything)
            if cost > STEPS:
                return found
            for slot in everything - reachable(insns, start, end, (at, way)):
                old = found.get(slot)
                new = min(guards, key=_strength)
                if old is None or _strength(new) < _strength(old):
                    found[slot] = new
    return found


def _strength(guard: Guard) -> tuple[int, str]:
    return ("core", "ksym", "kconfig", "rodata").index(guard.kind), guard.name


_State = tuple[dict[int, _Value], dict[int, _Value]]  # registers, stack slots by offset from r10


def _branches(
    insns: Sequence[Insn], start: int, end: int, sources: Mapping[int, Source]
) -> dict[int, frozenset[Guard]]:
    """Conditional jumps that depend on guards and constants alone."""
    states: dict[int, _State] = {start: ({}, {})}
    found: dict[int, frozenset[Guard]] = {}
    todo = [start]
    while todo:
        at = todo.pop()
        registers, stack = states[at]
        insn = insns[at]
        code = insn.opcode
        if code & 7 in (op.BPF_JMP, op.BPF_JMP32) and code & 0xF0 not in (op.BPF_CALL, op.BPF_EXIT, op.BPF_JA):
            other = registers.get(insn.src) if code & op.BPF_X else _Value("const", number=insn.imm)
            tested = _mix(registers.get(insn.dst), other)
            if tested is not None and tested.kind == "guards" and code != op.MAY_GOTO:
                found[at] = tested.guards
            else:
                found.pop(at, None)
        after = _step(insn, registers, stack, sources.get(at))
        for slot in successors(insns, at, end):
            old = states.get(slot)
            if old is None:
                states[slot] = after
                todo.append(slot)
                continue
            new = (_join(old[0], after[0]), _join(old[1], after[1]))
            if new != old:
                states[slot] = new
                todo.append(slot)
    return found


def _join(a: dict[int, _Value], b: dict[int, _Value]) -> dict[int, _Value]:
    both: dict[int, _Value] = {}
    for place, value in a.items():
        other = b.get(place)
        if value == other:
            both[place] = value
        elif other is not None and value.kind == other.kind == "guards":
            guards = value.guards | other.guards
            if len(guards) <= MAX_GUARDS:
                both[place] = _Value("guards", guards)
    return both


def _mix(a: _Value | None, b: _Value | None) -> _Value | None:
    """The value of an operation on two."""
    if a is None or b is None or "pointer" in (a.kind, b.kind) or a.kind == b.kind == "const":
        return None
    guards = a.guards | b.guards
    return _Value("guards", guards) if len(guards) <= MAX_GUARDS else None


def _step(insn: Insn, registers: dict[int, _Value], stack: dict[int, _Value], source: Source | None) -> _State:
    registers, stack = dict(registers), dict(stack)
    code = insn.opcode
    klass = code & 7
    new: _Value | None = None
    if klass in (op.BPF_ALU, op.BPF_ALU64):
        operand = registers.get(insn.src) if code & op.BPF_X else _Value("const", number=insn.imm)
        if code & 0xF0 == op.BPF_MOV:
            new = operand
        elif code & 0xF0 in (op.BPF_NEG, op.BPF_END):
            old = registers.get(insn.dst)
            new = old if old is not None and old.kind == "guards" else None
        else:
            new = _mix(registers.get(insn.dst), operand)
    elif (klass == op.BPF_LD and not insn.is_ld_imm64) or klass in (op.BPF_JMP, op.BPF_JMP32):
        if klass == op.BPF_LD or code & 0xF0 == op.BPF_CALL:
            for register in range(6):
                registers.pop(register, None)
        return registers, stack
    elif klass == op.BPF_LDX:
        base = registers.get(insn.src)
        if insn.src == op.BPF_REG_10:
            new = stack.get(insn.off)
        elif base is not None and base.kind == "pointer":
            new = _Value("guards", base.guards)
    elif klass in (op.BPF_ST, op.BPF_STX):
        if insn.dst == op.BPF_REG_10:
            kept = registers.get(insn.src) if klass == op.BPF_STX and code & 0xE0 == op.BPF_MEM else None
            for place in range(insn.off - 7, insn.off + 8):
                stack.pop(place, None)
            if kept is not None and -STACK <= insn.off < 0:
                stack[insn.off] = kept
        if code & 0xE0 != op.BPF_ATOMIC:
            return registers, stack
        registers.pop(insn.src, None)
        registers.pop(0, None)
        return registers, stack
    if source is not None:
        new = _Value("pointer" if source.pointer else "guards", frozenset((source.guard,)))
    if new is None:
        registers.pop(insn.dst, None)
    else:
        registers[insn.dst] = new
    return registers, stack
