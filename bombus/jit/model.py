"""What lowering is told, and what it gives beside its text: kept apart, since code from the disk needs no lowering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from bombus.isa import opcodes as op
from bombus.isa.facts import MAP_KEY, MAP_VALUE, MEM, PACKET, RECORD, STACK, Facts
from bombus.isa.insn import Insn
from bombus.jit.target import Target
from bombus.vm.env import ArrayPlace, MapCode

NO_FACTS: Final = Facts()

# ld_imm64 kinds whose immediate is an address of this process.
ADDRESSES: Final = (
    op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_VALUE, op.BPF_PSEUDO_BTF_ID, op.BPF_PSEUDO_MAP_IDX,
    op.BPF_PSEUDO_MAP_IDX_VALUE,
)  # fmt: skip

VALUES: Final = (op.BPF_PSEUDO_MAP_VALUE, op.BPF_PSEUDO_MAP_IDX_VALUE)  # of maps' values

_NO_PLACES: Final[Mapping[int, ArrayPlace]] = {}
_NO_CODE: Final[Mapping[int, MapCode]] = {}
_NO_OBJECTS: Final[Mapping[int, tuple[int, int]]] = {}
_NO_TABLES: Final[Mapping[int, int]] = {}


class Options(NamedTuple):
    """checked: see above. budget: count instructions. facts: what the verifier of trusted code found. plain: kinds of
    memory (`isa.facts`) that trusted code accesses without a check. outside_stack: callees look at the stack by its
    address and need it in the run's frames. exported: functions that are exported whatever names them.
    blind: no constant of the program stands in the code as it is (on machines of 64 bits). arrays: look-ups (indices of
    calls) that are arithmetic. maps: calls of map helpers that are the map's own code. jumps: tail calls that have a
    table, and its entries. packet: where the words of `vm.env.Env.packet_words` lie; trusted code uses them.
    objects: of what leads into memory (calls of those two, loads of addresses of values): the first that leads into the
    same memory, and how far behind its start. They share a symbol, since two symbols are two objects to LLVM. Of what
    is not named there each has a symbol of its own.
    main: export bpf_main.
    lines: a line table says which instruction code is for: line N is instruction N - 1. unwind: the object has
    .eh_frame, for debuggers.
    """

    checked: bool = True
    budget: bool = True
    facts: Facts = NO_FACTS
    plain: int = STACK | PACKET | MAP_VALUE | MAP_KEY | MEM | RECORD
    outside_stack: bool = True
    exported: tuple[int, ...] = ()
    blind: bool = False
    arrays: Mapping[int, ArrayPlace] = _NO_PLACES
    maps: Mapping[int, MapCode] = _NO_CODE
    jumps: Mapping[int, int] = _NO_TABLES
    objects: Mapping[int, tuple[int, int]] = _NO_OBJECTS
    packet: int = 0
    main: bool = True
    lines: bool = False
    unwind: bool = False


class Lowered:
    """text: the module. faults: what status FAULT counts into: kind and message of a VmFault. immediates: value of each
    bpf_imm_N; places: an instruction that has it. helpers: helpers and kernel functions that are called: symbol ->
    index of a call. entries: exported functions by instruction. needs: other symbols of `abi` that are called."""

    __slots__ = ("entries", "faults", "helpers", "immediates", "needs", "options", "places", "target", "text")

    def __init__(self, target: Target, options: Options) -> None:
        self.target = target
        self.options = options
        self.text = ""
        self.faults: list[tuple[str, str]] = []
        self.immediates: list[int] = []
        self.places: list[int] = []
        self.helpers: dict[str, int] = {}
        self.entries: list[int] = []
        self.needs: set[str] = set()


def is_address(insn: Insn) -> bool:
    """Is the immediate of an ld_imm64 an address of this process?"""
    return insn.src in ADDRESSES


def asks(code: MapCode, helper: int) -> bool:
    """May the code leave the answer to the helper?"""
    return "w" in code.calls[helper][1]
