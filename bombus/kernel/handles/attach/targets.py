"""Targets as callers name them (a path, a descriptor, an interface's name) to what the kernel takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bombus.errors import UsageError
from bombus.kernel.handles.links import Link
from bombus.spec.attachtypes import ATTACH_TYPE, AttachType
from bombus.spec.linktypes import LINK_TYPE

if TYPE_CHECKING:
    from bombus.kernel.api import Kernel
    from bombus.kernel.handles.programs import Program

# include/uapi/linux/bpf.h: flags of BPF_PROG_ATTACH and BPF_LINK_CREATE
F_ALLOW_OVERRIDE, F_ALLOW_MULTI, F_REPLACE, F_BEFORE, F_AFTER, F_ID, F_PREORDER, F_LINK = (
    1, 2, 4, 8, 16, 32, 64, 1 << 13
)  # fmt: skip
Path = str | os.PathLike[str]


@contextmanager
def opened(kernel: Kernel, kind: str, target: Path | int) -> Iterator[int]:
    """A descriptor of a "cgroup", "netns" or "file": the caller's own, or that of a path while the block runs."""
    if isinstance(target, int):
        yield target
        return
    fd = kernel.sites.open(kind, os.fspath(target))
    try:
        yield fd
    finally:
        kernel.close(fd)


def interface(kernel: Kernel, target: str | int) -> int:
    """An interface's number, by its name or itself. UsageError for a number that cannot be one."""
    if isinstance(target, str):
        return kernel.sites.ifindex(target)
    if target <= 0:
        raise UsageError(f"{target} is no interface number")
    return target


def has_links(kernel: Kernel, attach_type: AttachType) -> bool:
    """Does this kernel make links for an attach type?"""
    return bool(attach_type.link_type) and kernel.version >= LINK_TYPE[attach_type.link_type].since


def attach_type(program: Program, given: str | None) -> AttachType:
    """The attach type to use: given, or that of the program's section. UsageError when neither says one."""
    name = given or program.origin.attach_type
    row = ATTACH_TYPE.get(name) or ATTACH_TYPE.get(f"BPF_{name.upper()}")
    if row is None:
        problem = f"no attach type is called {name!r}" if name else "say which attach_type"
        raise UsageError(f"{program.name or 'this program'}: {problem}")
    return row


def order(
    before: Program | Link | str | None, after: Program | Link | str | None, *, link: bool = True
) -> tuple[int, int | None]:
    """Flags and the relative descriptor for a place among several programs.

    before, after: a program or link that is attached there, or "all".
    """
    if before is not None and after is not None:
        raise UsageError("a program goes before or after another one, not both")
    anchor = before if before is not None else after
    if anchor is None:
        return 0, None
    flags = F_BEFORE if before is not None else F_AFTER
    if isinstance(anchor, str):
        if anchor != "all":
            raise UsageError(f"{anchor!r}: give a program, a link, or 'all'")
        return flags, None
    return flags | (F_LINK if isinstance(anchor, Link) else 0), anchor.fd


def names(values: dict[str, Any]) -> dict[str, Any]:
    """Without what was not given."""
    return {key: value for key, value in values.items() if value is not None}
