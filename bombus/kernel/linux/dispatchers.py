"""The directory where XDP dispatchers are pinned, and its lock. See `kernel.sites.DispatcherPins`.

Facts: xdp-tools lib/libxdp/protocol.org, "Locking and pinning".
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from typing import Any

from bombus.errors import KernelError, UsageError
from bombus.kernel.sites import Sites, Watch
from bombus.spec.xdpdispatcher import BPFFS_VARIABLE, DIRECTORY

_BPFFS = "/sys/fs/bpf"
_MARK = re.compile(r"bombus-(\d+)-(\d+)-(\d+)")


class LinuxPins:
    """namespace: the inode of the network namespace whose interfaces are meant."""

    def __init__(self, namespace: int) -> None:
        self._namespace = namespace
        top = os.environ.get(BPFFS_VARIABLE, _BPFFS)
        if not _is_bpffs(top):
            raise UsageError(
                f"{top} is no bpf file system, where XDP dispatchers are pinned: mount one there, or name one in "
                f"{BPFFS_VARIABLE}"
            )
        self.folder = f"{top}/{DIRECTORY}"
        with _told("mkdir", self.folder):
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.folder, 0o700)
            self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with _told("flock", self.folder):
                fcntl.flock(self._lock, fcntl.LOCK_EX)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def __enter__(self) -> LinuxPins:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, ifindex: int, number: int) -> str:
        return f"{self.folder}/dispatch-{ifindex}-{number}"

    def make(self, ifindex: int, number: int) -> str:
        path = self.path(ifindex, number)
        with _told("mkdir", path):
            os.mkdir(path, 0o700)
        return path

    def remove(self, ifindex: int, number: int) -> None:
        path = self.path(ifindex, number)
        with _told("rmdir", path), contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(path)):
                os.unlink(f"{path}/{name}")
            os.rmdir(path)

    def watch(self, sites: Sites, **facts: Any) -> Watch:
        top = os.open(os.path.dirname(self.folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return sites.watch("dispatcher", (top,), **facts)
        finally:
            os.close(top)

    def _mark(self, ifindex: int, number: int) -> str:
        return f"{self.folder}/bombus-{self._namespace}-{ifindex}-{number}"

    def mark(self, ifindex: int, number: int) -> None:
        path = self._mark(ifindex, number)
        with _told("symlink", path), contextlib.suppress(FileExistsError):
            os.symlink(f"dispatch-{ifindex}-{number}", path)

    def unmark(self, ifindex: int, number: int) -> None:
        path = self._mark(ifindex, number)
        with _told("unlink", path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def marked(self, ifindex: int) -> list[int]:
        with _told("readdir", self.folder):
            found = [_MARK.fullmatch(name) for name in os.listdir(self.folder)]
        return sorted(int(m[3]) for m in found if m and (int(m[1]), int(m[2])) == (self._namespace, ifindex))


@contextlib.contextmanager
def _told(call: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, KernelError):
            raise
        raise KernelError(error.errno or errno.EIO, call, path) from None


def _is_bpffs(path: str) -> bool:
    """Does a directory lie in a bpf file system? By its device in /proc/self/mountinfo."""
    try:
        device = os.stat(path).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split() for line in file]
    except OSError:
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    return any(words[2] == wanted and words[words.index("-") + 1] == "bpf" for words in lines)
