"""Profiles for google/pprof: profile.proto, gzip-compressed.

Fact: https://github.com/google/pprof/blob/main/proto/profile.proto (field numbers). The encoding is written here:
protocol buffers of integers and strings need no more than varints.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable

from bombus.profile.model import Profile
from bombus.symbols import Frame

_VARINT, _BYTES = 0, 2
_U64 = (1 << 64) - 1


def _varint(value: int) -> bytes:
    value &= _U64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value) if value else b""


def _message(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(data)) + data


def _packed(field: int, values: Iterable[int]) -> bytes:
    data = b"".join(map(_varint, values))
    return _message(field, data) if data else b""


class _Strings:
    def __init__(self) -> None:
        self.known = {"": 0}

    def __call__(self, text: str) -> int:
        return self.known.setdefault(text, len(self.known))


class _Tables:
    """Mappings, functions and locations, each once, with ids from 1."""

    def __init__(self, strings: _Strings) -> None:
        self.strings = strings
        self.mappings: dict[str, int] = {}
        self.functions: dict[tuple[str, str], int] = {}
        self.locations: dict[tuple[int, str, str], int] = {}
        self.out: list[bytes] = []

    def location(self, frame: Frame) -> int:
        key = (frame.address, frame.name, frame.module)
        found = self.locations.get(key)
        if found is not None:
            return found
        number = self.locations[key] = len(self.locations) + 1
        body = _number(1, number)
        if frame.module:
            body += _number(2, self.mapping(frame.module))
        body += _number(3, frame.address)
        if frame.known:
            body += _message(4, _number(1, self.function(frame)))
        self.out.append(_message(4, body))
        return number

    def mapping(self, module: str) -> int:
        number = self.mappings.get(module)
        if number is None:
            number = self.mappings[module] = len(self.mappings) + 1
            # has_functions: names are here, pprof need not look for the file.
            self.out.append(_message(3, _number(1, number) + _number(5, self.strings(module)) + _number(7, 1)))
        return number

    def function(self, frame: Frame) -> int:
        key = (frame.name, frame.module)
        number = self.functions.get(key)
        if number is None:
            number = self.functions[key] = len(self.functions) + 1
            name = self.strings(frame.name)
            self.out.append(_message(5, _number(1, number) + _number(2, name) + _number(3, name)
                                     + _number(4, self.strings(frame.module))))  # fmt: skip
        return number


def write_pprof(profile: Profile) -> bytes:
    """The compressed file. Values of a sample: how many, and the time (ns) or the events that they stand for."""
    strings = _Strings()
    tables = _Tables(strings)
    timed = bool(profile.frequency)
    unit = 1_000_000_000 // profile.frequency if profile.frequency else max(profile.period, 1)
    kind, kind_unit = ("cpu", "nanoseconds") if timed else (profile.event or "events", "count")
    head = _message(1, _number(1, strings("samples")) + _number(2, strings("count")))
    head += _message(1, _number(1, strings(kind)) + _number(2, strings(kind_unit)))
    samples: list[bytes] = []
    for stack in profile.stacks:
        body = _packed(1, [tables.location(frame) for frame in stack.frames])
        body += _packed(2, (stack.count, stack.count * unit))
        body += _message(3, _number(1, strings("comm")) + _number(2, strings(stack.comm)))
        body += _message(3, _number(1, strings("pid")) + _number(3, stack.pid))
        body += _message(3, _number(1, strings("tid")) + _number(3, stack.tid))
        samples.append(_message(2, body))
    tail = _number(9, int(profile.start * 1e9)) + _number(10, int(profile.seconds * 1e9))
    tail += _message(11, _number(1, strings(kind)) + _number(2, strings(kind_unit))) + _number(12, unit)
    table = b"".join(_message(6, text.encode("utf-8", "replace")) for text in strings.known)
    return gzip.compress(head + b"".join(samples) + b"".join(tables.out) + table + tail, mtime=0)
