"""One run of a program: its stack, and what is counted across calls and tail calls.

Sources: Linux 6.12 include/linux/bpf.h (MAX_TAIL_CALL_CNT, BPF_MAX_LOOPS), include/linux/bpf_verifier.h
(MAX_CALL_FRAMES), include/linux/filter.h (MAX_BPF_STACK).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from threading import get_ident
from typing import Final, Protocol, TypeVar

from bombus.errors import VmFault
from bombus.isa.opcodes import MAX_BPF_STACK
from bombus.vm.memory import Memory

MAX_CALL_FRAMES: Final = 8
MAX_TAIL_CALLS: Final = 33
# Rounds of may_goto in one frame. Linux 6.15 and later stop after 250 ms on x86 instead; we keep the count,
# which does not depend on how fast the engine is.
MAX_LOOPS: Final = 8 * 1024 * 1024

# A frame's slot is as long again as the frame: what runs over either end of a frame hits the gap, not a neighbour.
FRAME_STRIDE: Final = 2 * MAX_BPF_STACK

# Instructions until a run is stopped, unless the engine was told otherwise. The kernel's verifier proves that
# programs end; without it something has to.
DEFAULT_BUDGET: Final = 1_000_000_000

# Every tail call can be made from the last frame of a program.
MAX_FRAMES: Final = MAX_CALL_FRAMES + MAX_TAIL_CALLS * (MAX_CALL_FRAMES - 1)

NO_FRAME: Final = f"the call needs more than {MAX_CALL_FRAMES} frames"
ZEROS = bytes(MAX_BPF_STACK)


class Enterable(Protocol):
    """The part of `vm.env.Compiled` that a tail call needs."""

    def enter(self, ctx: int, run: Run) -> int: ...


class Stack:
    """Memory for the frames of one run. Frame n lies at bases[n]; its r10 is bases[n] + 512.

    bytes8, bytes4, bytes2, bytes1: each frame's memory as unsigned numbers of that size, host byte order.
    """

    __slots__ = ("bases", "bytes1", "bytes2", "bytes4", "bytes8", "region")

    def __init__(self, memory: Memory) -> None:
        self.region = memory.allocate(
            MAX_FRAMES * FRAME_STRIDE, name="the stack", kind="stack", stride=FRAME_STRIDE, limit=MAX_BPF_STACK
        )
        self.bases: list[int] = []
        self.bytes1: list[memoryview] = []
        self.bytes2: list[memoryview] = []
        self.bytes4: list[memoryview] = []
        self.bytes8: list[memoryview] = []
        self.grow(MAX_CALL_FRAMES)

    def grow(self, frames: int) -> None:
        """Be ready for that many frames."""
        for number in range(len(self.bases), frames):
            offset = number * FRAME_STRIDE
            view = self.region.view[offset : offset + MAX_BPF_STACK]
            self.bases.append(self.region.start + offset)
            self.bytes1.append(view)
            self.bytes2.append(view.cast("H"))
            self.bytes4.append(view.cast("I"))
            self.bytes8.append(view.cast("Q"))

    def clear(self, frame: int) -> None:
        """Fill a frame with zeros: runs do not see what others left behind."""
        self.bytes1[frame][:] = ZEROS


class Run:
    """The state that a program shares with the subprograms, callbacks and programs it calls.

    frame: number of the current frame; top: number of the last frame that the current program may use;
    tail_calls: how many were made; thread: who began it; budget: instructions left (None: no limit); ticks: the
    budget as an iterator, for engines that count rounds of loops and calls only.
    """

    __slots__ = ("_memory", "budget", "frame", "stack", "tail_calls", "thread", "ticks", "top")

    def __init__(self, memory: Memory, budget: int | None) -> None:
        self._memory = memory
        try:
            self.stack: Stack = memory.stacks.pop()
        except IndexError:
            self.stack = Stack(memory)
        self.stack.clear(0)
        self.frame = 0
        self.top = MAX_CALL_FRAMES - 1
        self.tail_calls = 0
        self.thread = get_ident()
        self.budget = budget
        self.ticks: Iterator[None] = repeat(None) if budget is None else repeat(None, budget)

    def close(self) -> None:
        """Give the stack back. Nothing of the run is used afterwards."""
        self._memory.stacks.append(self.stack)

    def push(self, insn: int) -> None:
        """Take the next frame for a call by instruction `insn`. VmFault("stack") when there is none."""
        if self.frame == self.top:
            raise VmFault("stack", NO_FRAME, insn=insn)
        self.frame += 1
        self.stack.clear(self.frame)

    def tail_call(self, target: Enterable, ctx: int, frame: int) -> int:
        """Run another program in place of the function that has `frame`; returns what it returns.

        The limit of 8 frames is the verifier's, per program: a program that is called from a subprogram has 8
        of its own.
        """
        self.tail_calls += 1
        top, self.top, self.frame = self.top, frame + MAX_CALL_FRAMES - 1, frame
        self.stack.grow(self.top + 1)
        self.stack.clear(frame)
        try:
            return target.enter(ctx, self)
        except VmFault as fault:
            if fault.owner is None:
                fault.owner = target
            raise
        finally:
            self.top, self.frame = top, frame


class _Begun(Protocol):
    thread: int


_B = TypeVar("_B", bound=_Begun)


def own(active: Sequence[_B]) -> _B | None:
    """The last that this thread began: where a callback belongs. Other threads may be in the same program."""
    me = get_ident()
    for one in reversed(active):
        if one.thread == me:
            return one
    return None
