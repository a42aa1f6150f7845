"""Histograms that programs keep in maps: found by their types and names, drawn with characters.

Found are (as the tools of libbpf-tools and bcc keep them):

- a struct with a member `slots`, an array of integers: the value of a map, or a global variable (or an array of these);
- an array or per-CPU array of integers whose name has "hist" in it: element i is slot i;
- a hash of integers whose name has "hist" in it: the key, or its member `slot` or `bucket`, is the slot; the other
  members of the key are one histogram each.

A slot is a power of two: slot i counts values from 2**i to 2**(i+1) - 1, slot 0 those of 0 and 1. Names with "linear"
or "lhist" in them count value i in slot i.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bombus.btf.layouts import ArrayLayout, EnumLayout, IntLayout, Layout, SectionLayout, StructLayout
from bombus.btf.records import Record, decoder

if TYPE_CHECKING:
    from bombus.kernel.handles import Map

_SLOT_NAMES = ("slot", "bucket")
_WIDTH = 40
_MOST = 4096  # slots of one picture


@dataclass(frozen=True, slots=True)
class Histogram:
    """name: of the map or variable; label: the rest of the key as text ("" when there is none); slots: counts."""

    name: str
    label: str
    slots: tuple[int, ...]
    linear: bool = False

    def rows(self) -> list[tuple[int, int, int]]:
        """(lowest value, highest value, count) from the first slot to the last that is not empty."""
        used = [i for i, count in enumerate(self.slots) if count]
        if not used:
            return []
        first = used[0] if self.linear else 0
        if self.linear:
            return [(i, i, self.slots[i]) for i in range(first, used[-1] + 1)]
        return [(1 << i if i else 0, (1 << i + 1) - 1, self.slots[i]) for i in range(used[-1] + 1)]

    def draw(self, unit: str = "value") -> list[str]:
        """Lines of a picture: range, count, bar."""
        rows = self.rows()
        if not rows:
            return []
        most = max(count for _, _, count in rows)
        ranges = [str(low) if low == high else f"{low} -> {high}" for low, high, _ in rows]
        left = max(len(unit), *map(len, ranges))
        middle = max(len("count"), *(len(str(count)) for _, _, count in rows))
        lines = [f"{unit:>{left}} : {'count':<{middle}}  distribution"]
        for text, (_, _, count) in zip(ranges, rows, strict=True):
            lines.append(f"{text:>{left}} : {count:<{middle}} |{'*' * (count * _WIDTH // most):<{_WIDTH}}|")
        return lines


def _is_int(layout: Layout | None) -> bool:
    return isinstance(layout, IntLayout) and not isinstance(layout, EnumLayout)


def _slots_member(layout: Layout | None) -> bool:
    if not isinstance(layout, StructLayout) or "slots" not in layout.fields:
        return False
    slots = layout.fields["slots"].layout
    return isinstance(slots, ArrayLayout) and _is_int(slots.element) and 1 < slots.count <= _MOST


def _named(name: str) -> bool:
    return "hist" in name.lower()


def _linear(name: str) -> bool:
    return "linear" in name.lower() or "lhist" in name.lower()


def is_histogram(item: Map, name: str) -> bool:
    """Whether a map is one histogram or holds several."""
    key, value = item.layouts
    if isinstance(value, SectionLayout):
        return False
    if _slots_member(value):
        return True
    if not _named(name) or not (_is_int(value) or (value is None and item.value_size in (4, 8))):
        return False
    if item.type.short in ("array", "percpu_array"):
        return 1 < item.max_entries <= _MOST
    if "hash" not in item.type.short:
        return False
    if isinstance(key, StructLayout):
        return any(slot in key.fields for slot in _SLOT_NAMES)
    return _is_int(key) or (key is None and item.key_size in (4, 8))


def histograms_of(item: Map, name: str) -> list[Histogram]:
    """The histograms in a map that `is_histogram`; KernelError when it cannot be read."""
    _, value = item.layouts
    linear = _linear(name)
    if _slots_member(value):
        found = [
            Histogram(name, _text(key), _slots(item, raw), linear)
            for key, raw in ((item.key_value(k), v) for k, v in item.raw.pairs())
        ]
        if item.type.short in ("array", "percpu_array") and item.max_entries == 1:
            found = [Histogram(name, "", one.slots, linear) for one in found]
        return [one for one in found if any(one.slots)]
    groups: dict[str, dict[int, int]] = {}
    for raw_key, raw in item.raw.pairs():
        count = _total(item, raw)
        if not count:
            continue
        slot, label = _place(item.key_value(raw_key))
        if 0 <= slot < _MOST:
            group = groups.setdefault(label, {})
            group[slot] = group.get(slot, 0) + count
    return [
        Histogram(name, label, tuple(group.get(i, 0) for i in range(max(group) + 1)), linear)
        for label, group in sorted(groups.items())
    ]


def _cpu_values(item: Map, raw: bytes) -> list[bytes]:
    if not item.type.per_cpu:
        return [raw]
    slot, size = item.raw.slot, item.value_size
    return [raw[at : at + size] for at in range(0, len(raw), slot)]


def _total(item: Map, raw: bytes) -> int:
    value = item.layouts[1]
    decode = decoder(value) if value is not None else None
    return sum(
        int(decode(one, 0)) if decode is not None else int.from_bytes(one, "little") for one in _cpu_values(item, raw)
    )


def _slots(item: Map, raw: bytes) -> tuple[int, ...]:
    layout = item.layouts[1]
    assert layout is not None
    decode = decoder(layout)
    columns = [_numbers(decode(one, 0)["slots"]) for one in _cpu_values(item, raw)]
    return tuple(map(sum, zip(*columns, strict=True)))


def _numbers(value: Any) -> Sequence[int]:
    return list(value)  # u8 slots come as bytes


def _place(key: Any) -> tuple[int, str]:
    """(slot, label) of a key."""
    if isinstance(key, int):
        return int(key), ""
    if isinstance(key, (bytes, bytearray)):
        return int.from_bytes(key, "little"), ""
    names = list(key.keys())
    slot = next(name for name in _SLOT_NAMES if name in names)
    rest = [f"{name} = {_text(key[name])}" for name in names if name != slot and not name.startswith(("pad", "_"))]
    return int(key[slot]), ", ".join(rest)


def _text(key: Any) -> str:
    if isinstance(key, Record) or hasattr(key, "to_python"):
        return ", ".join(f"{name} = {_text(key[name])}" for name in key.keys() if not name.startswith(("pad", "_")))  # noqa: SIM118
    if isinstance(key, (bytes, bytearray)):
        return key.hex()
    return str(key)


def variables(name: str, value: Any, layout: Layout | None) -> Iterator[Histogram]:
    """Histograms among the global variables of a section (`name`: of the map; `value`: its bytes)."""
    if not isinstance(layout, SectionLayout):
        return
    for variable, slot in layout.fields.items():
        inner = slot.layout
        if _slots_member(inner):
            yield from _of_variable(variable, "", decoder(inner)(value, slot.offset))
        elif isinstance(inner, ArrayLayout) and _slots_member(inner.element):
            for index, one in enumerate(decoder(inner)(value, slot.offset)):
                yield from _of_variable(variable, f"[{index}]" if inner.count > 1 else "", one)
        elif isinstance(inner, ArrayLayout) and _is_int(inner.element) and _named(variable) and inner.count <= _MOST:
            slots = tuple(_numbers(decoder(inner)(value, slot.offset)))
            if any(slots):
                yield Histogram(variable, "", slots, _linear(variable))


def _of_variable(name: str, label: str, value: Any) -> Iterator[Histogram]:
    slots = tuple(_numbers(value["slots"]))
    if any(slots):
        more = value["comm"] if "comm" in value.keys() else ""  # noqa: SIM118
        yield Histogram(name, f"{label}{', ' if label and more else ''}{more}", slots, _linear(name))


def is_histogram_variable(name: str, layout: Layout) -> bool:
    """Whether a global variable is drawn rather than printed."""
    if _slots_member(layout):
        return True
    if isinstance(layout, ArrayLayout):
        return _slots_member(layout.element) or (_is_int(layout.element) and _named(name) and layout.count <= _MOST)
    return False


__all__ = ["Histogram", "histograms_of", "is_histogram", "is_histogram_variable", "variables"]
