"""A command that waits before it becomes its program, until someone is ready to watch it."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence

from bombus.errors import UsageError


class Command:
    """A child process that `release` lets execute `argv`. UsageError when the program cannot be started."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)
        gate_read, self._gate = os.pipe()
        self._errors, error_write = os.pipe()  # closed by a successful exec
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._child(gate_read, error_write)
        os.close(gate_read)
        os.close(error_write)

    def _child(self, gate: int, errors: int) -> None:
        """Never returns."""
        code = 127
        try:
            os.close(self._gate)
            if os.read(gate, 1):
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_DFL)
                os.execvp(self.argv[0], self.argv)
        except OSError as error:
            os.write(errors, (error.errno or errno.EIO).to_bytes(4, "little"))
        finally:
            os._exit(code)

    def release(self) -> None:
        os.write(self._gate, b"x")
        os.close(self._gate)
        self._gate = -1
        data = os.read(self._errors, 4)
        os.close(self._errors)
        self._errors = -1
        if data:
            self.wait()
            raise UsageError(f"{self.argv[0]}: {os.strerror(int.from_bytes(data, 'little'))}")

    def running(self) -> bool:
        """Whether the command goes on."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is None

    def wait(self) -> int:
        """The exit code; minus the signal's number when one ended it."""
        if self.status is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def end(self) -> None:
        """Ask a command that still runs to end (SIGTERM), and wait for it."""
        for fd in (self._gate, self._errors):
            if fd >= 0:
                os.close(fd)  # a child behind the gate ends by that
        self._gate = self._errors = -1
        if self.running():
            os.kill(self.pid, signal.SIGTERM)
            self.wait()
