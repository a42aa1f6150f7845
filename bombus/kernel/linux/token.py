"""BPF tokens for the calls that take one: rights that a bpf file system delegates to a user namespace.

Facts: Linux 6.12 kernel/bpf/token.c, tools/lib/bpf/libbpf.c (bpf_object_prepare_token): which paths are asked, and when
a refusal is an error.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from bombus.errors import KernelError, NeedsKernel, NotSupported
from bombus.kernel.api import Attr
from bombus.kernel.linux import process
from bombus.spec.commands import COMMAND
from bombus.spec.maptypes import BPF_F_TOKEN_FD

VARIABLE: Final = "LIBBPF_BPF_TOKEN_PATH"
_PLACE = "/sys/fs/bpf"
# By command: where the descriptor goes, and which flags say that there is one.
_FIELDS: Final = {
    "BPF_MAP_CREATE": ("map_token_fd", "map_flags"),
    "BPF_PROG_LOAD": ("prog_token_fd", "prog_flags"),
    "BPF_BTF_LOAD": ("btf_token_fd", "btf_flags"),
    "BPF_BTF_GET_FD_BY_ID": ("fd_by_id_token_fd", "open_flags"),
}

COMMANDS: Final = frozenset(COMMAND[name].id for name in _FIELDS)


def given(attr: Attr) -> bool:
    """Whether a call has a token."""
    fields = _FIELDS.get(attr.command.name)
    return fields is not None and bool(attr.get(fields[1]) & BPF_F_TOKEN_FD)


_HINTS: Final = {
    errno.ENOENT: "this mount delegates nothing: its options delegate_cmds, delegate_maps, delegate_progs, "
                  "delegate_attachs say what",
    errno.EOPNOTSUPP: "tokens are for user namespaces, and this process is in the first one",
    errno.EINVAL: "this is no mount of a bpf file system",
    errno.EPERM: "the mount belongs to another user namespace, or CAP_BPF in this one is missing",
}  # fmt: skip


class Tokens:
    """The token of a kernel, made when it is first needed.

    wanted: a mount of a bpf file system, a descriptor of a token (which stays the caller's), "" for none. None: the
    mount that the environment variable names; without one /sys/fs/bpf, in user namespaces only, where a refusal is no
    error.
    """

    def __init__(self, wanted: str | os.PathLike[str] | int | None) -> None:
        self._wanted = wanted
        self._fd: int | None = wanted if isinstance(wanted, int) else None

    def add_to(self, attr: Attr, bpf: Callable[[Attr], int]) -> None:
        """Put the token, if there is one, into a call that takes one and has none yet. KernelError, NeedsKernel."""
        fields = _FIELDS.get(attr.command.name)
        if fields is None or given(attr):
            return
        if self._fd is None:
            self._fd = self._make(bpf)
        if self._fd >= 0:
            attr.set(fields[0], self._fd)
            attr.set(fields[1], attr.get(fields[1]) | BPF_F_TOKEN_FD)

    def _make(self, bpf: Callable[[Attr], int]) -> int:
        """A descriptor, -1 when there is to be no token."""
        assert not isinstance(self._wanted, int)
        path = os.environ.get(VARIABLE) if self._wanted is None else os.fspath(self._wanted)
        if path is not None:
            return _token(path, bpf) if path else -1
        if not process.in_user_namespace():
            return -1
        try:
            return _token(_PLACE, bpf)
        except (KernelError, NotSupported):
            return -1

    def __del__(self) -> None:
        if isinstance(self._fd, int) and self._fd >= 0 and not isinstance(self._wanted, int):
            os.close(self._fd)


def _token(path: str, bpf: Callable[[Attr], int]) -> int:
    try:
        mount = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, "open", f"{path}, which a BPF token is to come from") from None
    try:
        return bpf(Attr("BPF_TOKEN_CREATE", bpffs_fd=mount))
    except NeedsKernel:
        raise
    except KernelError as error:
        code = error.errno or errno.EIO
        raise KernelError(code, error.call, path, hint=_HINTS.get(code, error.hint)) from None
    finally:
        os.close(mount)
