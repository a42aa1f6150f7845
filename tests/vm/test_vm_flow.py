"""Control flow on the fast engine: random graphs, and shapes that meet CPython's limits."""

from __future__ import annotations

import random

import pytest

from bombus.bits import U64
from bombus.errors import VmFault
from bombus.isa import build as b
from bombus.isa.insn import Insn
from bombus.vm.env import PlainEnv
from bombus.vm.fast import FastEngine
from bombus.vm.reference import ReferenceEngine

BUDGET = 4000


def both(insns: list[Insn], ctx: int) -> None:
    results = []
    for engine in (ReferenceEngine(budget=BUDGET), FastEngine(budget=BUDGET)):
        try:
            results.append(str(engine.compile(insns, PlainEnv()).run(ctx)))
        except VmFault as fault:
            results.append(f"{fault.kind} at {fault.insn}")
    if not results[0].startswith("budget"):
        assert results[0] == results[1]


def graph(rng: random.Random, blocks: int, far: int) -> list[Insn]:
    """Blocks that mix their number into r0, step a random number generator in r1, and jump on one of its bits.

    Jumps go up to `far` blocks forward, one in five as far back. Each block has six instructions.
    """
    out = []
    for number in range(blocks):
        target = max(0, min(blocks, number + (rng.randint(-far, -1) if rng.random() < 0.2 else rng.randint(1, far))))
        last = b.ja(6 * (target - number - 1)) if rng.random() < 0.15 else b.jmp(
            "&", 1, 1 << rng.randrange(20, 28), 6 * (target - number - 1)
        )  # fmt: skip
        out += [b.mul(0, 31), b.add(0, number + 1), b.mul32(1, 1664525), b.add32(1, 1013904223), b.mov(2, b.R0), last]
    return [*out, b.exit_()]


@pytest.mark.parametrize("far", [2, 4, 12, 60])
def test_random_graphs(far: int) -> None:
    rng = random.Random(far)
    for _ in range(60):
        insns = graph(rng, rng.randint(2, 40), far)
        for _ in range(3):
            both(insns, rng.getrandbits(32))


def test_structured_loops_need_no_dispatch() -> None:
    """A nest of counted loops with two ways out becomes loops, `break` and `continue`."""
    insns = [b.mov(0, 0), b.mov(6, 5), b.mov(7, 5), b.add(0, b.R7), b.jmp("==", 0, b.R1, 6), b.jmp(">", 0, 50, 3),
             b.add(7, -1), b.jmp("!=", 7, 0, -5), b.ja(0), b.add(6, -1), b.jmp("!=", 6, 0, -9), b.exit_()]  # fmt: skip
    source = FastEngine().compile(insns, PlainEnv()).source()
    assert source.count("for _ in ticks") == 2
    assert "pc <" not in source
    for ctx in (5, 12, 1000):
        both(insns, ctx)


def test_two_entries_into_a_loop() -> None:
    insns = [b.mov(0, 0), b.jmp("&", 1, 1, 2), b.add(0, 1), b.add(0, 2), b.add(0, 4), b.jmp("<", 0, 40, -4),
             b.exit_()]  # fmt: skip
    insns[1] = b.jmp("&", 1, 1, 2)
    source = FastEngine().compile(insns, PlainEnv()).source()
    assert "pc = " in source
    for ctx in (0, 1):
        both(insns, ctx)


def nested_loops(depth: int) -> list[Insn]:
    """Loops of two rounds, each counter a bit of the stack word."""
    out = [b.mov(0, 0)]
    for level in range(depth):
        out.append(b.st("u64", 10, -8 * (level + 1), 2))
    starts = []
    for level in range(depth):
        starts.append(len(out))
        out.append(b.st("u64", 10, -8 * (level + 1), 2 if level < 10 else 1))
    out.append(b.add(0, 1))
    for level in reversed(range(depth)):
        out += [b.ldx("u64", 1, 10, -8 * (level + 1)), b.add(1, -1), b.stx("u64", 10, -8 * (level + 1), 1)]
        # the loop's body begins behind the line that sets its own counter
        out.append(b.jmp("!=", 1, 0, starts[level] + 1 - len(out) - 1))
    return [*out, b.exit_()]


@pytest.mark.parametrize("depth", [1, 5, 16, 17, 30])
def test_deep_nests_of_loops(depth: int) -> None:
    insns = nested_loops(depth)
    assert FastEngine().compile(insns, PlainEnv()).run(0) == 1 << min(depth, 10)


@pytest.mark.parametrize("count", [50, 3000])
def test_long_chains(count: int) -> None:
    """Ifs one after the other; ifs inside each other; all ending in one far exit."""
    chain = [part for n in range(count) for part in (b.jmp("==", 1, n, 1), b.add(0, n % 7))]
    both([*chain, b.exit_()], 17)
    nest = [part for n in range(count) for part in (b.add(0, 1), b.jmp("==", 0, b.R1, 2 * (count - n) - 2))]
    tail = [b.mul(0, 3), b.add(0, 5), b.xor(0, 9), b.mul(0, 7), b.exit_()]
    for ctx in (1, 40, count, count + 5):
        both([*nest, *tail], ctx)


SHAPES = {
    "many jumps to one exit": lambda n, rng: [b.jmp("==", 1, k, n - k) for k in range(n)],
    "many jumps far ahead": lambda n, rng: [b.jmp("==", 1, k, n // 2) for k in range(n // 2)] + [b.add(0, 1)] * n,
    "every block a loop": lambda n, rng: [b.add(0, 1)] * n + [b.jmp("==", 0, k, -n - k) for k in range(n)],
    "anything": lambda n, rng: [b.jmp("&", 1, 1 << rng.randrange(30), rng.randrange(-k, n - k)) for k in range(n)],
    "ahead": lambda n, rng: [b.jmp("&", 1, 1 << rng.randrange(30), rng.randrange(n - k)) for k in range(n)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_time_is_linear(shape: str) -> None:
    """Graphs that would be quadratic in some step: 12,000 blocks take seconds, not hours."""
    rng = random.Random(3)
    insns = [*SHAPES[shape](12_000, rng), *[b.exit_()] * 2]
    both(insns, 5)
    both(insns, -1 & U64)


def test_a_large_program_is_compiled_in_one_piece() -> None:
    rng = random.Random(7)
    insns = graph(rng, 2500, 5)
    both(insns, 99)


def test_functions_that_share_their_code() -> None:
    """Every call goes into the middle of one long function: copies would be quadratic."""
    count = 300
    insns = []
    for n in range(count):
        insns += [b.jmp("!=", 1, n, 2), b.mov(1, 9999), b.call_local(max(1, count - 3 * n))]
    both([*insns, b.mov(0, b.R1), b.exit_()], 3)
