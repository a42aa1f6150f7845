"""Two threads on one map: what its one lock costs where Linux has one for each bucket.

    bench/maps_threads.py [--rounds N]

A native program updates (and another looks up) 64 keys for each packet; the packets of a thread have keys of their own.
Nanoseconds an operation: wall time, and CPU time of all threads, best of N rounds. Wall time with two threads would be
half of that with one where nothing is in the way; CPU time the same. A busy machine spoils wall times, not CPU times.
"""

from __future__ import annotations

import argparse
import struct
import time

from bombus.isa import build as b
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.runbatch import run_packets
from bombus.spec.maptypes import MAP_TYPE

KINDS = ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash")
KEYS, PACKETS = 64, 40_000
WORK = 300  # instructions between two updates, for "with work"


def program(fd: int, helper: int, work: int) -> list[Insn]:
    """For i below KEYS: the helper on key = packet's number + i."""
    # Nothing that LLVM could foresee.
    busy = [b.mov(3, b.R9), b.lsh(3, 13), b.xor(9, b.R3), b.add(9, 7)] * (work // 4)
    call = [*b.ld_imm64(1, fd, 1), b.mov(2, b.R10), b.add(2, -4), b.mov(3, b.R10), b.add(3, -16), b.mov(4, 0),
            b.call(helper)]  # fmt: skip
    body = [b.stx("u32", 10, -4, b.R7), *call, *busy, b.add(7, 1), b.add(8, 1)]
    return b.program(
        b.ldx("u32", 6, 1, 0), b.ldx("u32", 2, 1, 4), b.mov(3, b.R6), b.add(3, 14), b.mov(0, 0),
        b.jmp(">", 3, b.R2, 6 + len(body)), b.ldx("u32", 7, 6, 0), b.mov(9, b.R7), b.mov(8, 0),
        b.stx("u64", 10, -16, b.R8), body, b.jmp("<", 8, KEYS, -len(body) - 1), b.mov(0, b.R9), b.exit_(),
    )  # fmt: skip


def measure(kind: str, helper: int, work: int, rounds: int) -> list[tuple[float, float]]:
    kernel = UserKernel("6.18", engine="native", cpus=2, maps="native")
    fd = kernel.bpf(Attr("BPF_MAP_CREATE", map_type=MAP_TYPE[f"BPF_MAP_TYPE_{kind.upper()}"].id, key_size=4,
                         value_size=8, max_entries=1 << 16))  # fmt: skip
    insns = encode(program(fd, helper, work))
    loaded = kernel.bpf(Attr("BPF_PROG_LOAD", prog_type=6, insns=insns, insn_cnt=len(insns) // 8, license=b"GPL\0"))
    # Each half of the packets has 16,384 keys of its own.
    packets = [struct.pack("<I", (number % 256) * KEYS + (number >= PACKETS // 2) * 20_000) + bytes(60)
               for number in range(PACKETS)]  # fmt: skip
    found = []
    for threads in (1, 2):
        run_packets(kernel, loaded, packets, threads=threads)
        times = []
        for _ in range(rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            run_packets(kernel, loaded, packets, threads=threads)
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
        scale = 1e9 / (PACKETS * KEYS)
        found.append((min(one[0] for one in times) * scale, min(one[1] for one in times) * scale))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print(f"{'':34} 1 thread: wall   CPU   2 threads: wall   CPU")
    for kind in KINDS:
        for name, helper, work in (("update", 2, 0), (f"update, {WORK} instructions", 2, WORK), ("lookup", 1, 0)):
            (wall, cpu), (wall2, cpu2) = measure(kind, helper, work, rounds)
            print(f"{kind + ' ' + name:34} {wall:14.1f} {cpu:5.1f} {wall2:17.1f} {cpu2:5.1f}", flush=True)


if __name__ == "__main__":
    main()
