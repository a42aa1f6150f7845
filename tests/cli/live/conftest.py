"""Live objects of our own, and bpftool beside us on the same ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from beside import BPFTOOL, Beside


@pytest.fixture
def beside(bombus: Callable[..., Any], linux_kernel: Any) -> Beside:
    if BPFTOOL is None:
        pytest.skip("bpftool is not installed")
    return Beside(bombus)


