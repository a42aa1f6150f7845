"""Since which kernel and LLVM CPU version each instruction exists. Names are those of `isa.forms` rows.

Sources: the kernel's release history of kernel/bpf/core.c and verifier.c; LLVM's BPF.td and BPFSubtarget for v1 to v4.
"""

from __future__ import annotations

from dataclasses import dataclass

from bombus.spec.version import KernelVersion, since


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of one width class.

    name: the form's; bits: 0 where the width makes no difference to the age, else the width that this row is about.
    cpu: first `-mcpu=` with which LLVM emits it, "" when LLVM emits it with all or only on request.
    """

    name: str
    bits: int
    since: KernelVersion
    cpu: str
    doc: str

    @property
    def title(self) -> str:
        return f"{self.name}{self.bits or ''}"


def _rows(names: str, version: str, cpu: str, doc: str, bits: int = 0) -> tuple[Instruction, ...]:
    return tuple(Instruction(name, bits, since(version), cpu, doc) for name in names.split())


_OLD_JUMPS = "jeq jgt jge jset jne jsgt jsge"
_NEW_JUMPS = "jlt jle jslt jsle"

INSTRUCTIONS: tuple[Instruction, ...] = (
    *_rows("add sub mul div mod or and xor lsh rsh arsh neg mov", "3.18", "v1", "Arithmetic on registers."),
    *_rows("le be", "3.18", "v1", "Conversion from or to host byte order."),
    *_rows("ldx st stx", "3.18", "v1", "Load or store of memory."),
    *_rows("ld_imm64", "3.18", "v1", "Load of a 64-bit constant, map or address."),
    *_rows("ld_abs ld_ind", "3.18", "v1", "Load from a packet in network byte order."),
    *_rows("ja call exit", "3.18", "v1", "Unconditional jump, helper call or return."),
    *_rows(_OLD_JUMPS, "3.18", "v1", "Conditional jump on 64-bit values.", 64),
    *_rows(_NEW_JUMPS, "4.14", "v2", "Conditional jump on 64-bit values, lower side.", 64),
    *_rows(f"{_OLD_JUMPS} {_NEW_JUMPS}", "5.1", "v3", "Conditional jump on 32-bit values.", 32),
    *_rows("atomic_add", "3.18", "v1", "Atomic addition to memory."),
    *_rows("atomic_or atomic_and atomic_xor", "5.12", "v3", "Atomic bit operation on memory."),
    *_rows("atomic_fetch_add atomic_fetch_or atomic_fetch_and atomic_fetch_xor", "5.12", "v3",
           "Atomic operation that returns the old value."),
    *_rows("xchg cmpxchg", "5.12", "v3", "Atomic exchange with memory."),
    *_rows("call_local", "4.16", "v1", "Call of a function of the same program."),
    *_rows("call_kfunc", "5.13", "v1", "Call of a kernel function."),
    *_rows("sdiv smod", "6.6", "v4", "Signed division or remainder."),
    *_rows("movsx", "6.6", "v4", "Move with sign extension."),
    *_rows("ldsx", "6.6", "v4", "Load with sign extension."),
    *_rows("bswap", "6.6", "v4", "Reversal of bytes whatever the host's order."),
    *_rows("gotol", "6.6", "v4", "Jump with a 32-bit offset."),
    *_rows("may_goto", "6.9", "", "Jump out of a loop when its budget is used up."),
    *_rows("addr_space_cast", "6.9", "", "Cast of an arena pointer between address spaces."),
    *_rows("load_acquire store_release", "6.15", "v4", "Load or store that orders the accesses around it."),
)  # fmt: skip
INSTRUCTION: dict[tuple[str, int], Instruction] = {(row.name, row.bits): row for row in INSTRUCTIONS}


def of(name: str, bits: int = 0) -> Instruction:
    """The row of a form (`isa.forms.form_of(insn)` has its name and bits). KeyError for names that are no form."""
    row = INSTRUCTION.get((name, bits))
    return row if row is not None else INSTRUCTION[name, 0]
