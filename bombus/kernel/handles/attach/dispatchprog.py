"""The dispatcher of several XDP programs: its instructions, types and configuration, and loading it.

It is put together here, so that neither a compiler nor a file of another package is needed.
Facts: `spec.xdpdispatcher`.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, NamedTuple

from bombus.btf.build import Builder
from bombus.btf.types import (
    GLOBAL,
    INT_SIGNED,
    STATIC,
    Array,
    Const,
    DataSec,
    Func,
    FuncProto,
    Int,
    Member,
    Param,
    Ptr,
    SecVar,
    Struct,
    Typedef,
    Var,
    Volatile,
)
from bombus.errors import UsageError
from bombus.isa import build as b
from bombus.kernel.handles.btf import Btf
from bombus.kernel.handles.maps import Map
from bombus.kernel.handles.programs import Program
from bombus.spec.maptypes import FLAG
from bombus.spec.sections import BPF_F_XDP_HAS_FRAGS
from bombus.spec.xdpdispatcher import (
    ACTIONS,
    ACTIONS_OFFSET,
    CONFIG,
    CONFIG_ARRAYS,
    CONFIG_BYTES,
    CONFIG_STRUCT,
    CONTINUE,
    COUNT_OFFSET,
    MAGIC,
    METADATA,
    NAME,
    SLOTS,
    VERSION,
    VERSION_VARIABLE,
    slot,
)

if TYPE_CHECKING:
    from bombus.isa.insn import Insn
    from bombus.kernel.api import Kernel

_PASS = ACTIONS.index("pass")
_MAP_VALUE = 2  # BPF_PSEUDO_MAP_VALUE
_XDP_MD = ("data", "data_end", "data_meta", "ingress_ifindex", "rx_queue_index", "egress_ifindex")


class Slot(NamedTuple):
    """What the configuration says of one program. actions: bits of enum xdp_action that let the next one run."""

    priority: int
    actions: int
    frags: bool

    @property
    def words(self) -> list[str]:
        """The actions by name."""
        return [name for bit, name in enumerate(ACTIONS) if self.actions >> bit & 1]


class Config(NamedTuple):
    """A dispatcher's configuration. version: of the protocol that made it."""

    version: int
    slots: tuple[Slot, ...]

    def to_bytes(self) -> bytes:
        """As version 2 has it. UsageError for more programs than there are places."""
        if len(self.slots) > SLOTS:
            raise UsageError(f"a dispatcher has room for {SLOTS} XDP programs")
        spare = [0] * (SLOTS - len(self.slots))
        return CONFIG.pack(
            MAGIC, VERSION, len(self.slots), self.frags,
            *(one.actions | 1 << CONTINUE for one in self.slots), *spare, *(one.priority for one in self.slots), *spare,
            *(BPF_F_XDP_HAS_FRAGS if one.frags else 0 for one in self.slots), *spare,
        )  # fmt: skip

    @property
    def frags(self) -> bool:
        """Whether packets may come in parts: only when every program can take them."""
        return bool(self.slots) and all(one.frags for one in self.slots)

    @classmethod
    def parse(cls, data: bytes) -> Config | None:
        """None for what is no dispatcher's configuration; no slots when another version made it."""
        if len(data) < 2 or data[0] != MAGIC:
            return None
        if data[1] != VERSION or len(data) != CONFIG.size:
            return cls(data[1], ())
        count, rest = data[COUNT_OFFSET], CONFIG.unpack(data)[4:]
        rows = zip(rest[SLOTS : 2 * SLOTS], rest[:SLOTS], rest[2 * SLOTS :], strict=True)
        found = (Slot(priority, actions & ~(1 << CONTINUE), bool(flags & BPF_F_XDP_HAS_FRAGS))
                 for priority, actions, flags in rows)  # fmt: skip
        return cls(data[1], tuple(found)[:count])


