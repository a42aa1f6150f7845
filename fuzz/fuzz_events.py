"""Hostile rings, symbol texts, ELF symbol tables, mangled names, filters and folded stacks: nothing but our own errors.

    fuzz/fuzz_events.py [--seconds S] [--seed N]
"""

from __future__ import annotations

import argparse
import mmap
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bombus.btf.build import Builder
from bombus.btf.data import layout_of
from bombus.btf.parse import Btf
from bombus.btf.types import Array, Int, Member, Struct
from bombus.errors import BombusError
from bombus.kernel.handles import Map, PerfBuffer, RingBuffer
from bombus.kernel.printk import RowParser
from bombus.kernel.user.kernel import UserKernel
from bombus.profile.filter import Filter
from bombus.profile.folded import read_folded
from bombus.spec.samples import TERM
from bombus.symbols.demangle import demangle
from bombus.symbols.elffile import ElfFile, Functions
from bombus.symbols.texts import kallsyms, maps, perf_map


class FakeKernel(UserKernel):
    """Rings whose memory the fuzzer writes."""

    pages: bytearray

    def mmap(self, fd: int, length: int, offset: int = 0, *, writable: bool = True) -> memoryview:
        view = memoryview(self.pages)[offset : offset + length]
        return view if writable else view.toreadonly()


def layout() -> Any:
    builder = Builder()
    members = (Member("a", 1, 0), Member("b", 3, 64))
    for type_ in (Int("u64", 8), Int("char", 1), Array(2, 1, 8), Struct("e", 16, members)):
        builder.add(type_)
    return layout_of(Btf.parse(builder.to_bytes()), 4)


LAYOUT = layout()
HEADERS = (0, 8, 16, 24, 1 << 30, 16 | 1 << 30, 16 | 1 << 31, 4096, 0x3FFF_FFFF)


def ring(randomly: random.Random) -> None:
    fake = FakeKernel(cpus=1)
    item = Map.create(fake, "ringbuf", 0, 0, 4096)
    fake.pages = bytearray(2 * mmap.PAGESIZE + 8192)
    words = memoryview(fake.pages).cast("Q")
    data = memoryview(fake.pages)[2 * mmap.PAGESIZE :].cast("I")
    for at in range(0, len(data), 2):
        data[at] = randomly.choice((*HEADERS, randomly.getrandbits(32)))
    words[0] = randomly.choice((0, 8, 4096, 4100, randomly.getrandbits(64)))
    ahead = randomly.choice((0, 16, 512, 4096, randomly.getrandbits(13)))
    words[mmap.PAGESIZE // 8] = (words[0] + ahead) & (1 << 64) - 1
    with RingBuffer(item, LAYOUT) as reader:
        for _ in range(3):
            way = randomly.choice(("read", "records", "array"))
            getattr(reader, way)(randomly.choice((None, 1, 50)))


def perf(randomly: random.Random) -> None:
    fake = FakeKernel(cpus=1)
    item = Map.create(fake, "perf_event_array", 4, 4, 1)
    fake.pages = bytearray(mmap.PAGESIZE) + randomly.randbytes(4096)
    words = memoryview(fake.pages).cast("Q")
    words[130] = randomly.choice((mmap.PAGESIZE, 0, randomly.getrandbits(16)))
    words[131] = randomly.choice((4096, 0, 2048, randomly.getrandbits(20)))
    with PerfBuffer(item, LAYOUT, pages=1) as reader:
        words[129] = randomly.choice((0, 8, randomly.getrandbits(64)))
        words[128] = (words[129] + randomly.choice((0, 16, 64, 4096))) & (1 << 64) - 1
        for at in range(mmap.PAGESIZE, len(fake.pages), 16):
            kind, size = randomly.choice((2, 9, 255)), randomly.choice((8, 16, 0))
            fake.pages[at : at + 8] = bytes((kind, 0, 0, 0, 0, 0, size, 0))
        reader.array() if randomly.random() < 0.5 else reader.read()


def mutate(randomly: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(randomly.randrange(1, 12)):
        if out:
            out[randomly.randrange(len(out))] = randomly.randrange(256)
    return bytes(out[: randomly.choice((len(out), randomly.randrange(len(out) + 1)))])


TEXTS = (
    b"ffffffff81000000 T _stext\nffffffffc0000000 t f\t[ext4]\n",
    b"7f00 20 py::f\n0x10 0x20 x y\n",
    b"7f0000000000-7f0000001000 r-xp 00002000 08:01 42  /lib/a\\040b.so (deleted)\n",
    b"main;a;b 3\nmain;c_[k] 10\n",
    b"   python3-12  [000] d..31  1.5: bpf_trace_printk: x\nCPU:1 [LOST 2 EVENTS]\n",
)


def texts(randomly: random.Random) -> None:
    data = mutate(randomly, randomly.choice(TEXTS) * randomly.randrange(1, 4))
    list(kallsyms(data))
    list(perf_map(data))
    list(maps(data))
    text = data.decode(errors="replace")
    RowParser().rows(text.split("\n"))
    list(read_folded(text))


ELF = Path("/bin/true").read_bytes()


def elf(randomly: random.Random) -> None:
    data = bytearray(ELF)
    for _ in range(randomly.randrange(1, 10)):
        at = randomly.choice((randomly.randrange(1024), len(data) - 1 - randomly.randrange(4096)))
        data[at] = randomly.randrange(256)
    file = ElfFile(bytes(data[: randomly.choice((len(data), randomly.randrange(len(data))))]))
    file.build_id()
    file.section(".gnu_debuglink")
    Functions(file).find(randomly.getrandbits(16))


def names(randomly: random.Random) -> None:
    letters = "_RNvCsIKBEXYMTSAPDFUhLGnu0123456789abz$LT.:"
    demangle(randomly.choice(("_R", "_RNv", "_ZN", "_Z", "_RIB")) + "".join(
        randomly.choice(letters) for _ in range(randomly.randrange(80))
    ))  # fmt: skip


def filters(randomly: random.Random) -> None:
    words = [*TERM, "==", "!=", "&", ",", "||", "1", "0x10", "load", "na", "/", "é", "\0", "9" * 30]
    Filter.parse(randomly.choice(("", " ")).join(randomly.choice(words) for _ in range(randomly.randrange(16))))


CASES: tuple[Callable[[random.Random], None], ...] = (ring, perf, texts, elf, names, filters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    done = refused = 0
    seed = args.seed
    while time.monotonic() < end:
        case = CASES[done % len(CASES)]
        try:
            case(random.Random(seed))
        except BombusError:
            refused += 1
        except Exception:
            print(f"{case.__name__} with seed {seed}")
            raise
        done += 1
        seed += 1
    print(f"{done} inputs, {refused} refused with an error of ours, seeds from {args.seed}")


if __name__ == "__main__":
    main()
