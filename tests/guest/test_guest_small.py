"""Infrared receivers and offload, which Debian's kernels do not have: in a guest with a kernel of our own."""

from __future__ import annotations

from pathlib import Path

import pytest
from guest import KERNELS, boot, kernel_of, problem

HERE = Path(__file__).parent
LINUX = HERE.parent / "linux"
VERSION = "6.12-small"


def test_what_debians_kernels_lack() -> None:
    if kernel_of(VERSION) is None:
        pytest.skip(f"no kernel {VERSION} in {KERNELS}: tools/build-test-kernel makes it")
    if why := problem(VERSION):
        pytest.skip(why)
    files = [LINUX / "sandbox.py", LINUX / "data", LINUX / "test_sections.py", HERE / "lirc.py", HERE / "offload.py"]
    rows = [row for row in boot(VERSION, ["lirc", "offload"], files, modules=()) if "outcome" in row]
    assert len(rows) == 4 and all(row["outcome"] == "passed" for row in rows), rows
