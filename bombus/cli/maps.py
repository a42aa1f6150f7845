"""The contents of maps, as tables for people and as rows for JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from bombus.cli import output
from bombus.cli.values import Cells, plain
from bombus.errors import KernelError

if TYPE_CHECKING:
    from bombus.kernel.handles import Map
    from bombus.loader.load import Loaded
    from bombus.object.model import MapSpec

_EVENTS = ("ringbuf", "user_ringbuf", "perf_event_array")


def _pairs(item: Map) -> Iterator[tuple[bytes, bytes]]:
    return item.raw.pairs()


def _readable(item: Map) -> bool:
    return "next_key" in item.type.operations and item.type.short not in _EVENTS


# Types whose values are other objects, and what bpf(2) shows of those: their ids.
_IDS = {"array_of_maps": "inner_map_id", "hash_of_maps": "inner_map_id", "prog_array": "prog_id"}


def as_rows(item: Map, spec: MapSpec | None) -> dict[str, Any]:
    """One map for JSON: bpftool's member names, elements as its "formatted" ones."""
    info = item.info()
    row: dict[str, Any] = {
        "id": info["id"], "type": item.type.short, "name": item.name, "bytes_key": item.key_size,
        "bytes_value": item.value_size, "max_entries": item.max_entries, "flags": item.flags,
    }  # fmt: skip
    if spec is not None and spec.section:
        row["section"] = spec.section
    if _readable(item):
        try:
            row["elements"] = [_element(item, key, value) for key, value in _pairs(item)]
        except KernelError as error:
            row["error"] = str(error)
    return row


