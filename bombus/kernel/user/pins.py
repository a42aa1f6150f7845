"""Pins: paths in a BPF file system that lives inside the user kernel. Linux 6.12 kernel/bpf/inode.c."""

from __future__ import annotations

import errno
import posixpath
from typing import TYPE_CHECKING

from bombus.errors import KernelError
from bombus.kernel.api import Attr
from bombus.kernel.user.commands import command
from bombus.kernel.user.ids import access_of
from bombus.spec.maptypes import BPF_F_PATH_FD

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.objects import KernelObject

MOUNT_POINT = "/sys/fs/bpf"
_PATH_MAX = 4096
_NAME_MAX = 255
_AT_FDCWD = 0xFFFF_FF9C  # -100 as u32
_PINNABLE = ("map", "prog", "link")


class BpfFs:
    """Directories and pinned objects by absolute path. Only its mount point exists at first."""

    __slots__ = ("directories", "pinned")

    def __init__(self) -> None:
        self.directories: set[str] = {MOUNT_POINT}
        self.pinned: dict[str, KernelObject] = {}

    def mkdir(self, path: str, *, parents: bool = False) -> None:
        """KernelError(EEXIST, ENOENT, EPERM) as mkdir(2) on bpffs."""
        path = self.resolve("mkdir", path)
        if parents and posixpath.dirname(path) not in self.directories and path != "/":
            self.mkdir(posixpath.dirname(path), parents=True)
        self._check_new("mkdir", path)
        self.directories.add(path)

    def pin(self, call: str, path: str, obj: KernelObject) -> None:
        path = self.resolve(call, path)
        self._check_new(call, path)
        self.pinned[path] = obj
        obj.get_user()

    def find(self, call: str, path: str) -> KernelObject:
        path = self.resolve(call, path)
        obj = self.pinned.get(path)
        if obj is None:
            if path in self.directories:
                raise KernelError(errno.EACCES, call, f"{path} is a directory")
            raise KernelError(errno.ENOENT, call, f"nothing is pinned at {path}")
        return obj

    def unlink(self, path: str) -> None:
        """Remove a pin. KernelError(ENOENT, EISDIR)."""
        path = self.resolve("unlink", path)
        if path in self.directories:
            raise KernelError(errno.EISDIR, "unlink", path)
        obj = self.pinned.pop(path, None)
        if obj is None:
            raise KernelError(errno.ENOENT, "unlink", path)
        obj.put_user()

    def rmdir(self, path: str) -> None:
        """Remove an empty directory. KernelError(ENOENT, ENOTEMPTY, EBUSY)."""
        path = self.resolve("rmdir", path)
        if path not in self.directories:
            raise KernelError(errno.ENOENT, "rmdir", path)
        if path == MOUNT_POINT:
            raise KernelError(errno.EBUSY, "rmdir", path)
        if any(posixpath.dirname(other) == path for other in (*self.directories, *self.pinned)):
            raise KernelError(errno.ENOTEMPTY, "rmdir", path)
        self.directories.remove(path)

    def resolve(self, call: str, path: str) -> str:
        """The path without `.`, `..` and double slashes. ENOENT for an empty one, ENAMETOOLONG."""
        if not path:
            raise KernelError(errno.ENOENT, call, "the path is empty")
        if any(len(part) > _NAME_MAX for part in path.split("/")):
            raise KernelError(errno.ENAMETOOLONG, call, path)
        return posixpath.normpath("/" + path.lstrip("/"))

    def _check_new(self, call: str, path: str) -> None:
        if path in self.pinned or path in self.directories:
            raise KernelError(errno.EEXIST, call, f"{path} exists")
        parent = posixpath.dirname(path)
        if parent in self.pinned:
            raise KernelError(errno.ENOTDIR, call, f"{parent} is no directory")
        if parent not in self.directories:
            inside = parent.startswith(MOUNT_POINT + "/")
            number = errno.ENOENT if inside else errno.EPERM
            raise KernelError(number, call, f"{parent} does not exist" if inside else f"pins live under {MOUNT_POINT}")
        if "." in posixpath.basename(path):
            raise KernelError(errno.EPERM, call, "names with a dot are reserved")


def _path(attr: Attr) -> str:
    """The string that `pathname` points to; read up to the end of each page, so no readable byte is missed."""
    address = attr.get("pathname")
    text = b""
    while len(text) < _PATH_MAX:
        size = min(4096 - (address + len(text)) % 4096, _PATH_MAX - len(text))
        for buffer in attr.buffers.values():  # a caller's buffer may end before the page does
            size = min(size, max(len(buffer) - len(text), 1))
        text += attr.read(address + len(text), size)
        end = text.find(b"\0")
        if end >= 0:
            return text[:end].decode(errors="surrogateescape")
    raise KernelError(errno.ENAMETOOLONG, attr.command.name, "the path does not end")


def _check_path_fd(attr: Attr) -> None:
    if not attr.get("file_flags") & BPF_F_PATH_FD:
        if attr.get("path_fd"):
            raise KernelError(errno.EINVAL, attr.command.name, "path_fd needs BPF_F_PATH_FD")
    elif attr.get("path_fd") != _AT_FDCWD and not _path(attr).startswith("/"):
        raise KernelError(errno.EBADF, attr.command.name, "the user kernel has no directory descriptors")


@command("BPF_OBJ_PIN")
def obj_pin(kernel: UserKernel, attr: Attr) -> int:
    call = attr.command.name
    if attr.get("file_flags") & ~BPF_F_PATH_FD:
        raise KernelError(errno.EINVAL, call, f"file_flags {attr.get('file_flags'):#x}")
    _check_path_fd(attr)
    obj = kernel.file(call, attr.get("bpf_fd")).obj
    if obj.kind not in _PINNABLE:
        raise KernelError(errno.EINVAL, call, f"a {obj.kind} cannot be pinned")
    kernel.bpffs.pin(call, _path(attr), obj)
    return 0


@command("BPF_OBJ_GET")
def obj_get(kernel: UserKernel, attr: Attr) -> int:
    call = attr.command.name
    flags = attr.get("file_flags")
    if attr.get("bpf_fd"):
        raise KernelError(errno.EINVAL, call, "bpf_fd must be 0")
    readable, writable = access_of(call, flags & ~BPF_F_PATH_FD)
    _check_path_fd(attr)
    obj = kernel.bpffs.find(call, _path(attr))
    if obj.kind == "link" and not (readable and writable):
        raise KernelError(errno.EINVAL, call, "a link is opened for reading and writing")
    if obj.kind != "map":
        readable = writable = True
    return kernel.fds.open(call, obj, readable=readable, writable=writable)
