"""Links: attachments that last as long as someone holds them."""

from __future__ import annotations

import os
from typing import Any, Self

from bombus.errors import UsageError
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles.base import Handle, open_id, open_pin
from bombus.kernel.handles.info import Info, read_info
from bombus.kernel.handles.programs import Program, attach_type_of
from bombus.spec.linktypes import LINK_TYPE_BY_ID


class Link(Handle):
    """One attachment. Closing the last handle (and pin) detaches the program."""

    kind = "link"

    @classmethod
    def create(
        cls, kernel: Kernel, program: Program, attach_type: str | int, *, target_fd: int | None = None,
        ifindex: int | None = None, flags: int = 0, **fields: Any,
    ) -> Self:  # fmt: skip
        """BPF_LINK_CREATE on a descriptor (cgroup, netns, perf event, ...) or a network interface.

        fields: more of the attr (target_btf_id, iter_info, tcx_relative_fd, perf_event_bpf_cookie, ...).
        """
        if target_fd is not None and ifindex is not None:
            raise UsageError("a link has one target: target_fd or ifindex")
        attr = Attr(
            "BPF_LINK_CREATE", prog_fd=program.fd, attach_type=attach_type_of(attach_type), flags=flags,
            target_fd=target_fd, target_ifindex=ifindex, **fields,
        )  # fmt: skip
        return cls(kernel, kernel.bpf(attr))

    @classmethod
    def raw_tracepoint(cls, kernel: Kernel, program: Program, name: str = "", *, cookie: int = 0) -> Self:
        """BPF_RAW_TRACEPOINT_OPEN. name: of the tracepoint; "" for programs loaded with a BTF target."""
        attr = Attr("BPF_RAW_TRACEPOINT_OPEN", name=name.encode() + b"\0" if name else None, prog_fd=program.fd)
        if cookie:
            attr.set("cookie", cookie)
        return cls(kernel, kernel.bpf(attr))

    @classmethod
    def from_id(cls, kernel: Kernel, number: int) -> Self:
        """KernelError(ENOENT) when there is none."""
        return cls(kernel, open_id(kernel, "link", number))

    @classmethod
    def pinned(cls, kernel: Kernel, path: str | os.PathLike[str]) -> Self:
        """The link that a path pins."""
        return cls(kernel, open_pin(kernel, path))

    def info(self) -> Info:
        """Members of bpf_link_info; those from byte 16 on mean something only for their own link type."""
        return read_info(self.kernel, self.fd, "bpf_link_info")

    @property
    def id(self) -> int:
        return int(self.info()["id"])

    @property
    def type(self) -> str:
        """bpftool's name of the type: "xdp", "cgroup", ..."""
        number = self.info()["type"]
        row = LINK_TYPE_BY_ID.get(number)
        return row.short if row else str(number)

    @property
    def prog_id(self) -> int:
        return int(self.info()["prog_id"])

    def update(self, program: Program, *, old: Program | None = None) -> None:
        """Exchange the program. old: refuse (EPERM) unless this one is attached now."""
        attr = Attr("BPF_LINK_UPDATE", link_fd=self.fd, new_prog_fd=program.fd)
        if old is not None:
            attr.set("flags", 4)  # BPF_F_REPLACE
            attr.set("old_prog_fd", old.fd)
        self.kernel.bpf(attr)

    def detach(self) -> None:
        """Detach now; the handle stays open. KernelError(EOPNOTSUPP) for types that cannot."""
        self.kernel.bpf(Attr("BPF_LINK_DETACH", link_fd=self.fd))

    def read_iterator(self, limit: int = 1 << 24) -> bytes:
        """Run an iterator link once and return its output, at most `limit` bytes. Only on Linux."""
        if self.kernel.name != "linux":
            raise UsageError("iterators write to a descriptor of Linux")
        fd = self.kernel.bpf(Attr("BPF_ITER_CREATE", link_fd=self.fd))
        try:
            data = b""
            while len(data) < limit and (chunk := os.read(fd, 1 << 16)):
                data += chunk
            return data
        finally:
            self.kernel.close(fd)
