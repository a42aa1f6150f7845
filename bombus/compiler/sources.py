"""Sources of any kind to objects, by the end of their names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bombus.errors import NotSupported

# What a name's end says the file is.
LANGUAGES: Final = {".py": "Python", ".c": "C", ".S": "assembly", ".s": "assembly", ".asm": "assembly"}


def language(path: str) -> str | None:
    """ "Python", "C", "assembly"; None for everything else."""
    return LANGUAGES.get(Path(path).suffix)


def build_source_file(path: str, *, target: str = "bpfel") -> bytes:
    """The object of a source, with each language's usual options.

    DialectError, CompileError, AsmError for what is wrong in it; CodegenError, NotSupported, OSError.
    """
    kind = language(path)
    if kind == "Python":
        from bombus.compiler import build

        return build.build_file(path, target=target)
    if kind == "C":
        from bombus.compiler import c

        return c.build_file(path, target=target)
    if kind == "assembly":
        from bombus.compiler import assembly

        return assembly.build_file(path, target=target)
    raise NotSupported(
        f"building {Path(path).suffix or 'this'} files", "programs in Python (.py), C (.c) and assembly (.S) are built"
    )
