"""Objects that commands are given: object files, or BPF programs in Python, which are built on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bombus.object.model import Object


def program_bytes(path: str) -> bytes:
    """The object file's bytes, built when `path` is a source."""
    if not path.endswith(".py"):
        return Path(path).read_bytes()
    from bombus.compiler.build import build_file

    return build_file(path)


def open_program(path: str) -> Object:
    """An object file, or a .py file in the dialect (which is imported). ElfError, ObjectError, DialectError, ..."""
    from bombus.object.read import open_object, read_object

    if not path.endswith(".py"):
        return open_object(path)
    from bombus.compiler.build import build_file

    return read_object(build_file(path), name=Path(path).stem)
