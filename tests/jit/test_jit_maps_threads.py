"""Programs on several threads at once, and Python beside them, over one map: counters are exact, no key is lost or
there twice, every element is in one place."""

from __future__ import annotations

import errno
import random
import struct
import threading
from collections import Counter
from pathlib import Path

import pytest

from bombus.compiler.build import build_file
from bombus.errors import UsageError
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr
from bombus.kernel.handles import Map as Handle
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.maps.native import NativeLpmTrieMap, NativeTable
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.runbatch import native_program, run_packets
from bombus.loader.load import load
from bombus.object.read import read_object

THREADS = 4
PACKETS = 40_000
KEYS = 200
TAG = 0x5A5A_1234


def loaded(kernel: UserKernel, *parts: Insn | list[Insn]) -> int:
    insns = b.program(*parts)
    fd = kernel.bpf(Attr("BPF_PROG_LOAD", prog_type=6, insns=encode(insns), insn_cnt=len(insns), license=b"GPL\0"))
    prog = kernel.object("test", fd, "prog")
    assert isinstance(prog, Prog)
    native = native_program(prog)
    assert native is not None and not native.calls_python, "then it would run on one thread"
    return fd


HEAD = [
    b.ldx("u32", 6, 1, 0), b.ldx("u32", 2, 1, 4), b.mov(3, b.R6), b.add(3, 64), b.jmp("<=", 3, b.R2, 2), b.mov(0, 0),
    b.exit_(), b.ldx("u32", 7, 6, 16), b.ldx("u32", 8, 6, 20), b.stx("u32", 10, -4, 7), b.mov(9, b.R7), b.xor(9, TAG),
    b.stx("u64", 10, -16, 7), b.stx("u64", 10, -24, 9),
]  # fmt: skip


def argument(fd: int, *rest: Insn) -> list[Insn]:
    return b.program(b.ld_imm64(1, fd, 1), b.mov(2, b.R10), b.add(2, -4), *rest)


def packets(words: list[tuple[int, int]]) -> list[bytes]:
    return [bytes(16) + struct.pack("<II", *pair) + bytes(40) for pair in words]


def create(kernel: UserKernel, kind: str, value: int, entries: int, key: int = 4, flags: int = 0) -> Handle:
    return Handle.create(kernel, kind, key, value, entries, flags=flags)


def audit(kernel: UserKernel, item: Handle) -> int:
    """Look at every element of a table; returns how many are in it."""
    table = kernel.map_by_fd("audit", item.fd)
    assert isinstance(table, NativeTable | NativeLpmTrieMap)
    memory, numbers = table.native.memory, table.native.numbers
    view = memory.view

    def member(at: int, offset: int) -> int:
        place = numbers["elements"] + (at - 1) * numbers["element_bytes"] + offset
        return int.from_bytes(view[place : place + 4], "little")

    assert memory.get("lock") == 0
    made, count = memory.get("made"), memory.get("count")
    chained: list[int] = []
    for number in range(numbers["mask"] + 1):
        place = numbers["buckets"] + 4 * number
        at = int.from_bytes(view[place : place + 4], "little")
        while at and not at >> 31:
            chained.append(at)
            assert member(at, 4) & numbers["mask"] == number
            at = member(at, 0)
        assert at in (0, number | 1 << 31)
    aged, at, before = [], memory.get("oldest"), 0
    while at:
        aged.append(at)
        assert member(at, 8) == before
        before, at = at, member(at, 12)
    assert memory.get("newest") == before
    assert sorted(aged) == sorted(chained) and len(set(aged)) == len(aged) == count
    keys = list(item.raw)
    assert len(set(keys)) == len(keys) == count <= numbers["max_entries"]
    if "lru" not in item.type.short:
        free, at = [], memory.get("free")
        while at:
            free.append(at)
            at = member(at, 8)
        assert sorted(free + aged) == list(range(1, made + 1))
    assert all(item.raw.lookup(key) is not None for key in keys)
    return count


