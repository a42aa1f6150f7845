"""vmlinux.h parsed once: reading its 3 MB takes clang three times as long as all the rest of a build.

Used only where it cannot be told from the header itself: the program's first directive includes "vmlinux.h", which is
the generated one, and nothing else is put before it. A build that fails with it is done again without.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bombus.compiler.c.command import Options, precompile_words
from bombus.compiler.c.toolchain import Toolchain

# Each takes some 16 MB.
_KEPT: Final = 6
_FIRST = re.compile(rb'#[ \t]*include[ \t]*["<]vmlinux\.h[">]')
_BLANK = re.compile(rb"(?:\s+|//[^\n]*\n|/\*.*?\*/)*", re.S)


def begins_with_it(path: str) -> bool:
    """Whether nothing but comments stands before the inclusion of vmlinux.h."""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        return False
    blank = _BLANK.match(text)
    return blank is not None and _FIRST.match(text, blank.end()) is not None


def header(
    tool: Toolchain, path: str, options: Options, folder: Path, run: Callable[[Sequence[str]], bool]
) -> Path | None:
    """A file for -include-pch; None where it would not do. `run` runs a command and tells whether it went well."""
    if tool.kind != "clang" or options.flags or not begins_with_it(path):
        return None
    if any(os.environ.get(name) for name in ("CPATH", "C_INCLUDE_PATH")):
        return None
    places = (os.path.dirname(path), *options.includes, "/usr/include", "/usr/local/include")
    if any(os.path.exists(os.path.join(place, "vmlinux.h")) for place in places):
        return None
    program = os.stat(tool.command[0])
    parts = (
        *tool.command, program.st_mtime_ns, program.st_size, folder.name, options.level, options.target, options.cpu,
        options.arch, *options.defines, "-U", *options.undefines, "-I", *options.includes,
    )  # fmt: skip
    key = hashlib.blake2b("\0".join(map(str, parts)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    home = folder.parent.parent / "pch"
    place = home / f"{key}.pch"
    if place.is_file():
        with contextlib.suppress(OSError):
            os.utime(place)  # recently used
        return place
    home.mkdir(parents=True, exist_ok=True)
    part = home / f"{key}.{os.getpid()}.{threading.get_native_id()}.part"
    try:
        if not run(precompile_words(tool, str(folder / "vmlinux.h"), str(part), options)):
            return None
        part.replace(place)
    except OSError:
        return None
    finally:
        part.unlink(missing_ok=True)
    _forget(home)
    return place


def _forget(home: Path) -> None:
    """Remove those that were not used for longest."""
    with contextlib.suppress(OSError):
        files = sorted(home.glob("*.pch"), key=lambda file: -file.stat().st_mtime)
        for file in files[_KEPT:]:
            file.unlink(missing_ok=True)
