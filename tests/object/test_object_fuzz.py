"""A short run of fuzz/fuzz_elf.py: mutated objects end in our own errors, and nothing stays behind."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "fuzz"))

import fuzz_elf  # noqa: E402


@pytest.mark.parametrize("seed", range(4))
def test_mutated_objects(seed: int) -> None:
    rng = random.Random(seed)
    pool = [data for data in fuzz_elf.seeds([]) if len(data) < 20_000]
    ends = {fuzz_elf.check(fuzz_elf.mutate(rng, rng.choice(pool)), rng) for _ in range(60)}
    assert {"open", "done"} <= ends, "the inputs reach the first step and the last"
