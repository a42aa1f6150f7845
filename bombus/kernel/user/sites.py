"""Where programs attach in the user kernel. See `bombus.kernel.sites`: interfaces, cgroups, sockets."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, cast

from bombus.errors import KernelError, NotSupported
from bombus.kernel.sites import NoSites, Sites, TcFilter, XdpState
from bombus.kernel.user import devices, sockets, steering
from bombus.kernel.user.prog import Prog

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel


class UserSites(NoSites):
    kernel = "the user kernel"

    def __init__(self, kernel: UserKernel) -> None:
        self._kernel = kernel

    def _prog(self, call: str, fd: int) -> Prog:
        prog = self._kernel.object(call, fd, "prog")
        assert isinstance(prog, Prog)
        return prog

    def ifindex(self, name: str) -> int:
        return devices.network_of(self._kernel).device(name).ifindex

    def open(self, kind: str, path: str) -> int:
        if kind == "netns":
            if path not in steering.NAMES:
                raise KernelError(errno.ENOENT, "open", f"{path}: the user kernel has one network namespace")
            return self._kernel.fds.open("open", steering.netns_of(self._kernel))
        if kind != "cgroup":
            raise NotSupported(f"opening a {kind} on the user kernel", "it has cgroups, interfaces and sockets")
        return self._kernel.fds.open("open", sockets.cgroups_of(self._kernel).find(path))

    def bound(self) -> Sites:
        return cast(Sites, self)

    def close(self) -> None:
        """Nothing is held: the user kernel has one network namespace."""

    def dup(self, fd: int) -> int:
        file = self._kernel.file("dup", fd)
        return self._kernel.fds.open("dup", file.obj, readable=file.readable, writable=file.writable)

    def unpin(self, path: str) -> None:
        self._kernel.bpffs.unlink(path)

    def online_cpus(self) -> list[int]:
        return list(range(self._kernel.possible_cpus))

    def xdp_set(self, ifindex: int, prog_fd: int, flags: int, expected_fd: int | None = None) -> None:
        call = "RTM_SETLINK (XDP)"
        prog = self._prog(call, prog_fd) if prog_fd >= 0 else None
        expected = None
        if expected_fd is not None:
            flags |= 16  # XDP_FLAGS_REPLACE
            expected = self._prog(call, expected_fd) if expected_fd >= 0 else None
        devices.xdp_set(self._kernel, ifindex, prog, flags, expected)

    def xdp_query(self, ifindex: int) -> XdpState:
        device = devices.network_of(self._kernel).device(ifindex)
        ids = {mode: slot.prog.id for mode, slot in devices.hooks_of(device).xdp.items()}
        return XdpState("multi" if len(ids) > 1 else next(iter(ids), "none"), ids)

    def tc_qdisc(self, ifindex: int, *, add: bool) -> bool:
        return devices.tc_qdisc(self._kernel, ifindex, add=add)

    def tc_attach(self, place: TcFilter, prog_fd: int, *, replace: bool) -> TcFilter:
        return devices.tc_attach(self._kernel, place, self._prog("RTM_NEWTFILTER (bpf)", prog_fd), replace=replace)

    def tc_detach(self, place: TcFilter) -> None:
        devices.tc_detach(self._kernel, place)

    def tc_filters(self, ifindex: int, parent: int) -> list[TcFilter]:
        hooks = devices.hooks_of(devices.network_of(self._kernel).device(ifindex))
        return [
            TcFilter(ifindex, parent, one.handle, one.priority, one.prog.id, one.name)
            for one in hooks.filters[devices.PARENTS[parent]]
        ]

    def socket_attach(self, socket_fd: int, prog_fd: int, *, reuseport: bool) -> None:
        if reuseport:
            steering.attach(self._kernel, socket_fd, self._prog("SO_ATTACH_REUSEPORT_EBPF", prog_fd))
        else:
            sockets.attach_filter(self._kernel, socket_fd, self._prog("SO_ATTACH_BPF", prog_fd))

    def socket_detach(self, socket_fd: int, *, reuseport: bool) -> None:
        if reuseport:
            steering.attach(self._kernel, socket_fd, None)
        else:
            sockets.attach_filter(self._kernel, socket_fd, None)


def sites_of(kernel: UserKernel) -> Sites:
    return cast(Sites, UserSites(kernel))
