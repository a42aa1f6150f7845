"""Live objects of our own, and bpftool beside us on the same ids."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from beside import BPFTOOL, Beside


@pytest.fixture
def beside(bombus: Callable[..., Any], linux_kernel: Any) -> Beside:
    if BPFTOOL is None:
        pytest.skip("bpftool is not installed")
    return Beside(bombus)


@pytest.fixture
def bpffs(linux_kernel: Any, tmp_path: Path) -> Iterator[Path]:
    """A bpf file system of our own."""
    libc = ctypes.CDLL(None, use_errno=True)
    place = tmp_path / "bpffs"
    place.mkdir()
    if libc.mount(b"bpf", os.fsencode(place), b"bpf", ctypes.c_ulong(0), b""):
        pytest.skip(f"a bpf file system cannot be mounted: {os.strerror(ctypes.get_errno())}")
    yield place
    libc.umount2(os.fsencode(place), 2)
