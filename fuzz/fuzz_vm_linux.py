"""Compare the engines with Linux on random programs: r0, the map value, the packet.

    python fuzz/fuzz_vm_linux.py [--count N] [--seed S] [--reference SHARE]

Every program is loaded with bpf(2) and test-run; the fast engine runs all of them, the reference interpreter
the given share. Prints a line per 5,000 programs, and any program that differs with its seed. Exit status 1
when one did. Needs root.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
from dataclasses import dataclass, field

from linux_bpf import LinuxBpf, Refused
from vm_generate import VALUE_SIZE, Program, generate

from bombus.errors import VmFault
from bombus.vm.env import Engine, PlainEnv
from bombus.vm.fast import FastEngine
from bombus.vm.memory import Region
from bombus.vm.reference import ReferenceEngine

ETHERNET = 14
SKF_NET_OFF, SKF_LL_OFF = -0x10_0000, -0x20_0000  # include/uapi/linux/filter.h


@dataclass(frozen=True, slots=True)
class Outcome:
    """retval: low 32 bits of r0; value: the map value afterwards; packet: data_out (b"" for socket filters)."""

    retval: int
    value: bytes
    packet: bytes


class PacketEnv(PlainEnv):
    """An skb or xdp_md with its packet; BPF_LD_ABS reads from `base` on."""

    base: int
    data: Region

    def load_packet(self, skb: int, offset: int, size: int) -> int | None:
        # Linux 6.12 kernel/bpf/core.c bpf_internal_load_pointer_neg_helper
        if offset >= 0:
            offset += self.base
        elif offset >= SKF_NET_OFF:
            offset += ETHERNET - SKF_NET_OFF
        else:
            offset -= SKF_LL_OFF
        found = self.data.view[offset : offset + size] if offset >= 0 else b""
        return int.from_bytes(found, "big") if len(found) == size else None


def run_engine(engine: Engine, program: Program, value: bytes, packet: bytes) -> Outcome:
    """Run on an engine. Raises VmFault."""
    env = PacketEnv()
    env.data = env.memory.allocate(len(packet), name="packet", kind="packet", low=True)
    env.data.view[:] = packet
    env.base = ETHERNET if program.kind == "socket" else 0
    ctx = env.memory.allocate(256, name="ctx", kind="ctx", writable=False)
    struct.pack_into("<II", ctx.view, 0 if program.kind == "xdp" else 76, env.data.start, env.data.end)
    cell = env.memory.allocate(VALUE_SIZE, name="map value", kind="map_value", stride=VALUE_SIZE, limit=VALUE_SIZE)
    cell.view[:] = value
    low, high = cell.start & 0xFFFF_FFFF, cell.start >> 32
    low -= (low & 0x8000_0000) << 1
    retval = engine.compile(program.with_map(low, high), env).run(ctx.start) & 0xFFFF_FFFF
    return Outcome(retval, bytes(cell.view), b"" if program.kind == "socket" else bytes(env.data.view))


@dataclass
class Judge:
    """Linux with one map that all programs share."""

    kernel: LinuxBpf = field(default_factory=LinuxBpf)

    def __post_init__(self) -> None:
        self.map = self.kernel.array(VALUE_SIZE)

    def run(self, program: Program, value: bytes, packet: bytes) -> Outcome:
        """Raises Refused."""
        self.kernel.update(self.map, 0, value)
        with self.kernel.load(program.kind, program.with_map(self.map.number), log=False) as fd:
            retval, out = self.kernel.run(fd, packet)
        after = self.kernel.lookup(self.map, 0, VALUE_SIZE)
        return Outcome(retval, after, b"" if program.kind == "socket" else out)


@dataclass
class Tally:
    accepted: int = 0
    refused: int = 0
    different: list[str] = field(default_factory=list)


def compare(judge: Judge, seed: int, engines: list[Engine], tally: Tally) -> None:
    """One random program from a seed: on Linux and on the engines."""
    rng = random.Random(seed)
    program = generate(rng)
    value, packet = rng.randbytes(VALUE_SIZE), rng.randbytes(rng.choice((64, 65, 100)) + ETHERNET)
    try:
        expected = judge.run(program, value, packet)
    except Refused:
        tally.refused += 1
        return
    tally.accepted += 1
    for engine in engines:
        try:
            outcome: object = run_engine(engine, program, value, packet)
        except VmFault as fault:
            outcome = fault
        if outcome != expected:
            tally.different.append(f"seed {seed}, {program.kind}, {engine.name}: {outcome}, Linux: {expected}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=100_000, help="programs that Linux accepts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", type=float, default=0.2, help="share of programs for the reference engine too")
    arguments = parser.parse_args()
    judge, tally = Judge(), Tally()
    # Linux let no register be read before it was written, so the strict reference must find none.
    fast, reference = FastEngine(), ReferenceEngine(strict=True)
    seed, start = arguments.seed, time.time()
    while tally.accepted < arguments.count:
        both = random.Random(~seed).random() < arguments.reference
        before = len(tally.different)
        compare(judge, seed, [fast, reference] if both else [fast], tally)
        for line in tally.different[before:]:
            print(line, flush=True)
        seed += 1
        if (tally.accepted + tally.refused) % 5000 == 0:
            print(f"{tally.accepted} accepted, {tally.refused} refused, {len(tally.different)} differ, "
                  f"{time.time() - start:.0f} s, next seed {seed}", flush=True)  # fmt: skip
    print(f"{tally.accepted} accepted, {tally.refused} refused, {len(tally.different)} differ")
    return 1 if tally.different else 0


if __name__ == "__main__":
    sys.exit(main())
