"""Objects that commands are given: object files, or sources of BPF programs, which are built on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bombus.object.model import Object


def is_source(path: str) -> bool:
    """Whether a file is built before it is used, by the end of its name."""
    from bombus.compiler.sources import language

    return language(path) is not None


def program_bytes(path: str) -> bytes:
    """The object file's bytes, built (or taken from the cache) when `path` is a source."""
    from bombus.compiler.sources import build_cached

    return build_cached(path) if is_source(path) else Path(path).read_bytes()


def open_program(path: str, *, relaxed_maps: bool = False) -> Object:
    """An object file, or a source: .py (which is imported), .c, .S. ElfError, ObjectError, DialectError, ..."""
    from bombus.compiler.sources import build_cached
    from bombus.object.read import open_object, read_object

    if not is_source(path):
        return open_object(path, relaxed_maps=relaxed_maps)
    return read_object(build_cached(path), name=Path(path).stem, relaxed_maps=relaxed_maps)
