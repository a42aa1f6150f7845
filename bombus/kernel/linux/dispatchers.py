"""The directory where XDP dispatchers are pinned, and its locks. See `kernel.sites.DispatcherPins`.

libxdp locks that directory, and only to read and to change pins: it asks for an interface's dispatcher before it has
the lock, and gives up when the pins of that one are gone by then. Between bombus' processes the lock of the file
system's top is held for the whole of a change, so that a mark that is found was left by a process that died.

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
        with _told("mkdir", self.folder), contextlib.suppress(FileExistsError):
            os.mkdir(self.folder, 0o700)
        self._own = _locked(top)

    def close(self) -> None:
        own, self._own = self._own, -1
        if own >= 0:
            os.close(own)

    def __enter__(self) -> LinuxPins:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        fd = _locked(self.folder)
        try:
            yield
        finally:
            os.close(fd)

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


def _locked(folder: str) -> int:
    """A descriptor of a directory that holds its lock."""
    with _told("flock", folder):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except BaseException:
            os.close(fd)
            raise
    return fd


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
