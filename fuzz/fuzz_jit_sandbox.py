"""Byte strings that nobody verified in the sandbox: natively and on the reference interpreter, on the same memory.

    python fuzz/fuzz_jit_sandbox.py [--count N] [--seed S]

A third are random bytes, a third random instructions, a third valid programs with fields spoilt. The
end (r0, or kind and place of the fault) and the memory have to be the same; a native escape ends this process. Prints a
line per 1,000, and what differs with its seed. Exit status 1 when something did.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

from vm_generate import generate

from bombus.errors import VmFault
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.isa.sample import number, sample
from bombus.jit.sandbox import Sandbox

BUDGET = 3000
SIZE = 128
CALL_BACK, SUM = 200, 201


def code(rng: random.Random, shared: int) -> bytes:
    kind = rng.randrange(3)
    if kind == 0:
        return rng.randbytes(8 * rng.randint(1, 40))
    insns: list[Insn] = []
    if kind == 1:
        for reg in (3, 6, 7, 8):
            insns += rng.choice(([b.mov(reg, b.R1)], b.ld_imm64(reg, shared + rng.choice((0, 8, 60)))))
        insns += [b.mov(9, b.R10), b.add(9, -64)]
        size = rng.randint(3, 25)
        while len(insns) < size + 10:
            insns += sample(rng, target=lambda bits: rng.randint(-12, 12))
        insns.append(b.exit_())
    else:
        insns = generate(rng, 8).with_map(shared & 0x7FFF_FFFF, shared >> 32)
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

    def outcome(self, box: Sandbox, text: bytes, memory: bytes) -> tuple[object, ...]:
        self._box = box
        self.shared.view[:] = memory[:64]
        data = bytearray(memory)
        box.load(text)
        # The same addresses for both: they lend each other the room.
        box._room = self.native._room or self.slow._room
        try:
            end: tuple[object, ...] = ("returned", box.exec(data))
        except VmFault as fault:
            end = ("fault", fault.kind, fault.insn)
        self.native._room = self.slow._room = box._room
        box.unload()
        return (*end, bytes(data), bytes(self.shared.view))

    def compare(self, seed: int) -> tuple[tuple[object, ...], tuple[object, ...]]:
        rng = random.Random(seed)
        text, memory = code(rng, self.shared.start), rng.randbytes(SIZE)
        return self.outcome(self.slow, text, memory), self.outcome(self.native, text, memory)


def same(slow: tuple[object, ...], native: tuple[object, ...]) -> bool:
    """Where the budget ends a run, memory may differ: native code counts blocks, not instructions."""
    return slow == native or (slow[1] == "budget" or native[1] == "budget")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    ends: Counter[str] = Counter()
    pair, different, start = Pair(), 0, time.time()
    for count, seed in enumerate(range(arguments.seed, arguments.seed + arguments.count), 1):
        slow, native = pair.compare(seed)
        ends[str(slow[1]) if slow[0] == "fault" else "returned"] += 1
        if not same(slow, native):
            different += 1
            print(f"seed {seed}: reference {slow[:3]}, native {native[:3]}", flush=True)
        if not count % 1000:
            print(f"{count}: {different} differ, {time.time() - start:.0f} s, {dict(ends)}", flush=True)
    print(f"{arguments.count} programs, {different} differ, {dict(ends)}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
