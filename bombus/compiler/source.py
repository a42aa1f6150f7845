"""From function objects to their syntax trees.

A program is a Python module that has been imported: what it computes at import (constants, struct classes, maps) is
taken as it is, and only functions are read from source.
"""

from __future__ import annotations

import ast
import inspect
import linecache
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any

from bombus.errors import UsageError


@dataclass(slots=True)
class SourceFile:
    path: str
    lines: list[str]
    functions: dict[tuple[str, int], ast.FunctionDef] = field(default_factory=dict)


_FILES: dict[str, tuple[int, SourceFile]] = {}


def source_file(path: str) -> SourceFile:
    """The parsed file. UsageError when Python no longer has its text."""
    lines = linecache.getlines(path)
    if not lines:
        raise UsageError(f"{path}: the source is not available; programs are compiled from it")
    text = "".join(lines)
    known = _FILES.get(path)
    if known is not None and known[0] == hash(text):
        return known[1]
    found = SourceFile(path, lines)
    for node in ast.walk(ast.parse(text, path)):
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found.functions[node.name, first] = node
    _FILES[path] = (hash(text), found)
    return found


def names_of(function: FunctionType) -> dict[str, Any]:
    """What names mean inside of a function that are not its own: globals, and variables of functions around it."""
    names = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return names


def not_a_def(code: CodeType) -> tuple[str, str]:
    """What a function is that is not defined by `def`, and what to do about it."""
    if code.co_name == "<lambda>":
        return "a lambda is not part of the language", "define a function with def"
    if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        return f"{code.co_name} is async, which is not part of the language", "define it with def alone"
    return f"{code.co_name} is no plain function", "define it with def"


def definition(function: FunctionType) -> tuple[SourceFile, ast.FunctionDef]:
    """The file and the `def` of a function. UsageError when it is no plain `def`."""
    code = function.__code__
    file = source_file(code.co_filename)
    node = file.functions.get((code.co_name, code.co_firstlineno))
    if node is None:
        raise UsageError(f"{code.co_filename}:{code.co_firstlineno}: {code.co_name} is not a function defined by `def`")
    return file, node
