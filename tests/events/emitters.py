"""Programs that send events on demand: the length of the packet says how long the event is."""

from __future__ import annotations

import random
from typing import Any

from bombus.btf.build import Builder
from bombus.btf.data import layout_of
from bombus.btf.layouts import Layout
from bombus.btf.parse import Btf
from bombus.btf.types import Array, Int, Member, Struct
from bombus.isa import build as b
from bombus.isa.build import R0, R1, R6, R7, R10
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Map, Program

HEAD = 14  # the shortest packet
MOST = 2047


def event_layout() -> Layout:
    """struct event { u64 number; u32 pid; char comm[8]; u32 more; }"""
    builder = Builder()
    for type_ in (Int("unsigned long long", 8), Int("unsigned int", 4), Int("char", 1), Array(3, 2, 8),
                  Struct("event", 24, (Member("number", 1, 0), Member("pid", 2, 64), Member("comm", 4, 96),
                                       Member("more", 2, 160)))):  # fmt: skip
        builder.add(type_)
    return layout_of(Btf.parse(builder.to_bytes()), 5)


def event_bytes(number: int) -> bytes:
    return number.to_bytes(8, "little") + (number % 1000).to_bytes(4, "little") + b"c%-6d\0more" % (number % 10**6)


class Emitter:
    """`send(data)` makes the program put an event into `target` (a ring or perf buffer). `failed` counts in the
    program those for which there was no room."""

    def __init__(self, kernel: Kernel, target: Map) -> None:
        self.kernel = kernel
        self.source = Map.create(kernel, "array", 4, 2048, 1)
        self.counter = Map.create(kernel, "array", 4, 8, 1)
        self.program = Program.load(kernel, "xdp", self._code(target))

    def _code(self, target: Map) -> Any:
        if target.type.short == "ringbuf":
            output = [
                b.ld_imm64(1, target.fd, 1), b.mov(2, R0), b.mov(3, R7), b.mov(4, 0), b.call(130),
            ]  # fmt: skip
        else:
            output = [
                b.mov(1, R6), b.ld_imm64(2, target.fd, 1), b.ld_imm64(3, 0xFFFF_FFFF), b.mov(4, R0), b.mov(5, R7),
                b.call(25),
            ]  # fmt: skip
        count = b.program(b.ld_imm64(1, self.counter.fd, 2), b.mov(2, 1), b.atomic(0, "u64", 1, 0, 2))
        return b.program(
            b.mov(6, R1),
            b.ldx("u32", 7, 1, 4), b.ldx("u32", 2, 1, 0), b.sub(7, b.R2), b.sub(7, HEAD), b.and_(7, MOST),
            b.st("u32", 10, -4, 0),
            b.ld_imm64(1, self.source.fd, 1), b.mov(2, R10), b.add(2, -4), b.call(1),
            b.jmp("!=", 0, 0, 2), b.mov(0, 2), b.exit_(),
            *output,
            b.jmp("==", 0, 0, len(count)), count,
            b.mov(0, 2), b.exit_(),
        )  # fmt: skip

    def send(self, data: bytes, times: int = 1) -> None:
        self.source.raw[bytes(4)] = data.ljust(2048, b"\0")
        for _ in range(times):
            self.program.test_run(bytes(HEAD + len(data)), data_out=0)

    @property
    def failed(self) -> int:
        return int(self.counter[0])


def sizes(seed: int, count: int, most: int = 300) -> list[int]:
    randomly = random.Random(seed)
    return [randomly.choice((0, 1, 7, 8, 9, 24, 24, 24, randomly.randrange(most))) for _ in range(count)]
