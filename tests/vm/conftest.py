"""Engines that cannot work on this machine are skipped, with their own reason."""

from __future__ import annotations

import pytest

from bombus.errors import NotSupported
from bombus.vm.engines import NAMES, engine


@pytest.fixture(autouse=True)
def _engine_works(request: pytest.FixtureRequest) -> None:
    callspec = getattr(request.node, "callspec", None)
    name = callspec.params.get("name") if callspec is not None else None
    if name in NAMES:
        try:
            engine(name)
        except NotSupported as error:
            pytest.skip(str(error))
