"""Objects that commands are given: object files, or sources of BPF programs, which are built on the way."""

from __future__ import annotations

from bombus.compiler.sources import open_program

__all__ = ["is_source", "open_program", "program_bytes"]


def is_source(path: str) -> bool:
    """Whether a file is built before it is used, by the end of its name."""
    from bombus.compiler.sources import language

    return language(path) is not None


def program_bytes(path: str) -> bytes:
    """The object file's bytes, built (or taken from the cache) when `path` is a source."""
    from bombus.compiler.sources import build_cached

    if is_source(path):
        return build_cached(path)
    with open(path, "rb") as file:
        return file.read()
