"""What the verifier is given, which is what BPF_PROG_LOAD is given, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bombus.btf.parse import Btf
from bombus.errors import BombusError
from bombus.isa.facts import Facts
from bombus.isa.insn import Insn
from bombus.spec.version import KernelVersion


@dataclass(frozen=True, slots=True)
class Field:
    """A special field of a map value.

    kind: "spin_lock", "timer", "wq", "kptr_unref", "kptr_ref", "kptr_percpu", "list_head", ...; name: as messages
    write it; offset, size: bytes; target, target_id: the type that a kptr points to; value_id, node_offset: of a
    list or tree, the struct of its objects and where in it their nodes are.
    """

    kind: str
    name: str
    offset: int
    size: int
    target: str = ""
    target_id: int = 0
    value_id: int = 0
    node_offset: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class MapInfo:
    """A map as the verifier sees it. `contents` are its bytes when they can never change again, else None."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    name: str = ""
    flags: int = 0
    id: int = 0
    inner: MapInfo | None = None
    frozen: bool = False
    contents: bytes | None = None
    btf: Btf | None = None
    key_type_id: int = 0
    value_type_id: int = 0
    fields: tuple[Field, ...] = ()
    user_start: int = 0  # arena: where user space maps it
    address: int = 0  # of the map's values, for logs only
    pointer: int = 0  # of the map, for logs only


@dataclass(frozen=True, slots=True)
class FuncInfo:
    insn: int
    type_id: int


@dataclass(frozen=True, slots=True)
class LineInfo:
    insn: int
    file: str
    line: str
    number: int
    column: int
    file_offset: int = 0  # of the name in the string section: records of one file share it


@dataclass(frozen=True, slots=True)
class Privileges:
    """What the loader of the program may do: CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN."""

    bpf: bool = True
    perfmon: bool = True
    net_admin: bool = True


ROOT = Privileges()
NOBODY = Privileges(False, False, False)

# BPF_PROG_LOAD's prog_flags that concern the verifier (include/uapi/linux/bpf.h).
F_STRICT_ALIGNMENT = 1 << 0
F_ANY_ALIGNMENT = 1 << 1
F_TEST_STATE_FREQ = 1 << 3
F_SLEEPABLE = 1 << 4
F_TEST_REG_INVARIANTS = 1 << 7


class Function(NamedTuple):
    """What is known of a function of a program that was accepted, for those that attach to it.

    type_id: of its func_info (0: it has none). unreliable: it does not keep to its BTF, or is not known to.
    """

    name: str
    type_id: int
    unreliable: bool = False
    changes_packet: bool = False
    might_sleep: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TargetProgram:
    """A loaded program that another one names as its target (attach_prog_fd).

    functions: as in `Verdict`. extends: the type of the program that a BPF_PROG_TYPE_EXT was loaded for. traces: it is
    a tracing program that attaches to one itself. exception_callback: the number of that function, -1: none. jited:
    whether there is code that can be attached to.
    """

    prog_type: int
    expected_attach_type: int
    btf: Btf | None
    functions: Sequence[Function]
    extends: int = 0
    traces: bool = False
    exception_callback: int = -1
    jited: bool = True


@dataclass(frozen=True, slots=True)
class Program:
    """One program to verify. `maps` are by file descriptor, `fd_array` as in the attr.

    modules: BTF of kernel modules, over vmlinux, by descriptor; attach_btf_fd: which of them attach_btf_id is an id
    of, 0 for none. target: the program that attach_btf_id is of a function of.
    """

    insns: Sequence[Insn]
    prog_type: int
    version: KernelVersion
    expected_attach_type: int = 0
    license: str = "GPL"
    name: str = ""
    flags: int = 0
    privileges: Privileges = ROOT
    maps: Mapping[int, MapInfo] = field(default_factory=dict)
    fd_array: Sequence[int] = ()
    btf: Btf | None = None
    func_info: Sequence[FuncInfo] = ()
    line_info: Sequence[LineInfo] = ()
    attach_btf_id: int = 0
    attach_prog: bool = False
    vmlinux: Btf | None = None
    log_level: int = 1
    cpus: int = 1  # that the kernel can have (nr_cpu_ids)
    other_fds: frozenset[int] = frozenset()  # open descriptors that are not maps
    without: frozenset[str] = frozenset()  # helpers that the kernel's configuration leaves out
    data_symbols: bool = True  # the kernel knows the addresses of its variables (CONFIG_KALLSYMS_ALL)
    log_size: int = 0  # of the buffer that the log rolls through; 0: all of it is kept
    modules: Mapping[int, Btf] = field(default_factory=dict)
    attach_btf_fd: int = 0
    target: TargetProgram | None = None


class Refused(BombusError):
    """The verifier refuses the program: `errno` as BPF_PROG_LOAD returns it. The reason stands in the log."""

    def __init__(self, errno: int, insn: int = -1) -> None:
        self.errno = errno
        self.insn = insn
        super().__init__(f"the verifier refuses the program (errno {errno})")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer. errno is 0 when the program is accepted; `insn` is where it was refused (-1: before any)."""

    errno: int
    log: str
    insn: int
    processed: int
    total_states: int
    peak_states: int
    max_states_per_insn: int
    mark_read: int
    stack_depths: tuple[int, ...]
    microseconds: int
    max_ctx_offset: int = 0  # the end of the last byte of the context that the program reaches
    log_start: int = 0  # characters at the log's beginning that rolled out of its buffer
    log_peak: int = 0  # characters that the log had at most, before parts were taken back
    facts: Facts = field(default_factory=Facts)
    functions: tuple[Function, ...] = ()  # that the finished program has
    exception_callback: int = -1

    @property
    def accepted(self) -> bool:
        return self.errno == 0

    @property
    def message(self) -> str:
        """The last line of the log that is neither statistics nor source: the reason of a refusal."""
        lines = [line for line in self.log.splitlines() if line and not line.startswith(_NO_REASON)]
        return lines[-1] if lines else ""


_NO_REASON = ("processed ", "verification time ", "stack depth ", "; ")
