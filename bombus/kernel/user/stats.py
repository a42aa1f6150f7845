"""BPF_ENABLE_STATS: run time statistics while somebody holds the descriptor. Linux 6.12 kernel/bpf/syscall.c."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from bombus.errors import KernelError
from bombus.kernel.api import Attr
from bombus.kernel.user.commands import command
from bombus.kernel.user.objects import KernelObject

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel

_RUN_TIME = 0  # BPF_STATS_RUN_TIME


class StatsSwitch(KernelObject):
    """On while it lives: `kernel.stats_users` counts the living."""

    kind: ClassVar[str] = "stats"

    __slots__ = ("_kernel",)

    def __init__(self, kernel: UserKernel) -> None:
        super().__init__()
        self._kernel = kernel
        kernel.stats_users += 1

    def release(self) -> None:
        self._kernel.stats_users -= 1


@command("BPF_ENABLE_STATS")
def enable_stats(kernel: UserKernel, attr: Attr) -> int:
    kind = attr.get("type")
    if kind != _RUN_TIME:
        raise KernelError(errno.EINVAL, attr.command.name, f"there are no statistics of type {kind}")
    return kernel.install(StatsSwitch(kernel), attr.command.name)
