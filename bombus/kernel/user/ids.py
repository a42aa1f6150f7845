"""Commands that go from ids to objects. Linux 6.12 kernel/bpf/syscall.c."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bombus.errors import KernelError
from bombus.kernel.api import Attr
from bombus.kernel.user.commands import CommandFn, command, put
from bombus.kernel.user.objects import ID_MAX
from bombus.spec.maptypes import BPF_F_RDONLY, BPF_F_TOKEN_FD, BPF_F_WRONLY

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel


def _next_id(kind: str) -> CommandFn:
    def body(kernel: UserKernel, attr: Attr) -> int:
        call = attr.command.name
        start = attr.get("start_id")
        if start >= ID_MAX:
            raise KernelError(errno.EINVAL, call, f"{start} is above every id")
        following = kernel.ids[kind].after(start)
        if following is None:
            raise KernelError(errno.ENOENT, call, f"no {kind} has an id above {start}")
        put(attr, "next_id", following)
        return 0

    return body


def _fd_by_id(kind: str, field: str) -> CommandFn:
    def body(kernel: UserKernel, attr: Attr) -> int:
        call = attr.command.name
        flags = attr.get("open_flags") if "open_flags" in attr.command.by_name else 0
        if kind == "btf" and flags & BPF_F_TOKEN_FD:
            kernel.object(call, attr.get("fd_by_id_token_fd"), "token")
            flags &= ~BPF_F_TOKEN_FD
        readable, writable = access_of(call, flags)
        number = attr.get(field)
        obj = kernel.ids[kind].find(number)
        if obj is None:
            raise KernelError(errno.ENOENT, call, f"no {kind} has the id {number}")
        return kernel.fds.open(call, obj, readable=readable, writable=writable)

    return body


def access_of(call: str, flags: int) -> tuple[bool, bool]:
    """(readable, writable) of open flags; EINVAL for both restrictions at once, or any other bit."""
    if flags & ~(BPF_F_RDONLY | BPF_F_WRONLY) or flags == BPF_F_RDONLY | BPF_F_WRONLY:
        raise KernelError(errno.EINVAL, call, f"flags {flags:#x}")
    return not flags & BPF_F_WRONLY, not flags & BPF_F_RDONLY


for _kind in ("prog", "map", "btf", "link"):
    command(f"BPF_{_kind.upper()}_GET_NEXT_ID")(_next_id(_kind))
    command(f"BPF_{_kind.upper()}_GET_FD_BY_ID")(_fd_by_id(_kind, f"{_kind}_id"))
