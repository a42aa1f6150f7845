"""bpf(2) commands and the layout of `union bpf_attr` for each.

One `Command` row per command. Source of the numbers: include/uapi/linux/bpf.h (enum bpf_cmd, union bpf_attr).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bombus.spec.version import KernelVersion, since


@dataclass(frozen=True, slots=True)
class Field:
    """One member of a command's part of `union bpf_attr`.

    kind: "u32", "u64" (plain numbers; s32 too), "fd" (u32/s32 file descriptor), "ptr" (u64 address of user
    memory), "name" (char[16]). `out` marks what the kernel writes back into the attr itself.
    """

    name: str
    offset: int
    size: int
    kind: str = "u32"
    since: KernelVersion | None = None
    out: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    name: str  # "BPF_MAP_CREATE"
    id: int
    since: KernelVersion
    fields: tuple[Field, ...]
    doc: str = ""
    by_name: dict[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {f.name: f for f in self.fields})

    @property
    def size(self) -> int:
        """Bytes of `union bpf_attr` that this command knows about."""
        return max((f.offset + f.size for f in self.fields), default=0)


COMMANDS: tuple[Command, ...] = (
    Command(
        "BPF_MAP_LOOKUP_ELEM", 1, since("3.18"),
        (Field("map_fd", 0, 4, "fd"), Field("key", 8, 8, "ptr"), Field("value", 16, 8, "ptr"),
         Field("flags", 24, 8, "u64")),
        "Read the value of one key.",
    ),
)
COMMAND: dict[str, Command] = {c.name: c for c in COMMANDS}
