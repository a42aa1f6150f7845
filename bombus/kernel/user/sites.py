"""Where programs attach in the user kernel. See `bombus.kernel.sites`."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, cast

from bombus.errors import KernelError
from bombus.kernel.sites import NoSites, Sites
from bombus.kernel.user.world import world_of

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel


class UserSites(NoSites):
    kernel = "the user kernel"

    def __init__(self, kernel: UserKernel) -> None:
        self._kernel = kernel

    def ifindex(self, name: str) -> int:
        for device in world_of(self._kernel).devices.values():
            if device.name == name:
                return device.ifindex
        raise KernelError(errno.ENODEV, "if_nametoindex", f"the user kernel has no interface {name!r}")


def sites_of(kernel: UserKernel) -> Sites:
    return cast(Sites, UserSites(kernel))
