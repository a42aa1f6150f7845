"""struct_ops: structs of kernel operations that an object fills with programs and values.

Each variable of .struct_ops and .struct_ops.link is a map; relocations in the sections bind programs to members.
Facts: Linux 6.12 tools/lib/bpf/libbpf.c (init_struct_ops_maps, bpf_object__collect_st_ops_relos).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bombus.btf.parse import Btf
from bombus.btf.types import DataSec, Kind, Struct, Var
from bombus.elf.model import Section, Symbol
from bombus.errors import ObjectError
from bombus.object.model import MapSpec
from bombus.spec.maptypes import FLAG, MAP_TYPE

SECTIONS = (".struct_ops", ".struct_ops.link")
_TYPE = MAP_TYPE["BPF_MAP_TYPE_STRUCT_OPS"].id


def struct_ops_maps(section: Section, btf: Btf, links: Mapping[int, Symbol]) -> Iterator[MapSpec]:
    """One map for each variable of a section: `data` its bytes, `values` (byte offset in it, name of the program).

    links: the symbols that relocations put at offsets of the section.
    """
    type_id = btf.find(section.name, Kind.DATASEC)
    if type_id is None:
        raise ObjectError("struct_ops without BTF", section=section.name)
    described = btf.type(type_id)
    assert isinstance(described, DataSec)
    flags = FLAG["BPF_F_LINK"].value if section.name.endswith(".link") else 0
    for place in described.vars:
        var = btf.type(place.type)
        inner = btf.resolved(var.type) if isinstance(var, Var) else None
        if not isinstance(var, Var) or not isinstance(inner, Struct) or not inner.name:
            raise ObjectError("a struct_ops variable is no named struct", section=section.name, symbol=var.name)
        end = place.offset + place.size
        if end > len(section.data):
            raise ObjectError("a struct_ops variable reaches behind its section", section=section.name, symbol=var.name)
        programs = tuple((at - place.offset, symbol.name) for at, symbol in sorted(links.items()) if
                         place.offset <= at < end)  # fmt: skip
        yield MapSpec(
            var.name, _TYPE, 4, place.size, 1, flags, value_type=var.type, values=programs,
            data=section.data[place.offset : end],
        )  # fmt: skip
