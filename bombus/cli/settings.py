"""Values that commands take as VAR=VALUE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.errors import UsageError

if TYPE_CHECKING:
    from bombus.object.model import Object


def variables(obj: Object, texts: tuple[str, ...]) -> dict[str, Any]:
    """VAR=VALUE pairs; numbers as in C, the rest as strings."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {text}: give VAR=VALUE")
        if value in ("true", "false"):
            found[name] = value == "true"
            continue
        try:
            found[name] = int(value, 0)
        except ValueError:
            found[name] = value
    return found
