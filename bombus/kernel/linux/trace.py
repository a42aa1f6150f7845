"""What bpf_printk writes, read from a tracefs instance of our own.

The helper fires the trace event bpf_trace:bpf_trace_printk. An instance that enables this event gets its own copy of
every line, so nobody else's trace_pipe loses anything.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import threading
import weakref
from pathlib import Path

from bombus.errors import KernelError
from bombus.kernel.linux.tracefs import ROOTS, private_mount
from bombus.kernel.printk import PrintkRow, RowParser

# "            python3-1234    [000] ...11   123.456: bpf_trace_printk: text"
_LINE = re.compile(r"^.*?-(\d+)\s+(?:\([-\d ]+\) )?\[\d+\]\s+\S+\s+[\d.]+: bpf_trace_printk: (.*)$")
_LOST = re.compile(r"^CPU:\d+ \[LOST \d+ EVENTS\]$")
_COUNTER = itertools.count()
_CHUNK = 1 << 16
MAX_READ = 16 << 20  # bytes of one `read`, so that a flood of other people's lines ends


class Printk:
    """A trace instance that exists until `close`. NotSupported without tracefs, KernelError when it refuses."""

    def __init__(self) -> None:
        root = next((r for r in ROOTS if (r / "instances").is_dir()), None)
        mount = -1
        if root is None:
            mount = private_mount()
            root = Path(f"/proc/self/fd/{mount}")
        path = root / "instances" / f"bombus-{os.getpid()}-{next(_COUNTER)}"
        fd = -1
        try:
            path.mkdir()
            (path / "events/bpf_trace/bpf_trace_printk/enable").write_text("1")
            fd = os.open(path / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.rmdir()
            if mount >= 0:
                os.close(mount)
            raise KernelError(error.errno or errno.EIO, "tracefs", str(error)) from None
        self.fd = fd
        self._threads: set[int] = set()
        self._rest = b""
        self._mine = False  # whether the line before was ours: text with newlines goes on without a prefix
        self._parser = RowParser()
        self._lock = threading.Lock()
        self._remove = weakref.finalize(self, _remove, path, fd, mount, os.getpid())

    def add_thread(self) -> None:
        """Lines of the calling thread are ours from now on."""
        self._threads.add(threading.get_native_id())

    def read(self) -> list[str]:
        """Our lines since the last call."""
        with self._lock:
            return self._ours(self._lines())

    def rows(self) -> list[PrintkRow]:
        """Everybody's lines since the last call: programs on shared hooks print in the name of any task."""
        with self._lock:
            return self._parser.rows(self._lines())

    def _lines(self) -> list[str]:
        """Whole lines that are there now."""
        data = self._rest
        while len(data) < MAX_READ:
            try:
                chunk = os.read(self.fd, _CHUNK)
            except BlockingIOError:
                break
            except OSError as error:
                raise KernelError(error.errno or errno.EIO, "trace_pipe", str(error)) from None
            if not chunk:
                break
            data += chunk
        complete, newline, self._rest = data.rpartition(b"\n")
        return complete.decode(errors="replace").split("\n") if newline else []

    def _ours(self, lines: list[str]) -> list[str]:
        threads = self._threads | _threads()
        found: list[str] = []
        for line in lines:
            match = _LINE.match(line)
            if match is not None:
                self._mine = int(match[1]) in threads
                if self._mine:
                    found.append(match[2])
            elif self._mine and line and not _LOST.match(line):
                found.append(line)
        return found

    def close(self) -> None:
        self._remove()


def _threads() -> set[int]:
    with contextlib.suppress(OSError, ValueError):
        return {int(name) for name in os.listdir("/proc/self/task")}
    return set()


def _remove(path: Path, fd: int, mount: int, owner: int) -> None:
    with contextlib.suppress(OSError):
        os.close(fd)
    if os.getpid() == owner:  # a forked child must not take its parent's instance away
        with contextlib.suppress(OSError):
            path.rmdir()
    if mount >= 0:
        with contextlib.suppress(OSError):
            os.close(mount)
