"""Attachments without a link go when their process is killed: another process waits for that and undoes them.

It is started with the first such attachment, once for each process, in a session of its own, and ends with it. What is
to be undone is registered before it is attached, so no moment is left when a killed process leaves something behind.
An attachment belongs to the process that made it: forked children neither keep it nor end it.

BOMBUS_GUARD=off in the environment turns it off; so does `LinuxKernel(guard=False)`.
"""

from __future__ import annotations

import errno
import itertools
import marshal
import os
import sys
from _thread import RLock
from collections.abc import Mapping, Sequence
from typing import Any

from bombus.errors import KernelError

VARIABLE = "BOMBUS_GUARD"
_TIMEOUT = 30.0
_GONE = 1 << 64
_lock = RLock()  # what is collected meanwhile is forgotten by the same thread
_guard: Guard | None = None


def enabled() -> bool:
    """Whether the environment allows it."""
    return os.environ.get(VARIABLE, "").lower() not in ("off", "0", "no")


class Guard:
    """The process. KernelError when it cannot be started."""

    def __init__(self) -> None:
        import socket
        import subprocess

        self.pid = os.getpid()
        self._numbers, self._sent, self._answered = itertools.count(1), itertools.count(1), 0
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_TIMEOUT)
        self._inode = os.fstat(self._control.fileno()).st_ino
        pidfd = _pidfd()
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guardian.py")
        package = os.path.abspath(os.path.join(os.path.dirname(script), "..", "..", ".."))
        fds = [fd for fd in (theirs.fileno(), pidfd) if fd >= 0]
        try:
            code = subprocess.run(
                [sys.executable, "-I", "-S", script, str(theirs.fileno()), str(pidfd), package], pass_fds=fds,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                start_new_session=True, check=False,
            ).returncode  # fmt: skip
        except OSError as error:
            self._control.close()
            raise _cannot(error.errno or errno.EIO, f"{sys.executable}: {error.strerror}") from None
        finally:
            theirs.close()
            if pidfd >= 0:
                os.close(pidfd)
        if code:
            self._control.close()
            raise _cannot(errno.EIO, f"{sys.executable} ended with {code}")

    def send(self, what: str, number: int, kind: str, facts: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """One message, until it has arrived. KernelError when nobody is there any more."""
        import socket

        this = next(self._sent)
        data = marshal.dumps((this, what, number, kind, dict(facts)))
        try:
            # Whoever closes all descriptors (a daemon) closes this too, and its number may be another's by now.
            if os.fstat(self._control.fileno()).st_ino != self._inode:
                raise OSError(errno.EBADF, "closed")
            socket.send_fds(self._control, [data], list(fds))
            # Answers come in the order of messages. A signal, or a collected attachment, may come between the two.
            while self._answered < this:
                self._answered = int.from_bytes(self._control.recv(8), sys.byteorder) or _GONE
        except OSError as error:
            raise _cannot(error.errno or errno.ETIMEDOUT, "it does not answer") from None
        if self._answered == _GONE:
            raise _cannot(errno.EPIPE, "it is gone")

    def number(self) -> int:
        return next(self._numbers)

    def drop(self) -> None:
        """In a forked child: the parent's guard is not ours."""
        self._control.close()


def _cannot(number: int, why: str) -> KernelError:
    hint = f"{VARIABLE}=off attaches without one; what is attached stays then when this process is killed"
    return KernelError(number, "guard of attachments without a link", why, hint=hint)


def _pidfd() -> int:
    try:
        return os.pidfd_open(os.getpid())
    except OSError:
        return -1  # before Linux 5.3


def _current() -> Guard:
    global _guard
    if _guard is None or _guard.pid != os.getpid():
        _guard = Guard()
    return _guard


def _after_fork() -> None:
    global _guard, _lock
    _lock = RLock()
    if _guard is not None:
        _guard.drop()
        _guard = None


os.register_at_fork(after_in_child=_after_fork)


class Watched:
    """One entry of the guard. See `kernel.sites.Watch`."""

    def __init__(self, kind: str, fds: Sequence[int], facts: Mapping[str, Any]) -> None:
        global _guard
        with _lock:
            self._guard = _current()
            self._number = self._guard.number()
            try:
                self._guard.send("watch", self._number, kind, facts, fds)
            except KernelError:
                _guard = None  # the next one starts another
                raise
        self._over = False

    def set(self, **facts: Any) -> None:
        if not self._over and self._guard.pid == os.getpid():
            with _lock:
                self._guard.send("set", self._number, "", facts)

    def forget(self) -> None:
        if not self._over and self._guard.pid == os.getpid():
            self._over = True
            with _lock:
                self._guard.send("forget", self._number, "", {})
