"""`bombus gen`: files come out, errors are one line and exit code 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from bombus.cli.main import main
from bombus.object.read import open_object

DATA = Path(__file__).parents[1] / "object" / "data" / "link"


def test_object(tmp_path: Path) -> None:
    out = tmp_path / "out.o"
    assert main(["gen", "object", str(out), str(DATA / "one.bpf.o"), str(DATA / "two.bpf.o")]) == 0
    assert {p.name for p in open_object(out).programs} == {"first", "second"}


def test_object_conflict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.o"
    assert main(["gen", "object", str(out), str(DATA / "one.bpf.o"), str(DATA / "twice_defined.bpf.o")]) == 1
    assert "symbol 'total'" in capsys.readouterr().err
    assert not out.exists()
