"""Which bodies a map type has, as names: nothing is compiled, and no dialect is loaded, to look here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ROOM: Final = "bombus.runtime.maps"


@dataclass(frozen=True, slots=True)
class Kind:
    """module: of the bodies in this room. bodies: functions of it. python: those of `python` that serve the type.
    helpers: number of a BPF helper -> body, and its arguments after the map: "2" to "5" for registers, "c" for the
    CPU."""

    module: str
    bodies: tuple[str, ...]
    python: tuple[str, ...]
    helpers: Mapping[int, tuple[str, str]]


_KEYED: Final = (
    "py_lookup", "py_update", "py_delete", "py_read", "py_write", "py_take", "py_get", "py_set", "py_update_many",
    "py_delete_many", "py_read_many",
)  # fmt: skip
_HELPERS: Final = {1: ("lookup", "2c"), 2: ("update", "234c"), 3: ("delete", "2")}

KINDS: Final[dict[str, Kind]] = {
    "array": Kind(
        "array", ("lookup", "seen", "update", "store", "delete"),
        (*(name for name in _KEYED if name != "py_take"), "py_indexes"), _HELPERS,
    ),
    "lru": Kind(
        "lru", ("lookup", "seen", "update", "store", "delete", "grab", "drop"), (*_KEYED, "py_next", "py_walk"),
        _HELPERS,
    ),
    "hash": Kind(
        "hash", ("lookup", "seen", "update", "store", "delete", "grab", "drop"), (*_KEYED, "py_next", "py_walk"),
        _HELPERS,
    ),
}
