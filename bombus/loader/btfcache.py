"""The running kernel's BTF, parsed once a process, with an index that later processes map.

The index lies in $XDG_CACHE_HOME/bombus (or ~/.cache/bombus), by boot and size: BTF does not change while a kernel
runs. Only a file of our own that nobody else can write is read, and it carries a checksum. Whatever goes wrong with it,
the BTF is parsed without.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat

from bombus.btf.index import Index, unpack
from bombus.btf.parse import Btf, index_of
from bombus.errors import BtfError
from bombus.kernel.api import Kernel

_KEPT: dict[str, Btf] = {}
_WORTH = 1 << 20  # a smaller BTF is parsed as fast


def vmlinux_of(kernel: Kernel) -> Btf:
    """The kernel's own BTF. NotSupported when it shows none."""
    key = kernel.btf_key()
    if not key:
        return Btf.parse(kernel.vmlinux_btf())
    kept = _KEPT.get(key)
    if kept is None:
        raw = kernel.vmlinux_btf()
        kept = _KEPT[key] = _parse(raw, key) if len(raw) >= _WORTH else Btf.parse(raw)
    return kept


def _parse(raw: bytes, key: str) -> Btf:
    place = _directory()
    if place is None:
        return Btf.parse(raw)
    path = os.path.join(place, f"vmlinux-{key}-{len(raw)}.index")
    index = _read(path, len(raw))
    btf = Btf.parse(raw, index=index)
    if index is None and btf.byteorder == "little":
        with contextlib.suppress(OSError, BtfError):
            _write(path, index_of(btf))
    return btf


def _directory() -> str | None:
    if os.environ.get("BOMBUS_CACHE") == "off":
        return None
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "bombus") if os.path.isabs(base) else None


def _read(path: str | os.PathLike[str], size: int) -> Index | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o022:
            return None
        return unpack(memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ)), size)
    except (OSError, ValueError, BtfError):
        return None
    finally:
        os.close(fd)


def _write(path: str, data: bytes) -> None:
    """Whole or not at all; indexes of earlier boots go."""
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    for old in os.listdir(directory):
        if old.startswith("vmlinux-") and old.endswith(".index"):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(directory, old))
    name = f"{path}.{os.getpid()}.new"
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(data)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
