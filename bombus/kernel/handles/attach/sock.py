"""Attaching to sockets, socket maps and infrared devices.

Facts: Linux 6.12 net/core/sock_map.c, net/core/sock.c, drivers/media/rc/bpf-lirc.c.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from bombus.errors import KernelError, UsageError
from bombus.kernel.api import Attr
from bombus.kernel.handles.attach.cgroup import watch_place
from bombus.kernel.handles.attach.targets import attach_type, has_links
from bombus.kernel.handles.attachment import Attachment
from bombus.kernel.handles.links import Link
from bombus.kernel.sites import NoWatch

if TYPE_CHECKING:
    from bombus.kernel.api import Kernel
    from bombus.kernel.handles.attach.targets import Path
    from bombus.kernel.handles.maps import Map
    from bombus.kernel.handles.programs import Program
    from bombus.kernel.sites import Watch


class HasFileno(Protocol):
    def fileno(self) -> int: ...


def attach_sockmap(
    program: Program, target: Map, *, kind: str | None = None, link: bool | None = None
) -> Link | Attachment:
    """An sk_msg or sk_skb (parser, verdict) program to a sockmap or sockhash.

    link: None makes a link where the kernel has them (6.10), else BPF_PROG_ATTACH is used.
    """
    kernel, row = program.kernel, attach_type(program, kind)
    if link is None:
        link = has_links(kernel, row)
    if link:
        return Link.create(kernel, program, row.name, target_fd=target.fd)
    map_id, cls, number, map_cls = target.id, type(program), program.id, type(target)
    watch = kernel.sites.watch("sockmap", map_id=map_id, attach_type=row.id, ids=[number])
    try:
        kernel.bpf(Attr("BPF_PROG_ATTACH", target_fd=target.fd, attach_bpf_fd=program.fd, attach_type=row.id))
    except BaseException:
        watch.forget()
        raise

    def undo() -> None:
        try:
            with cls.from_id(kernel, number) as item, map_cls.from_id(kernel, map_id) as place:
                kernel.bpf(Attr("BPF_PROG_DETACH", target_fd=place.fd, attach_bpf_fd=item.fd, attach_type=row.id))
        except KernelError as error:
            if error.errno != 2:  # ENOENT: map or program is gone
                raise

    def change(new: Program, old: Program | None) -> None:
        nonlocal number
        watch.set(ids=[number, new.id])
        with map_cls.from_id(kernel, map_id) as place:
            kernel.bpf(Attr("BPF_PROG_ATTACH", target_fd=place.fd, attach_bpf_fd=new.fd, attach_type=row.id))
        number = new.id
        watch.set(ids=[number])

    facts = {"map_id": map_id, "attach_type": row.name, "prog_id": number}
    return Attachment("sockmap", undo, facts=facts, change=change, watch=watch)


def attach_socket(program: Program, target: HasFileno | int, *, reuseport: bool | None = None) -> Attachment:
    """A socket filter to a socket, or a program that chooses among a reuseport group's sockets (Linux 4.5, 4.19).

    reuseport: None decides by the program's type; True also takes socket filters. The kernel forgets the program with
    the socket, or the whole group.
    """
    kernel = program.kernel
    if reuseport is None:
        reuseport = program.type.short == "sk_reuseport"
    fd = target if isinstance(target, int) else target.fileno()
    kernel.sites.socket_attach(fd, program.fd, reuseport=reuseport)
    mine = _inode(kernel, fd)

    def undo() -> None:
        # The socket may be closed by now, and its number be another's. A duplicate would keep it open.
        if _inode(kernel, fd) != mine:
            return
        try:
            kernel.sites.socket_detach(fd, reuseport=reuseport)
        except KernelError as error:
            if error.errno not in (2, 9, 92):  # ENOENT, EBADF, ENOPROTOOPT: nothing is attached any more
                raise

    def change(new: Program, old: Program | None) -> None:
        kernel.sites.socket_attach(fd, new.fd, reuseport=reuseport)

    facts = {"socket": fd, "reuseport": reuseport, "prog_id": program.id}
    return Attachment("socket", undo, facts=facts, change=change)


def _inode(kernel: Kernel, fd: int) -> int | None:
    if kernel.name != "linux":
        return fd
    try:
        return os.fstat(fd).st_ino
    except OSError:
        return None


def attach_lirc(program: Program, target: Path | int) -> Attachment:
    """A program to an infrared receiver: /dev/lircN, or a descriptor of it that may write. Several may be attached."""
    kernel, row = program.kernel, attach_type(program, "BPF_LIRC_MODE2")
    fd = kernel.sites.dup(target) if isinstance(target, int) else kernel.sites.open("device", os.fspath(target))
    watch: Watch = NoWatch()
    try:
        watch = watch_place(kernel, fd, row, program.id)
        kernel.bpf(Attr("BPF_PROG_ATTACH", target_fd=fd, attach_bpf_fd=program.fd, attach_type=row.id))
        watch.set(spare=[])
    except BaseException:
        watch.forget()
        kernel.close(fd)
        raise
    cls, number = type(program), program.id

    def undo() -> None:
        try:
            with cls.from_id(kernel, number) as item:
                kernel.bpf(Attr("BPF_PROG_DETACH", target_fd=fd, attach_bpf_fd=item.fd, attach_type=row.id))
        except KernelError as error:
            if error.errno not in (2, 19):  # ENOENT, ENODEV: program or device is gone
                raise
        finally:
            kernel.close(fd)

    return Attachment("lirc", undo, facts={"device": str(target), "prog_id": number}, watch=watch)


def not_alone(program: Program) -> None:
    raise UsageError(f"{program.origin.section or program.type.short} programs are run by others: {_RUN_BY_OTHERS}")


_RUN_BY_OTHERS = "through a devmap or cpumap entry, a prog array, a struct_ops map or BPF_PROG_TEST_RUN"
