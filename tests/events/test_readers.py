"""Readers of ring and perf buffers on both kernels: every way to read sees the same events, and none is lost unseen."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mmap
import os
import random
import threading
from typing import Any

import numpy as np
import pytest
from emitters import Emitter, event_bytes, event_layout, sizes

from bombus.bits import align_up
from bombus.errors import FormatError, KernelError, NotSupported, UsageError
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Map, PerfBuffer, Readers, RingBuffer, UserRing
from bombus.kernel.linux.kernel import LinuxKernel, cpu_list
from bombus.kernel.user.kernel import UserKernel

LAYOUT = event_layout()


@pytest.fixture
def ring(kernel: Kernel) -> Any:
    with Map.create(kernel, "ringbuf", 0, 0, 4096) as item:
        yield item


def test_every_size_and_wrap(kernel: Kernel, ring: Map) -> None:
    """Many times around the ring with events of all sizes, also empty ones."""
    emitter = Emitter(kernel, ring)
    with RingBuffer(ring) as reader:
        sent: list[bytes] = []
        for i, size in enumerate(sizes(1, 300)):
            data = bytes([i & 0xFF]) * size
            emitter.send(data)
            sent.append(data)
            if i % 7 == 6:
                assert reader.read() == sent
                sent.clear()
        assert reader.read() == sent and emitter.failed == 0 and reader.received == 300 and reader.pending == 0


def test_records_and_arrays(kernel: Kernel, ring: Map) -> None:
    emitter = Emitter(kernel, ring)
    with RingBuffer(ring, LAYOUT) as reader:
        for number in range(100):
            emitter.send(event_bytes(number))
        records = reader.records(40)
        assert [r.number for r in records] == list(range(40)) and records[3].comm == "c3     "
        assert type(records[0]).__name__ == "event" and records[7] == {
            "number": 7, "pid": 7, "comm": "c7     ", "more": int.from_bytes(b"more", "little"),
        }  # fmt: skip
        array = reader.array(30)
        assert array.dtype.names == ("number", "pid", "comm", "more") and list(array["number"]) == list(range(40, 70))
        assert array["comm"][1] == b"c41     "[:7]
        (rest,) = reader.arrays(0)
        assert list(rest["pid"]) == list(range(70, 100)) and len(reader.array()) == 0
        assert reader.received == 100 and reader.short == 0
        rest["pid"][0] = 1  # an array of its own, not the ring's memory
    with pytest.raises(UsageError):
        RingBuffer(ring).array()


def test_mixed_sizes_in_arrays(kernel: Kernel, ring: Map) -> None:
    emitter = Emitter(kernel, ring)
    with RingBuffer(ring, LAYOUT) as reader:
        want: list[int] = []
        for i, size in enumerate(sizes(2, 400, 60)):
            emitter.send((event_bytes(i) + bytes(100))[:size])
            if size >= LAYOUT.size:
                want.append(i)
            if i % 23 == 22:
                assert list(reader.array()["number"]) == want
                want.clear()
        assert list(reader.array()["number"]) == want
        assert reader.received == 400 and 0 < reader.short < 400
        for _ in range(5):
            emitter.send(event_bytes(3), 9)
            emitter.send(b"short", 20)
            assert list(reader.array()["number"]) == [3] * 9


def test_short_events_are_bytes(kernel: Kernel, ring: Map) -> None:
    emitter = Emitter(kernel, ring)
    with RingBuffer(ring, LAYOUT) as reader:
        emitter.send(b"short")
        emitter.send(event_bytes(5))
        short, whole = reader.poll(1)
        assert short == b"short" and whole.number == 5


def test_payloads_of_any_length(kernel: Kernel, ring: Map) -> None:
    from bombus.btf.ctext import type_of
    from bombus.btf.data import layout_of

    emitter = Emitter(kernel, ring)
    with RingBuffer(ring, layout_of(*type_of("struct line { u32 length; char text[0]; }"))) as reader:
        for length in (0, 1, 5, 100):
            emitter.send(length.to_bytes(4, "little") + b"x" * length)
        assert [(line.length, len(line.text)) for line in reader.records()] == [(0, 0), (1, 1), (5, 5), (100, 100)]


def test_full_ring_counts_exactly(kernel: Kernel, ring: Map) -> None:
    emitter = Emitter(kernel, ring)
    with RingBuffer(ring, LAYOUT) as reader:
        emitter.send(event_bytes(1), 500)
        got = len(reader.records())
        assert got == 127 and emitter.failed == 500 - got
        emitter.send(event_bytes(1))
        assert len(reader.array()) == 1 and reader.received + emitter.failed == 501
        consumer, producer = reader.positions
        assert consumer == producer == 128 * 32


def test_callbacks_and_iteration(kernel: Kernel, ring: Map) -> None:
    emitter = Emitter(kernel, ring)
    with RingBuffer(ring, LAYOUT) as reader:
        seen: list[int] = []
        assert reader.consume(lambda event: seen.append(event.number)) == 0
        for number in range(10):
            emitter.send(event_bytes(number))
        assert reader.consume(lambda event: seen.append(event.number), limit=4) == 4 and seen == [0, 1, 2, 3]
        assert [event.number for event in reader.events()] == [4, 5, 6, 7, 8, 9]
        assert list(reader.events(0.02)) == []
        emitter.send(event_bytes(77))
        for event in reader:
            assert event.number == 77
            break

        def bad(event: Any) -> None:
            raise RuntimeError("mine")

        emitter.send(event_bytes(78))
        with pytest.raises(RuntimeError, match="mine"):
            reader.consume(bad)


def test_waiting_wakes_up(kernel: Kernel, ring: Map) -> None:
    emitter = Emitter(kernel, ring)
    with RingBuffer(ring, LAYOUT) as reader:
        timer = threading.Timer(0.05, emitter.send, (event_bytes(9),))
        timer.start()
        assert [event.number for event in reader.poll(10)] == [9]
        timer.join()


def test_asyncio(kernel: Kernel, ring: Map) -> None:
    emitter = Emitter(kernel, ring)

    async def consume(reader: RingBuffer, count: int) -> list[int]:
        found: list[int] = []
        async for event in reader:
            found.append(event.number)
            if len(found) == count:
                break
        return found

    async def main() -> list[int]:
        with RingBuffer(ring, LAYOUT) as reader:
            task = asyncio.create_task(consume(reader, 6))
            for number in range(6):
                await asyncio.sleep(0.01)
                emitter.send(event_bytes(number))
            found = await asyncio.wait_for(task, 10)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.wait_async(), 0.02)
            return found

    assert asyncio.run(main()) == list(range(6))


def test_several_at_once(kernel: Kernel) -> None:
    with Map.create(kernel, "ringbuf", 0, 0, 4096) as first, Map.create(kernel, "ringbuf", 0, 0, 8192) as second, \
            Map.create(kernel, "perf_event_array", 4, 4, 64) as third:  # fmt: skip
        emitters = [Emitter(kernel, item) for item in (first, second, third)]
        with Readers({"a": RingBuffer(first, LAYOUT), "b": RingBuffer(second), "c": PerfBuffer(third)}) as readers:
            assert readers.poll(0.01) == []
            for emitter in emitters:
                emitter.send(event_bytes(3))
            found = dict(readers.poll(5))
            assert found["a"].number == 3 and found["b"] == event_bytes(3) and found["c"][:24] == event_bytes(3)
            emitters[1].send(b"x")
            seen: list[Any] = []
            assert readers.consume(lambda name, event: seen.append((name, event)), 5) == 1 and seen == [("b", b"x")]

            async def one() -> Any:
                async for pair in readers:
                    return pair
                return None

            emitters[1].send(b"y")
            assert asyncio.run(one()) == ("b", b"y")
            assert list(readers.events()) == []
    with pytest.raises(UsageError):
        Readers({})


def test_perf_buffer_loses_exactly(kernel: Kernel) -> None:
    with Map.create(kernel, "perf_event_array", 4, 4, 64) as item:
        emitter = Emitter(kernel, item)
        with PerfBuffer(item, LAYOUT, pages=1) as reader:
            assert reader.cpus == [cpu for cpu in kernel.online_cpus if cpu < 64] and reader.lost == 0
            emitter.send(event_bytes(4), 300)
            got = reader.records()
            assert 0 < len(got) <= 2 * 102 and got[0].number == 4
            assert emitter.failed == 300 - len(got)
            if kernel.name == "user" or kernel.version >= LinuxKernel().version.parse("6.0"):
                assert reader.lost == 300 - len(got), "counted also while no later event tells of it"
            emitter.send(event_bytes(5), 7)
            array = reader.array()
            assert list(array["number"]) == [5] * 7 and reader.received == len(got) + 7
        assert reader.lost == 300 - len(got)


def test_perf_events_of_all_sizes(kernel: Kernel) -> None:
    with Map.create(kernel, "perf_event_array", 4, 4, 64) as item:
        emitter = Emitter(kernel, item)
        with PerfBuffer(item, LAYOUT, pages=2) as reader:
            for i, size in enumerate(sizes(5, 120)):
                data = bytes([i & 0xFF]) * size
                emitter.send(data)
                ((cpu, got),) = reader.read_cpus()
                assert got[:size] == data and (len(got) + 4) % 8 == 0 and cpu in reader.cpus
            emitter.send(b"short")
            emitter.send(event_bytes(8))
            emitter.send(event_bytes(9) + bytes(9))
            assert list(reader.array()["number"]) == [8, 9] and reader.short == 1


def test_perf_wakeup(kernel: Kernel) -> None:
    with Map.create(kernel, "perf_event_array", 4, 4, 64) as item:
        emitter = Emitter(kernel, item)
        if kernel.name == "linux":
            os.sched_setaffinity(0, {min(kernel.online_cpus)})
        try:
            with PerfBuffer(item, pages=8, wakeup=5) as reader:
                emitter.send(event_bytes(1), 4)
                assert not reader.wait(0)
                emitter.send(event_bytes(1))
                assert reader.wait(1) and len(reader.read()) == 5
        finally:
            if kernel.name == "linux":
                os.sched_setaffinity(0, kernel.online_cpus)
        with pytest.raises(UsageError):
            PerfBuffer(item, wakeup=0)


@pytest.mark.linux
def test_sparse_cpus(linux_kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU numbers with gaps, some beyond the map."""
    last = max(linux_kernel.online_cpus)
    monkeypatch.setattr(LinuxKernel, "online_cpus", property(lambda self: (last, 4600, 5000)))
    with Map.create(linux_kernel, "perf_event_array", 4, 4, 4500) as item, PerfBuffer(item) as reader:
        assert reader.cpus == [last]
    assert cpu_list("0-3,8-9,12\n") == (0, 1, 2, 3, 8, 9, 12) and cpu_list("") == () and cpu_list("x-") == ()


