"""Whether what a program does lies inside what the verifier recorded of it.

`Recorded` keeps the verified states of each instruction; `Watch` is a trace of the reference engine that compares every
register and every stack slot with them. A concrete state is good when some recorded state of the instruction holds
all of it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from bombus.bits import U64
from bombus.kernel.user.kernel import UserKernel
from bombus.verifier import regs as r
from bombus.verifier.bounds_alu import truncate
from bombus.verifier.main import verify
from bombus.verifier.program import Program, Verdict
from bombus.verifier.regs import Reg
from bombus.verifier.state import INVALID, SPILL, ZEROED, Slot, State
from bombus.vm.run import FRAME_STRIDE

Snapshot = tuple[tuple[Reg, ...], tuple[tuple[Slot, ...], ...]]  # registers of the running frame, stack of each frame


class TooMuch(Exception):
    """More states than a test wants to look through."""


class Recorded:
    """The verified states of each instruction of a program. TooMuch beyond `limit` states."""

    def __init__(self, program: Program, limit: int = 3000) -> None:
        self.states: dict[int, list[Snapshot]] = {}
        self.left = limit
        self.verdict: Verdict = verify(program, self._note)

    def _note(self, insn: int, state: State) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooMuch
        self.states.setdefault(insn, []).append(
            (tuple(state.frames[-1].regs), tuple(tuple(frame.stack) for frame in state.frames))
        )


@dataclass(slots=True)
class Counts:
    programs: int = 0
    runs: int = 0
    steps: int = 0
    registers: int = 0
    slots: int = 0
    unplaced: int = 0  # pointers whose region the check could not tell
    wrong: list[str] = field(default_factory=list)


class Watch:
    """Trace of one program's runs on the reference engine."""

    def __init__(self, recorded: Recorded, kernel: UserKernel, packet_fields: tuple[int, int] | None, counts: Counts,
                 name: str = "") -> None:  # fmt: skip
        self.recorded = recorded
        self.kernel = kernel
        self.fields = packet_fields
        self.counts = counts
        self.name = name
        self.begin()

    def begin(self) -> None:
        """Before each run."""
        self.ctx = self.fp = self.base = 0

    def __call__(self, insn: int, concrete: Sequence[int]) -> None:
        if not self.fp:
            self.ctx, self.fp = concrete[1], concrete[10]
            self.base = self.fp
        frame = (concrete[10] - self.fp) // FRAME_STRIDE
        self.counts.steps += 1
        why = "no verified state"
        states = self.recorded.states.get(insn, [])
        for at, (regs, stacks) in enumerate(states):
            below = frame + 1 - len(stacks)  # global functions are verified alone: theirs is frame 0
            if below < 0:
                continue
            why = self._misfit(concrete, regs, stacks, self.fp + below * FRAME_STRIDE)
            if not why:
                if at:  # the next round of a loop is likely to be in the state after
                    states.append(states.pop(0))
                return
        self.counts.wrong.append(f"{self.name} insn {insn}: {why}")

    def _misfit(
        self, concrete: Sequence[int], regs: Sequence[Reg], stacks: Sequence[Sequence[Slot]], base: int
    ) -> str:
        self.base = base
        for number in range(11):
            reg = regs[number]
            if reg.type == r.NOT_INIT:
                continue
            self.counts.registers += 1
            if not self.inside(reg, concrete[number]):
                return f"r{number} = {concrete[number]:#x} is not in {reg!r}"
        for number, stack in enumerate(stacks):
            top = base + number * FRAME_STRIDE
            for at, slot in enumerate(stack):
                data = self.kernel.memory.read(top - 8 * (at + 1), 8)
                if not self.slot_inside(slot, data):
                    return f"frame {number} fp-{8 * (at + 1)} = {data.hex()} is not in {slot.kinds} {slot.reg!r}"
        return ""

    def slot_inside(self, slot: Slot, data: bytes) -> bool:
        """kinds[7] tells of the byte at the lowest address."""
        kinds = slot.kinds[::-1]
        if any(kind == ZEROED and data[i] for i, kind in enumerate(kinds)):
            return False
        if kinds[0] != SPILL:
            return True
        self.counts.slots += 1
        size = kinds.count(SPILL)
        if size == 8:
            return self.inside(slot.reg, int.from_bytes(data, "little"))
        if slot.reg.type != r.SCALAR_VALUE or size not in (1, 2, 4) or INVALID in kinds[:size]:
            return True
        return truncate(slot.reg.bounds, size).holds(int.from_bytes(data[:size], "little"))

    def inside(self, reg: Reg, value: int) -> bool:
        if reg.type == r.SCALAR_VALUE:
            return reg.bounds.holds(value)
        if reg.type & r.PTR_MAYBE_NULL and value == 0:
            return True
        base = reg.base
        moved = value - reg.off  # the base of the pointer plus its variable part
        if base == r.PTR_TO_STACK:
            return reg.bounds.holds(moved - self.base - reg.frame * FRAME_STRIDE & U64)
        if base == r.PTR_TO_CTX:
            return reg.bounds.holds(moved - self.ctx & U64)
        if base in (r.PTR_TO_PACKET, r.PTR_TO_PACKET_END) and self.fields is not None:
            start, end = (self._u32(self.ctx + at) for at in self.fields)
            if base == r.PTR_TO_PACKET_END:
                return value == end
            return reg.bounds.holds(moved - start & U64) and (reg.number <= 0 or moved + reg.number <= end)
        if base in (r.PTR_TO_MAP_VALUE, r.PTR_TO_MEM):
            return self._in_values(reg, moved & U64)
        self.counts.unplaced += 1
        return value != 0

    def _u32(self, address: int) -> int:
        found: int = struct.unpack("<I", self.kernel.memory.read(address, 4))[0]
        return found

    def _in_values(self, reg: Reg, moved: int) -> bool:
        """Whether the pointer starts from the first byte of some value, or of memory of the known size."""
        fixed = reg.bounds.bits[1] == 0
        near = moved - reg.bounds.bits[0] & U64 if fixed else moved
        if reg.base == r.PTR_TO_MEM:
            self.counts.unplaced += not fixed
            return not fixed or self.kernel.memory.find(near, reg.number) is not None
        region = self.kernel.memory.find(near, 1)
        if region is None or region.kind != "map_value":  # beyond the value: whose it was cannot be told
            self.counts.unplaced += 1
            return not fixed
        into = near - region.start
        start = region.start + (into - into % region.stride if region.stride else 0)
        return reg.bounds.holds(moved - start & U64)
