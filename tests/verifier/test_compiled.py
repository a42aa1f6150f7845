"""The verifier compiled ahead of time: a wheel is built and installed apart, and runs every other test of this folder.

Takes minutes and a C compiler, so only on demand:  BOMBUS_TEST_COMPILED=1 pytest tests/verifier/test_compiled.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import bombus.verifier.main
import bombus.verifier.program

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = "BOMBUS_EXPECT_COMPILED"


def test_the_form_that_is_tested() -> None:
    """In the environment made below, what runs is the compiled form."""
    compiled = not (bombus.verifier.main.__file__ or "").endswith(".py")
    assert compiled == bool(os.environ.get(EXPECTED))
    assert (bombus.verifier.program.__file__ or "").endswith(".py")


@pytest.mark.compiled
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not os.environ.get("BOMBUS_TEST_COMPILED"), reason="BOMBUS_TEST_COMPILED=1 builds a wheel")
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_suite_passes_compiled(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    source = tmp_path / "source"
    shutil.copytree(ROOT / "bombus", source / "bombus", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    environment = {**os.environ, "BOMBUS_COMPILE": "1", EXPECTED: "1"}
    environment.pop("BOMBUS_TEST_COMPILED")
    environment.pop("PYTHONPATH", None)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    tools = ("pytest", "pytest-timeout", "hypothesis", "z3-solver")
    subprocess.run([*pip, str(source), *tools], check=True, env=environment)
    # Not from the checkout, whose own package would come first.
    done = subprocess.run(
        [str(python), "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "tests" / "verifier")],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    sys.stdout.write(done.stdout[-4000:])
    assert done.returncode == 0, done.stdout[-4000:]
