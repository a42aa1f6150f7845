"""What a command and its children map, start and fork, told by perf's own records, so that addresses of processes that
are gone have names.

Fact: include/uapi/linux/perf_event.h (enum perf_event_type: PERF_RECORD_MMAP2, COMM, FORK).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from bombus.kernel.handles.perfbuf import PerfRing
from bombus.kernel.sites import PerfEvent
from bombus.symbols.texts import Mapping

if TYPE_CHECKING:
    from bombus.kernel.api import Kernel
    from bombus.symbols import Symbols

_SOFTWARE, _DUMMY = 1, 9
_COMM, _FORK, _MMAP2 = 3, 7, 10
_MMAP2_BODY = struct.Struct("=IIQQQIIQQII")  # pid, tid, addr, len, pgoff, maj, min, ino, generation, prot, flags
_FORK_BODY = struct.Struct("=IIIIQ")  # pid, ppid, tid, ptid, time
_COMM_EXEC = 1 << 13  # PERF_RECORD_MISC_COMM_EXEC
_PROT_EXEC = 4
_PAGES = 64


class Tracker:
    """Records of one task and what it forks, on every CPU. `drain` hands them to `symbols`."""

    def __init__(self, kernel: Kernel, pid: int, symbols: Symbols) -> None:
        self._kernel = kernel
        self._symbols = symbols
        self._rings: list[PerfRing] = []
        self.processes = {pid}
        event = PerfEvent(_SOFTWARE, _DUMMY, period=1, inherit=True, on_exec=True, track=True)
        try:
            for cpu in kernel.online_cpus:
                fd = kernel.sites.perf_open(event, pid=pid, cpu=cpu)
                try:
                    self._rings.append(PerfRing(fd, kernel.mmap(fd, (1 + _PAGES) * mmap.PAGESIZE), _PAGES))
                except BaseException:
                    kernel.close(fd)
                    raise
        except BaseException:
            self.close()
            raise

    def drain(self) -> None:
        """Take over the records that are there, in the order of their times."""
        found: list[tuple[int, Callable[[], None]]] = []
        for ring in self._rings:
            for kind, body in ring.records():
                action = self._action(kind, body)
                if action is not None:
                    found.append((int.from_bytes(body[-8:], "little"), action))
        for _, action in sorted(found, key=lambda pair: pair[0]):
            action()

    def _action(self, kind: int, body: bytes) -> Callable[[], None] | None:
        """What a record asks for. Each ends with its time (sample_id_all)."""
        symbols = self._symbols
        misc, kind = kind >> 32, kind & 0xFFFF_FFFF
        if kind == _MMAP2 and len(body) >= _MMAP2_BODY.size + 8:
            pid, _, start, size, offset, _, _, inode, _, protection, _ = _MMAP2_BODY.unpack_from(body)
            path = body[_MMAP2_BODY.size : -8].partition(b"\0")[0].decode(errors="surrogateescape")
            if protection & _PROT_EXEC and size:
                mapping = Mapping(start, start + size, True, offset, inode, path)
                return lambda: symbols.add_mapping(pid, mapping)
        elif kind == _FORK and len(body) >= _FORK_BODY.size:
            pid, parent, _, _, _ = _FORK_BODY.unpack_from(body)
            self.processes.add(pid)
            return lambda: symbols.fork(parent, pid)
        elif kind == _COMM and misc & _COMM_EXEC and len(body) >= 16:
            (pid,) = struct.unpack_from("=I", body)
            return lambda: symbols.exec(pid)
        return None

    def close(self) -> None:
        for ring in self._rings:
            self._kernel.close(ring.fd)
        self._rings.clear()

