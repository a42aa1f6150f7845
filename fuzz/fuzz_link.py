"""Mutated objects through the linker: only BombusError, in bounded time; what links can be read and linked again.

    python fuzz/fuzz_link.py [--seconds N] [--seed S] [FILE...]

Mutations and seeds are those of fuzz_elf.py.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from fuzz_elf import mutate, seeds

from bombus.elf.read import read_elf
from bombus.errors import BombusError
from bombus.object.link import link

SLOW = 10.0  # seconds that one input may take


def check(rng: random.Random, pool: list[bytes]) -> str:
    """Link one to three objects, at least one of them broken."""
    inputs = [("broken", mutate(rng, rng.choice(pool)))]
    inputs += [(f"file {i}", rng.choice(pool)) for i in range(rng.choice((0, 0, 1, 2)))]
    rng.shuffle(inputs)
    try:
        out = link(inputs)
    except BombusError:
        return "refused"
    read_elf(out)
    again = link([("again", out)])
    assert len(read_elf(again).sections) == len(read_elf(out).sections)
    return "linked"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    pool = seeds(args.files)
    found: Counter[str] = Counter()
    start = time.monotonic()
    while time.monotonic() - start < args.seconds:
        state = rng.getstate()
        began = time.monotonic()
        try:
            found[check(rng, pool)] += 1
            assert time.monotonic() - began < SLOW, f"{time.monotonic() - began:.1f} s"
        except Exception:
            traceback.print_exc()
            rng.setstate(state)
            sys.exit(f"after {sum(found.values())} inputs of seed {args.seed}")
    print(f"{sum(found.values())} inputs in {time.monotonic() - start:.0f} s: {dict(found)}")


if __name__ == "__main__":
    main()
