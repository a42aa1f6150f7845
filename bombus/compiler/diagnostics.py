"""What is wrong with a program, as data: place, message, and what to write instead."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """line and column count from 1; end_column is the first column after the marked text on the same line; text is the
    source line; hint says what to write instead."""

    path: str
    line: int
    column: int
    end_column: int
    message: str
    hint: str = ""
    text: str = ""

    def __str__(self) -> str:
        lines = [f"{shown(self.path)}:{self.line}:{self.column}: error: {self.message}"]
        if self.text.strip():
            width = max(1, min(self.end_column, len(self.text) + 1) - self.column)
            lines += [f"    {self.text}", f"    {' ' * (self.column - 1)}{'^' * width}"]
        if self.hint:
            lines.append(f"  help: {self.hint}")
        return "\n".join(lines)


def shown(path: str) -> str:
    """A path as people read it: from the current folder on, if it lies in it."""
    if not os.path.isabs(path):
        return path
    try:
        short = os.path.relpath(path)
    except (OSError, ValueError):
        return path
    return path if short.startswith("..") else short


def at_node(path: str, lines: list[str], node: ast.AST, message: str, hint: str) -> Diagnostic:
    """A diagnostic about a piece of source."""
    line = getattr(node, "lineno", 1)
    text = lines[line - 1].rstrip("\n") if 0 < line <= len(lines) else ""
    # ast counts columns in bytes of UTF-8
    raw = text.encode()
    column = len(raw[: getattr(node, "col_offset", 0)].decode(errors="replace"))
    end = len(text)
    if getattr(node, "end_lineno", line) == line:
        end = len(raw[: getattr(node, "end_col_offset", len(raw))].decode(errors="replace"))
    return Diagnostic(path, line, column + 1, end + 1, message, hint, text)


def in_order(found: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Each once, by file and place."""
    order = {path: i for i, path in enumerate(dict.fromkeys(d.path for d in found))}
    return tuple(sorted(dict.fromkeys(found), key=lambda d: (order[d.path], d.line, d.column)))
