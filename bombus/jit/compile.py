"""LLVM in child processes: text of a module in, object bytes out.

The user's process never loads LLVM: it stays small and answers while a child compiles, and a failed assertion inside of
LLVM ends a child only.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from bombus.errors import CodegenError, NotSupported
from bombus.jit.target import Target

if TYPE_CHECKING:
    import subprocess

_WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")


@cache
def llvmlite_folder() -> str:
    """The folder that llvmlite can be imported from. NotSupported when it is not installed."""
    spec = importlib.util.find_spec("llvmlite")
    if spec is None or spec.origin is None:
        raise NotSupported("the native engine", "it needs llvmlite: pip install bombus[py]")
    return os.path.dirname(os.path.dirname(spec.origin))


class Compiler:
    """One child, started when first needed and kept. One module at a time."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = Lock()

    @property
    def pid(self) -> int:
        """The child's; 0 when none runs."""
        return 0 if self._child is None else self._child.pid

    def start(self) -> None:
        """Start the child unless it runs: LLVM takes a moment to load. NotSupported without llvmlite."""
        if self._child is not None and self._owner == os.getpid() and self._child.poll() is None:
            return
        import subprocess

        self._owner = os.getpid()
        # What it says itself (assertions, crashes) goes to the pipe that `_died` shows.
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-S", "-E", "-s", _WORKER, llvmlite_folder()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def compile(self, text: str, target: Target, *, level: int, emit: str = "object") -> bytes:
        """An object file, assembly or IR (see `worker`). CodegenError with what LLVM said."""
        import json

        data = text.encode()
        request = {
            "length": len(data), "triple": target.triple, "cpu": target.cpu, "features": target.features,
            "relocation": target.relocation,
            "level": level, "emit": emit,
        }  # fmt: skip
        with self._lock:
            self.start()
            child = self._child
            assert child is not None and child.stdin is not None and child.stdout is not None
            try:
                child.stdin.write(json.dumps(request).encode() + b"\n" + data)
                child.stdin.flush()
                header = child.stdout.readline().split()
            except BrokenPipeError:
                header = []
            if len(header) != 2:
                raise self._died(child)
            answer = child.stdout.read(int(header[1]))
            if len(answer) != int(header[1]):
                raise self._died(child)
        if header[0] != b"ok":
            raise CodegenError("LLVM refuses the module", log=answer.decode(errors="replace"))
        return answer

    def _died(self, child: subprocess.Popen[bytes]) -> CodegenError:
        self._child = None
        _out, log = child.communicate()
        return CodegenError(f"LLVM ended with {child.returncode}", log=log.decode(errors="replace")[-4000:])

    def close(self) -> None:
        """End the child."""
        with self._lock:
            child, self._child = self._child, None
            if child is not None and self._owner == os.getpid():
                child.communicate()


COMPILER = Compiler()
