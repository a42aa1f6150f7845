"""The engines by name."""

from __future__ import annotations

from collections.abc import Callable

from bombus.errors import UsageError
from bombus.vm.env import Engine
from bombus.vm.fast import FastEngine
from bombus.vm.reference import ReferenceEngine
from bombus.vm.run import DEFAULT_BUDGET

_ENGINES: dict[str, Callable[[int | None], Engine]] = {
    "reference": lambda budget: ReferenceEngine(budget=budget),
    "fast": lambda budget: FastEngine(budget=budget),
}

NAMES = tuple(_ENGINES)


def engine(name: str, *, budget: int | None = DEFAULT_BUDGET) -> Engine:
    """A new engine. `budget`: instructions until a run is stopped, None for no limit. UsageError for other names."""
    try:
        make = _ENGINES[name]
    except KeyError:
        raise UsageError(f"no engine {name!r}; use one of {', '.join(NAMES)}") from None
    return make(budget)
