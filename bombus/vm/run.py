"""One run of a program: its stack, and what is counted across calls and tail calls.

Sources: Linux 6.12 include/linux/bpf.h (MAX_TAIL_CALL_CNT, BPF_MAX_LOOPS), include/linux/bpf_verifier.h
(MAX_CALL_FRAMES), include/linux/filter.h (MAX_BPF_STACK).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Final

from bombus.errors import VmFault
from bombus.isa.opcodes import MAX_BPF_STACK
from bombus.vm.memory import Memory

MAX_CALL_FRAMES: Final = 8
MAX_TAIL_CALLS: Final = 33
MAX_LOOPS: Final = 8 * 1024 * 1024  # rounds of may_goto in one frame

# A frame's slot is as long again as the frame: what runs over either end of a frame hits the gap, not a neighbour.
FRAME_STRIDE: Final = 2 * MAX_BPF_STACK

# Instructions until a run is stopped, unless the engine was told otherwise. The kernel's verifier proves that
# programs end; without it something has to.
DEFAULT_BUDGET: Final = 1_000_000_000

ZEROS = bytes(MAX_BPF_STACK)


class Stack:
    """Memory for the frames of one run. Frame n lies at bases[n]; its r10 is bases[n] + 512.

    bytes8, bytes4, bytes2, bytes1: each frame's memory as unsigned numbers of that size, host byte order.
    """

    __slots__ = ("bases", "bytes1", "bytes2", "bytes4", "bytes8", "region")

    def __init__(self, memory: Memory) -> None:
        self.region = memory.allocate(
            MAX_CALL_FRAMES * FRAME_STRIDE, name="the stack", kind="stack", stride=FRAME_STRIDE, limit=MAX_BPF_STACK
        )
        offsets = range(0, MAX_CALL_FRAMES * FRAME_STRIDE, FRAME_STRIDE)
        self.bases = [self.region.start + offset for offset in offsets]
        self.bytes1 = [self.region.view[offset : offset + MAX_BPF_STACK] for offset in offsets]
        self.bytes2 = [view.cast("H") for view in self.bytes1]
        self.bytes4 = [view.cast("I") for view in self.bytes1]
        self.bytes8 = [view.cast("Q") for view in self.bytes1]

    def clear(self, frame: int) -> None:
        """Fill a frame with zeros: runs do not see what others left behind."""
        self.bytes1[frame][:] = ZEROS


class Run:
    """The state that a program shares with the subprograms, callbacks and programs it calls.

    frame: number of the current frame, 0 to 7; tail_calls: how many were made; budget: instructions left
    (None: no limit); ticks: the budget as an iterator, for engines that count rounds of loops and calls only.
    """

    __slots__ = ("_memory", "budget", "frame", "stack", "tail_calls", "ticks")

    def __init__(self, memory: Memory, budget: int | None) -> None:
        self._memory = memory
        self.stack: Stack = memory.stacks.pop() if memory.stacks else Stack(memory)
        self.stack.clear(0)
        self.frame = 0
        self.tail_calls = 0
        self.budget = budget
        self.ticks: Iterator[None] = repeat(None) if budget is None else repeat(None, budget)

    def close(self) -> None:
        """Give the stack back. Nothing of the run is used afterwards."""
        self._memory.stacks.append(self.stack)

    def push(self, insn: int) -> None:
        """Take the next frame for a call by instruction `insn`. VmFault("stack") when there is none."""
        if self.frame + 1 == MAX_CALL_FRAMES:
            raise VmFault("stack", f"the call needs more than {MAX_CALL_FRAMES} frames", insn=insn)
        self.frame += 1
        self.stack.clear(self.frame)
