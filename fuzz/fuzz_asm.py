"""Fuzz the assembler and disassembler: any bytes, mutated text. Usage: fuzz_asm.py [SECONDS [SEED]].

Only exceptions of bombus.errors may come out, disassembly never raises, whatever disassembles in the exact
style assembles to the same slots when the instructions are valid, and no input takes longer than a second.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

from bombus.asm import BPFTOOL, EXACT, PLAIN, assemble, disassemble
from bombus.errors import BombusError, EncodingError
from bombus.isa.forms import FORMS
from bombus.isa.insn import Insn, decode, encode
from bombus.isa.sample import sample
from bombus.isa.validate import check_fields

STYLES = ("llvm", "kernel", "ubpf")
_WORDS = (
    "r0 r1 w2 r10 r11 %r3 = += s>>= s/= ( ) [ ] * + - ~ , ; : . # // /* */ \" ' u8 u32 s16 skb lock if goto gotol "
    "may_goto call callx exit ll pc+1 1b 1f 0x 0xffffffff 99999999999999999999 map[id:3] atomic_fetch_add "
    "xchg_64 load_acquire .section .byte .long .quad .zero .fill .p2align .set "
    '.ascii "ax" @progbits .comm .uleb128 .size .type mov lddw '
    "stxdw [%r10-8] jne (bf) (18) 5: label: label \\ \x00 \u00e9 < > <x> & | ^ << >> % == s< -1 65536"
)
WORDS = _WORDS.split(" ")
LIMIT = 1.0  # seconds that one input may take


def random_insns(rng: random.Random) -> list[Insn]:
    out: list[Insn] = []
    for _ in range(rng.randrange(1, 12)):
        out += sample(rng, rng.choice(FORMS))
    return out


def check_bytes(rng: random.Random) -> str:
    """Any slots: disassembly in every style."""
    data = bytearray(rng.randbytes(8 * rng.randrange(12)))
    if rng.random() < 0.6:
        data = bytearray(encode(random_insns(rng)))
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    insns = decode(data, rng.choice(("little", "big")))
    valid = True
    for index, insn in enumerate(insns):
        try:
            if index == 0 or not insns[index - 1].is_ld_imm64:
                check_fields(insn)
        except EncodingError:
            valid = False
    if insns and insns[-1].is_ld_imm64:
        valid = False
    for style in STYLES:
        names = rng.choice((PLAIN, BPFTOOL, EXACT)) if not valid else EXACT
        lines = disassemble(insns, style, names, llvm=rng.choice((14, 19, 22)))  # type: ignore[arg-type]
        text = "\n".join(line.text for line in lines)
        if valid and not any(insn.opcode == 0x95 and insn.off for insn in insns):
            again = list(assemble(text, style).insns)  # type: ignore[arg-type]
            seconds = [i + 1 for i, insn in enumerate(insns) if insn.is_ld_imm64]
            wanted = [Insn(0, 0, 0, 0, x.imm) if i in seconds else x for i, x in enumerate(insns)]
            assert again == wanted, (style, text)
    return "valid" if valid else "invalid"


def mutate(rng: random.Random, text: str) -> str:
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(6):
            case 0:
                text = text[:at] + rng.choice(WORDS) + text[at:]
            case 1:
                text = text[:at] + " " + rng.choice(WORDS) + " " + text[at:]
            case 2:
                text = text[:at] + text[at + rng.randrange(1, 8) :]
            case 3:
                text = text[:at] + chr(rng.choice((rng.randrange(128), rng.randrange(0x3000)))) + text[at + 1 :]
            case 4:
                text = text[:at] + text[rng.randrange(len(text) + 1) :]
            case _:
                text = text[:at] + "\n" + text[at:]
    return text


def check_text(rng: random.Random) -> str:
    """Text near to assembly: a result or an error of ours."""
    if rng.random() < 0.3:
        text = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(40)))
    else:
        style = rng.choice(STYLES)
        text = "\n".join(line.text for line in disassemble(random_insns(rng), style, EXACT))  # type: ignore[arg-type]
        if rng.random() < 0.5:
            data = '.data\nx: .long 5, .-x\n.quad f\n.ascii "a\\n"\n.p2align 3\n'
            text = f".text\n.globl f\nf:\n{text}\n.size f, .-f\n{data}"
        text = mutate(rng, text)
    try:
        assemble(text, rng.choice(("auto", *STYLES)))  # type: ignore[arg-type]
    except BombusError as error:
        assert str(error)
        return "refused"
    return "assembled"


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    counts: Counter[str] = Counter()
    slowest = 0.0
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        rng = random.Random(f"{seed} {number}")
        check = check_bytes if number % 2 else check_text
        start = time.process_time()
        try:
            counts[check(rng)] += 1
        except Exception:
            print(f"seed {seed}, input {number}", file=sys.stderr)
            raise
        took = time.process_time() - start
        slowest = max(slowest, took)
        assert took < LIMIT, f"seed {seed}, input {number}: {took:.1f} s"
        number += 1
    print(f"seed {seed}: {number} inputs, {dict(counts)}, slowest {slowest * 1000:.0f} ms")


if __name__ == "__main__":
    main()
