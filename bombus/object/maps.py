"""Map definitions: BTF-defined `.maps`, legacy `maps`, and data sections.

Facts: Linux 6.12 tools/lib/bpf/libbpf.c (parse_btf_map_def, bpf_object__init_internal_map, internal_map_name),
tools/lib/bpf/bpf_helpers.h (__uint, __type, __array, __ulong).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from bombus.btf.parse import Btf
from bombus.btf.types import GLOBAL, Array, DataSec, Enum, Enum64, FuncProto, Kind, Ptr, Struct, Var
from bombus.elf.model import STB_LOCAL, Section, Symbol
from bombus.errors import ObjectError
from bombus.object.model import Extern, MapSpec
from bombus.spec.maptypes import BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, MAP_TYPE

ARRAY = MAP_TYPE["BPF_MAP_TYPE_ARRAY"].id
PROG_ARRAY = MAP_TYPE["BPF_MAP_TYPE_PROG_ARRAY"].id
OF_MAPS = (MAP_TYPE["BPF_MAP_TYPE_ARRAY_OF_MAPS"].id, MAP_TYPE["BPF_MAP_TYPE_HASH_OF_MAPS"].id)
STATIC = 0

_NUMBERS = {
    "type": "type", "max_entries": "max_entries", "map_flags": "flags", "key_size": "key_size",
    "value_size": "value_size", "numa_node": "numa_node", "map_extra": "map_extra", "pinning": "pinning",
}  # fmt: skip


def legacy_maps(
    section: Section, symbols: Sequence[Symbol], order: str, *, relaxed: bool = False
) -> Iterator[tuple[int, MapSpec]]:
    """struct bpf_map_def: type, key_size, value_size, max_entries, map_flags, each 32 bits; more must be zero,
    unless `relaxed`."""
    places = sorted(symbols, key=lambda s: s.value)
    if not places or section.size % len(places):
        raise ObjectError(f"{section.size} bytes for {len(places)} maps", section=section.name)
    each = section.size // len(places)
    for symbol in places:
        if symbol.bind == STB_LOCAL:
            raise ObjectError("static maps are not supported", section=section.name, symbol=symbol.name)
        raw = section.data[symbol.value : symbol.value + each]
        if len(raw) != each:
            raise ObjectError("map definition lies behind the end", section=section.name, symbol=symbol.name)
        if any(raw[20:]) and not relaxed:
            raise ObjectError("map definition has unknown options", section=section.name, symbol=symbol.name)
        row = struct.unpack(("<" if order == "little" else ">") + "5I", raw[:20].ljust(20, b"\0"))
        yield symbol.value, MapSpec(symbol.name, *row)


def read_btf_maps(
    btf: Btf, symbols: Sequence[Symbol], links: Mapping[int, Symbol]
) -> Iterator[tuple[int, MapSpec]]:
    """Maps of the datasec `.maps`; `links` are the relocations of the section by offset (initial values)."""
    type_id = btf.find(".maps", Kind.DATASEC)
    section = btf.type(type_id) if type_id else None
    if not isinstance(section, DataSec):
        raise ObjectError("BTF does not describe the maps", section=".maps")
    offsets = {s.name: s for s in symbols}
    for place in section.vars:
        var = btf.type(place.type)
        if not isinstance(var, Var):
            raise ObjectError("not a variable", section=".maps", symbol=var.name)
        if var.linkage != GLOBAL:
            raise ObjectError("static maps are not supported", section=".maps", symbol=var.name)
        symbol = offsets.get(var.name)
        if symbol is None:
            raise ObjectError("map without symbol", section=".maps", symbol=var.name)
        spec, values = _definition(btf, var.type, var.name, inner=False)
        if values is not None:
            stored = [
                ((offset - symbol.value - values) // 8, target.name)
                for offset, target in links.items()
                if symbol.value + values <= offset < symbol.value + max(symbol.size, values)
            ]
            spec = replace(spec, values=tuple(sorted(stored)))
        yield symbol.value, spec


def _number(btf: Btf, type_id: int, where: str, member: str) -> int:
    """__uint(x, n) is a pointer to an array of n; __ulong(x, n) a pointer-sized enum of one value."""
    type_ = btf.resolved(type_id)
    if isinstance(type_, Ptr):
        inner = btf.resolved(type_.type)
        if isinstance(inner, Array):
            return inner.nelems
    if isinstance(type_, Array):
        inner = btf.resolved(type_.type)
        if isinstance(inner, (Enum, Enum64)) and inner.values:
            return inner.values[0].value & 0xFFFF_FFFF_FFFF_FFFF
    if isinstance(type_, (Enum, Enum64)) and type_.values:
        return type_.values[0].value & 0xFFFF_FFFF_FFFF_FFFF
    raise ObjectError(f"map member {member!r} is no number", section=".maps", symbol=where)


def _definition(btf: Btf, type_id: int, name: str, *, inner: bool) -> tuple[MapSpec, int | None]:
    """One definition, and the byte offset of its `values` member if it has one."""
    struct_ = btf.resolved(type_id)
    if not isinstance(struct_, Struct):
        raise ObjectError("map definition is no struct", section=".maps", symbol=name)
    found: dict[str, int] = {}
    values: int | None = None
    inner_map: MapSpec | None = None
    for member in struct_.members:
        if member.name in _NUMBERS:
            found[_NUMBERS[member.name]] = _number(btf, member.type, name, member.name)
        elif member.name in ("key", "value"):
            pointer = btf.resolved(member.type)
            if not isinstance(pointer, Ptr):
                raise ObjectError(f"map member {member.name!r} is no pointer", section=".maps", symbol=name)
            size = btf.size_of(pointer.type)
            if found.setdefault(f"{member.name}_size", size) != size:
                raise ObjectError(f"{member.name} size is not that of its type", section=".maps", symbol=name)
            found[f"{member.name}_type"] = pointer.type
        elif member.name == "values":
            if inner:
                raise ObjectError("maps of maps of maps do not exist", section=".maps", symbol=name)
            values = member.offset // 8
            array = btf.resolved(member.type)
            pointer = btf.resolved(array.type) if isinstance(array, Array) else array
            if not isinstance(pointer, Ptr):
                raise ObjectError("values is no array of pointers", section=".maps", symbol=name)
            found.setdefault("value_size", 4)
            if not isinstance(btf.resolved(pointer.type), FuncProto):
                inner_map, _ = _definition(btf, pointer.type, f"{name}.inner", inner=True)
        else:
            raise ObjectError(f"unknown map member {member.name!r}", section=".maps", symbol=name)
    if "type" not in found:
        raise ObjectError("map without type", section=".maps", symbol=name)
    return MapSpec(name, inner=inner_map, **found), values  # type: ignore[arg-type]


def data_map_name(prefix: str, section: str) -> str:
    """The kernel's name of a data section's map: 15 bytes, ending in the section's name."""
    if "." in section[1:]:
        prefix, keep = "", 15
    else:
        keep = min(max(7, len(section)), 15)
    room = 15 - max(7, len(section)) if prefix else 0
    text = prefix[: max(room, 0)] + section[:keep]
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in text)