def test_fork(kernel: Kernel, ring: Map) -> None:
    """A child may not consume its parent's events, and its exit takes nothing away."""
    emitter = Emitter(kernel, ring)
    with Map.create(kernel, "perf_event_array", 4, 4, 64) as item:
        perf_emitter = Emitter(kernel, item)
        with RingBuffer(ring) as reader, PerfBuffer(item) as perf:
            emitter.send(b"one")
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    for one in (reader, perf):
                        try:
                            one.read()
                        except UsageError:
                            code = 0
                        one.close()
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            assert reader.read() == [b"one"]
            perf_emitter.send(b"two")
            assert perf.read()[0][:3] == b"two"


# Hostile rings: a kernel that shows what it likes


class FakeKernel(UserKernel):
    """Ring memory that the test writes."""

    pages: bytearray

    def mmap(self, fd: int, length: int, offset: int = 0, *, writable: bool = True) -> memoryview:
        view = memoryview(self.pages)[offset : offset + length]
        return view if writable else view.toreadonly()


def fake_ring(size: int = 4096) -> tuple[FakeKernel, Map, Any, memoryview]:
    fake = FakeKernel()
    item = Map.create(fake, "ringbuf", 0, 0, size)
    fake.pages = bytearray(2 * mmap.PAGESIZE + 2 * size)
    words = memoryview(fake.pages).cast("Q")
    return fake, item, words, memoryview(fake.pages)[2 * mmap.PAGESIZE :].cast("I")


