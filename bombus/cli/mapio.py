"""Elements of live maps: reading, and printing as bpftool prints them.

Source: Linux 6.1 tools/bpf/bpftool/map.c, behaviour.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bombus.bits import align_up
from bombus.cli import live
from bombus.cli.live import Item
from bombus.errors import BtfError, KernelError
from bombus.kernel.api import Attr
from bombus.spec.maptypes import MAP_TYPE_BY_ID

if TYPE_CHECKING:
    from bombus.btf.parse import Btf

_OF_MAPS = frozenset({"array_of_maps", "hash_of_maps"})
_PROGS = "prog_array"
_CANNOT = frozenset({errno.EINVAL, errno.EOPNOTSUPP, 524})  # 524: ENOTSUPP, no errno of libc
# Keys that vanish under an iteration make the kernel start again; after so many more than there can be, it ends.
_SLACK = 1 << 16


def type_name(number: int) -> str:
    """bpftool's name of a map type; "" for one that is not known."""
    row = MAP_TYPE_BY_ID.get(number)
    return row.short if row is not None else ""


class Elements:
    """The elements of one map, as bytes. Per-CPU values: one piece for each possible CPU, in multiples of 8."""

    def __init__(self, item: Item) -> None:
        self.item = item
        info = item.info
        self.type = type_name(info["type"])
        self.key_size: int = info["key_size"]
        self.size: int = info["value_size"]
        row = MAP_TYPE_BY_ID.get(info["type"])
        self.per_cpu = row is not None and row.per_cpu
        self.step = align_up(self.size, 8) if self.per_cpu else self.size
        self.cpus = live.kernel().possible_cpus if self.per_cpu else 1
        self.of_maps = self.type in _OF_MAPS
        self.of_programs = self.type == _PROGS

    def _attr(self, command: str, **fields: Any) -> Attr:
        return Attr(command, map_fd=self.item.fd, **fields)

    def lookup(self, key: bytes | None) -> bytes:
        """KernelError(ENOENT) when there is none."""
        return self._read("BPF_MAP_LOOKUP_ELEM", key)

    def pop(self) -> bytes:
        return self._read("BPF_MAP_LOOKUP_AND_DELETE_ELEM", bytes(self.key_size))

    def _read(self, command: str, key: bytes | None) -> bytes:
        value = bytearray(max(self.step * self.cpus, 8))
        live.kernel().bpf(self._attr(command, key=key or None, value=value))
        return bytes(value[: self.step * self.cpus])

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        live.kernel().bpf(self._attr("BPF_MAP_UPDATE_ELEM", key=key or None, value=value or None, flags=flags))

    def delete(self, key: bytes) -> None:
        live.kernel().bpf(self._attr("BPF_MAP_DELETE_ELEM", key=key or None))

    def next_key(self, key: bytes | None) -> bytes:
        """KernelError(ENOENT) behind the last one."""
        following = bytearray(max(self.key_size, 1))
        live.kernel().bpf(self._attr("BPF_MAP_GET_NEXT_KEY", key=key, next_key=following))
        return bytes(following[: self.key_size])

    def all_keys(self) -> Iterator[bytes]:
        key: bytes | None = None
        for _ in range(2 * self.item.info["max_entries"] + _SLACK):
            try:
                key = self.next_key(key)
            except KernelError as error:
                if error.errno == errno.ENOENT:
                    return
                if key is None and error.errno in _CANNOT:
                    raise KernelError(error.errno or 0, error.call, f"{self.type} maps have no keys to walk") from None
                raise
            yield key

    def pieces(self, value: bytes) -> list[bytes]:
        """The values of the CPUs."""
        return [value[at : at + self.size] for at in range(0, self.step * self.cpus, self.step or 1)]

    def hides(self, error: KernelError) -> bool:
        """Whether an element that cannot be read is simply not there."""
        return (self.of_maps or self.of_programs) and error.errno == errno.ENOENT


class Shower:
    """How the elements of one map look."""

    def __init__(self, elements: Elements) -> None:
        self.elements = elements
        info = elements.item.info
        self.key_type: int = info["btf_key_type_id"]
        self.value_type: int = info["btf_vmlinux_value_type_id"] or info["btf_value_type_id"]
        self._vmlinux = bool(info["btf_vmlinux_value_type_id"])
        self._btf: Btf | None = None
        if self._vmlinux:
            self._btf = live.vmlinux()
        elif info["btf_value_type_id"]:
            self._btf = live.btf_by_id(info["btf_id"])

    @property
    def typed(self) -> bool:
        return self._btf is not None

    def formatted(self, key: bytes, value: bytes, *, plain: bool = False) -> dict[str, Any]:
        """An element by its types."""
        from bombus.cli.typed import Typed

        assert self._btf is not None
        typed = Typed(self._btf, plain=plain)

        def one(type_id: int, data: bytes) -> Any:
            try:
                return typed.show(type_id, data)
            except BtfError as error:
                return {"error": str(error)}

        found: dict[str, Any] = {"key": one(self.key_type, key)} if self.key_type else {}
        if not self.elements.per_cpu:
            return found | {"value": one(self.value_type, value)}
        pieces = self.elements.pieces(value)
        return found | {"values": [{"cpu": cpu, "value": one(self.value_type, p)} for cpu, p in enumerate(pieces)]}

    def as_json(self, key: bytes, value: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {"key": live.hexes(key)}
        if self.elements.per_cpu:
            pieces = self.elements.pieces(value)
            found["values"] = [{"cpu": cpu, "value": live.hexes(piece)} for cpu, piece in enumerate(pieces)]
        else:
            found["value"] = live.hexes(value)
        if self.elements.type in ("array_of_maps", "hash_of_maps"):
            found["inner_map_id"] = int.from_bytes(value[:4], "little")
        return found | ({"formatted": self.formatted(key, value)} if self.typed else {})

    def error_json(self, key: bytes, error: KernelError) -> dict[str, Any]:
        return {"key": live.hexes(key), "value": {"error": os.strerror(error.errno or 0)}}

    def as_text(self, key: bytes, value: bytes) -> str:
        """Bytes for people."""
        sizes = (self.elements.key_size, self.elements.size)
        if not self.elements.per_cpu:
            return _pair(key, live.hex_text(value) if sizes[1] else None, sizes[1])
        text = f"key:\n{live.hex_text(key)}\n" if sizes[0] else ""
        if not sizes[1]:
            return text.removesuffix("\n")
        gap = "\n" if sizes[1] > 16 else " "
        pieces = self.elements.pieces(value)
        return text + "\n".join(f"value (CPU {cpu:02}):{gap}{live.hex_text(p)}" for cpu, p in enumerate(pieces))

    def error_text(self, key: bytes, error: KernelError) -> str:
        message = os.strerror(error.errno or 0)
        if error.errno == errno.ENOENT:
            message = "<no entry>"
        elif error.errno == errno.ENOSPC and self.elements.type == "reuseport_sockarray":
            message = "<cannot read>"
        return _pair(key, message, len(message))


def _pair(key: bytes, value: str | None, size: int) -> str:
    """Short ones in one line."""
    broken = len(key) > 16 or size > 16
    gap = "\n" if broken else " "
    text = f"key:{gap}{live.hex_text(key)}" if key else ""
    if text:
        text += "  " if len(key) + size <= 24 and not broken else "\n"
    return text + (f"value:{gap}{value}" if value is not None else "")
