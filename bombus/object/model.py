"""What an object file holds, as frozen values; no kernel is needed to make or read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bombus.btf.ext import BtfExt, CoreRelo, FuncInfo, LineInfo
from bombus.btf.parse import Btf
from bombus.isa.insn import Insn


class Reference(NamedTuple):
    """One ELF relocation of an instruction. `insn` counts slots from the function's start.

    kind: "map" (name), "data" (name of the data map, offset in bytes), "call" and "func" (target function's name),
    "extern" (name).
    """

    insn: int
    kind: str
    name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Function:
    """A function as compiled: an entry point or a subprogram. Offsets of infos and CO-RE relocations are slots
    from its start; `start` is its first slot in its section."""

    name: str
    section: str
    start: int
    insns: tuple[Insn, ...]
    references: tuple[Reference, ...] = ()
    func_info: tuple[FuncInfo, ...] = ()
    line_info: tuple[LineInfo, ...] = ()
    core: tuple[CoreRelo, ...] = ()


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """An entry point. prog_type is "" where the section name says nothing; target: what follows the slash.

    attach: whether the attach type is "required", "optional" (left out on old kernels) or "" (not passed, unless the
    program's type needs it).
    """

    name: str
    section: str
    prog_type: str
    attach_type: str
    target: str
    flags: int
    function: Function
    autoload: bool = True
    attach_btf: bool = False
    attach: str = ""
    autoattach: bool = True


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map to create. type is the number of enum bpf_map_type; `data` is the initial value of a data map.

    pinning: 0 none, 1 by name. values: (index, name of a map or program) to store after creation.
    section: the ELF section of a data map ("" for others). frozen: programs and user space may not write it.
    """

    name: str
    type: int
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    flags: int = 0
    numa_node: int = 0
    map_extra: int = 0
    pinning: int = 0
    key_type: int = 0
    value_type: int = 0
    inner: MapSpec | None = None
    values: tuple[tuple[int, str], ...] = ()
    section: str = ""
    data: bytes | None = None
    frozen: bool = False


class Extern(NamedTuple):
    """A symbol that the kernel provides. kind: "kconfig", "ksym" (type 0: untyped address) or "kfunc".

    type: BTF id of the variable's type or of the function. offset, size: place in the .kconfig map.
    """

    name: str
    kind: str
    type: int
    weak: bool
    offset: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Object:
    """One object file. `functions` are the subprograms of all sections by name (section functions included)."""

    name: str
    byteorder: str
    programs: tuple[ProgramSpec, ...]
    maps: tuple[MapSpec, ...]
    functions: dict[str, Function] = field(default_factory=dict)
    externs: tuple[Extern, ...] = ()
    license: str = ""
    version: int = 0
    btf: Btf | None = None
    btf_ext: BtfExt | None = None
