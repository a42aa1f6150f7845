"""Types of each kernel in turn."""

from __future__ import annotations

import pytest
from spec_kernels import FILES, KernelTypes, types_of


@pytest.fixture(
    params=[
        *(pytest.param(version, marks=pytest.mark.oracle) for version in FILES),
        pytest.param("running", marks=pytest.mark.linux),
    ]
)
def kernel_types(request: pytest.FixtureRequest) -> KernelTypes:
    """Types of each kernel in turn."""
    found = types_of(request.param)
    if found is None:
        pytest.skip(f"no BTF of {request.param} here")
    return found
