"""BTF that a kernel holds."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Self

from bombus.errors import UsageError
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles.base import Handle, open_id
from bombus.kernel.handles.info import Info, read_info

if TYPE_CHECKING:
    from bombus.btf.parse import Btf as ParsedBtf

_NAME_ROOM = 64
_LOG_STOP = 1 << 24


class Btf(Handle):
    """Type information loaded into a kernel."""

    kind = "btf"

    @classmethod
    def load(
        cls, kernel: Kernel, data: bytes, *, log_level: int = 0, log_size: int = 1 << 16
    ) -> Self:
        """Hand raw BTF to the kernel. KernelError with the kernel's log when it is refused.

        log_size: bytes of the first buffer; it grows while the log does not fit.
        """
        level = log_level
        while True:
            try:
                return cls(kernel, kernel.bpf(_load_attr(data, level, log_size)))
            except OSError as error:
                if level and error.errno == errno.ENOSPC and log_size < _LOG_STOP:
                    log_size *= 4
                elif level:
                    raise
                else:
                    level = 1  # again, for the log

    @classmethod
    def from_id(cls, kernel: Kernel, number: int) -> Self:
        """KernelError(ENOENT) when there is none."""
        return cls(kernel, open_id(kernel, "btf", number))

    def info(self) -> Info:
        """Members of bpf_btf_info."""
        return read_info(self.kernel, self.fd, "bpf_btf_info")

    @property
    def id(self) -> int:
        return int(self.info()["id"])

    @property
    def name(self) -> str:
        """ "vmlinux", a module's name, or "" for what a user loaded."""
        buffer = bytearray(_NAME_ROOM)
        info = read_info(
            self.kernel, self.fd, "bpf_btf_info", inputs={"name_len": len(buffer)}, buffers={"name": buffer}
        )
        return bytes(buffer[: info["name_len"]]).split(b"\0", 1)[0].decode(errors="replace")

    def raw(self) -> bytes:
        """The bytes. For a kernel module only its own part."""
        size = self.info()["btf_size"]
        if not size:
            raise UsageError("this BTF has no bytes to show")
        buffer = bytearray(size)
        read_info(self.kernel, self.fd, "bpf_btf_info", inputs={"btf_size": size}, buffers={"btf": buffer})
        return bytes(buffer)

    def parsed(self) -> ParsedBtf:
        """The types, over vmlinux's for a kernel module."""
        from bombus.btf.parse import Btf as Parsed

        info = self.info()
        split = info["kernel_btf"] and self.name != "vmlinux"
        return Parsed.parse(self.raw(), Parsed.parse(self.kernel.vmlinux_btf()) if split else None)


def _load_attr(data: bytes, log_level: int, log_size: int) -> Attr:
    attr = Attr("BPF_BTF_LOAD", btf=data, btf_size=len(data))
    if log_level:
        log = bytearray(log_size)
        for name, value in (("btf_log_buf", log), ("btf_log_size", log_size), ("btf_log_level", log_level)):
            attr.set(name, value)
    return attr
