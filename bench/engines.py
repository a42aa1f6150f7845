"""Instructions a second of each engine, and of the kernel's JIT as an anchor.

    python bench/engines.py [--json] [--repeat N] [--only WORD]

Prints a table: million instructions a second (median of N runs; run time only), and microseconds of compiling
per instruction. The number of instructions is counted by the reference interpreter. The column `linux` is
BPF_PROG_TEST_RUN's own average over many repeats, where bpf(2) can be used.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.vm.engines import NAMES, engine
from bombus.vm.env import PlainEnv
from bombus.vm.fast import FastProgram
from bombus.vm.reference import ReferenceEngine

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))

PACKET = bytes.fromhex(
    "ffffffffffff0000000000010800" "450000540001000040013aa70a0000010a000002" "0800f7ff00000000"
) + bytes(56)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    insns: list[Insn]
    linux: bool = True  # the kernel's verifier accepts it as XDP


def alu(rounds: int = 20_000) -> list[Insn]:
    """A multiplicative hash and shifts in a loop: 64- and 32-bit arithmetic."""
    return b.program(
        b.mov(6, 1), b.mov(7, rounds), b.mov(0, 0),
        b.mov(1, b.R6), b.lsh(1, 13), b.xor(6, b.R1), b.mov(1, b.R6), b.rsh(1, 7), b.xor(6, b.R1),
        b.mov(1, b.R6), b.lsh(1, 17), b.xor(6, b.R1), b.add32(0, b.R6), b.mul32(0, 31), b.add(7, -1),
        b.jmp("!=", 7, 0, -13), b.exit_(),
    )  # fmt: skip


def packet() -> list[Insn]:
    """Parse Ethernet, IPv4; sum the header's words; swap the MAC addresses."""
    return b.program(
        b.mov(0, 1), b.ldx("u32", 2, 1, 0), b.ldx("u32", 3, 1, 4),
        b.mov(4, b.R2), b.add(4, 34), b.jmp(">", 4, b.R3, 44),
        b.ldx("u16", 5, 2, 12), b.to_be(5, 16), b.jmp("!=", 5, 0x800, 41),
        b.ldx("u8", 5, 2, 14), b.mov(6, b.R5), b.and_(5, 0xF), b.jmp("!=", 5, 5, 37),
        b.mov(7, 0),
        *[part for off in range(14, 34, 2) for part in (b.ldx("u16", 8, 2, off), b.add(7, b.R8))],
        b.mov(8, b.R7), b.rsh(8, 16), b.and_(7, 0xFFFF), b.add(7, b.R8),
        *[part for off in range(0, 6, 2) for part in
          (b.ldx("u16", 5, 2, off), b.ldx("u16", 4, 2, off + 6), b.stx("u16", 2, off, 4), b.stx("u16", 2, off + 6, 5))],
        b.exit_(),
    )  # fmt: skip


def stack(rounds: int = 10_000) -> list[Insn]:
    """A small state machine whose variables live on the stack, as unoptimised C does."""
    return b.program(
        b.st("u64", 10, -8, 0), b.st("u64", 10, -16, rounds), b.st("u32", 10, -20, 7),
        b.ldx("u64", 1, 10, -8), b.ldx("u32", 2, 10, -20), b.add(1, b.R2), b.stx("u64", 10, -8, 1),
        b.mul32(2, 5), b.add32(2, 3), b.stx("u32", 10, -20, 2), b.ldx("u64", 3, 10, -16), b.add(3, -1),
        b.stx("u64", 10, -16, 3), b.jmp("!=", 3, 0, -11), b.ldx("u32", 0, 10, -8), b.exit_(),
    )  # fmt: skip


def calls(rounds: int = 5_000) -> list[Insn]:
    """A subprogram call in a loop."""
    return b.program(
        b.mov(6, rounds), b.mov(7, 0), b.mov(1, b.R6), b.mov(2, b.R7), b.call_local(5), b.mov(7, b.R0),
        b.add(6, -1), b.jmp("!=", 6, 0, -6), b.mov(0, b.R7), b.exit_(),
        b.mov(0, b.R1), b.lsh(0, 1), b.xor(0, b.R2), b.exit_(),
    )  # fmt: skip


def branches(rounds: int = 10_000) -> list[Insn]:
    """Collatz-like: a loop of data-dependent branches."""
    return b.program(
        b.mov(1, 27), b.mov(0, 0), b.mov(2, rounds),
        b.jmp("&", 1, 1, 3), b.rsh(1, 1), b.add(0, 1), b.ja(2), b.mul(1, 3), b.add(1, 1),
        b.jmp(">", 1, 1, 1), b.mov(1, 97), b.and_(1, 0xFFFFFFF), b.add(2, -1), b.jmp("!=", 2, 0, -11), b.exit_(),
    )  # fmt: skip