@pytest.mark.parametrize("kind", ["hash", "lru_hash", "array", "percpu_hash", "percpu_array", "lru_percpu_hash"])
def test_counters_are_exact(kind: str) -> None:
    kernel = UserKernel("6.18", engine="native", cpus=THREADS)
    # An LRU map of this size never has to drop a key.
    item = create(kernel, kind, 8, KEYS * 50 if "lru" in kind else KEYS)
    own = item.type.per_cpu
    add = [b.mov(1, 1), b.atomic(op.BPF_ADD, "u64", 0, 0, 1)]
    if own:  # nobody else writes to the slots of a CPU
        add = [b.ldx("u64", 1, 0, 0), b.add(1, 1), b.stx("u64", 0, 0, 1)]
    look = argument(item.fd, b.call(1))
    fd = loaded(
        kernel, HEAD, look, b.jmp("==", 0, 0, len(add) + 2), add, b.mov(0, 2), b.exit_(),
        b.st("u64", 10, -16, 1 - own), argument(item.fd, b.mov(3, b.R10), b.add(3, -16), b.mov(4, 1), b.call(2)),
        *([] if own else [b.jmp("!=", 0, 0, 2), b.mov(0, 2), b.exit_()]),
        look, b.jmp("==", 0, 0, len(add)), add, b.mov(0, 2), b.exit_(),
    )  # fmt: skip
    rng = random.Random(kind)
    keys = [rng.randrange(KEYS) for _ in range(PACKETS)]
    assert set(run_packets(kernel, fd, packets([(key, 0) for key in keys]), threads=THREADS)) == {2}
    found = {key: sum(value) if own else value for key, value in item.items() if value not in (0, [0] * THREADS)}
    if kind == "percpu_hash":
        # Two CPUs may make one element at a time; who comes second finds it, who is first zeroes the others' slots
        # before anybody sees them.
        assert audit(kernel, item) == len(set(keys))
    assert found == Counter(keys)
    if own:
        used = [sum(1 for value in item.values() if value[cpu]) for cpu in range(THREADS)]
        assert all(used), "every thread has its own CPU"


@pytest.mark.parametrize("kind", ["hash", "lru_hash", "percpu_hash", "lpm_trie"])
def test_churn(kind: str) -> None:
    kernel = UserKernel("6.18", engine="native", cpus=THREADS)
    is_lpm = kind == "lpm_trie"
    item = create(kernel, kind, 16, 150, 8 if is_lpm else 4, 1 if is_lpm else 0)
    key = [b.st("u32", 10, -32, 32), b.stx("u32", 10, -28, 7)] if is_lpm else [b.stx("u32", 10, -32, 7)]
    place = b.program(b.ld_imm64(1, item.fd, 1), b.mov(2, b.R10), b.add(2, -32))
    fd = loaded(
        kernel, HEAD, key,
        b.jmp("==", 8, 0, 9), b.jmp("==", 8, 1, 17),
        place, b.call(1), b.jmp("==", 0, 0, 1), b.ldx("u64", 0, 0, 0), b.exit_(),
        place, b.mov(3, b.R10), b.add(3, -24), b.mov(4, 0), b.call(2), b.exit_(),
        place, b.call(3), b.exit_(),
    )  # fmt: skip
    rng = random.Random(kind)
    steps = packets([(rng.randrange(KEYS), rng.choice((0, 0, 1, 2))) for _ in range(PACKETS)])
    stop = threading.Event()
    errors: list[BaseException] = []
    made = KEYS + 500
    wide = item.raw.value_size

    def name_of(number: int) -> bytes:
        return (struct.pack("<I", 32) if is_lpm else b"") + struct.pack("<I", number)

    name = name_of(made)
    item.raw.update(name, bytes(wide))

    def python() -> None:
        """Reads all the time, and has a key of its own that must stay as it was."""
        try:
            for turn in range(1 << 30):
                item.raw.update(name, bytes([turn & 255]) * wide)
                if kind != "lru_hash":  # which may have dropped it
                    assert item.raw.lookup(name) == bytes([turn & 255]) * wide
                list(item.raw.pairs())
                item.raw.get(name_of(rng.randrange(KEYS)))
                if stop.is_set():
                    break
        except BaseException as error:
            errors.append(error)

    reader = threading.Thread(target=python)
    reader.start()
    try:
        for _ in range(3):
            verdicts = Counter(run_packets(kernel, fd, steps, threads=THREADS))
            audited = {0, (1 << 32) - 2, (1 << 32) - 7, (1 << 32) - 28}  # ENOENT, E2BIG, ENOSPC
            other = set(verdicts) - audited - {key ^ TAG for key in range(KEYS)}
            # An element may be used again for another key while somebody holds its value, as in Linux.
            assert verdicts[0] > 1000 and len(other) <= 256
    finally:
        stop.set()
        reader.join()
    assert not errors
    count = audit(kernel, item)
    assert count
    for name, value in item.raw.items():
        number = struct.unpack("<I", name[-4:])[0]
        if number != made and kind != "percpu_hash":
            assert value == struct.pack("<QQ", number ^ TAG, number)


@pytest.mark.parametrize("kind", ["queue", "stack"])
def test_queues(kind: str) -> None:
    """Every value that was pushed is popped once, or still there."""
    kernel = UserKernel("6.18", engine="native", cpus=THREADS)
    item = create(kernel, kind, 8, 64, 0)
    place = b.program(b.ld_imm64(1, item.fd, 1), b.mov(2, b.R10), b.add(2, -16))
    fd = loaded(
        kernel, HEAD, b.jmp("!=", 8, 0, 7), place, b.mov(3, 0), b.call(87), b.exit_(),
        place, b.call(88), b.jmp("!=", 0, 0, 1), b.ldx("u32", 0, 10, -16), b.exit_(),
    )  # fmt: skip
    rng = random.Random(kind)
    words = [(number + 1, rng.randrange(2)) for number in range(PACKETS)]
    verdicts = run_packets(kernel, fd, packets(words), threads=THREADS)
    pushed = [number for (number, pops), result in zip(words, verdicts, strict=True) if not pops and not result]
    popped = [result for (_, pops), result in zip(words, verdicts, strict=True) if pops and result < 1 << 31]
    left = []
    while True:
        try:
            left.append(item.pop_value())
        except IndexError:
            break
    assert len(pushed) > 1000 and sorted(popped + left) == sorted(pushed)