PRODUCER = mmap.PAGESIZE // 8


@pytest.mark.parametrize("way", ["read", "records", "array"])
@pytest.mark.parametrize(
    ("consumer", "producer", "headers", "text"),
    [
        (0, 32, {0: 4096}, "4096 bytes"),
        (0, 32, {0: 0x3FFF_FFFF}, "record of"),
        (0, 32, {0: 0x7FFF_FFFF}, "record of"),
        (0, 32, {0: 25}, "25 bytes"),
        (64, 32, {}, "before 64"),
        (0, 1 << 63, {}, "positions"),
        (0, 4104, {}, "positions"),
        (4, 8, {}, "positions"),
        (0, 12, {}, "positions"),
        (0, 64, {0: 24, 8: 100}, "100 bytes"),
        (0, 64, {0: 24, 8: 0x4000_0064}, "100 bytes"),
    ],
)
def test_corrupt_rings(consumer: int, producer: int, headers: dict[int, int], text: str, way: str) -> None:
    _, item, words, data = fake_ring()
    words[0], words[PRODUCER] = consumer, producer
    for at, header in headers.items():
        data[at] = header
    with RingBuffer(item, LAYOUT) as reader:
        with pytest.raises(FormatError, match=text):
            getattr(reader, way)()
        if headers and 0 in headers and headers[0] == 24 and way != "array":
            assert words[0] == 32, "the good record before is consumed"


