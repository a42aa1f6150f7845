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
    """Eight bytes of stack. kinds[0] is the byte at the lowest address; `reg` is what was spilled there."""

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


class Live:
    """Liveness marks of one register or slot of one state; `parent` is the same place in the state before."""

    __slots__ = ("marks", "parent")

    def __init__(self, marks: int, parent: Live | None) -> None:
        self.marks = marks
        self.parent = parent


class Reference:
    """An acquired reference (or, from Linux 6.14, a lock or a disabled interrupt) that must be given back."""

    __slots__ = ("callback_frame", "id", "insn", "kind")

    def __init__(self, id_: int, insn: int, kind: str = "pointer", callback_frame: int = 0) -> None:
        self.id: Final = id_
        self.insn: Final = insn
        self.kind: Final = kind
        self.callback_frame: Final = callback_frame


class Frame:
    """One function's registers and stack. stack[i] holds the bytes at fp-8*(i+1) .. fp-8*i-1."""

    __slots__ = (
        "async_entries",
        "callback_depth",
        "callsite",
        "in_async_callback",
        "in_callback",
        "live",
        "number",
        "refs",
        "regs",
        "return_range",
        "stack",
        "stack_live",
        "subprog",
    )

    def __init__(self, callsite: int, number: int, subprog: int) -> None:
        self.callsite = callsite
        self.number = number
        self.subprog = subprog
        self.regs: list[Reg] = [UNINIT] * FP + [Reg(PTR_TO_STACK, ZERO, frame=number)]
        self.live: list[Live] = [Live(0, None) for _ in range(NR_REGS)]
        self.stack: list[Slot] = []
        self.stack_live: list[Live] = []
        self.refs: tuple[Reference, ...] = ()
        self.return_range: tuple[int, int] = (0, 0)
        self.in_callback = False
        self.in_async_callback = False
        self.async_entries = 0
        self.callback_depth = 0

    def copy(self) -> Frame:
        new = Frame.__new__(Frame)
        new.callsite = self.callsite
        new.number = self.number
        new.subprog = self.subprog
        new.regs = self.regs.copy()
        new.live = [Live(cell.marks, cell.parent) for cell in self.live]
        new.stack = self.stack.copy()
        new.stack_live = [Live(cell.marks, cell.parent) for cell in self.stack_live]
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
            self.stack_live.extend([Live(0, None) for _ in range(missing)])
