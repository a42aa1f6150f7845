"""Where programs attach on Linux. See `bombus.kernel.sites`."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bombus.errors import KernelError
from bombus.kernel.linux import perf, rtnl, tracefs
from bombus.kernel.linux.netlink import Netlink
from bombus.kernel.sites import NoWatch, PerfEvent, Probe, TcFilter, Watch, XdpState

if TYPE_CHECKING:
    from bombus.kernel.linux.dispatchers import LinuxPins

_SO_DETACH_FILTER, _SO_ATTACH_BPF, _SO_ATTACH_REUSEPORT_EBPF, _SO_DETACH_REUSEPORT_BPF = 27, 50, 52, 68

_OPEN_FLAGS = {"cgroup": os.O_RDONLY | os.O_DIRECTORY, "device": os.O_RDWR}


class LinuxSites:
    """netlink: the socket of a namespace; None for one of its own with each request, in the thread's namespace.

    guarded: whether `watch` has another process undo what is attached without a link.
    """

    def __init__(self, netlink: Netlink | None = None, *, guarded: bool = False) -> None:
        self._netlink = netlink
        self._guarded = guarded

    @contextlib.contextmanager
    def _socket(self) -> Iterator[Netlink]:
        if self._netlink is not None:
            yield self._netlink
            return
        with Netlink() as netlink:
            yield netlink

    def bound(self) -> LinuxSites:
        return LinuxSites(Netlink(), guarded=self._guarded)

    def close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()

    def watch(self, kind: str, fds: Sequence[int] = (), **facts: Any) -> Watch:
        from bombus.kernel.linux import guard

        if not self._guarded or not guard.enabled():
            return NoWatch()
        if self._netlink is not None:
            fds = (self._netlink.fileno(), *fds)
            if kind == "tc":
                facts["made"] = not rtnl.has_clsact(self._netlink, facts["ifindex"])
        return guard.Watched(kind, fds, facts)

    def dup(self, fd: int) -> int:
        try:
            return os.dup(fd)  # close-on-exec
        except OSError as error:
            raise KernelError(error.errno or errno.EBADF, "dup", f"descriptor {fd}") from None

    def ifindex(self, name: str) -> int:
        try:
            return socket.if_nametoindex(name)
        except OSError as error:
            number = error.errno or errno.ENODEV
            text = f"there is no interface {name!r} in this network namespace"
            raise KernelError(number, "if_nametoindex", text) from None

    def open(self, kind: str, path: str) -> int:
        flags = _OPEN_FLAGS.get(kind, os.O_RDONLY) | os.O_CLOEXEC
        try:
            return os.open(path, flags)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, "open", f"the {kind} {path}") from None

    def unpin(self, path: str) -> None:
        try:
            os.unlink(path)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, "unlink", path) from None

    def online_cpus(self) -> list[int]:
        return perf.online_cpus()

    def perf_open(self, event: PerfEvent, *, pid: int = -1, cpu: int = -1) -> int:
        return perf.open_event(event, pid=pid, cpu=cpu)

    def perf_start(self, fd: int, prog_fd: int | None = None) -> None:
        perf.start(fd, prog_fd)

    def tracepoint(self, category: str, name: str) -> Probe:
        return perf.tracepoint(category, name)

    def kprobe(self, function: str, offset: int, *, ret: bool, legacy: bool | None = None) -> Probe:
        return perf.kprobe(function, offset, ret=ret, legacy=legacy, watch=self.watch)

    def uprobe(
        self, path: str, offset: int, *, ret: bool, pid: int = -1, ref_ctr: int = 0, legacy: bool | None = None
    ) -> Probe:
        return perf.uprobe(path, offset, ret=ret, pid=pid, ref_ctr=ref_ctr, legacy=legacy, watch=self.watch)

    def functions(self) -> list[str]:
        return tracefs.functions()

    def xdp_set(self, ifindex: int, prog_fd: int, flags: int, expected_fd: int | None = None) -> None:
        with self._socket() as netlink:
            rtnl.xdp_set(netlink, ifindex, prog_fd, flags, expected_fd)

    def xdp_query(self, ifindex: int) -> XdpState:
        with self._socket() as netlink:
            return rtnl.xdp_query(netlink, ifindex)

    def dispatchers(self) -> LinuxPins:
        from bombus.kernel.linux.dispatchers import LinuxPins

        with self._socket() as netlink:
            return LinuxPins(netlink.namespace())

    def tc_qdisc(self, ifindex: int, *, add: bool) -> bool:
        with self._socket() as netlink:
            return rtnl.tc_qdisc(netlink, ifindex, add=add)

    def tc_attach(self, place: TcFilter, prog_fd: int, *, replace: bool) -> TcFilter:
        with self._socket() as netlink:
            return rtnl.tc_attach(netlink, place, prog_fd, replace=replace)

    def tc_detach(self, place: TcFilter) -> None:
        with self._socket() as netlink:
            rtnl.tc_detach(netlink, place)

    def tc_filters(self, ifindex: int, parent: int) -> list[TcFilter]:
        with self._socket() as netlink:
            return rtnl.tc_filters(netlink, ifindex, parent)

    def socket_attach(self, socket_fd: int, prog_fd: int, *, reuseport: bool) -> None:
        option = _SO_ATTACH_REUSEPORT_EBPF if reuseport else _SO_ATTACH_BPF
        self._option(socket_fd, option, prog_fd, "SO_ATTACH_REUSEPORT_EBPF" if reuseport else "SO_ATTACH_BPF")

    def socket_detach(self, socket_fd: int, *, reuseport: bool) -> None:
        option = _SO_DETACH_REUSEPORT_BPF if reuseport else _SO_DETACH_FILTER
        self._option(socket_fd, option, 0, "SO_DETACH_REUSEPORT_BPF" if reuseport else "SO_DETACH_FILTER")

    @staticmethod
    def _option(fd: int, option: int, value: int, call: str) -> None:
        try:
            with socket.socket(fileno=os.dup(fd)) as item:
                item.setsockopt(socket.SOL_SOCKET, option, struct.pack("=i", value))
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, call, f"socket descriptor {fd}") from None

    def route_encap(
        self, destination: str, ifindex: int, programs: dict[str, int], *, headroom: int = 0, remove: bool = False,
        name: str = "bombus",
    ) -> None:  # fmt: skip
        with self._socket() as netlink:
            rtnl.route_encap(netlink, destination, ifindex, programs, headroom, remove=remove, name=name)