def test_producer_goes_backwards() -> None:
    _, item, words, data = fake_ring()
    with RingBuffer(item) as reader:
        data[0] = data[8] = 24
        words[PRODUCER] = 64
        assert len(reader.read(1)) == 1
        words[PRODUCER] = 32
        with pytest.raises(FormatError, match="before 64"):
            reader.read()


def test_busy_and_discarded() -> None:
    busy, discarded = 1 << 31, 1 << 30
    for way in ("read", "records", "array"):
        _, item, words, data = fake_ring()
        with RingBuffer(item, LAYOUT) as reader:
            for at, header in enumerate((24, 24 | discarded, 24, 24 | busy, 24 | discarded)):
                data[8 * at] = header
            words[PRODUCER] = 5 * 32
            assert len(getattr(reader, way)()) == 2 and reader.discarded == 1 and words[0] == 96
            assert len(getattr(reader, way)()) == 0
            data[24] = 24
            assert len(getattr(reader, way)()) == 1 and reader.discarded == 2 and words[0] == 160
            assert reader.received == 3


def test_random_rings_never_crash() -> None:
    randomly = random.Random(7)
    for _ in range(300):
        _, item, words, data = fake_ring()
        for at in range(0, len(data), 2):
            data[at] = randomly.choice((0, 8, 24, 24, 1 << 30, 24 | 1 << 30, 24 | 1 << 31, randomly.getrandbits(32)))
        words[0] = randomly.choice((0, 8, 4096, randomly.getrandbits(12)))
        words[PRODUCER] = words[0] + randomly.choice((0, 32, 512, 4096, randomly.getrandbits(13)))
        with RingBuffer(item, LAYOUT) as reader:
            for way in ("array", "records", "read"):
                with contextlib.suppress(FormatError):
                    getattr(reader, way)(randomly.choice((None, 1, 50)))
                assert words[0] <= words[PRODUCER]