@pytest.fixture(scope="module")
def locked() -> bytes:
    return build_file(str(Path(__file__).parent / "data" / "locked.py"))


@pytest.mark.parametrize("kind", ["array", "hash"])
def test_values_under_a_lock(locked: bytes, kind: str) -> None:
    """Four CPUs change two numbers under bpf_spin_lock; who reads or writes with BPF_F_LOCK never sees one without the
    other."""
    kernel = UserKernel("6.18", engine="native", cpus=THREADS)
    with load(read_object(locked), kernel) as done:
        item = done.maps[f"in_{kind}"].raw
        key = struct.pack("<I", 1)
        item.update(key, bytes(24))
        prog = kernel.object("test", done.programs[f"{kind}_both"].fd, "prog")
        assert isinstance(prog, Prog)
        native = native_program(prog)
        assert native is not None and not native.calls_python
        frames = [bytes(60)] * PACKETS
        stop = threading.Event()
        errors: list[BaseException] = []
        writes = [0]

        def python() -> None:
            try:
                while not stop.is_set():
                    first, lock, _, second = struct.unpack("<QIIQ", item.lookup(key, flags=4))
                    assert (first, 0) == (second, lock)
                    if writes[0]:
                        number = writes[0] << 32
                        item.update(key, struct.pack("<QIIQ", number, 9, 9, number), flags=4)
                        writes[0] += 1
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=python)
        thread.start()
        try:
            assert set(run_packets(kernel, prog, frames, threads=THREADS)) == {2}
            assert struct.unpack("<QIIQ", item.lookup(key, flags=4)) == (PACKETS, 0, 0, PACKETS)
            writes[0] = 1
            run_packets(kernel, prog, frames, threads=THREADS)
        finally:
            stop.set()
            thread.join()
        assert not errors


def test_packets_that_no_loop_takes_land_on_the_cpu_of_their_thread() -> None:
    kernel = UserKernel("6.18", engine="native", cpus=THREADS)
    item = create(kernel, "percpu_array", 8, 1)
    fd = loaded(
        kernel, b.st("u32", 10, -4, 0), argument(item.fd, b.call(1)), b.jmp("==", 0, 0, 3), b.ldx("u64", 1, 0, 0),
        b.add(1, 1), b.stx("u64", 0, 0, 1), b.mov(0, 2), b.exit_(),
    )  # fmt: skip
    frames = [bytes(5000) if number % 10 == 0 else bytes(60) for number in range(2000)]  # 5,000 bytes: two pages
    assert set(run_packets(kernel, fd, frames, threads=THREADS)) == {2}
    assert item[0] == [2000 // THREADS] * THREADS
    with pytest.raises(UsageError, match="CPU 4 of 4"):
        kernel.cpu = 4
    table = create(kernel, "percpu_hash", 8, 1)
    assert kernel.map_by_fd("test", table.fd).update(bytes(4), bytes(8), 0, THREADS) == -errno.EINVAL


@pytest.mark.parametrize("kind", ["hash", "lru_hash", "percpu_hash"])
def test_walks_beside_changes(kind: str, tmp_path: Path) -> None:
    """Each walk of four CPUs sees every element that stays, and none of them twice, while the others come and go."""
    kernel = UserKernel("6.18", engine="native", cpus=THREADS)
    rng = random.Random(kind)
    text = (Path(__file__).parent / "data" / "walked.py").read_text()
    (tmp_path / "walked.py").write_text(text.replace("map.hash(", f"map.{kind}("))
    with load(read_object(build_file(str(tmp_path / "walked.py"))), kernel) as done:
        item = done.maps["table"]
        value = [0] * THREADS if "percpu" in kind else 0
        prog = kernel.object("test", done.programs["walk"].fd, "prog")
        assert isinstance(prog, Prog)
        native = native_program(prog)
        assert native is not None and not native.calls_python, "then it would run on one thread"
        frames = packets([(rng.randrange(64, 400), rng.choice((0, 1, 1, 1, 2, 2, 2))) for _ in range(4000)])
        for _ in range(100):
            item.clear()
            # in an order that is new each time: what is made again goes behind all that stays
            for key in rng.sample(range(250), 250):
                item[key] = value
            found = run_packets(kernel, done.programs["walk"].fd, frames, threads=THREADS)
            assert Counter(found) == {2: len(frames)}
