"""Tokens: what a bpf file system delegates to a user namespace. Linux 6.9, kernel/bpf/token.c."""

from __future__ import annotations

import os
from typing import Self

from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles.base import Handle
from bombus.kernel.handles.info import Info, read_info


class Token(Handle):
    """Rights to some commands, map, program and attach types, by a bpffs mounted with delegate_* options.

    `LinuxKernel(token=token.fd)` uses them; `open_kernel("linux", token=PATH)` makes its own.
    """

    kind = "token"

    @classmethod
    def create(cls, kernel: Kernel, bpffs: str | os.PathLike[str]) -> Self:
        """A token of a mount. KernelError: EPERM in another user namespace than the mount's, ENOENT when it delegates
        nothing, EOPNOTSUPP in the initial user namespace."""
        fd = kernel.sites.open("file", os.fspath(bpffs))
        try:
            return cls(kernel, kernel.bpf(Attr("BPF_TOKEN_CREATE", bpffs_fd=fd)))
        finally:
            kernel.close(fd)

    def info(self) -> Info:
        """Members of bpf_token_info: bit masks of what is allowed (Linux 6.17)."""
        return read_info(self.kernel, self.fd, "bpf_token_info")
