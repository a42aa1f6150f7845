"""Byte strings that nobody verified in the sandbox: natively and on the reference interpreter, on the same memory.

    python fuzz/fuzz_jit_sandbox.py [--count N] [--seed S] [--batch B] [--thorough N] [--jobs N] [--programs N]

Of eight --programs are programs that work on the memory of the call, on shared memory and their frames, with up to four
fields spoilt; one is random bytes, the others are random instructions, which take a third of the time. They are
compiled --batch at a time, with few passes but for every batch whose number --thorough divides. The end (r0, or kind
and place of the fault) and the memory have to be the same. Escapes: memory lies at the start or the end of pages
between two that nobody may touch, where a wrong access ends this process; what else there is of its pages, and the gaps
between frames, must stay as they were. Prints a line per batch, and what differs with its seed. Exit status 1 when
something did.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import mmap
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context

from vm_generate import Function, join, prologue, results

from bombus.errors import VmFault
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.isa.sample import number, sample
from bombus.jit.engine import NativeProgram
from bombus.jit.sandbox import Sandbox
from bombus.jit.together import compile_together
from bombus.vm.memory import Memory, Region
from bombus.vm.reference import ReferenceProgram
from bombus.vm.run import FRAME_STRIDE, MAX_CALL_FRAMES

BUDGET = 300
SIZE = 128
CALL_BACK, SUM = 200, 201
_PAGE = mmap.PAGESIZE
_COLLECT = 200_000, 50, 50  # what lives here lives for the whole batch: looking for garbage took an eighth
_FILL = 0xA5
_GAP = bytes(FRAME_STRIDE - op.MAX_BPF_STACK)


class Guarded:
    """SIZE bytes as a region, at one end of two pages between two that nobody may touch."""

    def __init__(self, memory: Memory, name: str, *, last: bool) -> None:
        self._pages = mmap.mmap(-1, 4 * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        for page in (0, 3):
            if protect(ctypes.c_void_p(start + page * _PAGE), ctypes.c_size_t(_PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._view = memoryview(self._pages)[_PAGE : 3 * _PAGE]
        self._view[:] = bytes([_FILL]) * len(self._view)
        at = len(self._view) - SIZE if last else 0
        self._rest = self._view[:at] if last else self._view[SIZE:]
        self._filled = bytes(self._rest)
        self.region = Region(start + _PAGE + at, SIZE, self._view[at : at + SIZE], name, "mem", keep=self._pages)
        memory.add(self.region)

    @property
    def whole(self) -> bool:
        """Is what lies around it as it was?"""
        return self._rest == self._filled


def code(rng: random.Random, shared: int, programs: int) -> bytes:
    kind = rng.randrange(8)
    if not kind:
        return rng.randbytes(8 * rng.choice((1, 2, 4, 40)))
    insns = _instructions(rng, shared) if kind < 8 - programs else _program(rng, shared)
    insns = [
        insn._replace(imm=rng.choice((CALL_BACK, SUM, 12, insn.imm)))
        if insn.opcode == op.CALL and not insn.src
        else insn
        for insn in insns
    ]
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        index = rng.randrange(len(insns))
        insns[index] = _spoilt(rng, insns[index])
    return encode(insns)


def _instructions(rng: random.Random, shared: int) -> list[Insn]:
    insns: list[Insn] = []
    for reg in rng.sample((3, 6, 7, 8), rng.choice((1, 2, 4))):
        insns += rng.choice(([b.mov(reg, b.R1)], b.ld_imm64(reg, shared + rng.choice((0, 8, 60, 120)))))
    insns += [b.mov(9, b.R10), b.add(9, -64)]
    size = len(insns) + rng.choice((1, 2, 3, 5, 8, 25))
    while len(insns) < size:
        insns += sample(rng, target=lambda bits: rng.randint(-12, 12))
    return [*insns, b.exit_()]


def _program(rng: random.Random, shared: int) -> list[Insn]:
    """r8: shared memory, r6: that of the call, or of the caller's frame. Functions call, and are called back."""
    last = rng.choice((0, 0, 1, 2))
    bodies = []
    for index in range(last + 1):
        function = Function(rng, "socket", index == 0, last - index, True)
        if rng.random() < 0.3:  # now and then over the end, by the register that was inside before
            function.pointers[rng.choice((6, 8))] = (SIZE - 9, SIZE + rng.choice((1, 1, 3)), False)
        body = prologue(rng, "socket", index == 0) + function.block(0, rng.randint(2, rng.choice((2, 4, 8))))
        if index < last:
            body += function.call(0, 0)
            if rng.random() < 0.5:
                first, second = b.ld_imm64(1, 0, src=op.BPF_PSEUDO_FUNC)
                body += [first, second, b.mov(2, b.R10), b.add(2, -64), b.call(CALL_BACK), *function.lost()]
        bodies.append([*body, *(results() if index == 0 else []), b.exit_()])
    out = join(bodies)
    for at, insn in enumerate(out):
        if insn.opcode == op.LD_IMM64 and insn.src == op.BPF_PSEUDO_MAP_VALUE:
            out[at : at + 2] = b.ld_imm64(insn.dst, shared)
    return out


