"""What an XDP program says of itself: its priority, and which of its answers let the next program run.

Facts: xdp-tools lib/libxdp/protocol.org, "Processing program metadata".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bombus.btf.types import Array, DataSec, Kind, Ptr, Struct, Var
from bombus.errors import UsageError
from bombus.spec.xdpdispatcher import ACTIONS, DEFAULT_ACTIONS, DEFAULT_PRIORITY, RUN_CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bombus.btf.parse import Btf


class RunConfig(NamedTuple):
    """actions: bits of enum xdp_action."""

    priority: int
    actions: int


def bits(actions: Iterable[str]) -> int:
    """Actions by name ("pass", "XDP_TX") as bits. UsageError."""
    if isinstance(actions, str):
        actions = (actions,)
    found = 0
    for name in actions:
        short = name.lower().removeprefix("xdp_")
        if short not in ACTIONS:
            raise UsageError(f"{name!r} is no XDP action: they are {', '.join(ACTIONS)}")
        found |= 1 << ACTIONS.index(short)
    return found


def run_config(btf: Btf | None, name: str) -> RunConfig:
    """What the section .xdp_run_config says of the function `name`; libxdp's defaults where it does not."""
    priority, actions = DEFAULT_PRIORITY, bits(DEFAULT_ACTIONS)
    found = _struct(btf, f"_{name}") if btf is not None else None
    if btf is None or found is None:
        return RunConfig(priority, actions)
    for member in found.members:
        pointer = btf.resolved(member.type)
        array = btf.type(pointer.type) if isinstance(pointer, Ptr) else None
        if not isinstance(array, Array):
            raise UsageError(f"{RUN_CONFIG}: {member.name!r} of {name!r} is no number")
        if member.name == "priority":
            priority = array.nelems
            continue
        if not member.name.startswith("XDP_"):
            raise UsageError(f"{RUN_CONFIG}: {name!r} has {member.name!r}, which is no XDP action")
        bit = bits([member.name])
        actions = actions | bit if array.nelems else actions & ~bit
    return RunConfig(priority, actions)


def _struct(btf: Btf, variable: str) -> Struct | None:
    number = btf.find(RUN_CONFIG, Kind.DATASEC)
    section = btf.type(number) if number is not None else None
    if not isinstance(section, DataSec):
        return None
    for place in section.vars:
        var = btf.type(place.type)
        if isinstance(var, Var) and var.name == variable:
            found = btf.resolved(var.type)
            return found if isinstance(found, Struct) else None
    return None
