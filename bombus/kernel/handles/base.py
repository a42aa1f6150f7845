"""What all handles share: a descriptor of a kernel that is closed once."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Self

from bombus.errors import BombusError, UsageError
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles.info import Info, read_info

if TYPE_CHECKING:
    from types import TracebackType


class Handle:
    """Owns one descriptor. A context manager; the descriptor also closes when the handle is collected."""

    kind = "object"

    def __init__(self, kernel: Kernel, fd: int) -> None:
        self.kernel = kernel
        self._fd = fd

    @property
    def fd(self) -> int:
        """The descriptor. UsageError when the handle is closed."""
        if self._fd < 0:
            raise UsageError(f"this {self.kind} is closed")
        return self._fd

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        """Give the descriptor back. Closing twice does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self.kernel.close(fd)

    def detach_fd(self) -> int:
        """Hand the descriptor to the caller; this handle is closed then."""
        fd = self.fd
        self._fd = -1
        return fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Also of half-built objects and while the interpreter shuts down.
        if getattr(self, "_fd", -1) >= 0:
            with contextlib.suppress(BombusError, OSError, AttributeError, TypeError):
                self.close()

    def __reduce__(self) -> Any:
        raise UsageError(f"a {self.kind} belongs to its process and cannot be pickled")

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Give the object a name in a bpf file system. KernelError as BPF_OBJ_PIN."""
        self.kernel.bpf(Attr("BPF_OBJ_PIN", pathname=path_bytes(path), bpf_fd=self.fd))


def path_bytes(path: str | os.PathLike[str]) -> bytes:
    """A path for the kernel. UsageError for one with a NUL inside."""
    data = os.fsencode(path)
    if b"\0" in data:
        raise UsageError(f"{path!r} has a NUL byte inside")
    return data + b"\0"


def open_pin(kernel: Kernel, path: str | os.PathLike[str], *, flags: int = 0) -> int:
    """BPF_OBJ_GET: a new descriptor of what a path pins."""
    return kernel.bpf(Attr("BPF_OBJ_GET", pathname=path_bytes(path), file_flags=flags))


_BY_ID = {"map": "map_id", "prog": "prog_id", "btf": "btf_id", "link": "link_id"}


def open_id(kernel: Kernel, kind: str, number: int) -> int:
    """A new descriptor of the object with an id. kind: "map", "prog", "btf" or "link". KernelError(ENOENT)."""
    return kernel.bpf(Attr(f"BPF_{_check_kind(kind).upper()}_GET_FD_BY_ID", **{_BY_ID[kind]: number}))


def _check_kind(kind: str) -> str:
    if kind not in _BY_ID:
        raise UsageError(f"{kind!r} is no kind of object with ids; there are {', '.join(_BY_ID)}")
    return kind


__all__ = ["Handle", "Info", "open_id", "open_pin", "path_bytes", "read_info"]