def memory(rounds: int = 5_000) -> list[Insn]:
    """Read, modify, write and atomics through a pointer that the engine knows nothing about (ctx)."""
    return b.program(
        b.mov(6, rounds),
        b.ldx("u64", 2, 1, 0), b.add(2, 1), b.stx("u64", 1, 0, 2), b.ldx("u32", 3, 1, 8), b.xor(3, b.R2),
        b.stx("u32", 1, 8, 3), b.atomic(op.BPF_ADD, "u64", 1, 16, 3), b.ldx("u8", 4, 1, 3), b.add(6, -1),
        b.jmp("!=", 6, 0, -10), b.ldx("u32", 0, 1, 8), b.exit_(),
    )  # fmt: skip


CASES = [
    Case("alu", alu()),
    Case("branches", branches()),
    Case("packet", packet()),
    Case("stack", stack()),
    Case("memory", memory(), linux=False),
    Case("calls", calls()),
]


class Setup:
    """An XDP context with a packet, and for `memory` a writable one."""

    def __init__(self) -> None:
        self.env = PlainEnv()
        data = self.env.memory.allocate(len(PACKET), name="packet", kind="packet", low=True)
        data.view[:] = PACKET
        ctx = self.env.memory.allocate(24, name="ctx", kind="ctx")
        ctx.view[:8] = struct.pack("<II", data.start, data.end)
        self.xdp = ctx.start
        self.scratch = self.env.memory.allocate(64, name="scratch", kind="mem").start

    def context(self, case: Case) -> int:
        return self.scratch if case.name == "memory" else self.xdp


def count(case: Case) -> int:
    setup = Setup()
    program = ReferenceEngine(count=True).compile(case.insns, setup.env)
    program.run(setup.context(case))
    assert program.counts
    return sum(program.counts)


def measure(name: str, case: Case, executed: int, repeat: int) -> tuple[float, float]:
    """(million instructions a second, microseconds of compiling per instruction)."""
    setup = Setup()
    ctx = setup.context(case)
    firsts = []
    for _ in range(repeat):
        start = time.perf_counter()
        program = engine(name).compile(case.insns, setup.env)
        if isinstance(program, FastProgram):
            program.prepare()
        firsts.append(time.perf_counter() - start)
    program.run(ctx)
    runs = max(1, (20_000 if name == "reference" else 300_000) // executed)
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        for _ in range(runs):
            program.run(ctx)
        times.append((time.perf_counter() - start) / runs)
    typical = statistics.median(times)
    return executed / typical / 1e6, min(firsts) / len(case.insns) * 1e6


def measure_linux(case: Case, executed: int, repeat: int) -> float | None:
    """The kernel's JIT, million instructions a second; None where it cannot be asked."""
    if not case.linux:
        return None
    from linux_bpf import LinuxBpf, Refused

    try:
        kernel = LinuxBpf()
        fd = kernel.load("xdp", case.insns)
    except (Refused, OSError):
        return None
    with fd:
        runs = max(100, 2_000_000 // executed)
        nanoseconds = statistics.median(kernel.time(fd, PACKET, runs) for _ in range(repeat))
    return executed / nanoseconds * 1e3 if nanoseconds else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    rows: list[dict[str, float | str | None]] = []
    for case in CASES:
        if arguments.only not in case.name:
            continue
        executed = count(case)
        row: dict[str, float | str | None] = {"case": case.name, "instructions": executed}
        for name in NAMES:
            row[name], row[f"{name}_compile_us"] = measure(name, case, executed, arguments.repeat)
        row["linux"] = measure_linux(case, executed, arguments.repeat)
        rows.append(row)
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'case':10} {'insns':>8}" + "".join(f"{name:>11} {'compile':>8}" for name in NAMES) + f"{'linux':>10}")
    print(f"{'':10} {'':>8}" + "".join(f"{'M/s':>11} {'us/insn':>8}" for _ in NAMES) + f"{'M/s':>10}")
    for row in rows:
        cells = "".join(f"{row[name]:>11.2f} {row[f'{name}_compile_us']:>8.1f}" for name in NAMES)
        linux = "-" if row["linux"] is None else f"{row['linux']:.0f}"
        print(f"{row['case']:10} {row['instructions']:>8}{cells}{linux:>10}")


if __name__ == "__main__":
    main()
