"""What bombus.jit.narrow says of registers, against what they hold when programs run."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from bombus.errors import VmFault
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.forms import FORMS
from bombus.isa.insn import Insn
from bombus.isa.sample import sample
from bombus.jit.narrow import narrow_at
from bombus.vm.env import PlainEnv
from bombus.vm.flow import blocks_from
from bombus.vm.reference import ReferenceProgram

# name: what comes before a loop, its body, and whether r3 is narrow where it begins again.
CASES: dict[str, tuple[list[Insn], list[Insn], bool]] = {
    "32-bit sum": ([b.mov32(3, 0)], [b.add32(3, 1)], True),
    "64-bit sum": ([b.mov32(3, 0)], [b.add(3, 1)], False),
    "small constant": ([b.mov(3, 7)], [], True),
    "negative constant": ([b.mov(3, -7)], [], False),
    "negative constant that comes back": ([b.mov(3, 7)], [b.mov(3, -7)], False),
    "masked": ([b.mov(3, 7)], [b.mov(3, -7), b.and_(3, 3)], True),
    "copy": ([b.mov32(4, 1)], [b.mov(3, 4)], False),
    "copy on both ways": ([b.mov32(4, 1), b.mov(3, 4)], [b.mov(3, 4)], True),
    "argument": ([], [], False),
    "argument, made narrow too late": ([], [b.add32(3, 1)], False),
}


@pytest.mark.parametrize("name", CASES)
def test_where_a_loop_begins(name: str) -> None:
    before, body, expected = CASES[name]
    insns = [*before, *body, b.sub(2, 1), Insn(op.BPF_JMP | op.BPF_JNE, 2, 0, -2 - len(body)), b.exit_()]
    found = narrow_at(insns, blocks_from(insns, 0), 0)
    assert bool(found[len(before)] >> 3 & 1) == expected


def random_program(rng: random.Random) -> list[Insn]:
    forms = [
        form
        for form in FORMS
        if (form.opcode & 7 in (op.BPF_ALU, op.BPF_ALU64) and form.name != "addr_space_cast")
        or (form.off == "jump" and form.opcode & 7 in (op.BPF_JMP, op.BPF_JMP32) and form.bits)
        or form.opcode == op.LD_IMM64
    ]
    size = rng.randint(5, 40)
    insns = [Insn(op.BPF_ALU | op.BPF_MOV, reg, imm=rng.randrange(-9, 9)) for reg in range(10) if rng.random() < 0.5]
    while len(insns) < size:
        one = sample(rng, rng.choice(forms), target=lambda bits: 0)
        insns += [insn._replace(src=0) for insn in one] if one[0].opcode == op.LD_IMM64 else one
    starts = [at for at in range(len(insns)) if not at or insns[at - 1].opcode != op.LD_IMM64]
    for at in starts:
        if insns[at].opcode & 7 in (op.BPF_JMP, op.BPF_JMP32):
            insns[at] = insns[at]._replace(off=rng.choice(starts) - at - 1)
    return [*insns, b.exit_()]


def test_what_is_narrow_is_small() -> None:
    claims = wrong = 0
    for seed in range(600):
        insns = random_program(random.Random(seed))
        narrow = narrow_at(insns, blocks_from(insns, 0), 0)

        def look(here: int, regs: list[int], narrow: dict[int, int] = narrow) -> None:
            nonlocal claims, wrong
            for reg in range(10):
                if narrow.get(here, 0) >> reg & 1:
                    claims += 1
                    wrong += regs[reg] >= 1 << 32

        with suppress(VmFault):  # out of instructions, in a loop
            ReferenceProgram(insns, PlainEnv(), budget=400, trace=look).run(0xFFFF_FFFF_1234_5678)
    assert not wrong
    assert claims > 20_000
