"""Text files that name addresses: /proc/kallsyms, /proc/PID/maps, /tmp/perf-PID.map. Lines that are none are skipped:
these files are written by kernels and JITs while we read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_KALLSYMS = re.compile(rb"^([0-9a-f]{1,16}) [tTwW] (\S+)(?:[ \t]+\[([^\]\n]+)\])?$", re.M)
_PERF_MAP = re.compile(rb"^(?:0[xX])?([0-9a-fA-F]{1,16}) (?:0[xX])?([0-9a-fA-F]{1,16}) (.+)$", re.M)
_MAPS = re.compile(
    rb"^([0-9a-f]{1,16})-([0-9a-f]{1,16}) (....) ([0-9a-f]{1,16}) ([0-9a-f]+):([0-9a-f]+) (\d+)(?: +(.*))?$", re.M
)
_ESCAPE = re.compile(r"\\(\d{3})")


def kallsyms(data: bytes) -> Iterator[tuple[int, str, str]]:
    """(address, name, module) of functions; module "" for the kernel itself. Hidden addresses (0) are left out."""
    for address, name, module in _KALLSYMS.findall(data):
        number = int(address, 16)
        if number:
            yield number, name.decode(errors="replace"), module.decode(errors="replace")


def perf_map(data: bytes) -> Iterator[tuple[int, int, str]]:
    """(start, size, name) of what a JIT made. Linux 6.12 tools/perf/Documentation/jit-interface.txt."""
    for start, size, name in _PERF_MAP.findall(data):
        yield int(start, 16), int(size, 16), name.decode(errors="replace").strip()


class Mapping(NamedTuple):
    """A row of /proc/PID/maps. offset: of the file at `start`."""

    start: int
    end: int
    executable: bool
    offset: int
    inode: int
    path: str


def maps(data: bytes) -> Iterator[Mapping]:
    """Rows of /proc/PID/maps."""
    for start, end, flags, offset, _major, _minor, inode, path in _MAPS.findall(data):
        first, last = int(start, 16), int(end, 16)
        if last > first:
            text = _ESCAPE.sub(lambda match: chr(int(match[1], 8) & 0xFF), path.decode(errors="surrogateescape"))
            yield Mapping(first, last, b"x" in flags, int(offset, 16), int(inode), text)
