"""Assembler and disassembler: the syntax of clang and llvm-objdump, of kernel logs and bpftool, and of ubpf.

`from bombus.asm import assemble, disassemble, format_insn`
"""

from __future__ import annotations

from bombus.asm.assembler import assemble
from bombus.asm.disasm import disassemble, format_insn
from bombus.asm.model import Assembled, Relocation, Section, Symbol
from bombus.asm.names import BPFTOOL, EXACT, PLAIN, Line, NameHooks

__all__ = [
    "BPFTOOL",
    "EXACT",
    "PLAIN",
    "Assembled",
    "Line",
    "NameHooks",
    "Relocation",
    "Section",
    "Symbol",
    "assemble",
    "disassemble",
    "format_insn",
]
