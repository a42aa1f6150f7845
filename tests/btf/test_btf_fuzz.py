"""A short run of fuzz/fuzz_btf.py with a fixed seed."""

from __future__ import annotations

import importlib.util
import os
import random
from collections import Counter
from pathlib import Path

from bombus.btf.ext import BtfExt, CoreRelo, FuncInfo, LineInfo, Section
from bombus.btf.parse import Btf

SCRIPT = Path(__file__).resolve().parents[2] / "fuzz" / "fuzz_btf.py"


def test_only_our_own_errors() -> None:
    spec = importlib.util.spec_from_file_location("fuzz_btf", SCRIPT)
    assert spec is not None and spec.loader is not None
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    rng = random.Random(2024)
    corpus = fuzz.seeds()
    base = Btf.parse(corpus[0])
    records = BtfExt(
        (Section(1, (FuncInfo(0, 3),)),), (Section(1, (LineInfo(0, 1, 2, 3),)),), (Section(1, (CoreRelo(0, 1, 2, 3),)),)
    )
    counts: Counter[str] = Counter()
    for _ in range(int(os.environ.get("BOMBUS_BTF_FUZZ", "1500"))):
        fuzz.exercise(rng, fuzz.mutate(rng, rng.choice(corpus), corpus), base, counts)
        fuzz.ext(fuzz.mutate(rng, records.to_bytes(), corpus), counts)
    for name in ("parse", "validate", "C dump", "dedup", "core", "data", "ext"):
        assert counts[name] and counts[name] < counts["parse"] * 20, "mutations must reach past the parser"
