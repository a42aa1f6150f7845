"""vmlinux.h for programs that include it and bring none: made from BTF once, kept in the user's cache by content."""

from __future__ import annotations

import atexit
import gc
import hashlib
import os
import re
import stat
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from bombus.errors import NotSupported

RUNNING: Final = "/sys/kernel/btf/vmlinux"
# Part of the key: raised when the text for the same BTF changes.
FORM: Final = 1

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)
_MOST_FILES = 200


def includes_it(path: str, folders: Sequence[str]) -> bool:
    """Whether a program, or a header of its own that it includes, includes "vmlinux.h" that is not its own.

    A quick look that leaves conditions and macros out of account: too much only makes a header that nobody reads.
    """
    todo = [path]
    seen: set[str] = set()
    while todo and len(seen) < _MOST_FILES:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        try:
            with open(current, "rb") as file:
                text = file.read()
        except OSError:
            continue
        for quote, raw in _INCLUDE.findall(text):
            name = os.fsdecode(raw)
            places = ([os.path.dirname(current)] if quote == b'"' else []) + list(folders)
            found = next((p for p in (os.path.join(place, name) for place in places) if os.path.isfile(p)), None)
            if found is not None:
                todo.append(found)
            elif name == "vmlinux.h":
                return True
    return False


def cache_home() -> Path:
    """Where made files are kept: $XDG_CACHE_HOME/bombus, by default ~/.cache/bombus."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "bombus"


def folder(btf: str = "", notify: Callable[[str], None] | None = None) -> Path:
    """A folder that holds vmlinux.h for this BTF (raw, or an ELF file; "" is the running kernel's).

    NotSupported when the running kernel has no BTF; BtfError, ElfError, OSError for a file.
    """
    try:
        with open(btf or RUNNING, "rb") as file:
            data = file.read()
    except OSError:
        if btf:
            raise
        raise NotSupported(
            "making vmlinux.h here", f"this kernel has no {RUNNING}; give a kernel's BTF with --btf FILE"
        ) from None
    name = f"{hashlib.blake2b(data, digest_size=16).hexdigest()}-{FORM}"
    home = cache_home()
    if not _usable(home):
        home = _own_home()
    header = home / "vmlinux" / name / "vmlinux.h"
    if not header.is_file():
        if notify is not None:
            notify(f"making vmlinux.h from {btf or RUNNING}, once ...")
        text = _text(data)
        try:
            write(header, text)
        except OSError:  # read-only, or full
            header = _own_home() / "vmlinux" / name / "vmlinux.h"
            write(header, text)
    return header.parent


def _usable(home: Path) -> bool:
    """Whether nobody else can put files there: their headers would become part of our programs."""
    for place in (home, home / "vmlinux", home / "pch"):
        try:
            found = place.stat()
        except OSError:
            continue  # it will be made
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
    return True


@cache
def _own_home() -> Path:
    """A folder for this process alone."""
    room = tempfile.TemporaryDirectory(prefix="bombus-cache-")
    atexit.register(room.cleanup)
    return Path(room.name)


def _text(data: bytes) -> bytes:
    from bombus.compiler.kernelheader import header_text, read_btf

    collecting = gc.isenabled()
    gc.disable()  # millions of small objects, of which none is garbage: collecting would double the time
    try:
        return header_text(read_btf(data)).encode()
    finally:
        if collecting:
            gc.enable()


def write(path: Path, data: bytes) -> None:
    """Write a file so that others see all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_native_id()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
