"""What a program file depends on while it is imported: modules, files, listed folders, environment variables.

Seen are: modules that the import brings in (and places where one of the same name would be found first), files that
are read, folders that are listed (both by Python's audit events), and variables of `os.environ`. What threads do that
ran before the import, and what the garbage collector ends, is not the program's. Not seen are time,
random numbers, `os.stat` and the like. What writes files, starts processes or talks to the network does more than
giving a result, so that the result alone must not be kept: `impure` says what it was.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import source_from_cache
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_EFFECTS = frozenset({
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.remove", "os.rename",
    "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.kill",
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "shutil.rmtree", "shutil.move",
    "shutil.copyfile", "os.putenv", "os.unsetenv", "os.chdir",
})  # fmt: skip
_EVENTS = _EFFECTS | {"open", "import", "os.listdir", "os.scandir"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ABSENT = "absent"
_GRAIN = 20_000_000  # ns: how late a file system's clock may be
_STARTED = time.time_ns()
_LIMIT = 1 << 28  # bytes of a file that are read to compare it


class _Environment(os._Environ):  # type: ignore[type-arg]
    """os.environ while a program is imported: notes what is asked for."""

    def __getitem__(self, key: Any) -> Any:
        watch = _STATE.active
        if watch is not None and isinstance(key, str):
            watch.variables.add(key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[Any]:
        watch = _STATE.active
        if watch is not None:
            watch.impure = watch.impure or "it looks at the whole environment"
        return super().__iter__()

    def __contains__(self, key: object) -> bool:
        watch = _STATE.active
        if watch is not None and isinstance(key, str):
            watch.variables.add(key)
        return super().__contains__(key)


class Watch:
    """Notes dependencies while it is entered. One at a time in a process. folder: where the program lies, whose
    modules come first."""

    def __init__(self, folder: str = "") -> None:
        self.folder = folder
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.variables: set[str] = set()
        self.places: set[str] = set()  # where nothing was, and where something would change the result
        self.modules: set[str] = set()  # files of modules that were imported
        self.impure = ""
        self._bytecode = False
        self._before: set[str] = set()
        self._others: set[int] = set()  # threads that are not the program's
        self._collects = False
        self.started = 0

    def start(self) -> None:
        """Files that are changed from now on are not trusted."""
        self.started = time.time_ns()

    def __enter__(self) -> Watch:
        _STATE.install()
        self.start()
        self._before = set(sys.modules)
        # Bytecode is found by whole seconds and sizes: it may be of another text.
        self._bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        importlib.invalidate_caches()
        self._others = set(sys._current_frames()) - {threading.get_ident()}
        self._collects = gc.isenabled()
        gc.disable()  # finalizers of other objects would count as what the program does
        _STATE.kind = type(os.environ)
        os.environ.__class__ = _Environment
        _STATE.active = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _STATE.active = None
        os.environ.__class__ = _STATE.kind
        if self._collects:
            gc.enable()
        sys.dont_write_bytecode = self._bytecode
        waiting = list(self.modules)
        while waiting:
            path = waiting.pop()
            self.files.add(path)
            waiting += [found for found in self._imports(path) if found not in self.files]

    def settled(self) -> bool:
        """Whether every file was last changed before it was read: digests that are taken later are then those of what
        was read."""
        return all(_changed(path) < self.started - _GRAIN for path in (*self.files, *self.folders))

    def _imports(self, path: str) -> Iterator[str]:
        """Look at the imports of a module: note places where another one of the same name would be found first; give
        the files of modules that were there before and that it takes."""
        try:
            tree = ast.parse(Path(path).read_bytes())
        except (OSError, SyntaxError, ValueError):
            return
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                self._candidates(name.partition(".")[0])
                yield from self._old(name)

    def _old(self, name: str) -> Iterator[str]:
        """Files of a module, and of the packages around it, that were imported before: perhaps as they were then."""
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            whole = ".".join(parts[:count])
            module = sys.modules.get(whole) if whole in self._before else None
            path = _source(module) if module is not None else None
            if path is None or path in self.modules or _SITES(path):
                continue
            if _changed(path) >= _STARTED:
                self.impure = self.impure or f"{path} was imported before and may have changed"
            yield path

    def _candidates(self, name: str) -> None:
        if name in self._before or name in sys.stdlib_module_names or name in sys.builtin_module_names:
            return
        for folder in (self.folder, *sys.path):
            for text in (name, f"{name}.py"):
                place = os.path.join(os.path.abspath(folder or "."), text)
                if os.path.exists(place):
                    return
                self.places.add(place)

    def facts(self) -> dict[str, str]:
        """Every dependency with what it is now."""
        found = {f"file {path}": file_digest(path) for path in sorted(self.files)}
        found |= {f"list {path}": folder_digest(path) for path in sorted(self.folders)}
        found |= {f"none {path}": _ABSENT for path in sorted(self.places)}
        return found | {f"env {name}": _variable(name) for name in sorted(self.variables)}

    def event(self, name: str, args: tuple[Any, ...]) -> None:
        if threading.get_ident() in self._others:
            return
        if sys._getframe(2).f_code.co_filename.startswith("<frozen importlib"):
            self._imported(name, args)
        elif name == "import":
            return  # its file will be opened, by the import machinery
        elif name == "open":
            path, _mode, flags = args
            if not isinstance(path, (str, bytes, os.PathLike)):
                return  # a descriptor that was open before
            full = os.path.abspath(os.fsdecode(path))
            if isinstance(flags, int) and flags & _WRITES:
                self.impure = self.impure or f"it writes {full}"
            elif not full.startswith(_KNOWN):
                self.files.add(full)
        elif name in ("os.listdir", "os.scandir"):
            place = args[0] if args and args[0] is not None else "."
            if isinstance(place, (str, bytes, os.PathLike)):
                self.folders.add(os.path.abspath(os.fsdecode(place)))
        else:
            self.impure = self.impure or f"it does more than compute ({name})"


    def _imported(self, name: str, args: tuple[Any, ...]) -> None:
        """A module's file is opened: source, bytecode or machine code."""
        path = args[0] if name == "open" else args[1] if name == "import" else None
        if not isinstance(path, str) or (name == "open" and isinstance(args[2], int) and args[2] & _WRITES):
            return
        if path.endswith(".pyc"):
            with suppress(ValueError):
                path = source_from_cache(path)
        full = os.path.abspath(path)
        if not full.startswith(_KNOWN) or _SITES(full):
            self.modules.add(full)


