"""The recorded answers of Linux 6.1, 6.12 and 6.18: verdicts, messages, instruction counts and logs.

Needs the oracle folder. By default every SAMPLE-th row of each version is verified; BOMBUS_WHOLE_CORPUS=1 takes all,
checks the totals, and checks that docs/verifier-differences.md names every difference.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import answers
import corpus
import pytest

WHOLE = bool(os.environ.get("BOMBUS_WHOLE_CORPUS"))
SAMPLE = 1 if WHOLE else 6
# Known differences by version: each row's name with what differs. tools/gen-verifier-differences writes it.
KNOWN: dict[str, dict[str, list[str]]] = json.loads(
    (Path(__file__).parent / "data" / "differences.json").read_text()
)
# Least shares of rows that agree: verdict, message, insns, log.
LEAST = {
    "6.12": {"verdict": 0.998, "message": 0.99, "insns": 0.95, "log": 0.90},
    "6.18": {"verdict": 0.998, "message": 0.99, "insns": 0.95, "log": 0.90},
    "6.1": {"verdict": 0.99, "message": 0.99, "insns": 0.99},
}

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not corpus.ORACLE.is_dir(), reason="the recorded answers of real kernels are not here"),
]


def _rows(version: str) -> Iterator[answers.Row]:
    yield from islice(answers.selftests(version), 0, None, SAMPLE)
    yield from islice(answers.tables(version), 0, None, SAMPLE)
    if version in answers.TYPED:
        yield from islice(answers.selftests(version, typed=True), 0, None, SAMPLE)


@pytest.mark.parametrize("version", sorted(LEAST))
def test_answers_equal_the_kernels(version: str) -> None:
    known = KNOWN[version]
    counted: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    surprises = []
    for row in _rows(version):
        result = answers.compare(row)
        if "kernel modules" in result.unsupported and not corpus.modules():
            continue  # tools/install-test-inputs fetches that kernel
        if set(result.differs) - set(known.get(result.name, ())):
            surprises.append((result.name, result.differs, result.want[:200], result.got[:200]))
        if result.unsupported:
            continue
        for what, same in (("verdict", result.verdict), ("message", result.message), ("insns", result.insns),
                           ("log", result.log)):  # fmt: skip
            counted[what] += same is not None
            agreed[what] += bool(same)
    assert not surprises, surprises[:20]
    for what, least in LEAST[version].items():
        assert agreed[what] >= least * counted[what] - (0 if WHOLE else 3), (what, agreed, counted)


def test_every_known_difference_stands_in_the_document() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "verifier-differences.md").read_text()
    for version, rows in KNOWN.items():
        assert f"## Linux {version}" in text
        for name in rows:
            assert f"`{name}`" in text, (version, name)
