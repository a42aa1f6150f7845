"""Mutated objects through everything that takes one: nothing but BombusError, in bounded time and memory.

    python fuzz/fuzz_elf.py [--seconds N] [--seed S] [FILE...]

Seeds are the objects in the tree and FILEs (objects, or binaries with objects inside). Mutations know the format:
header fields, section headers, symbols, relocations, words of any section, BTF and code; some only flip bits. Each
input is read as ELF, opened, inspected, relocated and, when that works, loaded on a user kernel.
"""

from __future__ import annotations

import argparse
import random
import resource
import struct
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from bombus.elf.read import find_embedded, read_elf
from bombus.errors import BombusError
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load, prepare
from bombus.object.inspect import inspect
from bombus.object.read import read_object

ROOT = Path(__file__).resolve().parents[1]
SLOW = 10.0  # seconds that one input may take
MEMORY = 2 << 30  # bytes of the whole process
EXTREME = (0, 1, 2, 7, 8, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


def seeds(files: list[Path]) -> list[bytes]:
    found = [path.read_bytes() for path in ROOT.rglob("*.bpf.o") if ".venv" not in path.parts]
    for path in files:
        data = path.read_bytes()
        found += [data] if path.suffix == ".o" else [data[at : at + elf.size] for at, elf in find_embedded(data)]
    return [data for data in found if len(data) < 1 << 18]


def targets(data: bytes) -> list[tuple[int, int]]:
    """(offset, size) of the pieces worth changing: header, section headers, each section."""
    pieces = [(0, 64)]
    try:
        elf = read_elf(data)
    except BombusError:
        return pieces
    (shoff,) = struct.unpack_from("<Q" if elf.byteorder == "little" else ">Q", data, 40)
    pieces += [(shoff + 64 * i, 64) for i in range(len(elf.sections))]
    for section in elf.sections:
        if section.size and section.type != 8:
            weight = 4 if section.name in (".BTF", ".BTF.ext", ".maps", "maps") or section.type in (2, 4, 9) else 1
            pieces += [(section.offset, section.size)] * weight
    return pieces


def mutate(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    pieces = targets(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        start, size = rng.choice(pieces)
        if size <= 0 or start + size > len(out):
            continue
        at = start + rng.randrange(size)
        match rng.randrange(7):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at] = rng.randrange(256)
            case 2:
                at -= (at - start) % 4
                out[at : at + 4] = struct.pack("<I", rng.choice(EXTREME))[: max(0, len(out) - at)]
            case 3:
                at -= (at - start) % 8
                out[at : at + 8] = struct.pack("<Q", rng.choice(EXTREME))[: max(0, len(out) - at)]
            case 4:  # another word of the same piece
                other = start + rng.randrange(size)
                out[at : at + 4] = out[other : other + 4].ljust(4, b"\0")[: max(0, min(4, len(out) - at))]
            case 5:
                at -= (at - start) % 4
                word = int.from_bytes(out[at : at + 4], "little")
                out[at : at + 4] = ((word + rng.choice((-8, -1, 1, 8))) & 0xFFFFFFFF).to_bytes(4, "little")
            case _:
                if rng.random() < 0.1:
                    del out[at:]
    return bytes(out)


def check(data: bytes, rng: random.Random) -> str:
    """How far one input came."""
    kernel = UserKernel(rng.choice(("4.18", "5.15", "6.12", "6.18")), cpus=2)
    step = "open"
    try:
        obj = read_object(data, name="fuzz")
        step = "inspect"
        inspect(obj)
        step = "prepare"
        prepare(obj, kernel)
        step = "load"
        with load(obj, kernel, pin_root=""):
            step = "done"
    except BombusError:
        pass
    left = {kind: len(ids) for kind, ids in kernel.ids.items() if len(ids)}
    assert not left and not kernel.fds.numbers(), f"objects left: {left}"
    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    pool = seeds(args.files)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found: Counter[str] = Counter()
    start = time.monotonic()
    while time.monotonic() - start < args.seconds:
        data = mutate(rng, rng.choice(pool))
        began = time.monotonic()
        try:
            found[check(data, rng)] += 1
            assert time.monotonic() - began < SLOW, f"{time.monotonic() - began:.1f} s"
        except Exception:
            Path("elf.crash").write_bytes(data)
            traceback.print_exc()
            sys.exit(f"after {sum(found.values())} inputs; the input is in elf.crash")
    print(f"{sum(found.values())} inputs in {time.monotonic() - start:.0f} s, ended in: {dict(found)}")


if __name__ == "__main__":
    main()
