"""LLVM in a child process, which is started early and kept for the next module."""

from __future__ import annotations

import importlib.util
import linecache
import re
import subprocess
import sys
from pathlib import Path
from threading import Lock
from typing import Final

from bombus.compiler.diagnostics import Diagnostic
from bombus.errors import BombusError, CodegenError, DialectError, NotSupported

_WORKER = Path(__file__).with_name("llvm_worker.py")


class Codegen:
    """One child. `start` may be called before the module is known: LLVM takes its time to load."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def start(self) -> None:
        """Start the child unless it runs. NotSupported when llvmlite is not installed."""
        if self._child is not None and self._child.poll() is None:
            return
        spec = importlib.util.find_spec("llvmlite")
        if spec is None or spec.origin is None:
            raise NotSupported("compiling Python to BPF", "it needs llvmlite: pip install bombus[py]")
        folder = str(Path(spec.origin).parent.parent)
        # its own errors (assertions, crashes) go to the pipe that `compile` shows
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-S", "-E", "-s", str(_WORKER), folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def compile(self, text: str, *, target: str = "bpfel", cpu: str = "v3", level: int = 2) -> bytes:
        """An object file from the text of a module. CodegenError with what LLVM said."""
        with self._lock:
            self.start()
            child = self._child
            assert child is not None and child.stdin is not None and child.stdout is not None
            data = text.encode()
            try:
                child.stdin.write(f"{len(data)} {target} {cpu} {level}\n".encode() + data)
                child.stdin.flush()
                header = child.stdout.readline().split()
            except BrokenPipeError:
                header = []
            if len(header) != 2:
                raise self._died(child)
            answer = child.stdout.read(int(header[1]))
            if len(answer) != int(header[1]):
                raise self._died(child)
            if "llvm.preserve.access.index" in text:
                # LLVM 22 BPFAbstractMemberAccess.cpp remembers its globals (GEPGlobals) when their module is gone: one
                # module with CO-RE relocations is all that a process can compile.
                self._retire()
        if header[0] != b"ok":
            raise CodegenError("LLVM refuses the module", log=answer.decode(errors="replace"))
        return answer

    def _died(self, child: subprocess.Popen[bytes]) -> BombusError:
        self._child = None
        _out, log = child.communicate()
        diagnostics = _diagnostics(log.decode(errors="replace"))
        if diagnostics:
            return DialectError(diagnostics)
        return CodegenError(f"LLVM ended with {child.returncode}", log=log.decode(errors="replace")[-4000:])

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._retire()

    def _retire(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.communicate()


# What LLVM's BPF target says of functions -> what programs should do
_SAYINGS: Final = (
    ("BPF stack limit", "the variables of {function} need more than the 512 bytes of the stack",
     "keep large structs and arrays in a per-CPU array"),
    ("too many args", "a BPF function has at most 5 parameters", "pass a struct"),
    ("stack arguments are not supported", "a BPF function has at most 5 parameters", "pass a struct"),
)  # fmt: skip


def _diagnostics(log: str) -> tuple[Diagnostic, ...]:
    """LLVM's errors about lines of the program; () when there is one that we do not know."""
    found: list[Diagnostic] = []
    for text in re.findall(r"^error: (.*)$", log, re.MULTILINE):
        match = re.match(r"(.+?):(\d+):(\d+): in function (\S+) [^:]*: (.*)", text)
        known = [saying for saying in _SAYINGS if match is not None and saying[0] in match[5]]
        if match is None or not known:
            return ()
        path, line, column = match[1], int(match[2]), int(match[3])
        source = linecache.getline(path, line).rstrip("\n")
        _words, message, hint = known[0]
        found.append(Diagnostic(
            path, line, column, len(source) + 1, message.format(function=match[4]), hint, source
        ))  # fmt: skip
    return tuple(dict.fromkeys(found))


CODEGEN = Codegen()
