"""What a stack slot of saved interrupt flags holds, and how two of them compare."""

from __future__ import annotations

from typing import Final

from bombus.verifier.env import Env
from bombus.verifier.regs import PTR_TO_STACK, ZERO, Reg


class IrqReg(Reg):
    """What the slot of saved flags holds. saved_by: which kind of function saved them."""

    __slots__ = ("saved_by",)

    def __init__(self, ref_id: int, saved_by: str) -> None:
        super().__init__(PTR_TO_STACK, ZERO, ref_id=ref_id)
        self.saved_by: Final = saved_by


def same(old: Reg, cur: Reg) -> bool:
    """Whether two slots hold flags that are restored in the same way."""
    return isinstance(old, IrqReg) and isinstance(cur, IrqReg) and old.saved_by == cur.saved_by


def disabled(env: Env) -> bool:
    """Whether interrupts are disabled."""
    return any(ref.kind == "irq" for ref in env.frame.refs)
