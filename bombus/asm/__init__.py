"""Assembler and disassembler: the syntax of clang and llvm-objdump, of kernel logs and bpftool, and of ubpf.

`from bombus.asm import assemble, disassemble, format_insn`
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Where each lives: it is imported when it is first asked for, so that who disassembles needs no assembler.
_ROOMS = {
    "BPFTOOL": "names",
    "EXACT": "names",
    "PLAIN": "names",
    "Assembled": "model",
    "Line": "names",
    "NameHooks": "names",
    "Relocation": "model",
    "Section": "model",
    "Symbol": "model",
    "assemble": "assembler",
    "disassemble": "disasm",
    "format_insn": "disasm",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = found
    return found
