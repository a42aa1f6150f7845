"""Tables in files and pipes look as rich writes them, whether rich is asked or not."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bombus.cli import output


def _random_table(rng: random.Random) -> tuple[list[str], list[list[str]], list[str]]:
    letters = "ab [bold]:smile: 0x1f/-_.,  "
    columns = ["".join(rng.choices("abcxyz_", k=rng.randint(1, 9))) + str(i) for i in range(rng.randint(1, 5))]
    rows = [["".join(rng.choices(letters, k=rng.randint(0, 14))) for _ in columns] for _ in range(rng.randint(0, 5))]
    return columns, rows, rng.sample(columns, rng.randint(0, len(columns)))


@pytest.mark.parametrize("seed", range(40))
def test_as_rich_writes_them(seed: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    columns, rows, right = _random_table(random.Random(seed))
    assert output._plain_table(columns, rows, right)
    written = []
    for plain in (output._plain_table, lambda *_: ""):
        monkeypatch.setattr(output, "_plain_table", plain)
        output.table("title", columns, rows, right=right)
        written.append(capsys.readouterr().out)
    assert written[0] == written[1]


@pytest.mark.parametrize(
    "rows", [[["ä"]], [["a\nb"]], [["a\tb"]], [["x" * 1000]], [["\x1b[31m"]], [["a", "b"]]], ids=repr
)  # fmt: skip
def test_what_only_rich_can(rows: Any) -> None:
    assert output._plain_table(["name"], rows, []) == ""
