"""Objects that commands are given: object files, or sources of BPF programs, which are built on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bombus.object.model import Object


def program_bytes(path: str) -> bytes:
    """The object file's bytes, built when `path` is a source."""
    from bombus.compiler.sources import build_source_file, language

    return Path(path).read_bytes() if language(path) is None else build_source_file(path)


def open_program(path: str) -> Object:
    """An object file, or a source: .py (which is imported), .c, .S. ElfError, ObjectError, DialectError, ..."""
    from bombus.compiler.sources import build_source_file, language
    from bombus.object.read import open_object, read_object

    if language(path) is None:
        return open_object(path)
    return read_object(build_source_file(path), name=Path(path).stem)
