"""Ask Linux what each form of each instruction does with edge values; write tests/cases/vm_isa.json.

    python fuzz/make_vm_cases.py

A case: `insns` (hex), and `runs` of [memory before, memory after, low 32 bits of r0], hex. r1 points to the 32
bytes of memory. Needs root and a kernel with all of the ISA (Linux 6.18 on x86-64 was asked).
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path

from linux_bpf import LinuxBpf

from bombus.bits import U64
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.forms import FORMS, Form
from bombus.isa.insn import Insn, encode

TARGET = Path(__file__).parents[1] / "tests" / "cases" / "vm_isa.json"
MEMORY = 32
EDGES = (0, 1, 2, 31, 32, 63, 64, 0x7F, 0x80, 0x8000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 32, (1 << 63) - 1,
         1 << 63, U64 - 1, U64, 0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210)  # fmt: skip
IMMEDIATES = (1, -1, 7, -8, 0x7FFF_FFFF, -0x8000_0000)
ROUNDS = 6


def variants(form: Form) -> Iterator[Insn]:
    """The form on r0 and r2, with r6 for addresses; several immediates."""
    if form.name in ("ldx", "ldsx", "load_acquire"):
        base = Insn(form.opcode, 0, 6, 8)
    elif form.name in ("st", "stx", "store_release") or form.opcode & 0xE7 == op.BPF_STX | op.BPF_ATOMIC:
        base = Insn(form.opcode, 6, 2 if form.src != "zero" else 0, 8)
    else:
        base = Insn(form.opcode, 0, 0 if form.src == "zero" else 2, form.off[0] if isinstance(form.off, tuple) else 0)
    if isinstance(form.imm, tuple):
        imms: tuple[int, ...] = form.imm
    elif form.imm == "shift":
        imms = (0, 1, form.bits // 2, form.bits - 1)
    elif form.imm in ("any", "divisor"):
        imms = IMMEDIATES
    else:
        imms = (0,)
    offs = form.off if isinstance(form.off, tuple) else (base.off,)
    for off in offs:
        for imm in imms:
            yield base._replace(off=off, imm=imm)


def program(form: Form, insn: Insn) -> list[Insn]:
    before = [b.mov(6, b.R1), b.ldx("u64", 0, 6, 0), b.ldx("u64", 2, 6, 8)]
    after = [b.stx("u64", 6, 16, 0), b.exit_()]
    if form.opcode & 0xE7 == op.BPF_STX | op.BPF_ATOMIC and form.name != "load_acquire":
        after.insert(0, b.stx("u64", 6, 24, 2))
    if form.off == "jump" and form.bits:
        return [*before, b.mov(3, 1), insn._replace(off=1), b.mov(3, 2), b.stx("u64", 6, 24, 3), *after]
    return [*before, insn, *after]


def main() -> None:
    kernel, rng = LinuxBpf(), random.Random(1)
    cell = kernel.array(MEMORY)
    cases = []
    for form in FORMS:
        skipped = form.opcode == op.LD_IMM64 or form.name in ("addr_space_cast", "ld_abs", "ld_ind")
        if skipped or (form.opcode & 6 == op.BPF_JMP & 6 and not form.bits and form.opcode & 7 != op.BPF_ALU):
            continue
        for insn in variants(form):
            insns = program(form, insn)
            address = b.ld_imm64(1, cell.number, src=op.BPF_PSEUDO_MAP_VALUE)
            with kernel.load("socket", [*address, *insns]) as fd:
                runs = []
                for _ in range(ROUNDS):
                    memory = struct.pack("<4Q", *(rng.choice(EDGES) for _ in range(4)))
                    kernel.update(cell, 0, memory)
                    r0 = kernel.run(fd, bytes(64))[0]
                    runs.append([memory.hex(), kernel.lookup(cell, 0, MEMORY).hex(), f"{r0:08x}"])
            name = f"{form.name}{form.bits} op={insn.opcode:#04x} src={insn.src} off={insn.off} imm={insn.imm}"
            cases.append({"name": name, "insns": encode(insns).hex(), "runs": runs})
    lines = ",\n".join(json.dumps(case) for case in cases)
    TARGET.write_text(f"[\n{lines}\n]\n")
    print(f"{len(cases)} cases, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
