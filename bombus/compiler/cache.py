"""Objects of sources that have been built before.

A folder with two kinds of files: `KEY.json` for a source, its place and the way it is built, with the dependencies that
each of its last builds had (see `watch`) and the digest of its object; and `DIGEST.o`, objects by their contents. Files
come to their names whole, by renaming, so that many processes may use one folder; what is damaged counts as missing;
what cannot be read or written is not used, and nothing fails for it.

$BOMBUS_CACHE is the folder, or "off"; without it, $XDG_CACHE_HOME/bombus/objects or ~/.cache/bombus/objects. A folder
that others than its owner may write, or of another owner, is not used: its objects could be anybody's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bombus.compiler.watch import Watch, holds

OFF: Final = ("off", "0", "no")
_KEPT = 4  # builds of one source that are remembered: going back to an older state of its modules is a hit
_FILES = 2000  # files in the folder; when there are more, the oldest go
_ROOMS = ("bpf", "compiler", "spec")  # what decides what an object looks like
_FORMAT = 1


def folder() -> Path | None:
    """Where objects are kept; None when they are not."""
    chosen = os.environ.get("BOMBUS_CACHE", "")
    if chosen.lower() in OFF:
        return None
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not base or not os.path.isabs(base):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        base = os.path.join(home, ".cache")
    return Path(base) / "bombus" / "objects"


def build(path: str, options: str, make: Callable[[Watch], bytes], place: Path | None = None) -> bytes:
    """The object of a source: from the cache, or made by `make`, which notes in the Watch what it depends on.

    options: whatever else decides the result. place: another folder than `folder()`.
    """
    where = place if place is not None else folder()
    if where is None or not _usable(where):
        return make(Watch())
    try:
        key = _key(path, options)
    except OSError:
        return make(Watch())
    known = _read(where / f"{key}.json")
    for row in known:
        if holds(row["facts"]) and (data := _object(where, row["object"])) is not None:
            return data
    watch = Watch(os.path.dirname(os.path.abspath(path)))
    watch.files.add(os.path.abspath(path))
    data = make(watch)
    if not watch.impure and watch.settled():
        _write(where, key, watch.facts(), data, known)
    return data


def _key(path: str, options: str) -> str:
    full = os.path.abspath(path)
    parts = (str(_FORMAT), fingerprint(), sys.version, "\0".join(sys.path), os.getcwd(), full, options)
    digest = hashlib.sha256("\n".join(parts).encode(errors="surrogateescape"))
    digest.update(Path(full).read_bytes())
    return digest.hexdigest()


def fingerprint() -> str:
    """Of the compiler: its files, and LLVM's version."""
    from importlib.util import find_spec

    digest = hashlib.sha256()
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    _stat(digest, os.path.join(root, "__init__.py"))
    for room in _ROOMS:
        for above, folders, names in os.walk(os.path.join(root, room)):
            folders.sort()
            for name in sorted(names):
                if name.endswith((".py", ".so", ".h")):
                    _stat(digest, os.path.join(above, name))
    llvm = find_spec("llvmlite")
    if llvm is not None and llvm.origin is not None:
        _stat(digest, os.path.join(os.path.dirname(llvm.origin), "_version.py"))
    return digest.hexdigest()


def _stat(digest: Any, path: str) -> None:
    try:
        found = os.stat(path)
    except OSError:
        return
    digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))


def _usable(where: Path) -> bool:
    """Make the folder if need be; whether it is ours alone."""
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = where.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _read(path: Path) -> list[dict[str, Any]]:
    """The builds that are remembered; those that make no sense are not."""
    try:
        rows = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(rows, list):
        return []
    return [
        row for row in rows
        if isinstance(row, dict) and isinstance(row.get("object"), str) and row["object"].isalnum()
        and isinstance(row.get("facts"), dict)
        and all(isinstance(value, str) for value in row["facts"].values())
    ]  # fmt: skip


def _object(where: Path, digest: str) -> bytes | None:
    path = where / f"{digest}.o"
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != digest:
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # it is in use: others go first
    return data


def _write(where: Path, key: str, facts: dict[str, str], data: bytes, known: list[dict[str, Any]]) -> None:
    digest = hashlib.sha256(data).hexdigest()
    rows = [{"facts": facts, "object": digest}, *(row for row in known if row["facts"] != facts)][:_KEPT]
    with contextlib.suppress(OSError):
        _put(where, f"{digest}.o", data)
        _put(where, f"{key}.json", json.dumps(rows).encode())
        _prune(where)


def _put(where: Path, name: str, data: bytes) -> None:
    """A file with its contents, or not at all."""
    import tempfile

    handle, path = tempfile.mkstemp(dir=where, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(path, where / name)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _prune(where: Path) -> None:
    with os.scandir(where) as entries:
        names = [entry.path for entry in entries]
    if len(names) <= _FILES:
        return
    ages: list[tuple[float, str]] = []
    for path in names:
        with contextlib.suppress(OSError):
            ages.append((os.stat(path).st_mtime, path))
    for _, path in sorted(ages)[: len(names) - _FILES * 3 // 4]:
        with contextlib.suppress(OSError):
            os.unlink(path)
