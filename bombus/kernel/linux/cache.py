"""Facts about the running kernel that are dear to find out, kept between processes.

One JSON file for each fact in $XDG_CACHE_HOME/bombus (~/.cache/bombus), valid for one kernel build. A file that
cannot be read, or is of another kernel, counts as none.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

VMLINUX = "/sys/kernel/btf/vmlinux"


def identity() -> str:
    """What tells this kernel build from others."""
    name = os.uname()
    try:
        size = os.stat(VMLINUX).st_size
    except OSError:
        size = 0
    return f"{name.release} {name.version} {name.machine} {size}"


def folder() -> str | None:
    """Where files lie; None when there is no place for them, or BOMBUS_CACHE=off forbids it."""
    if os.environ.get("BOMBUS_CACHE") == "off":
        return None
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "bombus") if os.path.isabs(base) else None


def cached(name: str, compute: Callable[[], dict[str, Any]], *, key: str = "", refresh: bool = False) -> dict[str, Any]:
    """The fact `name`, computed when it is not known. key: more that it depends on. An empty fact is not kept."""
    whole = f"{identity()} {key}"
    if (name, whole) in _known and not refresh:
        return _known[name, whole]
    fact = _kept_or_computed(name, compute, whole, refresh)
    if fact:
        _known[name, whole] = fact
    return fact


_known: dict[tuple[str, str], dict[str, Any]] = {}  # what this process has asked for


def _kept_or_computed(name: str, compute: Callable[[], dict[str, Any]], whole: str, refresh: bool) -> dict[str, Any]:
    place = folder()
    path = os.path.join(place, f"{name}.json") if place is not None else None
    if path is not None and not refresh:
        with contextlib.suppress(OSError, ValueError):
            with open(path, "rb") as file:
                kept = json.loads(file.read())
            if isinstance(kept, dict) and kept.get("for") == whole and isinstance(kept.get("fact"), dict):
                fact: dict[str, Any] = kept["fact"]
                return fact
    fact = compute()
    if path is not None and fact:
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            import tempfile

            # Renamed into place, so that readers see all of it or nothing.
            with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(path), delete=False) as new:
                json.dump({"for": whole, "fact": fact}, new)
            os.replace(new.name, path)
    return fact