def fake_perf(data_size: int = 4096) -> tuple[Any, Map, Any, memoryview]:
    fake = FakeKernel(cpus=1)
    item = Map.create(fake, "perf_event_array", 4, 4, 1)
    fake.pages = bytearray(mmap.PAGESIZE + data_size)
    words = memoryview(fake.pages).cast("Q")
    words[1040 // 8], words[1048 // 8] = mmap.PAGESIZE, data_size
    return fake, item, words, memoryview(fake.pages)[mmap.PAGESIZE :]


@pytest.mark.parametrize(
    ("head", "tail", "data", "text"),
    [
        (16, 0, b"\x09\0\0\0\0\0\x04\0", "4 bytes"),
        (16, 0, b"\x09\0\0\0\0\0\x18\0", "24 bytes"),
        (16, 0, b"\x09\0\0\0\0\0\x10\0\xff\0\0\0", "sample of 255"),
        (4104, 0, b"", "positions"),
        (8, 16, b"", "before 16"),
        (20, 0, b"\x09\0\0\0\0\0\x10\0\1\0\0\0", "4 bytes are no record"),
        (13, 3, b"", "positions"),
    ],
)
def test_corrupt_perf_rings(head: int, tail: int, data: bytes, text: str) -> None:
    _, item, words, view = fake_perf()
    with PerfBuffer(item, pages=1) as reader:
        words[128], words[129] = head, tail
        view[: len(data)] = data
        with pytest.raises(FormatError, match=text):
            reader.read()


def test_perf_header_lies() -> None:
    _, item, words, _ = fake_perf()
    words[1048 // 8] = 1 << 20
    with pytest.raises(FormatError, match="mapped"):
        PerfBuffer(item, pages=1)


# The other direction


def test_user_ring_reserve(kernel: Kernel) -> None:
    with Map.create(kernel, "user_ringbuf", 0, 0, 4096) as item:
        ring = UserRing(item, LAYOUT)
        first, second = ring.reserve(8), ring.reserve(0)
        assert ring.room == 4096 - 24
        first.data[:] = b"contents"
        second.discard()
        first.submit()
        with pytest.raises(UsageError):
            first.submit()
        with ring.reserve(3) as sample:
            sample.data[:] = b"abc"
        with pytest.raises(RuntimeError), ring.reserve(3):
            raise RuntimeError
        ring.send({"number": 1, "comm": "x"})
        assert ring.room == 4096 - 24 - 16 - 16 - 32
        with pytest.raises(UsageError):
            ring.reserve(-1)
        with pytest.raises(UsageError):
            UserRing(item).send({"number": 1})
        with pytest.raises(KernelError) as caught:
            ring.reserve(4020, timeout=0.01)
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(KernelError) as caught:
            ring.reserve(4096)
        assert caught.value.errno == errno.E2BIG


def drain_program(kernel: Kernel, item: Map, counter: Map) -> Any:
    """bpf_user_ringbuf_drain(item, callback, 0, 0), where the callback counts."""
    from bombus.btf.build import Builder
    from bombus.btf.types import Func, FuncProto, Int, Param
    from bombus.isa import build as b
    from bombus.isa.insn import Insn
    from bombus.isa.opcodes import LD_IMM64
    from bombus.kernel.handles import Btf, Program

    builder = Builder()
    builder.add(Int("int", 4))
    builder.add(FuncProto(1, ()))
    builder.add(FuncProto(1, (Param("a", 1), Param("b", 1))))
    builder.add(Func("main", 2, 0))
    builder.add(Func("callback", 3, 0))
    btf = Btf.load(kernel, builder.to_bytes())
    main = b.program(
        b.ld_imm64(1, item.fd, 1), Insn(LD_IMM64, 2, 4, 0, 4), Insn(0), b.mov(3, 0), b.mov(4, 0), b.call(209),
        b.exit_(),
    )  # fmt: skip
    callback = b.program(b.ld_imm64(1, counter.fd, 2), b.mov(2, 1), b.atomic(0, "u64", 1, 0, 2), b.mov(0, 0), b.exit_())
    main[2] = main[2]._replace(imm=len(main) - 3)
    info = b"".join(n.to_bytes(4, "little") for n in (0, 4, len(main), 5))
    return Program.load(
        kernel, "xdp", main + callback, prog_btf_fd=btf.fd, func_info=info, func_info_rec_size=8, func_info_cnt=2
    )


@pytest.mark.linux
def test_user_ring_waits_for_the_program(linux_kernel: LinuxKernel) -> None:
    with Map.create(linux_kernel, "user_ringbuf", 0, 0, 4096) as item, \
            Map.create(linux_kernel, "array", 4, 8, 1) as counter:  # fmt: skip
        program = drain_program(linux_kernel, item, counter)
        ring = UserRing(item)
        for _ in range(170):
            ring.send(bytes(16))
        with ring.reserve(8) as sample:
            sample.data[:] = bytes(8)
        assert ring.room == 0
        timer = threading.Timer(0.05, lambda: program.test_run(bytes(64)))
        timer.start()
        ring.send(b"after", timeout=10)
        timer.join()
        program.test_run(bytes(64))
        assert counter[0] == 172 and ring.room == 4096


def test_batches_of_types_without_a_dtype() -> None:
    from bombus.btf.build import Builder
    from bombus.btf.data import layout_of
    from bombus.btf.parse import Btf
    from bombus.btf.types import Int, Member, Struct

    builder = Builder()
    builder.add(Int("__int128", 16))
    builder.add(Struct("wide", 16, (Member("a", 1, 0),)))
    _, item, words, data = fake_ring()
    with RingBuffer(item, layout_of(Btf.parse(builder.to_bytes()), 2)) as reader:
        data[0], data[2] = 16, 5
        words[PRODUCER] = align_up(24, 8)
        with pytest.raises(NotSupported):
            reader.array()
        assert reader.records()[0].a == 5


def test_copy_is_independent() -> None:
    _, item, words, data = fake_ring()
    with RingBuffer(item, LAYOUT) as reader:
        for i in range(20):
            data[8 * i] = 24
            data[8 * i + 2] = i
        words[PRODUCER] = 20 * 32
        array = reader.array()
        data[2] = 99
        assert np.array_equal(array["number"], np.arange(20))
