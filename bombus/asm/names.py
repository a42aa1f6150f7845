"""What the disassembler asks its caller: names of helpers, kernel functions, subprograms, maps and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, imm64


@dataclass(frozen=True, slots=True)
class Line:
    """One disassembled instruction: `index` of its first slot, `slots` 1 or 2, `text` without an index."""

    index: int
    insn: Insn
    text: str
    slots: int = 1


@dataclass(frozen=True, slots=True)
class NameHooks:
    """Callbacks that give names; each returns None to leave the number as the style shows it.

    helper(imm): name of a helper call ("bpf_map_lookup_elem"); the kernel and ubpf styles already know the
      helpers that have a number in `spec.helpers`.
    kfunc(btf_id, off): name of a kernel function call.
    subprog(index, insn): what follows "call pc" in the kernel style (bpftool: "+7#bpf_prog_..._name"), the
      operand of the call in the others.
    imm64(index, first, second): what follows "rN = " of a 64-bit immediate load.
    label(slot): name of a jump target. The llvm style appends it (`goto +0x3 <LBB0_3>`), ubpf jumps to it.
    """

    helper: Callable[[int], str | None] | None = None
    kfunc: Callable[[int, int], str | None] | None = None
    subprog: Callable[[int, Insn], str | None] | None = None
    imm64: Callable[[int, Insn, Insn], str | None] | None = None
    label: Callable[[int], str | None] | None = None


PLAIN = NameHooks()


def bpftool_imm64(index: int, first: Insn, second: Insn) -> str | None:
    """How `bpftool prog dump xlated` writes 64-bit immediates. Source: Linux 6.12 tools/bpf/bpftool print_imm."""
    low, high = first.imm & 0xFFFF_FFFF, second.imm & 0xFFFF_FFFF
    if first.src == op.BPF_PSEUDO_MAP_FD:
        return f"map[id:{low}]"
    if first.src == op.BPF_PSEUDO_MAP_VALUE:
        return f"map[id:{low}][0]+{high}"
    if first.src == op.BPF_PSEUDO_MAP_IDX_VALUE:
        return f"map[idx:{low}]+{high}"
    if first.src == op.BPF_PSEUDO_FUNC:
        return f"subprog[{first.imm:+d}]"
    return None


BPFTOOL = NameHooks(imm64=bpftool_imm64)
"""Names as `bpftool prog dump xlated` prints them, but for what it reads from /proc/kallsyms."""


def _exact_imm64(index: int, first: Insn, second: Insn) -> str | None:
    if first.src == 0:
        return None
    if first.src == op.BPF_PSEUDO_MAP_FD and second.imm == 0:
        return f"map[id:{first.imm & 0xFFFF_FFFF}]"
    if first.src == op.BPF_PSEUDO_MAP_IDX and second.imm == 0:
        return f"map[idx:{first.imm & 0xFFFF_FFFF}]"
    if first.src in (op.BPF_PSEUDO_MAP_VALUE, op.BPF_PSEUDO_MAP_IDX_VALUE):
        return bpftool_imm64(index, first, second)
    if first.src == op.BPF_PSEUDO_FUNC and second.imm == 0:
        return f"subprog[{first.imm:+d}]"
    return f"pseudo({first.src}, {imm64(first, second):#x})"


EXACT = NameHooks(
    imm64=_exact_imm64,
    kfunc=lambda btf_id, off: f"kernel-function:{off}" if off else "kernel-function",
    subprog=lambda index, insn: f"{insn.imm:+d}",
)
"""Nothing of an instruction is lost, so that `assemble` gives it back; other tools may not read the result."""
