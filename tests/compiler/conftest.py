"""What needs LLVM is skipped where llvmlite is not installed."""

from __future__ import annotations

import importlib.util

import pytest

_WITHOUT_LLVM = ("test_negative.py", "test_plain.py", "readings.py", "packets.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("llvmlite") is not None:
        return
    for item in items:
        if item.path.parent.name == "compiler" and item.path.name not in _WITHOUT_LLVM:
            item.add_marker(pytest.mark.skip(reason="llvmlite is not installed"))
