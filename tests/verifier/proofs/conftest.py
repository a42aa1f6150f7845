"""The helpers of the proofs lie beside them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(autouse=True)
def width() -> Iterator[None]:
    """Symbolic numbers have 72 bits where a test does not say otherwise."""
    from symbolic import Sym  # needs z3, which the tests ask for first

    Sym.bits = 72
    yield
    Sym.bits = 72