def _element(item: Map, key: bytes, value: bytes) -> dict[str, Any]:
    from bombus.btf.data import formatted

    key_layout, value_layout = item.layouts

    def one(layout: Any, data: bytes) -> Any:
        if layout is not None:
            return formatted(layout, data)
        return [f"0x{byte:02x}" for byte in data]

    row: dict[str, Any] = {"key": one(key_layout, key)}
    if item.type.short in _IDS:
        row[_IDS[item.type.short]] = int.from_bytes(value, sys.byteorder)
    elif item.type.per_cpu:
        slot, size = item.raw.slot, item.value_size
        row["values"] = [
            {"cpu": cpu, "value": one(value_layout, value[cpu * slot : cpu * slot + size])}
            for cpu in range(len(value) // slot)
        ]
    else:
        row["value"] = one(value_layout, value)
    return row


def show_all(loaded: Loaded, *, limit: int) -> None:
    """Print every map that has something to show: variables first, then tables of at most `limit` rows."""
    specs = loaded.specs
    btf = loaded.obj.btf
    sections = [name for name in loaded.maps if specs[name].section]
    for name in sections:
        _variables(loaded.maps[name], specs[name].section)
    names = {item.id: name for name, item in loaded.maps.items()}
    programs = {program.id: name for name, program in loaded.programs.items()}
    for name in loaded.maps:
        item = loaded.maps[name]
        if name in sections or item.type.short in _EVENTS:
            continue
        _table(name, item, specs[name], btf, limit, programs if item.type.short == "prog_array" else names)


def _variables(item: Map, section: str) -> None:
    from bombus.btf.data import value_of

    layout = item.layouts[1]
    data = item.raw[bytes(4)]
    rows: list[tuple[str, str]] = []
    if layout is None:
        rows = [("(untyped)", data.hex(" ") if len(data) <= 64 else data[:64].hex(" ") + " ...")]
    else:
        value = value_of(layout, data)
        for name in value:
            if ".____fmt" not in name:  # the formats of bpf_printk
                rows.append((name, plain(value[name])))
    if rows:
        output.table(section, ["variable", "value"], rows)


def _describe(name: str, item: Map) -> str:
    return f"{name} ({item.type.short}, {item.max_entries} entries)"


def show_table(loaded: Loaded, name: str, limit: int, pairs: list[tuple[bytes, bytes]]) -> None:
    """Print these elements of a map in this order."""
    _table(name, loaded.maps[name], loaded.specs[name], loaded.obj.btf, limit, {}, pairs)


def _table(
    name: str, item: Map, spec: MapSpec, btf: Any, limit: int, names: dict[int, str],
    pairs: list[tuple[bytes, bytes]] | None = None,
) -> None:  # fmt: skip
    """names: of maps or programs by their ids, for maps that hold such. pairs: the elements, when they are read."""
    title = _describe(name, item)
    if not _readable(item):
        if "lookup" in item.type.operations and item.type.short in ("queue", "stack"):
            _front(title, item)
        else:
            click.echo(f"{title}: cannot be listed\n")
        return
    key_layout, value_layout = item.layouts
    keys = Cells("key", key_layout, btf, spec.key_type)
    values = Cells("value", value_layout, btf, spec.value_type)
    per_cpu = item.type.per_cpu
    columns = [*keys.titles, *(["cpu"] if per_cpu else []), *values.titles]
    rows: list[list[str]] = []
    entries = zeros = more = 0
    ids = item.type.short in _IDS
    array = "array" in item.type.short and not ids
    try:
        for key, value in _pairs(item) if pairs is None else pairs:
            entries += 1
            if array and not any(value):
                zeros += 1
                continue
            if ids:
                number = int.from_bytes(value, sys.byteorder)
                found = [[*keys.row(key), names.get(number, f"id {number}")]]
            else:
                found = list(_rows(item, keys, values, key, value))
            for cells in found:
                if len(rows) < limit:
                    rows.append(cells)
                else:
                    more += 1
    except KernelError as error:
        click.echo(f"{title}: cannot be read: {error}\n")
        return
    if not rows:
        click.echo(f"{title}: {'all zero' if array else 'empty'}\n")
        return
    notes = []
    if zeros:
        notes.append("1 entry is zero" if zeros == 1 else f"{zeros} entries are zero")
    if more:
        notes.append(f"{more} more rows, --limit {len(rows) + more} shows them")
    right = [c for c in columns if all(_numeric(row[columns.index(c)]) for row in rows)]
    output.table(title + (": " + "; ".join(notes) if notes else ""), _unique(columns), rows, right=right)


def _rows(item: Map, keys: Cells, values: Cells, key: bytes, value: bytes) -> Iterator[list[str]]:
    if not item.type.per_cpu:
        yield [*keys.row(key), *values.row(value)]
        return
    slot, size = item.raw.slot, item.value_size
    for cpu in range(len(value) // slot):
        data = value[cpu * slot : cpu * slot + size]
        if any(data):
            yield [*keys.row(key), str(cpu), *values.row(data)]


def _front(title: str, item: Map) -> None:
    try:
        click.echo(f"{title}: next value {plain(item.peek())}\n")
    except IndexError:
        click.echo(f"{title}: empty\n")


def _numeric(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).isdigit()


def _unique(columns: list[str]) -> list[str]:
    """Key and value may have members of one name."""
    seen = set()
    found = []
    for column in columns:
        found.append(f"value.{column}" if column in seen else column)
        seen.add(column)
    return found


def events_table(name: str, events: list[Any], layout: Any, btf: Any, type_id: int, note: str) -> None:
    """Print events of one buffer: typed when there is a layout, else as bytes."""
    cells = Cells("data", layout, btf, type_id)
    rows = []
    for event in events:
        fits = layout is None or len(event.data) >= layout.size
        row = cells.row(event.data) if fits else [event.data.hex(" ")] + [""] * (len(cells.titles) - 1)
        if layout is None:
            row = [event.data.hex(" ")]
        rows.append([str(event.packet), *row])
    columns = ["packet", *cells.titles]
    right = [c for i, c in enumerate(columns) if all(_numeric(row[i]) for row in rows)]
    output.table(f"{name}: {note}", columns, rows, right=right)
