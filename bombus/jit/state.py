"""`struct run` and what Python keeps beside it; how native code finds memory that it has not met yet."""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from typing import TYPE_CHECKING, Final

from bombus.bits import U64
from bombus.errors import VmFault
from bombus.jit import abi
from bombus.vm.memory import Memory, Region
from bombus.vm.run import FRAME_STRIDE, Run

if TYPE_CHECKING:
    from bombus.jit.upcall import Upcall

# Words (u64) and halves (u32) of `struct run`.
STATUS, INSN, FAULT, TAIL_CALLS = (abi.RUN[name][0] // 4 for name in ("status", "insn", "fault", "tail_calls"))
_COUNT, CPU = abi.RUN["count"][0] // 4, abi.RUN["cpu"][0] // 4
BUDGET, FRAME, TOP, RESULT, PROGRAM, ORDINARY, _EPOCH = (
    abi.RUN[name][0] // 8 for name in ("budget", "frame", "top", "result", "program", "ordinary", "epoch")
)
_REGIONS: Final = abi.RUN["regions"][0]
_REGION = struct.Struct("<QQQ")
_KINDS: Final = ("load", "store", "atomic", "load")

STATES: dict[int, State] = {}  # by address of `struct run`
ERRORS: dict[int, BaseException] = {}  # what Python functions raised that native code called, in the same way


class State:
    """One run's `struct run` and what Python keeps beside it. It is used again for later runs."""

    __slots__ = (
        "address", "base", "buffer", "epoch", "halves", "keep", "memory", "next", "run", "thread", "words",
    )  # fmt: skip

    def __init__(self, memory: Memory) -> None:
        self.buffer = ctypes.create_string_buffer(abi.RUN_BYTES + 8)
        self.address = ctypes.addressof(self.buffer)
        view = memoryview(self.buffer).cast("B")[: abi.RUN_BYTES]
        self.halves, self.words = view.cast("I"), view.cast("Q")
        self.memory = memory
        self.epoch = -1
        self.keep: list[object] = []  # programs that were jumped to
        self.next = 0  # the entry of the table of regions that goes next
        self.run: Run | None = None
        self.thread = 0
        self.base = 0
        STATES[self.address] = self

    def begin(self, run: Run, budget: int | None, cpu: int) -> None:
        """Be ready for a run in the frame that `run` is in now."""
        self.run = run
        self.thread = run.thread
        self.base = run.stack.bases[0]
        halves, words = self.halves, self.words
        words[0] = words[1] = 0
        halves[TAIL_CALLS] = run.tail_calls
        halves[CPU] = cpu
        words[BUDGET] = U64 if budget is None else budget
        words[FRAME] = self.base + run.frame * FRAME_STRIDE
        words[TOP] = self.base + run.top * FRAME_STRIDE
        self.refresh()

    def refresh(self) -> None:
        """Forget the regions when some may be gone."""
        epoch = self.memory.epoch
        if self.epoch != epoch:  # in this order: an interrupt may come after each step
            self.halves[_COUNT] = 0
            self.next = 0
            self.epoch = self.words[_EPOCH] = epoch

    def frame(self) -> int:
        """The number of the frame that runs now."""
        return (self.words[FRAME] - self.base) // FRAME_STRIDE

    def find(self, address: int, size: int, kind: int) -> int:
        """Enter the region of an access into the table. Raises VmFault."""
        self.refresh()
        memory = self.memory
        region = memory.find(address, size)
        if region is None:
            raise VmFault(_KINDS[kind], memory.explain(address, size), address=address, size=size)
        if kind in (abi.STORE, abi.ATOMIC) and not region.writable:
            raise VmFault("readonly", f"{region.name} is read-only", address=address, size=size)
        start, length = _slot(region, address)
        number = self.next
        _REGION.pack_into(
            self.buffer, _REGIONS + number * abi.REGION_BYTES, start, length, length if region.writable else 0
        )
        self.next = (number + 1) % abi.MAX_REGIONS
        if number >= self.halves[_COUNT]:
            self.halves[_COUNT] = number + 1
        return number


def _slot(region: Region, address: int) -> tuple[int, int]:
    """Where the bytes begin that an access may touch, and how many they are."""
    if not region.stride:
        return region.start, region.size
    return address - (address - region.start) % region.stride, region.limit


def _find(run: int, address: int, size: int, kind: int) -> int:
    try:
        return STATES[run].find(address, size, kind)
    except VmFault:
        if kind != abi.PROBE:
            raise
        return abi.NOT_FOUND


@cache
def find_upcall() -> Upcall:
    from bombus.jit.upcall import Upcall

    return Upcall(_find, "find", ERRORS)
