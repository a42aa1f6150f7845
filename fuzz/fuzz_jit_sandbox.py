"""Byte strings that nobody verified in the sandbox: natively and on the reference interpreter, on the same memory.

    python fuzz/fuzz_jit_sandbox.py [--count N] [--seed S] [--batch B] [--thorough N]

Three of eight are random bytes, four random instructions, one is a valid program with fields spoilt; short ones mostly,
so that there are many. They are compiled --batch at a time, with few passes but for every batch whose number --thorough
divides. The end (r0, or kind and place of the fault) and the memory have to be the same; a native escape ends this
process. Prints a line per 10 batches, and what differs with its seed. Exit status 1 when something did.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vm_generate import generate

from bombus.errors import VmFault
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.isa.sample import number, sample
from bombus.jit.engine import NativeProgram
from bombus.jit.sandbox import Sandbox
from bombus.jit.together import compile_together
from bombus.vm.reference import ReferenceProgram

BUDGET = 300
SIZE = 128
CALL_BACK, SUM = 200, 201


def code(rng: random.Random, shared: int) -> bytes:
    kind = rng.randrange(8)
    if kind < 3:
        return rng.randbytes(8 * rng.choice((1, 2, 4, 40)))
    insns: list[Insn] = []
    if kind < 7:
        for reg in rng.sample((3, 6, 7, 8), rng.choice((1, 2, 4))):
            insns += rng.choice(([b.mov(reg, b.R1)], b.ld_imm64(reg, shared + rng.choice((0, 8, 60)))))
        insns += [b.mov(9, b.R10), b.add(9, -64)]
        size = len(insns) + rng.choice((1, 2, 3, 5, 8, 25))
        while len(insns) < size:
            insns += sample(rng, target=lambda bits: rng.randint(-12, 12))
        insns.append(b.exit_())
    else:
        insns = generate(rng, rng.choice((4, 4, 8))).with_map(shared & 0x7FFF_FFFF, shared >> 32)
    insns = [
        insn._replace(imm=rng.choice((CALL_BACK, SUM, 12, insn.imm)))
        if insn.opcode == op.CALL and not insn.src
        else insn
        for insn in insns
    ]
    for _ in range(rng.choice((0, 1, 2, 4))):
        index = rng.randrange(len(insns))
        field = rng.choice(("opcode", "dst", "src", "off", "imm"))
        value = {"opcode": rng.randrange(256), "dst": rng.randrange(16), "src": rng.randrange(16),
                 "off": rng.choice((number(rng, 16), rng.randint(-9, 9))), "imm": number(rng, 32)}[field]  # fmt: skip
        insns[index] = insns[index]._replace(**{field: value})
    return encode(insns)


@dataclass(frozen=True, slots=True)
class Case:
    seed: int
    memory: bytes
    slow: ReferenceProgram
    native: NativeProgram


class Pair:
    """Two sandboxes over the same memory."""

    def __init__(self) -> None:
        self.native = Sandbox(budget=BUDGET, level=0)
        self.slow = Sandbox(budget=BUDGET, engine="reference")
        self.shared = self.native.share(64)
        for number_, body in ((CALL_BACK, self._back), (SUM, lambda *args: sum(args))):
            self.native.register(number_, body)
        self.slow._env, self.slow._base = self.native._env, self.native._base
        self._box = self.native

    def _back(self, address: int, *args: int) -> int:
        program = self._box._program
        assert program is not None
        return program.call(address, args)

    def make(self, seed: int) -> Case:
        rng = random.Random(seed)
        text, memory = code(rng, self.shared.start), rng.randbytes(SIZE)
        programs = []
        for box in (self.slow, self.native):
            box.load(text)
            programs.append(box._program)
            box.unload()
        slow, native = programs
        assert isinstance(slow, ReferenceProgram) and isinstance(native, NativeProgram)
        return Case(seed, memory, slow, native)

    def outcome(self, box: Sandbox, program: ReferenceProgram | NativeProgram, memory: bytes) -> tuple[object, ...]:
        self._box = box
        self.shared.view[:] = memory[:64]
        for stack in self.native._env.memory.stacks:  # what one run leaves in frames beyond its own, the next could see
            stack.region.view[:] = bytes(len(stack.region.view))
        data = bytearray(memory)
        box._program = program
        # The same addresses for both: they lend each other the room.
        box._room = self.native._room or self.slow._room
        try:
            end: tuple[object, ...] = ("returned", box.exec(data))
        except VmFault as fault:
            end = ("fault", fault.kind, fault.insn)
        self.native._room = self.slow._room = box._room
        box.unload()
        return (*end, bytes(data), bytes(self.shared.view))

    def compare(
        self, seeds: Iterable[int], level: int = 0
    ) -> Iterator[tuple[int, tuple[object, ...], tuple[object, ...]]]:
        """Seed, and how it ended on both sides."""
        cases = [self.make(seed) for seed in seeds]
        compile_together([case.native for case in cases], level=level)
        for case in cases:
            assert case.native.is_native
            slow = self.outcome(self.slow, case.slow, case.memory)
            yield case.seed, slow, self.outcome(self.native, case.native, case.memory)


def same(slow: tuple[object, ...], native: tuple[object, ...]) -> bool:
    """Where the budget ends a run, memory may differ: native code counts blocks, not instructions."""
    return slow == native or (slow[1] == "budget" or native[1] == "budget")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--thorough", type=int, default=20)
    arguments = parser.parse_args()
    ends: Counter[str] = Counter()
    pair, different, start, done = Pair(), 0, time.time(), 0
    end = arguments.seed + arguments.count
    for round_, first in enumerate(range(arguments.seed, end, arguments.batch), 1):
        seeds, level = range(first, min(first + arguments.batch, end)), 0 if round_ % arguments.thorough else 2
        for seed, slow, native in pair.compare(seeds, level):
            ends[str(slow[1]) if slow[0] == "fault" else "returned"] += 1
            done += 1
            if not same(slow, native):
                different += 1
                print(f"seed {seed}: reference {slow[:3]}, native {native[:3]}", flush=True)
        if not round_ % 10:
            print(f"{done}: {different} differ, {time.time() - start:.0f} s, {dict(ends)}", flush=True)
    print(f"{done} programs, {different} differ, {dict(ends)}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
