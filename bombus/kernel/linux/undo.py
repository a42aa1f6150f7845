"""Undoing attachments of a process that is gone, in the guard's process. See `guard`.

Each looks first whether what is there is what that process attached: programs are known by their ids, which the kernel
gives to no other one. spare: what was there before it attached anything, as long as it did not say that it had.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from typing import Any

from bombus.errors import BombusError, KernelError
from bombus.kernel.api import Attr
from bombus.kernel.handles.base import open_id
from bombus.kernel.linux import rtnl
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.linux.netlink import Netlink
from bombus.kernel.linux.sites import LinuxSites
from bombus.spec.xdpdispatcher import BPFFS_VARIABLE

Facts = dict[str, Any]
_MOST = 64  # programs of one cgroup hook: kernel/bpf/cgroup.c, BPF_CGROUP_MAX_PROGS
_PATIENCE = 10.0  # seconds that a probe may still be in use by what is being torn down


def undo_all(entries: list[tuple[str, Facts, list[int]]]) -> None:
    """The latest first. One that cannot be undone does not keep the others."""
    kernel = LinuxKernel(guard=False)
    for kind, facts, fds in reversed(entries):
        try:
            KINDS[kind](kernel, facts, fds)
        except (BombusError, OSError):
            continue  # gone already, or the kernel refuses: nobody is there to be told


def _xdp(kernel: LinuxKernel, facts: Facts, fds: list[int]) -> None:
    netlink = Netlink.adopt(fds[0])
    there = rtnl.xdp_query(netlink, facts["ifindex"]).ids.values()
    for number in facts["ids"]:
        if number in there and number not in facts["spare"]:
            with_program(kernel, number, lambda fd: rtnl.xdp_set(netlink, facts["ifindex"], -1, facts["flags"], fd))


def with_program(kernel: LinuxKernel, number: int, action: Callable[[int], object]) -> None:
    fd = open_id(kernel, "prog", number)
    try:
        action(fd)
    finally:
        os.close(fd)


def _tc(kernel: LinuxKernel, facts: Facts, fds: list[int]) -> None:
    netlink, ifindex = Netlink.adopt(fds[0]), facts["ifindex"]
    for place in rtnl.tc_filters(netlink, ifindex, facts["parent"]):
        at = (place.handle, place.priority)
        if place.prog_id in facts["ids"] and at not in facts["spare"] and facts.get("at", at) == at:
            rtnl.tc_detach(netlink, place)
    if facts["made"] and not any(rtnl.any_filter(netlink, ifindex, parent) for parent in facts["parents"]):
        rtnl.tc_qdisc(netlink, ifindex, add=False)


def _lwt(kernel: LinuxKernel, facts: Facts, fds: list[int]) -> None:
    netlink = Netlink.adopt(fds[0])
    if rtnl.route_has(netlink, facts["destination"], facts["ifindex"], facts["name"]):
        rtnl.route_encap(netlink, facts["destination"], facts["ifindex"], {}, 0, remove=True)


def attached_ids(kernel: LinuxKernel, fd: int, attach_type: int) -> list[int]:
    """Programs of a cgroup or device by BPF_PROG_QUERY. KernelError."""
    ids = bytearray(4 * _MOST)
    attr = Attr("BPF_PROG_QUERY", target_fd=fd, attach_type=attach_type, prog_ids=ids, prog_cnt=_MOST)
    kernel.bpf(attr)
    return [int.from_bytes(ids[at : at + 4], "little") for at in range(0, 4 * min(attr.get("prog_cnt"), _MOST), 4)]


def _place(kernel: LinuxKernel, facts: Facts, fds: list[int]) -> None:
    """A cgroup or a device."""
    for number in attached_ids(kernel, fds[0], facts["attach_type"]):
        if number in facts["ids"] and number not in facts["spare"]:
            with_program(kernel, number, lambda fd: kernel.bpf(
                Attr("BPF_PROG_DETACH", target_fd=fds[0], attach_bpf_fd=fd, attach_type=facts["attach_type"])
            ))  # fmt: skip


def _sockmap(kernel: LinuxKernel, facts: Facts, fds: list[int]) -> None:
    place = open_id(kernel, "map", facts["map_id"])
    try:
        for number in facts["ids"]:
            with contextlib.suppress(KernelError):  # ENOENT: it is gone, or another one is there
                with_program(kernel, number, lambda fd: kernel.bpf(
                    Attr("BPF_PROG_DETACH", target_fd=place, attach_bpf_fd=fd, attach_type=facts["attach_type"])
                ))  # fmt: skip
    finally:
        os.close(place)


def _struct_ops(kernel: LinuxKernel, facts: Facts, fds: list[int]) -> None:
    place = open_id(kernel, "map", facts["map_id"])
    try:
        kernel.bpf(Attr("BPF_MAP_DELETE_ELEM", map_fd=place, key=bytes(4)))
    finally:
        os.close(place)


def _probe(kernel: LinuxKernel, facts: Facts, fds: list[int]) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        fd = os.open(facts["file"], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, dir_fd=fds[0])
        try:
            os.write(fd, f"-:{facts['name']}\n".encode())
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise
        finally:
            os.close(fd)
        time.sleep(0.02)


def _dispatcher(kernel: LinuxKernel, facts: Facts, fds: list[int]) -> None:
    from bombus.kernel.handles.attach.dispatcher import leave

    os.environ[BPFFS_VARIABLE] = f"/proc/self/fd/{fds[1]}"
    sites = LinuxSites(Netlink.adopt(fds[0]))
    for number in facts["ids"]:
        leave(kernel, sites, facts["ifindex"], number)


KINDS: dict[str, Callable[[LinuxKernel, Facts, list[int]], None]] = {
    "xdp": _xdp, "tc": _tc, "lwt": _lwt, "place": _place, "sockmap": _sockmap, "struct_ops": _struct_ops,
    "probe": _probe, "dispatcher": _dispatcher,
}  # fmt: skip
__all__ = ["KINDS", "attached_ids", "undo_all"]
