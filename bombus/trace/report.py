"""What maps hold at the end of a session: histograms, stacks and counters, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.btf.layouts import IntLayout, SectionLayout
from bombus.btf.records import record_of
from bombus.errors import KernelError
from bombus.loader.events import is_buffer
from bombus.trace.histogram import (
    Histogram,
    histograms_of,
    is_histogram,
    is_histogram_variable,
    variables,
)
from bombus.trace.values import plain

if TYPE_CHECKING:
    from bombus.kernel.handles import Map
    from bombus.loader.load import Loaded

_READ_ONLY = (".rodata", ".kconfig")


def all_histograms(loaded: Loaded) -> list[Histogram]:
    """Every histogram in maps and global variables that is not empty."""
    found: list[Histogram] = []
    for name, item in loaded.maps.items():
        if loaded.specs[name].section:
            if not loaded.specs[name].section.startswith(_READ_ONLY):
                found += variables(name, item.raw[bytes(4)], item.layouts[1])
        elif is_histogram(item, name):
            found += histograms_of(item, name)
    return found


def globals_of(loaded: Loaded) -> dict[str, Any]:
    """Global variables that may change, without histograms and formats of bpf_printk."""
    found: dict[str, Any] = {}
    for name, item in loaded.maps.items():
        section = loaded.specs[name].section
        layout = item.layouts[1]
        if not section or section.startswith(_READ_ONLY) or not isinstance(layout, SectionLayout):
            continue
        values = record_of(layout, item.raw[bytes(4)])
        for variable, slot in layout.fields.items():
            if ".____" not in variable and not is_histogram_variable(variable, slot.layout):
                found[variable] = plain(values[variable], variable)
    return found


def is_table(loaded: Loaded, name: str) -> bool:
    """Whether a map's elements are listed."""
    item = loaded.maps[name]
    return not (
        loaded.specs[name].section
        or is_buffer(item)
        or item.type.short in ("stack_trace", "user_ringbuf", "arena", "struct_ops")
        or "next_key" not in item.type.operations
        or is_histogram(item, name)
    )


def counts(item: Map, raw: bytes) -> int | None:
    """The value as one number, summed over CPUs; None when it is no integer."""
    layout = item.layouts[1]
    if layout is not None and not isinstance(layout, IntLayout):
        return None
    if layout is None and item.value_size not in (1, 2, 4, 8):
        return None
    size, slot = item.value_size, item.raw.slot if item.type.per_cpu else len(raw)
    signed = isinstance(layout, IntLayout) and layout.signed
    return sum(
        int.from_bytes(raw[at : at + size], "little", signed=signed) for at in range(0, len(raw), max(slot, 1))
    )


def pairs(item: Map) -> list[tuple[bytes, bytes]]:
    """Elements that are not zero in arrays, all others; the largest counters first."""
    found = [
        (key, value) for key, value in item.raw.pairs() if "array" not in item.type.short or any(value)
    ]
    if found and counts(item, found[0][1]) is not None:
        found.sort(key=lambda pair: -(counts(item, pair[1]) or 0))
    return found


def as_json(loaded: Loaded) -> dict[str, Any]:
    """Everything for JSON."""
    tables: dict[str, Any] = {}
    for name, item in loaded.maps.items():
        if not is_table(loaded, name):
            continue
        try:
            tables[name] = [_element(item, key, value) for key, value in pairs(item)]
        except KernelError as error:
            tables[name] = {"error": str(error)}
    histograms = [
        {"name": one.name, "key": one.label, "slots": list(one.slots), "linear": one.linear}
        for one in all_histograms(loaded)
    ]
    found: dict[str, Any] = {"variables": globals_of(loaded), "maps": tables, "histograms": histograms}
    from bombus.trace.stacks import stacks_of

    stacks = stacks_of(loaded)
    if stacks:
        found["stacks"] = [
            {"map": one.map, "key": one.key, "value": one.value, "frames": [str(f) for f in one.frames]}
            for one in stacks
        ]
    return found


def _element(item: Map, key: bytes, value: bytes) -> dict[str, Any]:
    total = counts(item, value)
    if total is not None:
        return {"key": plain(_typed(item.layouts[0], key)), "value": total}
    size = item.value_size
    if item.type.per_cpu:
        slot = item.raw.slot
        each = [plain(_typed(item.layouts[1], value[at : at + size])) for at in range(0, len(value), slot)]
        return {"key": plain(_typed(item.layouts[0], key)), "values": each}
    return {"key": plain(_typed(item.layouts[0], key)), "value": plain(_typed(item.layouts[1], value))}


def _typed(layout: Any, data: bytes) -> Any:
    if layout is not None:
        return record_of(layout, data)
    return int.from_bytes(data, "little") if len(data) in (1, 2, 4, 8) else data
