"""Compare the fast engine with the reference on programs that no verifier would let through.

    python fuzz/fuzz_vm_engines.py [--count N] [--seed S]

Programs are random instructions, or accepted programs with a few fields broken: wild pointers, jumps to
anywhere, unknown opcodes, endless loops. Both engines must end with the same r0 and memory, or with a VmFault
of the same kind at the same instruction. Exit status 1 when a program differs.
"""

from __future__ import annotations

import argparse
import itertools
import random
import struct
import sys
import time
from collections import Counter

from vm_generate import VALUE_SIZE, Program, generate

from bombus.bits import U64
from bombus.errors import VmFault
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn
from bombus.isa.sample import number, sample
from bombus.vm import reference
from bombus.vm.env import Compiled, Engine, PlainEnv
from bombus.vm.fast import FastEngine
from bombus.vm.memory import Region
from bombus.vm.reference import ReferenceEngine
from bombus.vm.run import MAX_FRAMES, Stack

BUDGET = 3000
CALLBACK, FREE, IDENTITY, TAIL = 200, 201, 202, 12
_BASE = 0x1_0000_0000  # pretended addresses, the same for both engines


class HostileEnv(PlainEnv):
    """Helpers that call back, take memory away, and fail; tail calls into the program itself."""

    def __init__(self) -> None:
        super().__init__()
        self.program: Compiled | None = None
        self.extra: Region | None = None
        self.helpers = {CALLBACK: self._call_back, FREE: self._free, IDENTITY: lambda *args: sum(args)}

    def _call_back(self, function: int, *args: int) -> int:
        assert self.program
        return self.program.call(function, args)

    def _free(self, *_: int) -> int:
        if self.extra:
            self.memory.remove(self.extra)
            self.extra = None
        return -1

    def tail_call(self, ctx: int, array: int, index: int) -> Compiled | None:
        return self.program if index & 1 else None

    def load_packet(self, skb: int, offset: int, size: int) -> int | None:
        return offset & 0xFF if offset >= 0 else None

    def address_cast(self, value: int, to: int, from_: int) -> int:
        return value ^ to


def region(env: PlainEnv, start: int, size: int, name: str, writable: bool = True, stride: int = 0) -> Region:
    """Memory at a pretended address, so that both engines see the same numbers."""
    view = memoryview(bytearray(size))
    return_ = Region(start, size, view, name, "mem", writable, stride, stride and stride - 8)
    env.memory.add(return_)
    return return_


def outcome(engine: Engine, insns: list[Insn], seed: int) -> tuple[object, ...]:
    """("returned", r0, memory) or ("fault", kind, instruction, memory)."""
    env = HostileEnv()
    fill = random.Random(seed)
    ctx = region(env, _BASE, 256, "ctx", writable=False)
    packet = region(env, _BASE + 0x1000, 64, "packet")
    cell = region(env, _BASE + 0x2000, VALUE_SIZE, "map value", stride=64)
    env.extra = extra = region(env, _BASE + 0x3000, 32, "extra")
    stack = Stack(env.memory)
    env.memory.remove(stack.region)
    stack.region.start = _BASE + 0x8000
    stack.bases.clear()
    stack.grow(MAX_FRAMES)
    env.memory.add(stack.region)
    env.memory.stacks.append(stack)
    for part in (ctx, packet, cell, extra):
        part.view[:] = fill.randbytes(part.size)
    struct.pack_into("<II", ctx.view, 0, packet.start & 0xFFFF_FFFF, packet.end & 0xFFFF_FFFF)
    reference._programs = itertools.count()  # the addresses of functions
    env.program = engine.compile(insns, env)
    try:
        result: tuple[object, ...] = ("returned", env.program.run(ctx.start))
    except VmFault as fault:
        result = ("fault", fault.kind, fault.insn)
    return (*result, bytes(packet.view), bytes(cell.view), bytes(extra.view))


def hostile(rng: random.Random) -> list[Insn]:
    """A program that nobody should run."""
    kind = rng.randrange(3)
    insns: list[Insn] = []
    if kind == 0:
        program: Program = generate(rng, 8)
        insns = program.with_map(0x2000, 1)
    else:
        for reg in (3, 6, 7, 8):
            insns += b.ld_imm64(reg, _BASE + rng.choice((0, 0x1000, 0x2000, 0x3000)) + rng.choice((0, 8, 56)))
        insns += [b.mov(9, b.R10), b.add(9, -64)]
        size = rng.randint(3, 25)
        while len(insns) < size + 10:
            insns += sample(rng, target=lambda bits: rng.randint(-12, 12))
        insns.append(b.exit_())
    insns = [_tame(rng, insn, len(insns)) for insn in insns]
    for _ in range(rng.choice((0, 1, 2, 4))):
        index = rng.randrange(len(insns))
        field = rng.choice(("opcode", "dst", "src", "off", "imm"))
        value = {"opcode": rng.randrange(256), "dst": rng.randrange(12), "src": rng.randrange(12),
                 "off": rng.choice((number(rng, 16), rng.randint(-9, 9))), "imm": number(rng, 32)}[field]  # fmt: skip
        insns[index] = insns[index]._replace(**{field: value})
    return insns


def _tame(rng: random.Random, insn: Insn, length: int) -> Insn:
    """Make calls and addresses hit something more often."""
    if insn.opcode == op.CALL and insn.src == 0:
        return insn._replace(imm=rng.choice((CALLBACK, FREE, IDENTITY, TAIL, TAIL, insn.imm)))
    if insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_FUNC and rng.random() < 0.8:
        return insn._replace(dst=1, imm=rng.randint(-length, length))
    if insn.opcode & 7 in (op.BPF_LDX, op.BPF_STX, op.BPF_ST) and rng.random() < 0.7:
        return insn._replace(off=rng.randint(-16, 40))
    return insn


def same(slow: tuple[object, ...], fast: tuple[object, ...]) -> bool:
    """A run that ends the reference's budget tells nothing: the fast engine counts differently."""
    return slow == fast or slow[1] == "budget"


def compare(seed: int) -> tuple[tuple[object, ...], tuple[object, ...]]:
    insns = hostile(random.Random(seed))
    return (
        outcome(ReferenceEngine(budget=BUDGET), insns, seed),
        outcome(FastEngine(budget=BUDGET), insns, seed),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    ends: Counter[str] = Counter()
    different, start = 0, time.time()
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        slow, fast = compare(seed)
        ends[str(slow[1]) if slow[0] == "fault" else "returned"] += 1
        if not same(slow, fast):
            different += 1
            print(f"seed {seed}: reference {slow[:3]}, fast {fast[:3]}", flush=True)
        if seed % 5000 == 4999:
            print(f"seed {seed}, {different} differ, {time.time() - start:.0f} s, {dict(ends)}", flush=True)
    print(f"{arguments.count} programs, {different} differ, {dict(ends)}")
    return 1 if different else 0


assert _BASE < U64

if __name__ == "__main__":
    sys.exit(main())
