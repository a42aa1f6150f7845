"""States: the registers and stacks of all frames at one point of one path.

Copying a state copies lists of references; the values in them (`Reg`, `Slot`) are immutable and shared. Liveness is
kept in lists beside them, because it is a property of the place and of the path, and because old states learn it
after they were made.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from bombus.verifier.regs import PTR_TO_STACK, UNINIT, ZERO, Reg

# What each byte of a stack slot holds.
INVALID: Final = 0
SPILL: Final = 1
MISC: Final = 2
ZEROED: Final = 3
DYNPTR: Final = 4
ITER: Final = 5
IRQ: Final = 6
SLOT_CHARS: Final = "?rm0dif"

# Liveness marks of a place (include/linux/bpf_verifier.h: enum bpf_reg_liveness).
LIVE_READ32: Final = 1
LIVE_READ64: Final = 2
LIVE_READ: Final = 3
LIVE_WRITTEN: Final = 4
LIVE_DONE: Final = 8

FP: Final = 10
NR_REGS: Final = 11


SPILLED: Final = (SPILL,) * 8  # a whole slot


class Slot:
    """Eight bytes of stack. kinds[7] is the byte at the lowest address; `reg` is what was spilled there."""

    __slots__ = ("kinds", "reg")

    def __init__(self, kinds: tuple[int, ...], reg: Reg) -> None:
        self.kinds: Final = kinds
        self.reg: Final = reg

    @property
    def is_spilled(self) -> bool:
        return self.kinds[7] == SPILL


def uniform(kind: int, reg: Reg = UNINIT) -> Slot:
    return Slot((kind,) * 8, reg)


EMPTY: Final = uniform(INVALID)


@lru_cache(maxsize=8)
def frame_pointer(number: int) -> Reg:
    """r10 of a frame."""
    return Reg(PTR_TO_STACK, ZERO, frame=number)


def slot_at(off: int) -> int:
    """The slot whose lowest byte is at an offset from the frame's end, a multiple of 8, as the kernel divides: it takes
    0 for the first slot, too, so that an iterator may be named by the frame pointer itself."""
    return (-off - 1) // 8 if off else 0


class Reference:
    """An acquired reference (or, from Linux 6.14, a lock or a disabled interrupt) that must be given back.

    kind: "pointer", "irq", or of a lock (see `locks`); holder: the map or BTF that a lock is in.
    """

    __slots__ = ("callback_frame", "holder", "id", "insn", "kind")

    def __init__(
        self, id_: int, insn: int, kind: str = "pointer", callback_frame: int = 0, holder: object = None
    ) -> None:
        self.id: Final = id_
        self.insn: Final = insn
        self.kind: Final = kind
        self.callback_frame: Final = callback_frame
        self.holder: Final = holder


class History:
    """One remembered instruction: where it came from, which stack slot it touched, which registers were linked."""

    __slots__ = ("flags", "frame", "insn", "linked", "previous", "slot")

    def __init__(self, insn: int, previous: int) -> None:
        self.insn = insn
        self.previous = previous
        self.flags = 0
        self.frame = 0
        self.slot = 0
        # (frame, is register, number of register or slot)
        self.linked: tuple[tuple[int, bool, int], ...] = ()


class Frame:
    """One function's registers and stack. stack[i] holds the bytes at fp-8*(i+1) .. fp-8*i-1.

    live, stack_live: liveness marks of registers and slots. `parent` is the same frame of the checkpoint before: the
    parent of a place is the same place there, unless `foreign` names another (registers copied between frames by
    calls and returns; None: no parent). marked: liveness is kept as marks, else nothing reads them and all copies of
    a frame share two lists.
    """

    __slots__ = (
        "async_entries",
        "callback_depth",
        "callsite",
        "foreign",
        "in_async_callback",
        "in_callback",
        "in_exception_callback",
        "live",
        "marked",
        "misfit",
        "number",
        "parent",
        "precise",
        "refs",
        "regs",
        "return_range",
        "slots",
        "stack",
        "stack_live",
        "subprog",
        "unfit",
        "unfit_at",
    )

    def __init__(
        self, callsite: int, number: int, subprog: int, like: Frame | None = None, *, marked: bool = True
    ) -> None:
        """A frame as a call makes it; `like` makes it a copy of another."""
        self.callsite: Final = callsite
        self.number: Final = number
        self.subprog: Final = subprog
        self.regs: list[Reg]
        self.live: list[int]
        self.stack: list[Slot]
        self.stack_live: list[int]
        self.parent: Frame | None
        self.foreign: dict[int, tuple[Frame, int] | None] | None
        self.refs: tuple[Reference, ...]
        self.return_range: tuple[int, int]
        self.misfit = -1  # the register or slot (from NR_REGS on) that a later path was last seen not to fit
        self.unfit: Reg | None = None  # what was in a register, unfit_at, that did not fit
        self.unfit_at = FP
        self.slots: tuple[int, ...] | None = None  # those that were not forgotten, once a checkpoint was cleaned
        self.precise = 0  # a mask of those that were marked precise
        if like is None:
            self.regs = [UNINIT] * FP + [frame_pointer(number)]
            self.live = [0] * NR_REGS
            self.stack = []
            self.stack_live = []
            self.marked = marked
            self.parent = None
            self.foreign = None
            self.refs = ()
            self.return_range = (0, 0)
            self.in_callback = False
            self.in_exception_callback = False
            self.in_async_callback = False
            self.async_entries = 0
            self.callback_depth = 0
            return
        self.regs = like.regs.copy()
        self.stack = like.stack.copy()
        self.marked = like.marked
        if like.marked:
            self.live = like.live.copy()
            self.stack_live = like.stack_live.copy()
            self.parent = like.parent
            self.foreign = like.foreign.copy() if like.foreign is not None else None
        else:
            self.live = like.live
            self.stack_live = like.stack_live
            self.parent = None
            self.foreign = None
        self.refs = like.refs
        self.return_range = like.return_range
        self.in_callback = like.in_callback
        self.in_exception_callback = like.in_exception_callback
        self.in_async_callback = like.in_async_callback
        self.async_entries = like.async_entries
        self.callback_depth = like.callback_depth

    def copy(self) -> Frame:
        return Frame(self.callsite, self.number, self.subprog, self)

    def grow(self, size: int) -> None:
        """Make the stack at least `size` bytes deep."""
        missing = (size + 7) // 8 - len(self.stack)
        if missing > 0:
            self.stack.extend([EMPTY] * missing)
            self.stack_live.extend([0] * missing)

    def parent_of(self, reg: int) -> tuple[Frame, int] | None:
        """Where the liveness of a register goes on in the checkpoint before."""
        if self.foreign is not None and reg in self.foreign:
            return self.foreign[reg]
        return None if self.parent is None else (self.parent, reg)

    def inherit(self, reg: int, source: Frame, source_reg: int) -> None:
        """Copy a register with its liveness out of another frame."""
        self.regs[reg] = source.regs[source_reg]
        self.live[reg] = source.live[source_reg]
        if self.foreign is None:
            self.foreign = {}
        self.foreign[reg] = source.parent_of(source_reg)


class State:
    """All frames at one point of one path, and what else must be equal for two such points to be alike.

    branches: paths that start here and are not finished; insn: where a checkpoint stands; first_insn, last_insn:
    the piece of the path since the checkpoint before; history: the remembered instructions of that piece.
    kept: it stands in the list of checkpoints; cleaned: what no path reads was forgotten; dropped: no longer
    compared with, but still on some path.
    """

    __slots__ = (
        "branches",
        "callback_unroll_depth",
        "changed",
        "cleaned",
        "depth",
        "dropped",
        "first_insn",
        "frames",
        "history",
        "hits",
        "in_sleepable",
        "insn",
        "kept",
        "last_insn",
        "lock",
        "loop_entry",
        "marked",
        "may_goto_depth",
        "opens_loop",
        "parent",
        "patience",
        "preempt_disabled",
        "rcu_locked",
        "speculative",
        "top",
        "used_as_loop_entry",
    )

    def __init__(self, frames: list[Frame], first_insn: int, like: State | None = None) -> None:
        """A state; `like` gives it all but the frames of another."""
        self.frames = frames
        self.first_insn = first_insn
        self.parent: State | None
        self.top: Frame  # the innermost one, of a checkpoint
        self.history: list[History]
        self.loop_entry: State | None
        self.lock: tuple[object, int] | None
        self.kept = False
        self.cleaned = False
        self.dropped = False
        self.changed = 0  # a register or slot that a later path was seen to have changed (see prune)
        self.opens_loop = False
        self.marked = False  # a scalar of this checkpoint was found to be needed precisely
        self.hits = 0
        self.patience = 3  # times that it may still cover nothing: 3 for each time that it did, and 3 at first
        if like is None:
            self.parent = None
            self.branches = 1
            self.insn = 0
            self.last_insn = -1
            self.history = []
            self.depth = 0
            self.loop_entry = None
            self.used_as_loop_entry = False
            self.speculative = False
            self.lock = None
            self.rcu_locked = False
            self.preempt_disabled = 0
            self.in_sleepable = False
            self.may_goto_depth = 0
            self.callback_unroll_depth = 0
            return
        self.parent = like.parent
        self.branches = like.branches
        self.insn = like.insn
        self.last_insn = like.last_insn
        self.history = like.history.copy()
        self.depth = like.depth
        self.loop_entry = like.loop_entry
        self.used_as_loop_entry = like.used_as_loop_entry
        self.speculative = like.speculative
        self.lock = like.lock
        self.rcu_locked = like.rcu_locked
        self.preempt_disabled = like.preempt_disabled
        self.in_sleepable = like.in_sleepable
        self.may_goto_depth = like.may_goto_depth
        self.callback_unroll_depth = like.callback_unroll_depth

    @property
    def frame(self) -> Frame:
        """The frame that runs now."""
        return self.frames[-1]

    def copy(self) -> State:
        frames = self.frames
        if len(frames) == 1:
            return State([frames[0].copy()], self.first_insn, self)
        return State([frame.copy() for frame in frames], self.first_insn, self)

    def same_callsites(self, other: State) -> bool:
        frames, others = self.frames, other.frames
        if len(frames) != len(others):
            return False
        for at in range(1, len(frames)):
            if frames[at].callsite != others[at].callsite:
                return False
        return frames[0].callsite == others[0].callsite
