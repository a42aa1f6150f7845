"""Files that outlive a process: results that took long to work out, by a hash of all that they depend on.

A file holds a checksum: what is cut or changed counts as missing. Files appear whole (written aside, then renamed), so
any number of processes may use a folder. A folder of another owner, or that others may write to, is not used: what lies
there is believed. What cannot be read or written is left, and nothing fails for it.

$BOMBUS_CACHE is the folder above all, or "off"; without it, $XDG_CACHE_HOME/bombus or ~/.cache/bombus.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import cache
from typing import Final

OFF: Final = ("off", "0", "no")
LIMIT: Final = 128 << 20  # bytes of all files of a folder; the oldest go first
_DIGEST: Final = 32
_LOOK: Final = 64  # files between two looks at the whole size
_NEW: Final = ".new-"


def folder(room: str) -> str | None:
    """Where the files of a room lie; None for nowhere."""
    given = os.environ.get("BOMBUS_CACHE", "")
    if given.lower() in OFF:
        return None
    if given:
        return os.path.join(given, room)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "bombus", room) if os.path.isabs(base) else None


def read(room: str, key: str, magic: bytes) -> bytes | None:
    """What was kept under a key; None for nothing, and for what is not whole."""
    place = folder(room)
    if place is None or not _is_ours(place):
        return None
    try:
        with open(os.path.join(place, key), "rb", buffering=0) as file:
            data = file.readall()
    except OSError:
        return None
    head = len(magic) + _DIGEST
    if len(data) < head or not data.startswith(magic):
        return None
    payload = data[head:]
    return payload if data[len(magic) : head] == hashlib.sha256(payload).digest() else None


def write(room: str, key: str, magic: bytes, payload: bytes) -> None:
    """Keep a payload under a key, which is in hexadecimal."""
    place = folder(room)
    if place is None:
        return
    with suppress(OSError):
        os.makedirs(place, mode=0o700, exist_ok=True)
        if not _is_ours(place):
            return
        aside = os.path.join(place, f"{_NEW}{os.getpid()}-{os.urandom(8).hex()}")
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(magic + hashlib.sha256(payload).digest() + payload)
            os.replace(aside, os.path.join(place, key))
        except OSError:
            os.unlink(aside)
            raise
        if int(key[:8], 16) % _LOOK == 0:
            trim(place)


def trim(place: str | os.PathLike[str], limit: int = LIMIT) -> None:
    """Remove the oldest files until all together have at most `limit` bytes."""
    found = []
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            about = entry.stat(follow_symlinks=False)
            found.append((about.st_mtime, about.st_size, entry.path))
    total = sum(size for _time, size, _path in found)
    for _time, size, path in sorted(found):
        if total <= limit:
            break
        with suppress(OSError):
            os.unlink(path)
        total -= size


def _is_ours(place: str) -> bool:
    try:
        about = os.stat(place)
    except OSError:
        return False
    return about.st_uid == os.geteuid() and not about.st_mode & 0o022


@cache
def stamp(*rooms: str) -> bytes:
    """A digest that changes with the sources of some of the package's rooms ("jit", "spec/helpers"), and of its root.

    Files are not read: their place, size and times tell a change, the one of the inode's change too, which no tool that
    copies or unpacks can set back.
    """
    state = hashlib.sha256()
    root = os.path.dirname(os.path.abspath(__file__))
    for room in ("", *rooms):
        place = os.path.join(root, room)
        try:
            with os.scandir(place) as entries:
                files = sorted((e.name, e.stat()) for e in entries if e.name.endswith((".py", ".so", ".pyd")))
        except OSError:  # in an archive, say: no telling
            return os.urandom(32)
        for name, about in files:
            state.update(
                f"{place}/{name} {about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}\n".encode(
                    errors="surrogateescape"
                )
            )
    return state.digest()
