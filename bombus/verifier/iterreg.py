"""What the stack slots of an open-coded iterator hold, and how states that have some compare.

Linux 6.12 kernel/bpf/verifier.c: stacksafe, iter_active_depths_differ, is_state_visited.
"""

from __future__ import annotations

from typing import Final

from bombus.btf.parse import Btf
from bombus.verifier.env import Env
from bombus.verifier.regs import MEM_RCU, PTR_UNTRUSTED, ZERO, Reg
from bombus.verifier.state import ITER, State, slot_at

ACTIVE: Final = "active"
DRAINED: Final = "drained"


class IterReg(Reg):
    """What the slots of an iterator hold. The first has the reference; depth counts the steps of this path."""

    __slots__ = ("depth", "state")

    def __init__(self, type_: int, btf: Btf, btf_id: int, ref_id: int, state: str, depth: int) -> None:
        super().__init__(type_, ZERO, ref_id=ref_id, btf=btf, btf_id=btf_id)
        self.state: Final = state
        self.depth: Final = depth

    @property
    def short(self) -> str:
        """The iterator's name as logs show it: "num", "task"."""
        assert self.btf is not None
        return self.btf.type(self.btf_id).name.removeprefix("bpf_iter_")

    def moved(self, state: str, steps: int = 0) -> IterReg:
        assert self.btf is not None
        return IterReg(self.type, self.btf, self.btf_id, self.ref_id, state, self.depth + steps)


def untrusted(reg: IterReg) -> IterReg:
    """An iterator whose RCU section ended."""
    assert reg.btf is not None
    type_ = reg.type & ~MEM_RCU | PTR_UNTRUSTED
    return IterReg(type_, reg.btf, reg.btf_id, reg.ref_id, reg.state, reg.depth)


def same(old: Reg, cur: Reg) -> bool:
    """Whether two slots hold the same iterator in the same state; how far it went does not matter."""
    if not isinstance(old, IterReg) or not isinstance(cur, IterReg):
        return False
    return old.btf is cur.btf and old.btf_id == cur.btf_id and old.state == cur.state


def depths_differ(old: State, cur: State) -> bool:
    """Whether an active iterator went on between two states (iter_active_depths_differ)."""
    for number, frame in enumerate(old.frames):
        stack = cur.frames[number].stack
        for at, slot in enumerate(frame.stack):
            if slot.kinds[0] != ITER or not isinstance(slot.reg, IterReg) or slot.reg.state != ACTIVE:
                continue
            other = stack[at].reg if at < len(stack) else None
            if isinstance(other, IterReg) and other.depth != slot.reg.depth:
                return True
    return False


def is_active(env: Env) -> bool:
    """Whether the iterator that r1 points to is active."""
    reg = env.regs[1]
    slot = env.frame_of(reg).stack[slot_at(reg.off + reg.bounds.r64[2])].reg
    return isinstance(slot, IterReg) and slot.state == ACTIVE
