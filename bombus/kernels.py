"""A kernel by its name on the command line: "user", "user:5.15", "linux"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bombus.errors import UsageError

if TYPE_CHECKING:
    import os

    from bombus.kernel.api import Kernel


def open_kernel(
    name: str = "user", *, engine: str = "fast", btf: bytes | None = None, verify: str = "strict",
    token: str | os.PathLike[str] | None = None, guard: bool = True,
) -> Kernel:  # fmt: skip
    """A user kernel of a version ("user": the newest that bombus models whole) or the running Linux.

    engine ("fast", "reference", "native"), btf (raw vmlinux BTF) and verify ("strict", "lenient", "off") are for the
    user kernel. token: for Linux, the mount of a bpf file system that delegates rights to this user namespace (None:
    the one that LIBBPF_BPF_TOKEN_PATH names, or /sys/fs/bpf). guard: for Linux, whether what is
    attached without a link is undone when this process is killed. UsageError for other names.
    """
    kind, _, version = name.partition(":")
    if kind == "user":
        from bombus.kernel.user.kernel import UserKernel

        return UserKernel(version or "6.12", engine=engine, btf=btf, verify=verify)
    if kind == "linux" and not version:
        from bombus.kernel.linux.kernel import LinuxKernel

        return LinuxKernel(token, guard=guard)
    raise UsageError(f"no kernel {name!r}: it is user, user:VERSION (such as user:5.15) or linux")
