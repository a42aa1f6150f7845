"""Events a second out of a ring buffer, beside a consumer in C with libbpf; and how soon `bombus trace` shows one.

    bench/events.py [--events N] [--rounds R]

A BPF program (bpf_loop around bpf_ringbuf_output) fills a ring with events of one struct; then each consumer empties
it. First: consuming alone. Then: the program runs meanwhile in another process; every event that it sent is counted as
received or as refused by the full ring, and the sum is checked. C: ring_buffer__consume with a callback that adds up
one member (needs gcc and libbpf-dev). Times are CPU seconds of the consumer, the median of R rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bombus.btf.build import Builder
from bombus.btf.data import layout_of
from bombus.btf.parse import Btf as Types
from bombus.btf.types import Array, Func, FuncProto, Int, Member, Param, Struct
from bombus.isa import build as b
from bombus.isa.insn import Insn
from bombus.isa.opcodes import LD_IMM64
from bombus.kernel.handles import Btf, Map, Program, RingBuffer
from bombus.kernel.linux.kernel import LinuxKernel

RING = 1 << 26
LOOP = 1 << 16  # iterations of one run

CONSUMER = r"""
#include <bpf/libbpf.h>
#include <bpf/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
struct event { unsigned long long number; unsigned int pid; char comm[16]; unsigned int more; };
static unsigned long long sum, count;
static int on_event(void *ctx, void *data, size_t size) { sum += ((struct event *)data)->number; count++; return 0; }
int main(int argc, char **argv)
{
    struct ring_buffer *ring = ring_buffer__new(atoi(argv[1]), on_event, NULL, NULL);
    struct rusage use;
    if (!ring || ring_buffer__consume(ring) < 0)
        return 1;
    getrusage(RUSAGE_SELF, &use);
    printf("%llu %llu %f\n", count, sum, use.ru_utime.tv_sec + use.ru_utime.tv_usec / 1e6
           + use.ru_stime.tv_sec + use.ru_stime.tv_usec / 1e6);
    return 0;
}
"""


def layout() -> Any:
    builder = Builder()
    for type_ in (Int("unsigned long long", 8), Int("unsigned int", 4), Int("char", 1), Array(3, 2, 16),
                  Struct("event", 32, (Member("number", 1, 0), Member("pid", 2, 64), Member("comm", 4, 96),
                                       Member("more", 2, 224)))):  # fmt: skip
        builder.add(type_)
    return layout_of(Types.parse(builder.to_bytes()), 5)


def producer(kernel: LinuxKernel, ring: Map, totals: Map) -> Program:
    """xdp: bpf_loop(LOOP, send, 0, 0). totals: events tried, events that found no room."""
    builder = Builder()
    for type_ in (Int("int", 4), FuncProto(1, ()), FuncProto(1, (Param("index", 1), Param("ctx", 1))),
                  Func("main", 2, 0), Func("send", 3, 0)):  # fmt: skip
        builder.add(type_)
    btf = Btf.load(kernel, builder.to_bytes())
    main = b.program(
        b.mov(1, LOOP), Insn(LD_IMM64, 2, 4, 0, 0), Insn(0), b.mov(3, 0), b.mov(4, 0), b.call(181), b.mov(0, 2),
        b.exit_(),
    )  # fmt: skip
    main[1] = main[1]._replace(imm=len(main) - 2)
    send = b.program(
        b.ld_imm64(6, totals.fd, 2), b.mov(7, 1), b.atomic(1, "u64", 6, 0, 7),  # fetch and add: its number
        b.stx("u64", 10, -32, 7), b.stx("u32", 10, -24, 7), b.st("u32", 10, -20, 0x64636261),
        b.st("u64", 10, -16, 0x68), b.st("u64", 10, -8, 5),
        b.ld_imm64(1, ring.fd, 1), b.mov(2, b.R10), b.add(2, -32), b.mov(3, 32), b.mov(4, 0), b.call(130),
        b.jmp("==", 0, 0, 2), b.mov(2, 1), b.atomic(0, "u64", 6, 8, 2), b.mov(0, 0), b.exit_(),
    )  # fmt: skip
    info = b"".join(n.to_bytes(4, "little") for n in (0, 4, len(main), 5))
    return Program.load(
        kernel, "xdp", main + send, prog_btf_fd=btf.fd, func_info=info, func_info_rec_size=8, func_info_cnt=2
    )


def fill(program: Program, events: int) -> None:
    for _ in range(events // LOOP):
        program.test_run(bytes(64))


def records(reader: RingBuffer) -> int:
    count = 0
    while found := reader.records(1 << 15):
        count += len(found)
    return count


def attributes(reader: RingBuffer) -> int:
    """Records whose members are used."""
    count = 0
    while found := reader.records(1 << 15):
        for event in found:
            if event.number >= 0 and event.comm:
                count += 1
    return count


def arrays(reader: RingBuffer) -> int:
    count = 0
    while len(found := reader.array(1 << 18)):
        count += len(found)
        found["number"].sum()
    return count


def raw(reader: RingBuffer) -> int:
    count = 0
    while found := reader.read(1 << 15):
        count += len(found)
    return count


CONSUMERS: dict[str, Callable[[RingBuffer], int]] = {
    "numpy batches": arrays, "records": records, "records, members used": attributes, "bytes": raw,
}  # fmt: skip


def build_c(folder: Path) -> Path | None:
    if shutil.which("gcc") is None:
        return None
    (folder / "consumer.c").write_text(CONSUMER)
    done = subprocess.run(
        ["gcc", "-O2", "-o", folder / "consumer", folder / "consumer.c", "-lbpf"], capture_output=True
    )
    return folder / "consumer" if done.returncode == 0 else None


def run_c(consumer: Path, ring: Map) -> tuple[int, float]:
    fd = os.dup(ring.fd)
    os.set_inheritable(fd, True)
    try:
        out = subprocess.run([consumer, str(fd)], pass_fds=[fd], capture_output=True, text=True, check=True).stdout
    finally:
        os.close(fd)
    count, _, seconds = out.split()
    return int(count), float(seconds)


def full(kernel: LinuxKernel, events: int, rounds: int) -> None:
    times: dict[str, list[float]] = {}
    with Map.create(kernel, "ringbuf", 0, 0, RING) as ring, Map.create(kernel, "array", 4, 16, 1) as totals, \
            tempfile.TemporaryDirectory() as folder:  # fmt: skip
        program = producer(kernel, ring, totals)
        consumer = build_c(Path(folder))
        for _ in range(rounds):
            for name, consume in CONSUMERS.items():
                with RingBuffer(ring, layout()) as reader:
                    fill(program, events)
                    start = time.process_time()
                    count = consume(reader)
                    times.setdefault(name, []).append(time.process_time() - start)
                    assert count == events, (name, count)
            if consumer is not None:
                fill(program, events)
                count, seconds = run_c(consumer, ring)
                assert count == events, ("C", count)
                times.setdefault("C, libbpf", []).append(seconds)
    peer = statistics.median(times["C, libbpf"]) if "C, libbpf" in times else None
    print(f"{events} events of 32 bytes, a full ring; events a second of consumer CPU")
    for name, spent in times.items():
        middle = statistics.median(spent)
        ratio = f"  {middle / peer:6.1f} x the time of C" if peer and name != "C, libbpf" else ""
        print(f"  {name:<24} {events / middle:>14,.0f}{ratio}")


def stream(kernel: LinuxKernel, runs: int) -> None:
    print(f"{runs * LOOP} events while they are made; received + refused = sent")
    for name in ("numpy batches", "records"):
        with Map.create(kernel, "ringbuf", 0, 0, RING // 4) as ring, Map.create(kernel, "array", 4, 16, 1) as totals:
            program = producer(kernel, ring, totals)
            with RingBuffer(ring, layout()) as reader:
                child = os.fork()
                if child == 0:
                    for _ in range(runs):
                        program.test_run(bytes(64))
                    os._exit(0)
                start, wall = time.process_time(), time.perf_counter()
                got, done = 0, False
                while True:
                    got += CONSUMERS[name](reader)
                    if done:
                        break
                    if not reader.wait(0.01):
                        done = os.waitpid(child, os.WNOHANG)[0] == child
                spent, wall = time.process_time() - start, time.perf_counter() - wall
                data = totals.raw[bytes(4)]
                sent, refused = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")
                assert got + refused == sent == runs * LOOP and reader.received == got, (got, refused, sent)
                print(f"  {name:<24} {got:>12,} received, {refused:>12,} refused, {got / wall:>12,.0f} a second "
                      f"({got / spent:,.0f} a CPU second)")  # fmt: skip


def first_event(rounds: int) -> None:
    """`bombus trace` of the tests' object, filtered to a process of ours, until it has shown one event."""
    obj = Path(__file__).parent.parent / "tests" / "events" / "data" / "calls.bpf.o"
    work = [sys.executable, "-c", "import os, time\nwhile True:\n os.getppid(); time.sleep(0.001)"]
    bare = [sys.executable, "-c", "import click"]
    walls: dict[str, list[float]] = {}
    with subprocess.Popen(work) as worker:
        try:
            command = [sys.executable, "-m", "bombus.cli.main", "trace", str(obj), "--pid", str(worker.pid)]
            for _ in range(rounds):
                for name, argv in (("python with click alone", bare), ("bombus trace", command)):
                    before = os.times()
                    start = time.perf_counter()
                    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
                        assert child.stdout is not None
                        child.stdout.readline()  # the heading, which comes with the first event
                        wall = time.perf_counter() - start
                        child.kill()
                    after = os.times()
                    cpu = after.children_user + after.children_system - before.children_user - before.children_system
                    walls.setdefault(f"{name}, wall", []).append(wall)
                    walls.setdefault(f"{name}, CPU", []).append(cpu)
        finally:
            worker.kill()
    print("from the start of the process to the first event, ms (least, median)")
    for name, times in walls.items():
        print(f"  {name:<32} {1000 * min(times):7.0f} {1000 * statistics.median(times):7.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1 << 20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if os.geteuid():
        print("bench/events.py needs root")
        return
    kernel = LinuxKernel()
    full(kernel, args.events // LOOP * LOOP, args.rounds)
    stream(kernel, 64)
    first_event(args.rounds)


if __name__ == "__main__":
    main()
