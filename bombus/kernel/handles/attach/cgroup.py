"""Attaching to cgroups, by link or by BPF_PROG_ATTACH. Facts: Linux 6.12 kernel/bpf/cgroup.c."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.api import Attr
from bombus.kernel.handles.attach.targets import (
    F_ALLOW_MULTI,
    F_ALLOW_OVERRIDE,
    F_PREORDER,
    F_REPLACE,
    attach_type,
    has_links,
    names,
    opened,
    order,
)
from bombus.kernel.handles.attachment import Attachment
from bombus.kernel.handles.links import Link
from bombus.kernel.sites import NoWatch

if TYPE_CHECKING:
    from bombus.kernel.api import Kernel
    from bombus.kernel.handles.attach.targets import Path
    from bombus.kernel.handles.programs import Program
    from bombus.kernel.sites import Watch
    from bombus.spec.attachtypes import AttachType

_MOST = 64  # programs of one hook: include/linux/bpf-cgroup-defs.h, BPF_CGROUP_MAX_PROGS
_MODES = {"exclusive": 0, "override": F_ALLOW_OVERRIDE, "multi": F_ALLOW_MULTI}


def attach_cgroup(
    program: Program, target: Path | int, *, kind: str | None = None, mode: str | None = None,
    replace: Program | None = None, preorder: bool = False, before: Program | Link | str | None = None,
    after: Program | Link | str | None = None, revision: int = 0,
) -> Link | Attachment:  # fmt: skip
    """A program to a cgroup (a directory of cgroup2, or its descriptor).

    kind: the attach type, where the section does not say it. mode: None makes a link (which is "multi") where the
    kernel has links (5.7). "multi", "override" and "exclusive" use BPF_PROG_ATTACH: programs of cgroups below run too,
    run instead, or are refused. replace: exchange this program of a "multi" list. preorder: run before programs of
    cgroups above (Linux 6.16). before, after: the place among programs of the same cgroup (Linux 6.17).
    """
    kernel = program.kernel
    row = attach_type(program, kind)
    if row.target != "cgroup":
        raise UsageError(f"{row.name} is no hook of cgroups")
    if mode is None:
        mode = "link" if has_links(kernel, row) and replace is None else "multi"
    flags, relative = order(before, after)
    flags |= F_PREORDER if preorder else 0
    if mode == "link":
        if replace is not None:
            raise UsageError("replace goes with mode='multi'; a link has update()")
        more = names({"cgroup_relative_fd": relative, "cgroup_expected_revision": revision or None})
        with opened(kernel, "cgroup", target) as fd:
            return Link.create(kernel, program, row.name, target_fd=fd, flags=flags, **more)
    if mode not in _MODES:
        raise UsageError(f"mode {mode!r}: it is link, {', '.join(_MODES)}")
    flags |= _MODES[mode] | (F_REPLACE if replace is not None else 0)
    fields = names(
        {
            "replace_bpf_fd": replace.fd if replace is not None else None, "relative_fd": relative,
            "expected_revision": revision or None,
        }
    )  # fmt: skip
    # The descriptor is kept, so that it is this very cgroup when the time comes.
    fd = kernel.sites.dup(target) if isinstance(target, int) else kernel.sites.open("cgroup", os.fspath(target))
    watch: Watch = NoWatch()
    try:
        watch = watch_place(kernel, fd, row, program.id)
        attr = Attr("BPF_PROG_ATTACH", target_fd=fd, attach_bpf_fd=program.fd, attach_type=row.id, **fields)
        attr.set("attach_flags", flags)
        kernel.bpf(attr)
        watch.set(spare=[])
    except BaseException:
        watch.forget()
        kernel.close(fd)
        raise
    flags &= F_ALLOW_MULTI | F_ALLOW_OVERRIDE
    return _Legacy(kernel, target, fd, row, program, flags, watch).attachment(mode)


def watch_place(kernel: Kernel, fd: int, row: AttachType, number: int) -> Watch:
    """Have a program be detached from a cgroup or device when this process is killed; not one that is there already."""
    ids = bytearray(4 * _MOST)
    attr = Attr("BPF_PROG_QUERY", target_fd=fd, attach_type=row.id, prog_ids=ids, prog_cnt=_MOST)
    try:
        kernel.bpf(attr)
    except (KernelError, NotSupported):
        there = 0  # before 4.15, or it cannot be asked here
    else:
        there = min(attr.get("prog_cnt"), _MOST)
    found = {int.from_bytes(ids[at : at + 4], "little") for at in range(0, 4 * there, 4)}
    spare = [number] if number in found else []
    return kernel.sites.watch("place", (fd,), attach_type=row.id, ids=[number], spare=spare)


class _Legacy:
    """What BPF_PROG_ATTACH made: a program is named by its id, since its handle may close first."""

    def __init__(
        self, kernel: Kernel, target: Path | int, fd: int, row: AttachType, program: Program, flags: int, watch: Watch
    ) -> None:
        self.watch = watch
        self.kernel, self.target, self.fd, self.row, self.flags = kernel, target, fd, row, flags
        self.type, self.program, self.number = type(program), program, program.id

    def attachment(self, mode: str) -> Attachment:
        facts = {"cgroup": str(self.target), "attach_type": self.row.name, "mode": mode, "prog_id": self.number}
        return Attachment("cgroup", self.undo, facts=facts, change=self.change, watch=self.watch)

    def current(self) -> Program:
        if not self.program.closed:
            return self.program
        return self.type.from_id(self.kernel, self.number)

    def change(self, new: Program, old: Program | None) -> None:
        flags, fields = self.flags, {}
        if flags & F_ALLOW_MULTI:
            flags |= F_REPLACE
            fields["replace_bpf_fd"] = (old or self.current()).fd
        attr = Attr("BPF_PROG_ATTACH", target_fd=self.fd, attach_bpf_fd=new.fd, attach_type=self.row.id, **fields)
        attr.set("attach_flags", flags)
        self.watch.set(ids=[self.number, new.id])
        self.kernel.bpf(attr)
        self.program, self.number = new, new.id
        self.watch.set(ids=[self.number])

    def undo(self) -> None:
        try:
            program = self.current()
            self.kernel.bpf(
                Attr("BPF_PROG_DETACH", target_fd=self.fd, attach_bpf_fd=program.fd, attach_type=self.row.id)
            )
        except KernelError as error:
            if error.errno != 2:  # ENOENT: the cgroup, or the program in it, is gone
                raise
        finally:
            self.kernel.close(self.fd)
