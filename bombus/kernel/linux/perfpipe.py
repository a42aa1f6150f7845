"""Perf buffers with time stamps: what programs write with bpf_perf_event_output, one ring for each CPU.

Source: include/uapi/linux/perf_event.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bombus.errors import FormatError, KernelError
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.linux.syscall import libc, numbers

_SOFTWARE, _BPF_OUTPUT = 1, 10  # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_BPF_OUTPUT
_RAW, _TIME = 1 << 10, 1 << 2  # PERF_SAMPLE_RAW, PERF_SAMPLE_TIME
_ENABLE = 0x2400  # PERF_EVENT_IOC_ENABLE
_CLOEXEC = 8  # PERF_FLAG_FD_CLOEXEC
# type, size, config, sample_period, sample_type, read_format, flags, wakeup_events, bp_type
_ATTR = struct.Struct("=IIQQQQQII")
_PAGES = 16
_HEAD, _TAIL = 1024 // 8, 1032 // 8  # u64 index in struct perf_event_mmap_page
LOST, SAMPLE = 2, 9  # PERF_RECORD_LOST, PERF_RECORD_SAMPLE


@dataclass(frozen=True, slots=True)
class Record:
    """One record. type: PERF_RECORD_*; time: ns of the clock that perf uses; lost, id: of PERF_RECORD_LOST."""

    type: int
    cpu: int
    size: int
    time: int = 0
    data: bytes = b""
    lost: int = 0
    id: int = 0


class PerfPipe:
    """Rings of some CPUs, stored in a perf event array. `close` takes them out again."""

    def __init__(self, kernel: LinuxKernel, map_fd: int, places: list[tuple[int, int]]) -> None:
        """places: (CPU, index in the map)."""
        self.kernel = kernel
        self._map = map_fd
        self._places: list[tuple[int, int, int, memoryview]] = []
        try:
            for cpu, index in places:
                fd = _open(cpu)
                try:
                    view = kernel.mmap(fd, (_PAGES + 1) * mmap.PAGESIZE)
                    kernel.bpf(Attr("BPF_MAP_UPDATE_ELEM", map_fd=map_fd, key=index.to_bytes(4, "little"),
                                    value=bytearray(fd.to_bytes(4, "little"))))  # fmt: skip
                    fcntl.ioctl(fd, _ENABLE, 0)
                except BaseException:
                    os.close(fd)
                    raise
                self._places.append((cpu, index, fd, view))
        except BaseException:
            self.close()
            raise

    def read(self, timeout: float | None) -> Iterator[tuple[int, Record]]:
        """(index, record) of all that is there, after waiting at most `timeout` seconds for some."""
        ready = set(self.kernel.wait([fd for _, _, fd, _ in self._places], timeout))
        for cpu, index, fd, view in self._places:
            if fd in ready:
                for record in _records(cpu, view):
                    yield index, record

    def close(self) -> None:
        for _, index, fd, view in self._places:
            try:
                self.kernel.bpf(Attr("BPF_MAP_DELETE_ELEM", map_fd=self._map, key=index.to_bytes(4, "little")))
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
            finally:
                view.release()
                os.close(fd)
        self._places.clear()


def online_cpus() -> list[int]:
    """Numbers of the CPUs that run."""
    text = Path("/sys/devices/system/cpu/online").read_text().strip()
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _open(cpu: int) -> int:
    attr = bytearray(112)
    _ATTR.pack_into(attr, 0, _SOFTWARE, len(attr), _BPF_OUTPUT, 1, _RAW | _TIME, 0, 0, 1, 0)
    fd: int = libc().syscall(
        numbers().perf_event_open, ctypes.byref((ctypes.c_char * len(attr)).from_buffer(attr)), ctypes.c_long(-1),
        ctypes.c_long(cpu), ctypes.c_long(-1), ctypes.c_ulong(_CLOEXEC),
    )  # fmt: skip
    if fd < 0:
        raise KernelError(ctypes.get_errno(), "perf_event_open", f"BPF output on CPU {cpu}")
    return fd


def _records(cpu: int, view: memoryview) -> Iterator[Record]:
    words = view.cast("Q")
    ring = view[mmap.PAGESIZE :]
    size = len(ring)
    head, tail = words[_HEAD], words[_TAIL]
    try:
        while tail < head:
            at = tail % size
            kind, _misc, length = struct.unpack("=IHH", _bytes(ring, at, 8))
            if length < 8:
                raise FormatError(f"perf record of {length} bytes")
            body = _bytes(ring, (at + 8) % size, length - 8)
            tail += length
            if kind == SAMPLE:
                time, count = struct.unpack_from("=QI", body)
                yield Record(kind, cpu, length, time, body[12 : 12 + count])
            elif kind == LOST:
                number, lost = struct.unpack_from("=QQ", body)
                yield Record(kind, cpu, length, lost=lost, id=number)
            else:
                yield Record(kind, cpu, length)
    finally:
        words[_TAIL] = tail
        words.release()
        ring.release()


def _bytes(ring: memoryview, at: int, count: int) -> bytes:
    first = bytes(ring[at : at + count])
    return first + bytes(ring[: count - len(first)])
