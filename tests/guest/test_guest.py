"""Attaching where this machine's kernel refuses: the same tests in a guest with Debian's 6.12 kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from guest import boot, problem

LINUX = Path(__file__).parent.parent / "linux"
VERSION = "6.12"
TESTS = ["test_attach_kinds"]
FILES = [LINUX / "sandbox.py", LINUX / "data", LINUX / "test_attach_kinds.py"]
# What a guest's kernel itself does not have.
MAY_SKIP: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    if why := problem(VERSION):
        pytest.skip(why)
    return boot(VERSION, TESTS, FILES)


def test_every_kind_attaches_in_the_guest(rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [row for row in rows if "outcome" in row]
    skipped = [f"{row['test']}: {row['detail']}" for row in outcomes if row["outcome"] == "skipped"]
    failed = [f"{row['test']}: {row['detail']}" for row in outcomes if row["outcome"] == "failed"]
    with capsys.disabled():
        passed = sum(row["outcome"] == "passed" for row in outcomes)
        print(f"\nguest {VERSION}: {passed} passed, {len(skipped)} skipped", *skipped, sep="\n  ")
    assert not failed, "\n".join(failed)
    assert not [line for line in skipped if not line.startswith(MAY_SKIP)]
    assert len(outcomes) >= 25
