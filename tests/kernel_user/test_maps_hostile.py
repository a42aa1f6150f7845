"""Random attributes for every command; the long form is fuzz/fuzz_maps_attrs.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fuzz"))

import fuzz_maps_attrs


@pytest.mark.parametrize("seed", [1, 2])
def test_only_our_errors_and_no_leaks(seed: int) -> None:
    fuzz_maps_attrs.fuzz(200, 0)  # what is started once and kept, as the compiler's child
    before = len(os.listdir("/proc/self/fd"))
    found = fuzz_maps_attrs.fuzz(20_000, seed)
    assert found["BPF_MAP_CREATE ok"] > 50
    assert found["errno 22"] and found["errno 9"] and found["errno 14"]
    assert len(os.listdir("/proc/self/fd")) == before
