"""Tables in files and pipes: every cell whole on its line, nothing in it obeyed."""

from __future__ import annotations

import random

import pytest

from bombus.cli import output


@pytest.mark.parametrize("seed", range(10))
def test_cells_stay_what_they_are(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    letters = "ab[bold]:smile:0x1f/-_.,ä中"
    columns = [f"c{i}" for i in range(rng.randint(1, 5))]
    rows = [["".join(rng.choices(letters, k=rng.randint(1, 14))) for _ in columns] for _ in range(rng.randint(1, 5))]
    output.table("title", columns, rows, right=rng.sample(columns, rng.randint(0, len(columns))))
    title, blank, head, rule, *lines, end = capsys.readouterr().out.splitlines()
    assert title == "title" and not blank.strip() and not end.strip() and set(rule) == {" ", "─"}
    assert head.split() == columns and [line.split() for line in lines] == rows


def test_numbers_stand_right(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("", ["name", "count"], [["x", 5], ["y", 12345]], right=["count"])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()][1:5] == [
        " name   count", " ────────────", " x          5", " y      12345",
    ]  # fmt: skip


def test_long_cells_are_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("", ["a", "b"], [["x" * 400, "y" * 400]])
    assert "x" * 400 + "   " + "y" * 400 in capsys.readouterr().out
