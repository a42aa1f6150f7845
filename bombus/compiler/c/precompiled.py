"""vmlinux.h parsed once: reading its 3 MB takes clang three times as long as all the rest of a build.

Used only where it cannot be told from the header itself: the program's first directive includes "vmlinux.h", which is
the generated one, and nothing else is put before it. A build that fails with it is done again without.

Kernel functions are left out of it and read as text: clang 19 makes no BTF for functions that a precompiled header
declares and that are only referred to (`cleanup(bpf_iter_num_destroy)` in bpf_for), and no loader takes them then.
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
_KERNEL_FUNCTIONS = re.compile(rb"^#ifndef BPF_NO_KFUNC_PROTOTYPES\n.*?^#endif\n", re.S | re.M)
TYPES: Final = "vmlinux.types.h"
_TEXT: Final = b'#define BPF_NO_KFUNC_PROTOTYPES\n#include "vmlinux.h"\n#undef BPF_NO_KFUNC_PROTOTYPES\n'
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
) -> tuple[Path, Path] | None:
    """A file for -include-pch and one for -include behind it, which together are vmlinux.h; None where they would not
    do. `run` runs a command and tells whether it went well."""
    if tool.kind != "clang" or options.flags or not begins_with_it(path):
        return None
    if "BPF_NO_KFUNC_PROTOTYPES" in " ".join((*options.defines, *options.undefines)):
        return None
    if any(os.environ.get(name) for name in ("CPATH", "C_INCLUDE_PATH")):
        return None
    places = (os.path.dirname(path), *options.includes, "/usr/include", "/usr/local/include")
    if any(os.path.exists(os.path.join(place, "vmlinux.h")) for place in places):
        return None
    program = os.stat(tool.command[0])
    parts = (
        *tool.command, program.st_mtime_ns, program.st_size, folder.name, options.level, options.target, options.cpu,
        options.arch, "types", *options.defines, "-U", *options.undefines, "-I", *options.includes,
    )  # fmt: skip
    key = hashlib.blake2b("\0".join(map(str, parts)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    home = folder.parent.parent / "pch"
    place, types, functions = home / f"{key}.pch", folder / TYPES, folder / "vmlinux.kfuncs.h"
    if place.is_file() and functions.is_file():
        with contextlib.suppress(OSError):
            os.utime(place)  # recently used
        return place, functions
    home.mkdir(parents=True, exist_ok=True)
    part = home / f"{key}.{os.getpid()}.{threading.get_native_id()}.part"
    try:
        if not (types.is_file() and functions.is_file()):
            found = _KERNEL_FUNCTIONS.search((folder / "vmlinux.h").read_bytes())
            _write_once(functions, found.group() if found else b"")
            _write_once(types, _TEXT)
        if not run(precompile_words(tool, str(types), str(part), options)):
            return None
        part.replace(place)
    except OSError:
        return None
    finally:
        part.unlink(missing_ok=True)
    _forget(home)
    return place, functions


def _write_once(path: Path, data: bytes) -> None:
    """Write a file unless it is there: a precompiled header holds only for the very file that it was made from."""
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_native_id()}.part")
    try:
        part.write_bytes(data)
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)


def _forget(home: Path) -> None:
    """Remove those that were not used for longest."""
    with contextlib.suppress(OSError):
        files = sorted(home.glob("*.pch"), key=lambda file: -file.stat().st_mtime)
        for file in files[_KEPT:]:
            file.unlink(missing_ok=True)
