"""What the guard's process runs: it waits for the end of the process that it was started for, and undoes what is left.

A script for `python -I -S`, so it imports little until it has something to watch. See `guard`.

Its arguments: descriptors of a socket for messages and of the owner's pidfd (-1: there is none, and the socket's end
says it), and the directory that the package is in. A message is (count, what, number, kind, facts) as marshal has
it, with the descriptors that go with it; the answer is its count.
"""

from __future__ import annotations

import _socket
import marshal
import os
import select
import signal
import sys
from array import array
from typing import Any

_FDS = 16  # no message has more
_SIZE = 1 << 16
_IDLE = 50  # ms
Entry = tuple[str, dict[str, Any], list[int]]


def receive(control: _socket.socket, flags: int = 0) -> tuple[Any, list[int]] | None:
    """The next message and its descriptors; None at the end. BlockingIOError when there is none yet."""
    data, more, _, _ = control.recvmsg(_SIZE, _socket.CMSG_SPACE(4 * _FDS), flags | _socket.MSG_CMSG_CLOEXEC)
    fds = array("i")
    for level, kind, raw in more:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
    return (marshal.loads(data), list(fds)) if data else None


def obey(entries: dict[int, Entry], message: Any, fds: list[int]) -> None:
    """Do what a message says: watch, set or forget an entry."""
    _, what, number, kind, facts = message
    if what == "watch":
        entries[number] = (kind, facts, fds)
    elif what == "set" and number in entries:
        entries[number][1].update(facts)
    elif what == "forget" and number in entries:
        for fd in entries.pop(number)[2]:
            os.close(fd)


def wait(control: _socket.socket, owner: int, entries: dict[int, Entry], package: str) -> None:
    """Until the owner is gone. Its last messages count."""
    poll = select.poll()
    for fd in (control.fileno(), owner):
        if fd >= 0:
            poll.register(fd, select.POLLIN)
    ready = False
    while True:
        # All of what undoing needs: its files may be gone when the time comes. Not while the owner waits for an answer.
        woken = [fd for fd, _ in poll.poll(_IDLE if entries and not ready else None)]
        if not woken:
            ready = True
            sys.path.insert(0, package)
            import bombus.kernel.linux.undo  # noqa: F401
        if control.fileno() in woken and owner not in woken:
            found = receive(control)
            if found is None:
                if owner < 0:
                    return
                poll.unregister(control.fileno())  # it closed it, or runs another program now, and lives
                continue
            obey(entries, *found)
            try:
                control.send(found[0][0].to_bytes(8, sys.byteorder))
            except OSError:
                continue  # it dies
        elif owner in woken:
            try:
                while (found := receive(control, _socket.MSG_DONTWAIT)) is not None:
                    obey(entries, *found)
            except OSError:
                return
            return


def main() -> None:
    control, owner, package = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if os.fork():
        os._exit(0)  # so that the owner has no child that it does not know of
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        with open("/proc/self/comm", "w") as comm:
            comm.write("bombus-guard")
    except OSError:
        pass  # only to be known by
    entries: dict[int, Entry] = {}
    wait(_socket.socket(fileno=control), owner, entries, package)
    if entries:
        if package not in sys.path:
            sys.path.insert(0, package)
        from bombus.kernel.linux.undo import undo_all

        undo_all(list(entries.values()))


if __name__ == "__main__":
    main()
