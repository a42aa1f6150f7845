"""Which C compiler makes BPF code, and how each is told what to do.

clang of the system is taken first, the newest; then zig's clang (the Python package ziglang); then gcc for BPF.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from bombus.errors import NotSupported, UsageError

Kind = Literal["clang", "zig", "gcc"]

GCC_NAMES: Final = ("bpf-unknown-none-gcc", "bpf-gcc")
_VERSIONED = re.compile(r"clang-(\d+)$")


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A compiler: `command` is the words that its command line begins with."""

    kind: Kind
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        return " ".join(self.command)


def find(wanted: str = "") -> Toolchain:
    """The compiler to use. wanted: "clang", "gcc", "zig", a program's name or path; "" is $CLANG or what there is.

    NotSupported, which says what to install, when there is none; UsageError for a program that is not there.
    """
    if not wanted:
        chosen = os.environ.get("CLANG", "")
        if chosen:
            return _program(chosen, "$CLANG: ")
        found = _clang() or _zig() or _gcc()
        if found is None:
            raise NotSupported(
                "building C programs without a compiler",
                "install clang (Debian: apt install clang), or pip install bombus[c], which brings zig's clang, or "
                "gcc for BPF (Debian: apt install gcc-bpf)",
            )
        return found
    finders = {"clang": (_clang, "apt install clang"), "zig": (_zig, "pip install bombus[c]"),
               "gcc": (_gcc, "apt install gcc-bpf")}  # fmt: skip
    if wanted in finders:
        finder, hint = finders[wanted]
        found = finder()
        if found is None:
            raise NotSupported(f"building with {wanted}, which is not installed,", hint)
        return found
    return _program(wanted, "")


@cache
def _on_path(path: str) -> list[str]:
    """Names of the clangs in the folders of PATH, the newest first."""
    found: dict[str, int] = {}
    for folder in path.split(os.pathsep):
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            version = _VERSIONED.match(name)
            if version is not None:
                found.setdefault(name, int(version[1]))
    return [name for name, _version in sorted(found.items(), key=lambda item: -item[1])] + ["clang"]


def _clang() -> Toolchain | None:
    for name in _on_path(os.environ.get("PATH", os.defpath)):
        path = shutil.which(name)
        if path is not None:
            return Toolchain("clang", (path,))
    homes = sorted(Path("/usr/lib").glob("llvm-*/bin/clang"), key=lambda p: -_number(p.parent.parent.name))
    return Toolchain("clang", (str(homes[0]),)) if homes else None


def _number(name: str) -> int:
    digits = re.search(r"\d+", name)
    return int(digits[0]) if digits else 0


def _zig() -> Toolchain | None:
    try:
        spec = importlib.util.find_spec("ziglang")
    except (ImportError, ValueError):
        spec = None
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        program = Path(folder) / "zig"
        if os.access(program, os.X_OK):
            return Toolchain("zig", (str(program), "cc"))
    path = shutil.which("zig")
    return Toolchain("zig", (path, "cc")) if path else None


def _gcc() -> Toolchain | None:
    for name in GCC_NAMES:
        path = shutil.which(name)
        if path is not None:
            return Toolchain("gcc", (path,))
    return None


def _program(name: str, whence: str) -> Toolchain:
    path = shutil.which(name)
    if path is None:
        raise UsageError(f"{whence}there is no program {name!r}; say clang, gcc, zig or the path of one of them")
    base = os.path.basename(path)
    for kind in ("clang", "zig", "gcc"):
        if kind in base or kind in os.path.basename(os.path.realpath(path)):
            command = (path, "cc") if kind == "zig" else (path,)
            return Toolchain(kind, command)
    raise UsageError(f"{whence}{name!r} is neither clang nor gcc nor zig by its name")
