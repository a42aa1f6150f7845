"""LLVM in a child process, which is started early and kept for the next module."""

from __future__ import annotations

import importlib.util
import linecache
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from threading import Lock, Timer
from typing import IO, Final

from bombus.compiler.diagnostics import Diagnostic
from bombus.errors import BombusError, CodegenError, DialectError, NotSupported

_WORKER = Path(__file__).with_name("llvm_worker.py")
TIMEOUT = 120.0  # seconds for one module
_SHOWN = 4000  # characters of what LLVM said that an error keeps
_READ = 1 << 18  # bytes of it that are looked at
_CAUSES = {
    signal.SIGABRT: "one of LLVM's assertions failed, or it ran out of memory",
    signal.SIGKILL: "something killed it; out of memory?",
    signal.SIGSEGV: "a defect of LLVM",
    signal.SIGXCPU: "it used up its CPU time",
}


class Codegen:
    """One child. `start` may be called before the module is known: LLVM takes its time to load.

    Whatever becomes of the child, the caller gets a CodegenError, and the next module a new child.
    """

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None  # a file, not a pipe: nobody reads it while LLVM works
        self._lock = Lock()
        self.timeout = timeout

    def start(self) -> None:
        """Start the child unless it runs. NotSupported when llvmlite is not installed."""
        if self._child is not None and self._child.poll() is None:
            return
        spec = importlib.util.find_spec("llvmlite")
        if spec is None or spec.origin is None:
            raise NotSupported("compiling Python to BPF", "it needs llvmlite: pip install bombus[py]")
        self._forget()
        folder = str(Path(spec.origin).parent.parent)
        self._said = _scratch()
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-S", "-E", "-s", str(_WORKER), folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said,
        )  # fmt: skip

    def compile(self, text: str, *, target: str = "bpfel", cpu: str = "v3", level: int = 2) -> bytes:
        """An object file from the text of a module. CodegenError with what LLVM said, when it refuses the module, ends
        before it has answered, or takes more than `timeout` seconds; DialectError for what it says of the program."""
        with self._lock:
            self.start()
            child = self._child
            assert child is not None
            late: list[bool] = []

            def end() -> None:
                late.append(True)
                child.kill()

            alarm = Timer(self.timeout, end)
            alarm.daemon = True
            alarm.start()
            try:
                word, answer = _ask(child, f"{target} {cpu} {level}", text.encode())
            except BaseException:  # an interrupt, say: its answer must not be taken for that of the next module
                child.kill()
                self._died(child)
                raise
            finally:
                alarm.cancel()
            if word is None:
                raise self._failed(child, bool(late))
            if "llvm.preserve.access.index" in text:
                # LLVM 22 BPFAbstractMemberAccess.cpp remembers its globals (GEPGlobals) when their module is gone: one
                # module with CO-RE relocations is all that a process can compile.
                self._retire()
        if word != b"ok":
            raise CodegenError("LLVM refuses the module", log=answer.decode(errors="replace"))
        return answer

    def _failed(self, child: subprocess.Popen[bytes], late: bool) -> BombusError:
        said = self._died(child)
        diagnostics = _diagnostics(said)
        if diagnostics:
            return DialectError(diagnostics)
        log = said[-_SHOWN:]
        if late:
            return CodegenError(f"LLVM did not finish within {self.timeout:g} seconds", log=log)
        code = child.returncode
        if code >= 0:
            return CodegenError(f"LLVM ended with exit code {code} before it had answered", log=log)
        try:
            number = signal.Signals(-code)
        except ValueError:
            return CodegenError(f"LLVM was ended by signal {-code}", log=log)
        cause = f" ({_CAUSES[number]})" if number in _CAUSES else ""
        return CodegenError(f"LLVM was ended by {number.name}{cause}", log=log)

    def _died(self, child: subprocess.Popen[bytes]) -> str:
        """See a child off that is of no use any more; what it said."""
        self._child = None
        for pipe in (child.stdin, child.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # what it was to read is still in the pipe's buffer
                pass
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        log = b""
        if self._said is not None:
            size = self._said.seek(0, os.SEEK_END)
            self._said.seek(max(0, size - _READ))
            log = self._said.read()
        self._forget()
        return log.decode(errors="replace")

    def _forget(self) -> None:
        said, self._said = self._said, None
        if said is not None:
            said.close()

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._retire()

    def _retire(self) -> None:
        if self._child is not None:
            self._died(self._child)


def _scratch() -> IO[bytes]:
    """A file without a name."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("llvm"), "w+b")
    import tempfile  # it takes 4 ms

    return tempfile.TemporaryFile()


def _ask(child: subprocess.Popen[bytes], how: str, data: bytes) -> tuple[bytes | None, bytes]:
    """(word, answer) of the child; (None, b"") when there is none, or not a whole one."""
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(f"{len(data)} {how}\n".encode() + data)
        child.stdin.flush()
    except BrokenPipeError:
        return None, b""
    header = child.stdout.readline(256).split()
    if len(header) != 2 or header[0] not in (b"ok", b"error") or not header[1].isdigit():
        return None, b""
    answer = child.stdout.read(int(header[1]))
    return (header[0], answer) if len(answer) == int(header[1]) else (None, b"")


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