def data_map(prefix: str, section: Section, btf: Btf | None) -> MapSpec:
    """The array of one value that holds a data section."""
    read_only = section.name.startswith(".rodata")
    type_id = (btf.find(section.name, Kind.DATASEC) if btf is not None else None) or 0
    flags = BPF_F_RDONLY_PROG if read_only else 0
    if btf is not None and type_id:
        described = btf.type(type_id)
        assert isinstance(described, DataSec)
        # Memory is shared with user space only where something in it is visible from outside the file.
        for place in described.vars:
            var = btf.type(place.type)
            if isinstance(var, Var) and var.linkage != STATIC:
                flags |= BPF_F_MMAPABLE
    data = section.data or bytes(section.size)
    name = data_map_name(prefix, section.name)
    return MapSpec(
        name, ARRAY, 4, section.size, 1, flags, value_type=type_id, section=section.name, data=data, frozen=read_only
    )


def kconfig_map(prefix: str, externs: Sequence[Extern], btf: Btf) -> MapSpec:
    """The map of all kconfig externs; the loader fills in the values."""
    size = max(e.offset + e.size for e in externs)
    return MapSpec(
        data_map_name(prefix, ".kconfig"), ARRAY, 4, size, 1, BPF_F_RDONLY_PROG | BPF_F_MMAPABLE,
        value_type=btf.find(".kconfig", Kind.DATASEC) or 0, section=".kconfig", data=bytes(size), frozen=True,
    )  # fmt: skip
