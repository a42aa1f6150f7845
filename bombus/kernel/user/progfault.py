"""Where in the source a running program failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.errors import VmFault
from bombus.isa import opcodes as op
from bombus.kernel.user.progverify import lines_of, types_of
from bombus.vm.binding import TAIL_CALL

if TYPE_CHECKING:
    from bombus.kernel.user.prog import Prog


def located(prog: Prog, fault: VmFault) -> VmFault:
    """The fault with the source line of its instruction, where the program's BTF says it. prog: what was run; a program
    that it called by a tail call is found by the fault's owner."""
    if fault.place or fault.insn < 0:
        return fault
    at = _owner(prog, fault)
    place = source_of(at, fault.insn) if at is not None else ""
    if not place:
        return fault
    return VmFault(
        fault.kind, fault.message, insn=fault.insn, address=fault.address, size=fault.size, place=place
    ).with_traceback(fault.__traceback__)


def _owner(prog: Prog, fault: VmFault) -> Prog | None:
    if fault.owner is None:
        # Engines that run tail calls in machine code do not say which program it was.
        alone = prog.kernel.engine not in ("native", "tiered") or not _has_tail_calls(prog)
        return prog if alone else None
    others: list[Any] = list(prog.kernel.ids["prog"])
    return next((other for other in others if other.compiled is fault.owner), None)


def _has_tail_calls(prog: Prog) -> bool:
    return any(insn.opcode == op.CALL and not insn.src and insn.imm == TAIL_CALL for insn in prog.xlated)


def source_of(prog: Prog, insn: int) -> str:
    """ "file.py:22:5: the line's text"; "" when it is not known."""
    btf = types_of(prog.btf)
    if btf is None:
        return ""
    found = None
    for line in lines_of(prog, btf):
        if line.insn > insn:
            break
        found = line
    if found is None or not found.file:
        return ""
    return f"{found.file}:{found.number}:{found.column}: {found.line.strip()}"
