"""Captures that are read once, chunk by chunk: the same outcome as packet after packet."""

from __future__ import annotations

import itertools
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_jit_batch import SOURCE, packets, pcap, pcapng

from bombus.capture import open_capture
from bombus.compiler.assembly import build_file
from bombus.errors import CaptureError
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.replay import replay
from bombus.replay.stream import Stream


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "prog.S"
    path.write_text(SOURCE)
    return path


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def outcome(engine: str, source: Path, path: Path, *, once: bool) -> tuple[object, ...]:
    with load(read_object(build_file(str(source))), UserKernel("6.18", engine=engine)) as done:
        capture = open_capture(path, once=once)
        found = replay(done, "prog", capture)
    return found.total, found.verdicts, found.skipped, found.cut, found.truncated, found.ran, capture.position


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.parametrize("chunk", [4096, 20_000, 1 << 21])
@pytest.mark.parametrize("case", ["plain", "odd", "big endian", "cut off", "empty", "long record", "long ones"])
def test_captures(
    case: str, chunk: int, cpus: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.pcap"
    match case:
        case "plain":
            pcap(path, packets(2000))
        case "odd":
            pcap(path, packets(2000, (0, 3, 13, 14, 15, 60, 3520, 3521, 9000)), cut=7)
        case "big endian":
            pcap(path, packets(50), order=">")
        case "cut off":
            pcap(path, packets(100), tail=struct.pack("<IIII", 1, 1, 100, 100) + bytes(99))
        case "empty":
            pcap(path, [], tail=b"short")
        case "long record":
            pcap(path, packets(3), tail=struct.pack("<IIII", 1, 1, 0xFFFF_FFF0, 100) + bytes(3000))
        case _:  # longer than a chunk, than what goes over its end, and than several chunks
            pcap(path, packets(60, (60, 5000, 300_000, 700_000)), cut=3)
    expected = outcome("fast", source, path, once=False)
    monkeypatch.setattr("bombus.replay.batch._STREAMED", chunk)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cpus)))
    assert outcome("native", source, path, once=True) == expected


@pytest.mark.parametrize("linktype", [1, 101])
def test_pcapng(linktype: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pcapng(tmp_path / "in.pcapng", packets(2000, (0, 14, 60, 1500, 9000)), linktype=linktype)
    expected = outcome("fast", source, path, once=False)
    for chunk in (4096, 1 << 20):
        monkeypatch.setattr("bombus.replay.batch._STREAMED", chunk)
        assert outcome("native", source, path, once=True) == expected
    path = pcapng(path, packets(10, (60,)), broken=True)
    with pytest.raises(CaptureError, match="at its end"):
        outcome("native", source, path, once=True)


def test_engines_without_native_code_map_it(source: Path, tmp_path: Path) -> None:
    path = pcap(tmp_path / "in.pcap", packets(50))
    assert outcome("fast", source, path, once=True) == outcome("fast", source, path, once=False)


def bytes_of(path: Path, size: int, chunk: int, rooms: int, start: int = 0) -> bytes:
    found = b""
    views = [memoryview(bytearray(chunk)) for _ in range(rooms)]
    with path.open("rb") as file, Stream(file.fileno(), start, size, views) as stream:
        held: list[int] = []
        while (got := stream.take()) is not None:
            room, first, count = got
            assert first == start + len(found)
            found += bytes(views[room][:count])
            held.append(room)
            if len(held) > 1:  # one stays back, as the last bytes of a chunk do
                stream.give_back(held.pop(0))
    return found


@pytest.mark.parametrize("cpus", [1, 2])
def test_streams(cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cpus)))
    path = tmp_path / "file"
    data = bytes(number * 7 % 251 for number in range(10_000))
    path.write_bytes(data)
    for chunk, rooms, start in itertools.product((1, 64, 999, 10_000, 20_000), (2, 4), (0, 24, 10_000)):
        if chunk > 1 or start:
            assert bytes_of(path, len(data), chunk if chunk > 1 else 64, rooms, start) == data[start:]
    with pytest.raises(CaptureError, match="shorter"):
        bytes_of(path, len(data) + 1, 1000, 4)


def test_a_stream_that_is_left(tmp_path: Path) -> None:
    """Who takes only the first chunk, or none, waits for nobody."""
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))
    for count in range(3):
        views = [memoryview(bytearray(1000)) for _ in range(4)]
        with path.open("rb") as file, Stream(file.fileno(), 0, 100_000, views) as stream:
            for _ in range(count):
                stream.take()


def test_an_error_of_reading(tmp_path: Path) -> None:
    views = [memoryview(bytearray(1000)) for _ in range(4)]
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError), Stream(handle, 0, 5000, views) as stream:
            stream.take()
    finally:
        os.close(handle)
