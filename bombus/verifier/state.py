"""States: the registers and stacks of all frames at one point of one path.

Copying a state copies lists of references; the values in them (`Reg`, `Slot`) are immutable and shared. Liveness is
kept in lists beside them, because it is a property of the place and of the path, and because old states learn it
after they were made.
"""

from __future__ import annotations

from typing import Final

from bombus.verifier.regs import PTR_TO_STACK, UNINIT, ZERO, Reg

# What each byte of a stack slot holds.
INVALID: Final = 0
SPILL: Final = 1
MISC: Final = 2
ZEROED: Final = 3
DYNPTR: Final = 4
ITER: Final = 5
SLOT_CHARS: Final = "?rm0di"

# Liveness marks of a place (include/linux/bpf_verifier.h: enum bpf_reg_liveness).
LIVE_READ32: Final = 1
LIVE_READ64: Final = 2
LIVE_READ: Final = 3
LIVE_WRITTEN: Final = 4
LIVE_DONE: Final = 8

FP: Final = 10
NR_REGS: Final = 11


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


class Reference:
    """An acquired reference (or, from Linux 6.14, a lock or a disabled interrupt) that must be given back."""

    __slots__ = ("callback_frame", "id", "insn", "kind")

    def __init__(self, id_: int, insn: int, kind: str = "pointer", callback_frame: int = 0) -> None:
        self.id: Final = id_
        self.insn: Final = insn
        self.kind: Final = kind
        self.callback_frame: Final = callback_frame


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
    calls and returns; None: no parent).
    """

    __slots__ = (
        "async_entries",
        "callback_depth",
        "callsite",
        "foreign",
        "in_async_callback",
        "in_callback",
        "live",
        "misfit",
        "number",
        "parent",
        "refs",
        "regs",
        "return_range",
        "stack",
        "stack_live",
        "subprog",
    )

    def __init__(self, callsite: int, number: int, subprog: int, like: Frame | None = None) -> None:
        """A frame as a call makes it; `like` gives it another's registers and stack."""
        self.callsite = callsite
        self.number = number
        self.subprog = subprog
        self.regs: list[Reg]
        self.live: list[int]
        self.stack: list[Slot]
        self.stack_live: list[int]
        if like is None:
            self.regs = [UNINIT] * FP + [Reg(PTR_TO_STACK, ZERO, frame=number)]
            self.live = [0] * NR_REGS
            self.stack = []
            self.stack_live = []
        else:
            self.regs = like.regs.copy()
            self.live = like.live.copy()
            self.stack = like.stack.copy()
            self.stack_live = like.stack_live.copy()
        self.parent: Frame | None = None
        self.misfit = -1  # the register or slot (from NR_REGS on) that a later path was last seen not to fit
        self.foreign: dict[int, tuple[Frame, int] | None] | None = None
        self.refs: tuple[Reference, ...] = ()
        self.return_range: tuple[int, int] = (0, 0)
        self.in_callback = False
        self.in_async_callback = False
        self.async_entries = 0
        self.callback_depth = 0

    def copy(self) -> Frame:
        new = Frame(self.callsite, self.number, self.subprog, self)
        new.parent = self.parent
        if self.foreign is not None:
            new.foreign = self.foreign.copy()
        new.refs = self.refs
        new.return_range = self.return_range
        new.in_callback = self.in_callback
        new.in_async_callback = self.in_async_callback
        new.async_entries = self.async_entries
        new.callback_depth = self.callback_depth
        return new

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
    cleaned: what no path reads was forgotten; dropped: no longer compared with, but still on some path.
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
        "last_insn",
        "lock",
        "loop_entry",
        "marked",
        "may_goto_depth",
        "misses",
        "opens_loop",
        "parent",
        "preempt_disabled",
        "rcu_locked",
        "speculative",
        "used_as_loop_entry",
    )

    def __init__(self, frames: list[Frame], first_insn: int) -> None:
        self.frames = frames
        self.parent: State | None = None
        self.branches = 1
        self.insn = 0
        self.first_insn = first_insn
        self.last_insn = -1
        self.history: list[History] = []
        self.cleaned = False
        self.dropped = False
        self.depth = 0
        self.loop_entry: State | None = None
        self.used_as_loop_entry = False
        self.speculative = False
        self.lock: tuple[object, int] | None = None
        self.rcu_locked = False
        self.preempt_disabled = 0
        self.in_sleepable = False
        self.may_goto_depth = 0
        self.callback_unroll_depth = 0
        self.changed = 0  # a register or slot that a later path was seen to have changed (see prune)
        self.opens_loop = False
        self.marked = False  # a scalar of this checkpoint was found to be needed precisely
        self.hits = 0
        self.misses = 0

    @property
    def frame(self) -> Frame:
        """The frame that runs now."""
        return self.frames[-1]

    def copy(self) -> State:
        new = State([frame.copy() for frame in self.frames], self.first_insn)
        new.parent = self.parent
        new.branches = self.branches
        new.insn = self.insn
        new.last_insn = self.last_insn
        new.history = self.history.copy()
        new.depth = self.depth
        new.loop_entry = self.loop_entry
        new.used_as_loop_entry = self.used_as_loop_entry
        new.speculative = self.speculative
        new.lock = self.lock
        new.rcu_locked = self.rcu_locked
        new.preempt_disabled = self.preempt_disabled
        new.in_sleepable = self.in_sleepable
        new.may_goto_depth = self.may_goto_depth
        new.callback_unroll_depth = self.callback_unroll_depth
        return new

    def same_callsites(self, other: State) -> bool:
        if len(self.frames) != len(other.frames):
            return False
        return all(a.callsite == b.callsite for a, b in zip(self.frames, other.frames, strict=True))
