"""The engines by name. Their code is imported when one is asked for."""

from __future__ import annotations

from importlib import import_module

from bombus.errors import UsageError
from bombus.vm.env import Engine
from bombus.vm.run import DEFAULT_BUDGET

# Where each lies: rooms above this one are named, not imported.
_ENGINES: dict[str, tuple[str, str]] = {
    "reference": ("bombus.vm.reference", "ReferenceEngine"),
    "fast": ("bombus.vm.fast", "FastEngine"),
    "native": ("bombus.jit.engine", "NativeEngine"),
    "tiered": ("bombus.jit.tiers", "TieredEngine"),
}

NAMES = tuple(_ENGINES)


def engine(name: str, *, budget: int | None = DEFAULT_BUDGET) -> Engine:
    """A new engine. `budget`: instructions until a run is stopped, None for no limit. UsageError for other names,
    NotSupported for one that cannot work here."""
    try:
        module, member = _ENGINES[name]
    except KeyError:
        raise UsageError(f"no engine {name!r}; use one of {', '.join(NAMES)}") from None
    made: Engine = getattr(import_module(module), member)(budget=budget)
    return made