def _spoilt(rng: random.Random, insn: Insn) -> Insn:
    field = rng.choice(("opcode", "dst", "src", "off", "off", "off", "imm"))
    if field == "opcode":
        return insn._replace(opcode=rng.randrange(256) if rng.random() < 0.3 else sample(rng)[0].opcode)
    if field == "off":
        # Around the ends of memory and frames, of jumps, anything.
        near = rng.choice((0, 0, SIZE, SIZE // 2, -op.MAX_BPF_STACK, op.MAX_BPF_STACK))
        return insn._replace(off=rng.choice((number(rng, 16), near + rng.randint(-9, 9))))
    if field == "imm":
        return insn._replace(imm=number(rng, 32))
    return insn._replace(**{field: rng.randrange(16) if rng.random() < 0.3 else rng.randrange(11)})


@dataclass(frozen=True, slots=True)
class Case:
    seed: int
    memory: bytes
    slow: ReferenceProgram
    native: NativeProgram


class Pair:
    """Two sandboxes over the same memory. Each kind of memory twice: where seeds are even and where they are odd."""

    def __init__(self, programs: int = 4) -> None:
        self.programs = programs
        self.native = Sandbox(budget=BUDGET, level=0)
        self.slow = Sandbox(budget=BUDGET, engine="reference")
        memory = self.native._env.memory
        self.shared = [Guarded(memory, "shared memory", last=last) for last in (False, True)]
        self.rooms = [Guarded(memory, "the memory", last=last) for last in (False, True)]
        for number_, body in ((CALL_BACK, self._back), (SUM, lambda *args: sum(args))):
            self.native.register(number_, body)
        self.slow._env, self.slow._base = self.native._env, self.native._base
        self._box = self.native

    def _back(self, address: int, *args: int) -> int:
        program = self._box._program
        assert program is not None
        return program.call(address, args)

    def _escaped(self) -> bool:
        gaps = any(
            stack.region.view[at * FRAME_STRIDE + op.MAX_BPF_STACK : (at + 1) * FRAME_STRIDE] != _GAP
            for stack in self.native._env.memory.stacks for at in range(MAX_CALL_FRAMES)
        )  # fmt: skip
        return gaps or not all(one.whole for one in (*self.shared, *self.rooms))

    def make(self, seed: int) -> Case:
        rng = random.Random(seed)
        text, memory = code(rng, self.shared[seed & 1].region.start, self.programs), rng.randbytes(SIZE)
        programs = []
        for box in (self.slow, self.native):
            box.load(text)
            programs.append(box._program)
            box.unload()
        slow, native = programs
        assert isinstance(slow, ReferenceProgram) and isinstance(native, NativeProgram)
        return Case(seed, memory, slow, native)

    def outcome(self, box: Sandbox, program: ReferenceProgram | NativeProgram, case: Case) -> tuple[object, ...]:
        self._box = box
        for one in (*self.shared, *self.rooms):
            one.region.view[:] = case.memory
        for stack in self.native._env.memory.stacks:  # what one run leaves in frames beyond its own, the next could see
            stack.region.view[:] = bytes(len(stack.region.view))
        data = bytearray(case.memory)
        box._program = program
        box._room = self.rooms[case.seed & 1].region
        try:
            end: tuple[object, ...] = ("returned", box.exec(data))
        except VmFault as fault:
            end = ("fault", fault.kind, fault.insn)
        box._room = None
        box.unload()
        left = [bytes(one.region.view) for one in (*self.shared, *self.rooms)]
        return (*end, "escaped" if self._escaped() else "", *left)

    def compare(
        self, seeds: Iterable[int], level: int = 0
    ) -> Iterator[tuple[int, tuple[object, ...], tuple[object, ...]]]:
        """Seed, and how it ended on both sides."""
        cases = [self.make(seed) for seed in seeds]
        compile_together([case.native for case in cases], level=level)
        for case in cases:
            assert case.native.is_native
            slow = self.outcome(self.slow, case.slow, case)
            yield case.seed, slow, self.outcome(self.native, case.native, case)


def same(slow: tuple[object, ...], native: tuple[object, ...]) -> bool:
    """Where the budget ends a run, memory may differ: native code counts blocks, not instructions."""
    escaped = "escaped" in native
    return not escaped and (slow == native or slow[1] == "budget" or native[1] == "budget")


_pair: Pair | None = None


def batch(first: int, end: int, level: int, programs: int = 4) -> tuple[Counter[str], list[str]]:
    """How the programs of a batch ended, and what differs."""
    global _pair
    if _pair is None:
        gc.set_threshold(*_COLLECT)
        _pair = Pair(programs)
    ends: Counter[str] = Counter()
    lines = []
    for seed, slow, native in _pair.compare(range(first, end), level):
        ends[str(slow[1]) if slow[0] == "fault" else "returned"] += 1
        if not same(slow, native):
            lines.append(f"seed {seed}: reference {slow[:4]}, native {native[:4]}")
    return ends, lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=400)
    parser.add_argument("--thorough", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--programs", type=int, default=4, choices=range(8))
    arguments = parser.parse_args()
    end = arguments.seed + arguments.count
    batches = [
        (first, min(first + arguments.batch, end), 0 if round_ % arguments.thorough else 2)
        for round_, first in enumerate(range(arguments.seed, end, arguments.batch), 1)
    ]
    ends: Counter[str] = Counter()
    different, start = 0, time.time()
    with ExitStack() as stack:
        pool = ProcessPoolExecutor(arguments.jobs, get_context("spawn"))
        stack.callback(pool.shutdown, cancel_futures=True)
        jobs = {pool.submit(batch, *row, arguments.programs): row for row in batches}
        left = list(batches)
        for job in as_completed(jobs):
            try:
                found, lines = job.result()
            except BrokenProcessPool:  # an escape; batches begin in order
                running = ", ".join(f"{first} to {last - 1}" for first, last, _level in left[: arguments.jobs])
                print(f"a process crashed; it was one of these batches of seeds: {running}")
                return 1
            left.remove(jobs[job])
            ends.update(found)
            different += len(lines)
            for line in lines:
                print(line)
            rate = ends.total() / (time.time() - start)
            print(f"{ends.total()} programs, {different} differ, {rate:.0f}/s, {dict(ends)}", flush=True)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
