"""Native code is tested where it can run."""

from __future__ import annotations

import pytest

from bombus.errors import NotSupported
from bombus.vm.engines import engine


@pytest.fixture(autouse=True)
def _native_code_works() -> None:
    try:
        engine("native")
    except NotSupported as error:
        pytest.skip(str(error))
