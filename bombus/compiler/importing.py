"""Program files are imported as modules of their own; what goes wrong meanwhile becomes diagnostics."""

from __future__ import annotations

import ast
import importlib.util
import linecache
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bombus.bpf.program import CREATED
from bombus.compiler.diagnostics import Diagnostic, at_node
from bombus.errors import BombusError, DialectError, UsageError

if TYPE_CHECKING:
    import traceback


def import_file(path: str) -> ModuleType:
    """Run a program file as a module of its own. DialectError for what bombus.bpf refuses while it runs.

    As for a script, modules beside it can be imported; they are its own: another program's may have the same names.
    """
    CREATED.clear()
    path = os.path.abspath(path)  # as tracebacks and line information name it
    name = "bombus_program_" + "".join(ch if ch.isalnum() else "_" for ch in Path(path).stem)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = os.path.dirname(path)
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        with_place(path, lambda: spec.loader.exec_module(module))
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
        for other in set(sys.modules) - before:
            if _lies_in(sys.modules[other], folder):
                del sys.modules[other]
    return module


def _lies_in(module: Any, folder: str) -> bool:
    """Whether a module (or a package of several files) was imported from a folder, and is no installed one."""
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.startswith(folder + os.sep) and "site-packages" not in file


def import_source(text: str, path: str = "<program>") -> ModuleType:
    """As `import_file` for a text; `path` is what messages call it."""
    CREATED.clear()
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    name = f"bombus_program_{abs(hash((text, path)))}"
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    with_place(path, lambda: exec(compile(text, path, "exec"), module.__dict__))
    return module


def with_place(path: str, run: Any) -> None:
    """Run a program file; what goes wrong in it becomes a diagnostic at its line."""
    try:
        run()
    except SyntaxError as error:
        if error.filename != path:
            raise
        lines = linecache.getlines(path)
        line, column = error.lineno or 1, error.offset or 1
        text = lines[line - 1].rstrip("\n") if 0 < line <= len(lines) else ""
        end = error.end_offset or column + 1
        raise DialectError((Diagnostic(path, line, column, end, error.msg, "", text),)) from None
    except DialectError:
        raise
    except Exception as error:  # the program's own, or what bombus.bpf refuses
        import traceback

        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        if not frames:
            raise
        message = f"{type(error).__name__}: {error}"
        hint = "a build imports the file: this line has to run"
        if isinstance(error, BombusError):
            message, _, hint = str(error).partition("; ")  # what is wrong; what to write
        lines = linecache.getlines(path)
        node = _member_of_class(lines, frames[-1].lineno or 1, message) or _frame_node(frames[-1])
        raise DialectError((at_node(path, lines, node, message, hint),)) from error


def _frame_node(frame: traceback.FrameSummary) -> ast.AST:
    """The piece of source that a frame was in."""
    node = ast.Constant(None)
    node.lineno, node.col_offset = frame.lineno or 1, frame.colno or 0
    node.end_lineno, node.end_col_offset = frame.end_lineno, frame.end_colno
    return node


def _member_of_class(lines: list[str], line: int, message: str) -> ast.AST | None:
    """The member that an error about a struct ("Flow.ports: ...", "ports: ...") speaks of."""
    name = message.partition(":")[0].rpartition(".")[2]
    for node in ast.walk(ast.parse("".join(lines))):
        if isinstance(node, ast.ClassDef) and node.lineno == line:
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and part.target.id == name:
                    return part
    return None
