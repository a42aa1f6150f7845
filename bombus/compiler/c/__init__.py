"""C programs to BPF objects, through clang, zig's clang or gcc."""

from __future__ import annotations

from bombus.compiler.c.command import Options
from bombus.compiler.c.driver import Built, build, build_file

__all__ = ["Built", "Options", "build", "build_file"]
