"""Speed of the codec, the disassembler and the assembler, in instructions a second.

    python bench/asm.py [--insns N]

The text is random instructions of every form, the same for all rows.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

from bombus.asm import EXACT, assemble, disassemble
from bombus.isa.forms import FORMS
from bombus.isa.insn import Insn, decode, encode
from bombus.isa.sample import sample


def rate(count: int, work: Callable[[], object]) -> float:
    """Best of three, in instructions a second of CPU time."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return count / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--insns", type=int, default=20_000, help="slots to work on")
    count = parser.parse_args().insns
    rng = random.Random(1)
    insns: list[Insn] = []
    while len(insns) < count:
        insns += sample(rng, rng.choice(FORMS))
    data = encode(insns)
    rows: list[tuple[str, Callable[[], object]]] = [("decode", lambda: decode(data)), ("encode", lambda: encode(insns))]
    for style in ("llvm", "kernel", "ubpf"):
        text = "\n".join(line.text for line in disassemble(insns, style, EXACT))
        assert list(assemble(text, style).insns) == insns
        rows.append((f"disassemble {style}", lambda style=style: disassemble(insns, style)))  # type: ignore[misc]
        rows.append((f"assemble {style}", lambda text=text, style=style: assemble(text, style)))  # type: ignore[misc]
    for name, work in rows:
        print(f"{name:20} {rate(len(insns), work):12,.0f} slots/s")


if __name__ == "__main__":
    main()