def instructions(config_fd: int) -> tuple[list[Insn], list[int]]:
    """The program over a configuration map; and where its functions begin, in the order of `types`' ids."""
    main: list[Insn] = [b.mov(6, b.R1), *b.ld_imm64(7, config_fd, _MAP_VALUE), b.ldx("u8", 8, 7, COUNT_OFFSET)]
    size = 8  # of each part below
    end = len(main) + SLOTS * size
    exit_at = end + 1
    stub = 2
    starts = [0, *(exit_at + 1 + stub * number for number in range(SLOTS))]
    for number in range(SLOTS):
        at = len(main)
        main += [
            b.jmp("<", 8, number + 1, 0), b.mov(1, b.R6), b.call_local(0), b.mov32(2, 1), b.lsh32(2, b.R0),
            b.ldx("u32", 3, 7, ACTIONS_OFFSET + 4 * number), b.and_(3, b.R2), b.jmp("==", 3, 0, 0),
        ]  # fmt: skip
        main[at] = main[at]._replace(off=end - at - 1)
        main[at + 2] = main[at + 2]._replace(imm=starts[1 + number] - at - 3)
        main[at + 7] = main[at + 7]._replace(off=exit_at - at - 8)
    main += [b.mov(0, _PASS), b.exit_()]
    for _ in range(SLOTS):
        main += [b.mov(0, CONTINUE), b.exit_()]
    return main, starts


@functools.cache
def types() -> tuple[bytes, list[int], int]:
    """BTF of the program; ids of its functions, the main one first; the id of the configuration's section."""
    made = Builder()
    u32 = made.add(Typedef("__u32", made.add(Int("unsigned int", 4))))
    u8 = made.add(Typedef("__u8", made.add(Int("unsigned char", 1))))
    number, index = made.add(Int("int", 4, INT_SIGNED)), made.add(Int("__ARRAY_SIZE_TYPE__", 4))
    members = tuple(Member(name, u32, 32 * place) for place, name in enumerate(_XDP_MD))
    context = made.add(Ptr(made.add(Struct("xdp_md", 4 * len(_XDP_MD), members))))
    functions = []
    for name in (NAME, *map(slot, range(SLOTS))):
        proto = made.add(FuncProto(number, (Param("ctx", context),)))
        functions.append(made.add(Func(name, proto, GLOBAL)))
    words = made.add(Array(u32, index, SLOTS))
    parts = [Member(name, u8, 8 * place) for place, name in enumerate(CONFIG_BYTES)]
    parts += [Member(name, words, 32 + 32 * SLOTS * place) for place, name in enumerate(CONFIG_ARRAYS)]
    config = made.add(Struct(CONFIG_STRUCT, CONFIG.size, tuple(parts)))
    variable = made.add(Var("conf", made.add(Const(made.add(Volatile(config)))), STATIC))
    section = made.add(DataSec(".rodata", CONFIG.size, (SecVar(variable, 0, CONFIG.size),)))
    # The version as a map's definition has numbers: a pointer to an array of so many elements.
    version = made.add(Ptr(made.add(Array(number, index, VERSION))))
    variable = made.add(Var(VERSION_VARIABLE, version, GLOBAL))
    made.add(DataSec(METADATA, 8, (SecVar(variable, 0, 8),)))
    return made.to_bytes(), functions, section


def load(kernel: Kernel, config: Config) -> Program:
    """A dispatcher for these programs, whose places are still empty. LoadError, KernelError, UsageError."""
    value = config.to_bytes()
    raw, functions, section = types()
    with Btf.load(kernel, raw) as btf, Map.create(
        kernel, "array", 4, len(value), 1, flags=FLAG["BPF_F_RDONLY_PROG"].value, name="xdp_disp.rodata",
        btf_fd=btf.fd, btf_key_type_id=0, btf_value_type_id=section,
    ) as table:  # fmt: skip
        table.raw[bytes(4)] = value
        table.freeze()
        insns, starts = instructions(table.fd)
        records = b"".join(struct.pack("<II", *row) for row in zip(starts, functions, strict=True))
        return Program.load(
            kernel, "xdp", insns, name=NAME, attach_type="xdp", flags=BPF_F_XDP_HAS_FRAGS if config.frags else 0,
            prog_btf_fd=btf.fd, func_info=records, func_info_rec_size=8, func_info_cnt=len(starts),
        )  # fmt: skip


def read_config(program: Program) -> Config | None:
    """The configuration of a loaded program; None when it is no dispatcher. KernelError."""
    if program.name != NAME:
        return None
    maps = program.map_ids()
    if len(maps) != 1:
        return None
    with Map.from_id(program.kernel, maps[0]) as table:
        if table.info()["key_size"] != 4 or table.info()["max_entries"] != 1:
            return None
        return Config.parse(table.raw[bytes(4)])
