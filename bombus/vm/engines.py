"""The engines by name. Their code is imported when one is asked for."""

from __future__ import annotations

from collections.abc import Callable

from bombus.errors import UsageError
from bombus.vm.env import Engine
from bombus.vm.run import DEFAULT_BUDGET


def _reference(budget: int | None) -> Engine:
    from bombus.vm.reference import ReferenceEngine

    return ReferenceEngine(budget=budget)


def _fast(budget: int | None) -> Engine:
    from bombus.vm.fast import FastEngine

    return FastEngine(budget=budget)


_ENGINES: dict[str, Callable[[int | None], Engine]] = {"reference": _reference, "fast": _fast}

NAMES = tuple(_ENGINES)


def engine(name: str, *, budget: int | None = DEFAULT_BUDGET) -> Engine:
    """A new engine. `budget`: instructions until a run is stopped, None for no limit. UsageError for other names."""
    try:
        make = _ENGINES[name]
    except KeyError:
        raise UsageError(f"no engine {name!r}; use one of {', '.join(NAMES)}") from None
    return make(budget)
