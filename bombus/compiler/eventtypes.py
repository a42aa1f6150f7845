"""Types of events put into an object's BTF.

Structs that only live on the stack or in a buffer are in no BTF that LLVM writes. Readers want them: each struct that a
program sends is added, with a declaration tag on its buffer, `event:NAME` (see `loader.events`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from bombus.bpf.ints import Scalar
from bombus.bpf.layout import ArrayType, PointerType, size_of
from bombus.btf.build import Builder
from bombus.btf.parse import Btf
from bombus.btf.types import INT_BOOL, INT_SIGNED, Array, DeclTag, Int, Kind, Member, Ptr, Struct, Typedef, Union, Var
from bombus.compiler.debuginfo import BASE_NAMES, TYPEDEFS
from bombus.elf.read import read_elf
from bombus.errors import ElfError

TAG = "event:"
_SECTION_SIZES = 0x18  # of sh_offset in an ELF64 section header; sh_size follows
_SHOFF, _SHENTSIZE = 0x28, 0x3A  # in the ELF64 header


def with_event_types(data: bytes, events: Mapping[str, Sequence[Any]]) -> bytes:
    """The object `data` with the structs of `events` (by the name of their map) in its BTF."""
    elf = read_elf(data)
    section = elf.section(".BTF")
    if section is None:
        return data
    btf = Btf.parse(section.data)
    types = _Types(btf)
    for name, kinds in events.items():
        var = next(i for i in btf.ids() if isinstance(v := btf.type(i), Var) and v.name == name)
        for kind in kinds:
            type_id = types.id(kind)
            types.builder.add(DeclTag(f"{TAG}{types.builder[type_id].name}", var))
    return _replaced(data, section.index, types.builder.to_bytes())


class _Types:
    """Adds types of the dialect to BTF; what is there already is not added again."""

    def __init__(self, btf: Btf) -> None:
        self.builder = Builder.from_btf(btf)
        self._btf = btf
        self._known: dict[Any, int] = {}

    def id(self, kind: Any) -> int:
        found = self._known.get(kind)
        if found is None:
            found = self._known[kind] = self._make(kind)
        return found

    def _make(self, kind: Any) -> int:
        add = self.builder.add
        if isinstance(kind, ArrayType):
            return add(Array(self.id(kind.element), self._int("unsigned int", 4, 0), kind.count))
        if isinstance(kind, PointerType):
            return add(Ptr(0))
        if kind is bool:
            return self._int("_Bool", 1, INT_BOOL)
        if hasattr(kind, "LAYOUT"):
            return self._struct(kind)
        assert issubclass(kind, Scalar)
        base = self._int(BASE_NAMES[kind.BITS, kind.SIGNED][0], kind.BITS // 8, INT_SIGNED if kind.SIGNED else 0)
        name = TYPEDEFS.get(kind.__name__)
        if not name:
            return base
        there = self._btf.find(name, Kind.TYPEDEF)
        return there if there is not None else add(Typedef(name, base))

    def _int(self, name: str, size: int, encoding: int) -> int:
        key = (name, size)
        if key not in self._known:
            there = self._btf.find(name, Kind.INT)
            self._known[key] = there if there is not None else self.builder.add(Int(name, size, encoding))
        return self._known[key]

    def _struct(self, kind: Any) -> int:
        union = kind.LAYOUT.union
        there = self._btf.find(kind.C_NAME, Kind.UNION if union else Kind.STRUCT)
        if there is not None and self._btf.size_of(there) == kind.LAYOUT.size:
            return there
        fields = any(member.bits for member in kind.LAYOUT.members.values())
        members = tuple(
            Member(member.name, self.id(member.type), member.offset * 8 + member.bit, member.bits)
            for member in kind.LAYOUT.members.values()
        )
        return self.builder.add((Union if union else Struct)(kind.C_NAME, size_of(kind), members, fields))


def _replaced(data: bytes, index: int, content: bytes) -> bytes:
    """The file with other contents of a section, at its end."""
    if data[4] != 2:
        raise ElfError("a BPF object of 32 bits", offset=4)
    mark = "<" if data[5] == 1 else ">"
    (start,) = struct.unpack_from(mark + "Q", data, _SHOFF)
    (size,) = struct.unpack_from(mark + "H", data, _SHENTSIZE)
    out = bytearray(data)
    out += bytes(-len(out) % 8)
    struct.pack_into(mark + "QQ", out, start + index * size + _SECTION_SIZES, len(out), len(content))
    return bytes(out) + content


__all__ = ["TAG", "with_event_types"]
