"""Random instructions drawn from the form table, for fuzzers and property tests.

Everything that comes out passes `validate.check_fields`; jump offsets are whatever the caller's `target`
gives.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from bombus.isa import opcodes as op
from bombus.isa.forms import FORMS, Form
from bombus.isa.insn import Insn

# Values at which arithmetic changes its mind.
_EDGES = (0, 1, 2, 7, 8, 31, 32, 63, 64, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF)


def number(rng: random.Random, bits: int) -> int:
    """A signed number of `bits` bits, edges and small ones more often."""
    limit = 1 << (bits - 1)
    kind = rng.randrange(3)
    if kind == 0:
        value = rng.choice(_EDGES)
        value = value if rng.random() < 0.5 else -value
        return max(-limit, min(limit - 1, value))
    if kind == 1:
        return rng.choice((-limit, limit - 1, rng.randint(-64, 64)))
    return rng.randrange(-limit, limit)


def sample(
    rng: random.Random,
    form: Form | None = None,
    target: Callable[[int], int] | None = None,
    registers: int = 10,
) -> list[Insn]:
    """One random instruction: one slot, or two for ld_imm64.

    `target(bits)` gives jump offsets (default: any); registers up to `registers` appear, r10 only where it
    may be.
    """
    form = form or rng.choice(FORMS)
    jump = target or (lambda bits: number(rng, bits))

    def register(rule: object) -> int:
        if isinstance(rule, tuple):
            return int(rng.choice(rule))
        if rule == "zero":
            return 0
        return rng.randint(0, min(registers, 10 if rule == "read" else 9))

    off: int
    if isinstance(form.off, tuple):
        off = rng.choice(form.off)
    elif form.off in ("jump", "loop"):
        off = jump(16)
        if form.off == "loop" and off == 0:
            off = 1
    else:
        off = number(rng, 16) if form.off == "any" and form.opcode != op.EXIT else 0
    imm: int
    if isinstance(form.imm, tuple):
        imm = rng.choice(form.imm)
    elif form.imm in ("jump", "subprog"):
        imm = jump(32)
    elif form.imm == "shift":
        imm = rng.randrange(form.bits)
    elif form.imm == "zero":
        imm = 0
    else:
        imm = number(rng, 32)
        if form.imm == "divisor" and imm == 0:
            imm = 1
    first = Insn(form.opcode, register(form.dst), register(form.src), off, imm)
    if form.opcode != op.LD_IMM64:
        return [first]
    no_second = first.src in (op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_IDX)
    return [first, Insn(0, 0, 0, 0, 0 if no_second else number(rng, 32))]
