"""What a row about a helper says.

Sources: struct bpf_func_proto definitions of Linux 6.12 (kernel/bpf/helpers.c, kernel/trace/bpf_trace.c,
net/core/filter.c, ...), include/uapi/linux/bpf.h for numbers and C prototypes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bombus.spec.version import KernelVersion, since


@dataclass(frozen=True, slots=True)
class Prototype:
    """How the verifier sees a helper.

    args: the kernel's ARG_ kinds with modifiers, "ARG_PTR_TO_MEM|MEM_RDONLY"; sizes: bytes of memory whose size is
    fixed, else 0; ret: the RET_ kind with modifiers.
    """

    args: tuple[str, ...]
    sizes: tuple[int, ...]
    ret: str
    gpl_only: bool = False
    might_sleep: bool = False
    pkt_access: bool = False


@dataclass(frozen=True, slots=True)
class Helper:
    """One helper. `name` is without bpf_; c_return and c_params are its C prototype.

    fastcall: the call leaves registers alone that it does not need (6.12). `variants` are other prototypes, by the
    group of program types (`groups`) that has them.
    """

    id: int
    name: str
    since: KernelVersion
    family: str
    c_return: str
    c_params: str
    prototype: Prototype
    doc: str
    fastcall: bool = False
    variants: tuple[tuple[str, Prototype], ...] = field(default=(), repr=False)

    @property
    def args(self) -> tuple[str, ...]:
        return self.prototype.args

    @property
    def ret(self) -> str:
        return self.prototype.ret

    @property
    def gpl_only(self) -> bool:
        return self.prototype.gpl_only

    @property
    def c_prototype(self) -> str:
        """As a C header declares it: "void *bpf_map_lookup_elem(struct bpf_map *map, const void *key)"."""
        space = "" if self.c_return.endswith("*") else " "
        return f"{self.c_return}{space}bpf_{self.name}({self.c_params or 'void'})"


def row(
    id_: int, name: str, version: str, family: str, c_return: str, c_params: str, args: tuple[str, ...], ret: str,
    doc: str, *, sizes: tuple[int, ...] = (), gpl_only: bool = False, might_sleep: bool = False,
    pkt_access: bool = False, fastcall: bool = False, variants: tuple[tuple[str, Prototype], ...] = (),
) -> Helper:
    prototype = Prototype(args, sizes or (0,) * len(args), ret, gpl_only, might_sleep, pkt_access)
    return Helper(id_, name, since(version), family, c_return, c_params, prototype, doc, fastcall, variants)
