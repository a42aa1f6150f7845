"""What assembling gives: sections with bytes, symbols and relocations, and the plain instruction list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bombus.errors import UsageError
from bombus.isa.insn import INSN_SIZE, ByteOrder, Insn, decode

Binding = Literal["local", "global", "weak"]
SymbolType = Literal["notype", "func", "object", "section"]

# ELF relocation types of the BPF target. Source: LLVM 19 BPF.def, Linux Documentation/bpf/llvm_reloc.rst.
R_BPF_64_64 = 1
R_BPF_64_ABS64 = 2
R_BPF_64_ABS32 = 3
R_BPF_64_NODYLD32 = 4
R_BPF_64_32 = 10

COMMON = "*COM*"


@dataclass(frozen=True, slots=True)
class Relocation:
    """A place in a section that waits for a symbol. `offset` in bytes.

    The addend is in place, as in ELF REL: in the imm fields of an instruction, in the word of data.
    `symbol` is a symbol's name, or a section's where clang refers to a local symbol by its section.
    """

    offset: int
    type: int
    symbol: str


@dataclass(frozen=True, slots=True)
class Section:
    """`flags` are letters as in `.section` ("ax"), `type` "progbits", "nobits", "note", ...; `align` in bytes.

    `data` of a nobits section is zeros. `lines` maps byte offsets of instructions and data to source lines.
    """

    name: str
    flags: str
    type: str
    align: int
    data: bytes
    entry_size: int = 0
    relocations: tuple[Relocation, ...] = ()
    lines: Mapping[int, int] = field(default_factory=dict)

    @property
    def is_code(self) -> bool:
        return "x" in self.flags


@dataclass(frozen=True, slots=True)
class Symbol:
    """`section` "" is undefined, "*COM*" a common symbol (`value` is its alignment), "*ABS*" a `.set` number."""

    name: str
    section: str
    value: int
    size: int = 0
    binding: Binding = "local"
    type: SymbolType = "notype"
    visibility: str = "default"


@dataclass(frozen=True, slots=True)
class MapDefinition:
    """What `.map` says: a map of the program, whose symbol lies in section .maps. type: number of enum bpf_map_type."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Assembled:
    """Assembly text made into bytes.

    `insns`: the slots of the main code section (the first one with any instruction), with calls between its
    own functions resolved; its `relocations` tell what is still open. `labels`: slot of each label there,
    temporary ones included. `lines`: source line of each of its slots (0 where there is none).
    """

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    insns: tuple[Insn, ...]
    labels: Mapping[str, int]
    lines: tuple[int, ...]
    main: str = ".text"
    byteorder: ByteOrder = "little"
    maps: tuple[MapDefinition, ...] = ()

    def section(self, name: str) -> Section:
        """The section called `name`; UsageError when there is none."""
        for section in self.sections:
            if section.name == name:
                return section
        raise UsageError(f"the assembly has no section {name!r}; it has {[s.name for s in self.sections]}")

    @property
    def relocations(self) -> tuple[Relocation, ...]:
        """Open relocations of the main code section, by the name of the symbol."""
        for section in self.sections:
            if section.name == self.main:
                return tuple(r for r in section.relocations if r.type != R_BPF_64_32 or not self._is_own(r.symbol))
        return ()

    def _is_own(self, name: str) -> bool:
        return name == self.main or any(s.name == name and s.section == self.main for s in self.symbols)

    def slots(self, section: str) -> list[Insn]:
        """The raw instructions of any section; EncodingError when it is no whole number of slots."""
        return decode(self.section(section).data, self.byteorder)


SLOT = INSN_SIZE