class _State:
    """The audit hook, which Python never takes away again, and who is watching."""

    def __init__(self) -> None:
        self.active: Watch | None = None
        self.kind: Any = os._Environ
        self._installed = False

    def install(self) -> None:
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._hook)

    def _hook(self, name: str, args: tuple[Any, ...]) -> None:
        watch = self.active
        if watch is not None and name in _EVENTS:
            watch.event(name, args)


_STATE = _State()
# What the compiler's own fingerprint and Python's version stand for.
_KNOWN = (_PACKAGE + os.sep, os.path.dirname(os.__file__) + os.sep)
_SITES = re.compile(r"/(?:site|dist)-packages/").search


def _source(module: ModuleType) -> str | None:
    """The file of a module that is neither Python's nor ours."""
    try:
        path = getattr(module, "__file__", None)
    except Exception:  # modules that are objects of their own
        return None
    if not isinstance(path, str):
        return None
    full = os.path.abspath(path)
    if full.startswith(_KNOWN) and not _SITES(full):
        return None
    return full


def _changed(path: str) -> int:
    """When a file, or its name, was last changed, in ns; 0 when it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return 0
    return max(found.st_mtime_ns, found.st_ctime_ns)


def file_digest(path: str) -> str:
    """Of a regular file's contents; what else it is, if it is something else."""
    try:
        with open(path, "rb") as file:
            if not os.path.isfile(path):
                return "no file"
            data = file.read(_LIMIT + 1)
    except OSError:
        return _ABSENT
    return hashlib.sha256(data).hexdigest() if len(data) <= _LIMIT else "too large"


def folder_digest(path: str) -> str:
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return _ABSENT
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()


def _variable(name: str) -> str:
    value = os.environ.get(name)
    return _ABSENT if value is None else hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()


def holds(facts: dict[str, str]) -> bool:
    """Whether every dependency is as it was."""
    for row, value in facts.items():
        kind, _, what = row.partition(" ")
        if kind == "file":
            now = file_digest(what)
        elif kind == "list":
            now = folder_digest(what)
        elif kind == "none":
            now = "there" if os.path.exists(what) else _ABSENT
        elif kind == "env":
            now = _variable(what)
        else:
            return False
        if now != value or now in ("no file", "too large"):
            return False
    return True
