"""Links: attachments that last as long as someone holds them."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from bombus.errors import KernelError, UsageError
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles.base import Handle, open_id, open_pin
from bombus.kernel.handles.info import Info, read_info
from bombus.kernel.handles.programs import Program, attach_type_of
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.infos import INFO
from bombus.spec.linktypes import LINK_TYPE_BY_ID

if TYPE_CHECKING:
    from bombus.kernel.handles.maps import Map


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

    def facts(self) -> dict[str, Any]:
        """What `info` says of this type of link, without its prefix: {"type": "xdp", "id": 3, "ifindex": 2, ...}."""
        info = self.info()
        row = LINK_TYPE_BY_ID.get(info["type"])
        found: dict[str, Any] = {"type": row.short if row else str(info["type"]), "id": info["id"]}
        if row is None or row.name != "BPF_LINK_TYPE_STRUCT_OPS":
            found["prog_id"] = info["prog_id"]
        prefix = f"{row.short}_" if row else "\0"
        pointers = {field.name for field in INFO["bpf_link_info"].fields if field.kind == "ptr"}
        for name, value in info.items():
            if name.startswith(prefix) and name not in pointers:
                found[name.removeprefix(prefix)] = value
        return found

    def __repr__(self) -> str:
        if self.closed:
            return "<Link closed>"
        try:
            facts = self.facts()
        except KernelError:  # old kernels have descriptors that attach, but no links
            return f"<Link fd {self.fd} on {self.kernel.name}>"
        return f"<Link {facts.pop('type')} {', '.join(f'{k} {v}' for k, v in facts.items())} on {self.kernel.name}>"

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
            attr.set("flags", _REPLACE)
            attr.set("old_prog_fd", old.fd)
        self.kernel.bpf(attr)

    def detach(self) -> None:
        """Detach now; the handle stays open. KernelError(EOPNOTSUPP) for types that cannot."""
        self.kernel.bpf(Attr("BPF_LINK_DETACH", link_fd=self.fd))

    @classmethod
    def struct_ops(cls, kernel: Kernel, map: Map) -> Self:
        """Register a struct_ops map that was made with BPF_F_LINK (Linux 6.4)."""
        return cls(kernel, kernel.bpf(Attr("BPF_LINK_CREATE", map_fd=map.fd, attach_type=_STRUCT_OPS)))

    def update_map(self, map: Map, *, old: Map | None = None) -> None:
        """Exchange the struct_ops map. old: refuse (EINVAL) unless this one is registered now."""
        attr = Attr("BPF_LINK_UPDATE", link_fd=self.fd, new_map_fd=map.fd)
        if old is not None:
            attr.set("flags", _REPLACE)
            attr.set("old_map_fd", old.fd)
        self.kernel.bpf(attr)

    def read_iterator(self, limit: int = 1 << 24) -> bytes:
        """Run an iterator link once and return its output, at most `limit` bytes."""
        data = bytearray()
        for chunk in self._chunks():
            data += chunk
            if len(data) >= limit:
                break
        return bytes(data[:limit])

    def _chunks(self) -> Iterator[bytes]:
        fd = self.kernel.bpf(Attr("BPF_ITER_CREATE", link_fd=self.fd))
        try:
            while True:
                try:
                    chunk = self.kernel.read(fd, _CHUNK)
                except KernelError as error:
                    if error.errno == errno.EAGAIN:
                        continue  # the program asked for another try, with 0 bytes so far
                    raise
                if not chunk:
                    return
                yield chunk
        finally:
            self.kernel.close(fd)


class IterLink(Link):
    """The link of an iterator program. Each of these runs the program over everything once, reading as it goes."""

    def read(self, limit: int = 1 << 24) -> bytes:
        """What the program wrote, at most `limit` bytes."""
        return self.read_iterator(limit)

    def lines(self) -> Iterator[str]:
        """Its text (bpf_seq_printf) line by line."""
        rest = b""
        for chunk in self._chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")

    def records(self, layout: str | struct.Struct) -> Iterator[tuple[Any, ...]]:
        """Its binary records (bpf_seq_write) of one layout, as of the struct module.

        UsageError when the output ends within a record.
        """
        form = struct.Struct(layout) if isinstance(layout, str) else layout
        rest = b""
        for chunk in self._chunks():
            rest += chunk
            whole = len(rest) - len(rest) % form.size
            yield from form.iter_unpack(rest[:whole])
            rest = rest[whole:]
        if rest:
            raise UsageError(f"{len(rest)} bytes after the last record of {form.size} bytes")

    def rows(self) -> Iterator[list[str]]:
        """Its text as words of each line."""
        for line in self.lines():
            yield line.split()


_CHUNK = 1 << 16
_REPLACE = 4  # BPF_F_REPLACE
_STRUCT_OPS = ATTACH_TYPE["BPF_STRUCT_OPS"].id
