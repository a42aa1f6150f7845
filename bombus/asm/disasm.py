"""Disassembler: instructions to text in one of three styles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from bombus.asm.kernel import LATEST, KernelStyle
from bombus.asm.llvm import LlvmStyle
from bombus.asm.names import PLAIN, Line, NameHooks
from bombus.asm.ubpf import UbpfStyle
from bombus.errors import UsageError
from bombus.isa.insn import Insn
from bombus.isa.opcodes import LD_IMM64
from bombus.spec.version import KernelVersion

Style = Literal["llvm", "kernel", "ubpf"]


class _Formatter(Protocol):
    def format(self, insns: Sequence[Insn], index: int, names: NameHooks) -> str: ...


def _formatter(style: str, llvm: int, kernel: KernelVersion, leak: bool) -> _Formatter:
    if style == "llvm":
        return LlvmStyle(llvm)
    if style == "kernel":
        return KernelStyle(kernel, leak=leak)
    if style == "ubpf":
        return UbpfStyle()
    raise UsageError(f"disassembly style {style!r}; use 'llvm', 'kernel' or 'ubpf'")


def disassemble(
    insns: Sequence[Insn],
    style: Style = "llvm",
    names: NameHooks = PLAIN,
    *,
    llvm: int = 19,
    kernel: KernelVersion = LATEST,
    leak: bool = True,
) -> list[Line]:
    """One Line for each instruction; the second slot of a 64-bit load belongs to its first.

    style "llvm": as `llvm-objdump -d` of LLVM major version `llvm`. "kernel": as the verifier log of `kernel`
    (with `names=BPFTOOL` as bpftool's xlated dump); `leak` False hides pointers. "ubpf": `mov %r0, 0x1`.
    Takes any instructions. Never raises for what they hold: what has no text in a style is shown the way its
    tools show it (`<unknown>`, `BUG_..`, `.byte ...`).
    """
    write = _formatter(style, llvm, kernel, leak).format
    lines: list[Line] = []
    index, count = 0, len(insns)
    while index < count:
        insn = insns[index]
        slots = 2 if insn.opcode == LD_IMM64 and index + 1 < count else 1
        lines.append(Line(index, insn, write(insns, index, names), slots))
        index += slots
    return lines


def format_insn(
    insns: Sequence[Insn],
    index: int,
    style: Style = "kernel",
    names: NameHooks = PLAIN,
    *,
    llvm: int = 19,
    kernel: KernelVersion = LATEST,
    leak: bool = True,
) -> str:
    """The text of the instruction at slot `index`, parameters as for `disassemble`."""
    return _formatter(style, llvm, kernel, leak).format(insns, index, names)
