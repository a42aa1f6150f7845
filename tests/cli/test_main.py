"""The command line as a whole: help, errors, start-up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bombus.cli.main import VERBS


def test_every_verb_has_help(bombus: Callable[..., Any]) -> None:
    listing = bombus("--help").out
    for verb in VERBS:
        assert f"  {verb} " in listing
        done = bombus(verb, "--help")
        assert done.code == 0 and done.out.startswith(f"Usage: bombus {verb} ")


def test_version(bombus: Callable[..., Any]) -> None:
    import bombus as package

    assert bombus("--version").out == f"bombus {package.__version__}\n"


def test_errors_are_one_line_or_json(bombus: Callable[..., Any], tmp_path: Path) -> None:
    bad = tmp_path / "bad.o"
    bad.write_bytes(b"\x7fELF" + bytes(60))
    done = bombus("inspect", bad)
    assert done.code == 1 and f"bombus: {bad}: bad ELF file" in done.err and done.err.count("\n") == 1
    assert "error" in bombus("-j", "inspect", bad).json()


@pytest.mark.parametrize("code", ["import bombus", "from bombus.cli.main import cli"])
def test_heavy_parts_are_imported_late(code: str) -> None:
    show = f"{code}; import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"numpy", "llvmlite", "rich", "bombus.kernel.user.kernel", "bombus.verifier.main", "bombus.spec.helpers"}
    assert heavy.isdisjoint(loaded)
