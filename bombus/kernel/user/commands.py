"""The table of bpf(2) commands, and the rules that hold for all of them.

A command's body is a function `(kernel, attr) -> int` under `@command("BPF_...")`. It raises KernelError.
Rules: Linux 6.12 kernel/bpf/syscall.c __sys_bpf, bpf_check_uarg_tail_zero, CHECK_ATTR.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
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

# Modules that bind command bodies when imported.
MODULES = ("mapcmds", "batch", "ids", "pins", "info", "btf", "stats", "prog", "run", "link", "attach", "iterate",
           "tracelink")  # fmt: skip


def command(name: str) -> Callable[[CommandFn], CommandFn]:
    """Bind a body to a command of spec.commands. Raises KeyError at import for a name that is none."""
    row = COMMAND[name]

    def bind(body: CommandFn) -> CommandFn:
        if row.id in BODIES:
            raise ValueError(f"{name} has two bodies")
        BODIES[row.id] = body
        return body

    return bind


@cache
def load_bodies() -> None:
    """Import every module that binds commands. Not at the top: they import the kernel's own modules."""
    for name in MODULES:
        path = f"bombus.kernel.user.{name}"
        if find_spec(path) is not None:
            import_module(path)


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
    body = BODIES.get(row.id)
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
