"""Typed bytes as cells of a table: what a person reads at a glance. JSON keeps bpftool's plain numbers."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bombus.btf.data import value_of
from bombus.btf.layouts import Layout, StructLayout
from bombus.btf.types import Array, Int, Struct, Typedef

if TYPE_CHECKING:
    from bombus.btf.parse import Btf

Show = Callable[[Any], str]
_ADDRESS = re.compile(r"addr|ip4?$|^ip|src|dst|source|dest|daddr|saddr|gw|gateway", re.IGNORECASE)
_PADDING = re.compile(r"_*(pad|padding|unused|reserved)_?\d*$")
_BIG_ENDIAN = {"__be16": 2, "__be32": 4, "__be64": 8}
_ORDER = sys.byteorder


def plain(value: Any) -> str:
    """Any Python value that typed data can be, in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return _list([plain(v) for v in value])
    if isinstance(value, (bytes, bytearray)):
        return value.hex(" ")
    if hasattr(value, "to_python"):
        return plain(value.to_python())
    return str(value)


def _list(texts: Sequence[str]) -> str:
    """Runs of equal elements are told once."""
    parts: list[str] = []
    i = 0
    while i < len(texts):
        end = i
        while end < len(texts) and texts[end] == texts[i]:
            end += 1
        parts.append(texts[i] if end - i < 4 else f"{texts[i]} x {end - i}")
        i = end
    return "[" + ", ".join(parts) + "]"


def _network(btf: Btf, type_id: int) -> int:
    """Bytes of a big-endian integer by the kernel's name for it (__be32); 0 for other types."""
    for _ in range(32):
        type_ = btf.type(btf.strip_modifiers(type_id))
        if not isinstance(type_, Typedef):
            return 0
        if type_.name in _BIG_ENDIAN:
            return _BIG_ENDIAN[type_.name]
        type_id = type_.type
    return 0


def _shower(btf: Btf, type_id: int, name: str) -> Show:
    size = _network(btf, type_id)
    if size == 4 and _ADDRESS.search(name):
        return lambda value: str(ipaddress.IPv4Address(int(value).to_bytes(4, _ORDER)))
    if size:
        return lambda value: str(int.from_bytes(int(value).to_bytes(size, _ORDER), "big"))
    type_ = btf.resolved(type_id)
    if isinstance(type_, Struct) and type_.name == "in6_addr" and type_.size == 16:
        return lambda value: str(ipaddress.IPv6Address(bytes(value)))
    if isinstance(type_, Array):
        element = btf.resolved(type_.type)
        if type_.nelems == 6 and isinstance(element, Int) and element.size == 1:
            return lambda value: bytes(value).hex(":") if not isinstance(value, str) else value
        if isinstance(element, Int) and element.size == 1 and not (element.signed or element.boolean or element.char):
            return lambda value: _bytes(name, value)
    return plain


def _bytes(name: str, value: Any) -> str:
    """An array of u8: text where it is named and looks so, as in programs without a char type."""
    if isinstance(value, str):
        return value
    from bombus.btf.records import is_text, text_of

    raw = bytes(value)
    return text_of(raw) if is_text(name, raw) else plain(list(raw))


class Cells:
    """Cells for values of one type: a column for each member of a struct, one for anything else. Structs inside are
    taken apart as well, as long as there are not too many columns; members called pad are left out."""

    def __init__(self, title: str, layout: Layout | None, btf: Btf | None, type_id: int) -> None:
        self._layout = layout
        self._paths: list[tuple[tuple[str, ...], Show]] = []
        self._show: Show = plain
        if layout is not None and btf is not None:
            if isinstance(layout, StructLayout):
                paths = list(_leaves(btf, layout, type_id, ()))
                if len(paths) > _COLUMNS:
                    paths = [((name,), _member_type(btf, type_id, name)) for name in layout.fields]
                if 0 < len(paths) <= _COLUMNS:
                    self._paths = [(path, _shower(btf, member, path[-1])) for path, member in paths]
            else:
                self._show = _shower(btf, type_id, title)
        self._paths = [pair for pair in self._paths if not _PADDING.match(pair[0][-1])] or self._paths
        leaves = [path[-1] for path, _ in self._paths]
        self.titles = [
            path[-1] if leaves.count(path[-1]) == 1 else ".".join(path) for path, _ in self._paths
        ] or [title]

    def row(self, data: bytes) -> list[str]:
        """The cells of one value."""
        layout = self._layout
        if layout is None:
            return [str(int.from_bytes(data, _ORDER)) if len(data) in (1, 2, 4, 8) else data.hex(" ")]
        value = value_of(layout, data)
        if not self._paths:
            return [self._show(value)]
        return [show(_reach(value, path)) for path, show in self._paths]


_COLUMNS = 10


def _leaves(
    btf: Btf, layout: StructLayout, type_id: int, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], int]]:
    """Members that are not structs themselves, with their BTF types. Unions stay whole: their members overlap."""
    for name, slot in layout.fields.items():
        member = _member_type(btf, type_id, name)
        inner = btf.resolved(member)
        if isinstance(slot.layout, StructLayout) and isinstance(inner, Struct) and inner.name != "in6_addr":
            yield from _leaves(btf, slot.layout, member, (*path, name))
        else:
            yield (*path, name), member


def _reach(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def _member_type(btf: Btf, type_id: int, name: str) -> int:
    """The BTF type of a member, looked for through anonymous members; 0 (void) when it is not found there."""
    type_ = btf.resolved(type_id)
    for member in getattr(type_, "members", ()):
        if member.name == name:
            return int(member.type)
    for member in getattr(type_, "members", ()):
        if not member.name:
            found = _member_type(btf, member.type, name)
            if found:
                return found
    return 0


__all__ = ["Cells", "plain"]
