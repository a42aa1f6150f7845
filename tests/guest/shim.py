"""What the guest has in place of pytest: enough for the test modules that run there."""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any


class Skipped(Exception):
    """A test that cannot run here, with the reason."""


def skip(reason: str) -> None:
    raise Skipped(reason)


def importorskip(name: str, reason: str = "") -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Skipped(reason or name) from None


def fixture(*args: Any, **options: Any) -> Any:
    return args[0] if args and callable(args[0]) else (lambda function: function)


class raises:
    def __init__(self, kind: Any, match: str = "") -> None:
        self.kind, self.match, self.value = kind, match, None

    def __enter__(self) -> raises:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None) -> bool:
        assert value is not None, f"nothing raised {self.kind}"
        self.value = value
        if isinstance(value, self.kind):
            assert not self.match or re.search(self.match, str(value)), f"{value} does not match {self.match!r}"
            return True
        return False


class _Mark:
    def __getattr__(self, name: str) -> Any:
        if name != "parametrize":
            return lambda function: function

        def parametrize(names: str, values: Any) -> Callable[[Any], Any]:
            def bind(function: Any) -> Any:
                keys = [key.strip() for key in names.split(",")]
                rows = [dict(zip(keys, value if len(keys) > 1 else (value,), strict=True)) for value in values]
                before = getattr(function, "rows", [{}])
                function.rows = [{**a, **b} for a, b in itertools.product(before, rows)]
                return function

            return bind

        return parametrize


mark = _Mark()
