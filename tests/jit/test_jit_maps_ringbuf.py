"""Ring buffers that native programs fill themselves: records, flags and positions as with the Python bodies."""

from __future__ import annotations

import random
import struct
import threading
import time
from pathlib import Path

import pytest

from bombus.compiler.build import build_file
from bombus.kernel.handles.ringbuf import RingBuffer
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.maps.ringbuf import RingBufMap
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.run import run_packet
from bombus.kernel.user.runbatch import native_program, run_packets
from bombus.loader.load import Loaded, load
from bombus.object.read import read_object

DATA = Path(__file__).parent / "data"
ENGINES = (("native", "native"), ("reference", "native"), ("fast", "python"), ("native", "python"))


@pytest.fixture(scope="module")
def built() -> bytes:
    return build_file(str(DATA / "ring.py"))


def ring_of(loaded: Loaded, kernel: UserKernel) -> RingBufMap:
    item = kernel.map_by_fd("test", loaded.maps["records"].fd)
    assert isinstance(item, RingBufMap)
    return item


def packet(what: int, flags: int, number: int) -> bytes:
    return bytes(16) + struct.pack("<IIQ", what, flags, number) + bytes(40)


def test_every_engine(built: bytes) -> None:
    rng = random.Random(3)
    steps = [(rng.choice((0, 0, 1, 2, 2, 3, 4, 5, 6, 9)), rng.choice((0, 0, 1, 2, 3, 4)), n) for n in range(900)]
    results = []
    for engine, maps in ENGINES:
        kernel = UserKernel("6.18", engine=engine, maps=maps)
        with load(read_object(built), kernel) as loaded:
            item = ring_of(loaded, kernel)
            assert (item.native is not None) == (maps == "native")
            seen: list[object] = []
            with RingBuffer(loaded.maps["records"]) as reader:
                for number, step in enumerate(steps):
                    seen.append(run_packet(kernel, loaded.programs["act"].fd, packet(*step)).verdict)
                    if number % 97 == 0:
                        seen.append(item.output(bytes(number % 50), 0))
                        seen.append(item.reserve(1 << 31))
                    if number % 450 == 449:
                        seen.append(reader.read())
                        seen.append(reader.positions)
                seen.append(reader.read())
                assert bytes(item.view[4096 + 8 : 8192]) == bytes(4096 - 8), "user space sees the position only"
            results.append(seen)
    assert results[0] == results[1] == results[2] == results[3]
    assert 77 in results[0], "it was full"


def test_threads_and_a_reader(built: bytes) -> None:
    """Four CPUs produce while user space reads: every record that went in comes out once, whole."""
    kernel = UserKernel("6.18", engine="native", cpus=4)
    with load(read_object(built), kernel) as loaded, RingBuffer(loaded.maps["records"]) as reader:
        prog = kernel.object("test", loaded.programs["act"].fd, "prog")
        assert isinstance(prog, Prog)
        native = native_program(prog)
        assert native is not None and not native.calls_python
        rng = random.Random(8)
        steps = [(rng.choice((0, 0, 1, 2)), 0, n + 1) for n in range(30_000)]
        found: list[bytes] = []
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                found.extend(reader.read())

        thread = threading.Thread(target=read)
        thread.start()
        verdicts = run_packets(kernel, prog, [packet(*step) for step in steps], threads=4)
        stop.set()
        thread.join()
        found += reader.read()
        wanted = {0: 1, 2: 0}
        sent = [n for (what, _, n), result in zip(steps, verdicts, strict=True) if result == wanted.get(what)]
        assert sorted(struct.unpack_from("<Q", record)[0] for record in found) == sorted(sent)
        assert len(sent) > 100 and {len(record) for record in found} <= {12, 16}


def test_a_waiting_reader_wakes(built: bytes) -> None:
    """Nobody calls Python when a native program submits."""
    kernel = UserKernel("6.18", engine="native")
    with load(read_object(built), kernel) as loaded:
        item = loaded.maps["records"]
        woken: list[list[int]] = []
        thread = threading.Thread(target=lambda: woken.append(kernel.wait([item.fd], 20)))
        thread.start()
        time.sleep(0.02)
        run_packets(kernel, loaded.programs["act"].fd, [packet(0, 0, 5)])
        thread.join()
        assert woken == [[item.fd]]
