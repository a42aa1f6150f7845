"""The table of bpf(2) commands, and the rules that hold for all of them.

A command's body is a function `(kernel, attr) -> int` under `@command("BPF_...")`. It raises KernelError.
Rules: Linux 6.12 kernel/bpf/syscall.c __sys_bpf, bpf_check_uarg_tail_zero, CHECK_ATTR.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from bombus.errors import KernelError, NeedsKernel, NotSupported
from bombus.kernel.api import Attr
from bombus.spec.commands import COMMAND, COMMAND_BY_ID, COMMANDS, Command
from bombus.spec.version import KernelVersion

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel

ENOTSUPP = 524  # Linux include/linux/errno.h: not an errno of libc, but bpf(2) returns it

CommandFn = Callable[["UserKernel", Attr], int]

BODIES: dict[int, CommandFn] = {}

# Modules that bind command bodies when imported, and to which commands: a command's module is imported when it is first
# used. The test of this table imports all.
MODULES: dict[str, tuple[str, ...]] = {
    "mapcmds": ("BPF_MAP_CREATE", "BPF_MAP_LOOKUP_ELEM", "BPF_MAP_UPDATE_ELEM", "BPF_MAP_DELETE_ELEM",
                "BPF_MAP_GET_NEXT_KEY", "BPF_MAP_LOOKUP_AND_DELETE_ELEM", "BPF_MAP_FREEZE"),
    "batch": ("BPF_MAP_LOOKUP_BATCH", "BPF_MAP_LOOKUP_AND_DELETE_BATCH", "BPF_MAP_UPDATE_BATCH",
              "BPF_MAP_DELETE_BATCH"),
    "ids": tuple(f"BPF_{kind}_GET_{what}" for kind in ("PROG", "MAP", "BTF", "LINK")
                 for what in ("NEXT_ID", "FD_BY_ID")),
    "pins": ("BPF_OBJ_PIN", "BPF_OBJ_GET"),
    "info": ("BPF_OBJ_GET_INFO_BY_FD",),
    "btf": ("BPF_BTF_LOAD",),
    "stats": ("BPF_ENABLE_STATS",),
    "prog": ("BPF_PROG_LOAD", "BPF_PROG_BIND_MAP"),
    "run": ("BPF_PROG_TEST_RUN",),
    "link": ("BPF_LINK_CREATE", "BPF_LINK_UPDATE", "BPF_LINK_DETACH"),
    "iterate": ("BPF_ITER_CREATE",),
    "tracelink": ("BPF_RAW_TRACEPOINT_OPEN",),
    "attach": ("BPF_PROG_ATTACH", "BPF_PROG_DETACH", "BPF_PROG_QUERY"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in MODULES.items() for name in names}


def command(name: str) -> Callable[[CommandFn], CommandFn]:
    """Bind a body to a command of spec.commands. Raises KeyError at import for a name that is none."""
    row = COMMAND[name]

    def bind(body: CommandFn) -> CommandFn:
        if row.id in BODIES:
            raise ValueError(f"{name} has two bodies")
        BODIES[row.id] = body
        return body

    return bind


def body_of(row: Command) -> CommandFn | None:
    """The body of a command; None when the user kernel has none."""
    body = BODIES.get(row.id)
    if body is None and row.name in _MODULE_OF:
        import_module(f"bombus.kernel.user.{_MODULE_OF[row.name]}")
        body = BODIES[row.id]
    return body


def load_bodies() -> None:
    """Import every module that binds commands."""
    for name in MODULES:
        import_module(f"bombus.kernel.user.{name}")


@lru_cache(maxsize=512)
def attr_sizes(number: int, version: KernelVersion) -> tuple[int, int]:
    """(end of the last field that the command has, sizeof(union bpf_attr)) in a kernel version, bytes."""

    def end(row: Command) -> int:
        known = (f for f in row.fields if (f.since or row.since) <= version)
        return max((f.offset + f.size for f in known), default=0)

    union = max((end(row) for row in COMMANDS if row.since <= version), default=48)
    return end(COMMAND_BY_ID[number]), (union + 7) & ~7


def check_attr(kernel_version: KernelVersion, attr: Attr) -> CommandFn:
    """The body to run, after the rules for every command.

    Raises KernelError(EINVAL) for an unknown command or set bytes after the command's last field, E2BIG for set
    bytes after the whole union, NeedsKernel for what came later than the version, NotSupported for a command
    that the user kernel does not have.
    """
    row = COMMAND_BY_ID.get(attr.command.id)
    if row is None:
        raise KernelError(errno.EINVAL, attr.command.name, f"there is no command {attr.command.id}")
    if row.since > kernel_version:
        raise NeedsKernel(errno.EINVAL, row.name, feature=row.name, since=str(row.since), version=str(kernel_version))
    known, union = attr_sizes(row.id, kernel_version)
    if len(attr.raw) > known and any(attr.raw[known:]):
        _refuse_tail(kernel_version, attr, row, known, union)
    body = body_of(row)
    if body is None:
        raise NotSupported(row.name, "the user kernel does not have this command")
    return body


def _refuse_tail(version: KernelVersion, attr: Attr, row: Command, known: int, union: int) -> None:
    number = errno.E2BIG if any(attr.raw[union:]) else errno.EINVAL
    for field in row.fields:
        if field.offset >= known and any(attr.raw[field.offset : field.offset + field.size]):
            feature = f"{field.name} of {row.name}"
            raise NeedsKernel(number, row.name, feature=feature, since=str(field.since), version=str(version))
    raise KernelError(number, row.name, "bytes after the last field of this command are not zero")


def put(attr: Attr, name: str, value: int) -> None:
    """Write an `out` field back, where the caller's attr is long enough to hold it."""
    field = attr.command.by_name[name]
    if len(attr.raw) >= field.offset + field.size:
        attr.raw[field.offset : field.offset + field.size] = value.to_bytes(field.size, "little")
