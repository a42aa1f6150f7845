"""Tables in files and pipes: every cell whole on its line, nothing in it obeyed."""

from __future__ import annotations

import random

import pytest

from bombus.cli import output
from bombus.cli.tables import fold, measure, render


@pytest.mark.parametrize("seed", range(10))
def test_cells_stay_what_they_are(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    letters = "ab[bold]:smile:0x1f/-_.,ä中"
    columns = [f"c{i}" for i in range(rng.randint(1, 5))]
    rows = [["".join(rng.choices(letters, k=rng.randint(1, 14))) for _ in columns] for _ in range(rng.randint(1, 5))]
    output.table("title", columns, rows, right=rng.sample(columns, rng.randint(0, len(columns))))
    title, blank, head, rule, *lines, end = capsys.readouterr().out.splitlines()
    assert title == "title" and not blank and not end and set(rule) == {" ", "─"}
    assert head.split() == columns and [line.split() for line in lines] == rows


def test_numbers_stand_right(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("", ["name", "count"], [["x", 5], ["y", 12345]], right=["count"])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()][1:5] == [
        " name   count", " ────────────", " x          5", " y      12345",
    ]  # fmt: skip


def test_long_cells_are_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("", ["a", "b"], [["x" * 400, "y" * 400]])
    assert "x" * 400 + "   " + "y" * 400 in capsys.readouterr().out


@pytest.mark.parametrize("width", [1, 8, 20, 33, 60, 200])
def test_narrow_terminals_fold_cells(width: int) -> None:
    """Nothing is lost, no word is cut, and nothing goes over the edge where every column has room for its words."""
    rng = random.Random(width)
    for _ in range(50):
        count = rng.randint(1, 4)
        columns = [f"c{i}" for i in range(count)]
        words = [["".join(rng.choices("abc", k=rng.randint(1, 12))) for _ in range(rng.randint(0, 5))]
                 for _ in range(count)]  # fmt: skip
        lines = render(columns, [[" ".join(cell) for cell in words]], width=width)
        if width >= 15 * count + 2:
            assert all(measure(line) <= width for line in lines)
        assert {word for cell in words for word in cell} <= set(" ".join(lines).split())
        whole = "".join("".join(lines).split())
        for letter in "abc":
            expected = sum(word.count(letter) for cell in words for word in cell) + (letter == "c") * count
            assert whole.count(letter) == expected


def test_wide_letters_take_two_cells() -> None:
    assert measure("a中b") == 4 and measure("e\u0301") == 1
    assert fold("中中中 中", 4) == ["中中", "中", "中"] and fold("a bb ccc", 4) == ["a bb", "ccc"]
    lines = render(["name", "n"], [["中", "1"], ["abcd", "2"]], right=["n"])
    assert [line.index("1") for line in lines if "1" in line] == [7] and lines[3] == " abcd   2"


def test_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("", ["a"], [["\x1b[31mred\x07\r"]])
    assert "\x1b" not in capsys.readouterr().out
