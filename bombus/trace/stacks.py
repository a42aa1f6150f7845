"""Stacks that programs keep by id: a stack_trace map, and a map whose keys (or values) have the ids.

A member is an id when its name has "stack" in it and it is an integer of 4 or 8 bytes; "user" or a leading "u" in the
name makes it one of user space, whose process is the key's member "tgid" or "pid".
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bombus.btf.layouts import EnumLayout, IntLayout, StructLayout
from bombus.btf.records import Record, record_of
from bombus.symbols import Frame, Symbols
from bombus.trace.report import counts, is_table, pairs
from bombus.trace.values import plain

if TYPE_CHECKING:
    from bombus.kernel.handles import Map
    from bombus.loader.load import Loaded

_PROCESS = ("tgid", "pid", "process", "tid")


@dataclass(frozen=True, slots=True)
class Stack:
    """frames: innermost first, the kernel's before those of user space. key: the other members, as text."""

    map: str
    key: str
    value: str
    frames: tuple[Frame, ...]


def stacks_of(loaded: Loaded, symbols: Symbols | None = None) -> list[Stack]:
    """Every stack that a listed map names, the largest counters first."""
    holders = {name: item for name, item in loaded.maps.items() if item.type.short == "stack_trace"}
    if not holders:
        return []
    symbols = symbols if symbols is not None else Symbols()
    found: list[Stack] = []
    for name, item in loaded.maps.items():
        ids = _id_members(item) if is_table(loaded, name) else []
        if not ids:
            continue
        for raw_key, raw in pairs(item):
            key: Record = record_of(_layout(item), raw_key)
            total = counts(item, raw)
            value = total if total is not None else plain(record_of(item.layouts[1], raw)) if item.layouts[1] else raw
            found.append(_stack(name, key, value, ids, holders, symbols))
    return found


def is_id(name: str, layout: Any) -> bool:
    lower = name.lower()
    named = "stack" in lower and ("id" in lower or lower.endswith(("stack", "stackid")))
    return named and type(layout) is IntLayout and not isinstance(layout, EnumLayout) and layout.size in (4, 8)


def is_user(name: str) -> bool:
    return "user" in name.lower() or name.lower().startswith(("u", "ustack"))


def _layout(item: Map) -> StructLayout:
    layout = item.layouts[0]
    assert isinstance(layout, StructLayout)  # or it would have no members
    return layout


def _id_members(item: Map) -> list[str]:
    key = item.layouts[0]
    if not isinstance(key, StructLayout):
        return []
    names = [name for name, slot in key.fields.items() if is_id(name, slot.layout)]
    return sorted(names, key=is_user)


def _stack(
    name: str, key: Record, value: Any, ids: list[str], holders: dict[str, Map], symbols: Symbols
) -> Stack:
    process = next((int(key[one]) for one in _PROCESS if one in key.keys()), 0)  # noqa: SIM118
    frames: list[Frame] = []
    for one in ids:
        number = int(key[one])
        if number >= 1 << 63:
            number -= 1 << 64
        elif 1 << 31 <= number < 1 << 32:
            number -= 1 << 32
        if number < 0:
            if number != -14:  # EFAULT: there is none, as for kernel threads
                frames.append(Frame(f"[no stack: {os.strerror(-number)}]"))
            continue
        addresses = addresses_of(holders, number)
        user = is_user(one)
        frames += [symbols.user(process, at) if user else symbols.kernel(at) for at in addresses]
    rest = ", ".join(f"{member} = {plain(key[member], member)}" for member in key.keys() if member not in ids)  # noqa: SIM118
    return Stack(name, rest, str(value), tuple(frames))


def addresses_of(holders: dict[str, Map], number: int) -> list[int]:
    """The addresses of a stack id; empty when no map has it."""
    for item in holders.values():
        if number < item.max_entries:
            raw = item.raw.get(number.to_bytes(4, "little"))
            if raw is not None:
                words = [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]
                return words[: words.index(0)] if 0 in words else words
    return []
