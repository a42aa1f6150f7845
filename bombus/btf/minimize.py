"""The part of a kernel's BTF that some objects' CO-RE relocations need (`bpftool gen min_core_btf`).

Facts: Linux 6.12 tools/bpf/bpftool/gen.c (btfgen). Structs keep their size and only the members that a relocation
goes through; sizes, names and offsets stay as they are, so that relocating against the result gives the same code.
"""

from __future__ import annotations

from collections.abc import Iterable

from bombus.btf.build import Builder
from bombus.btf.core import Resolver
from bombus.btf.corespec import FIELD_KINDS, Spec
from bombus.btf.ext import BtfExt, CoreKind, CoreRelo
from bombus.btf.parse import Btf
from bombus.btf.refs import references, with_references
from bombus.btf.types import Array, Const, FuncProto, Ptr, Restrict, Struct, Type, Typedef, TypeTag, Union, Volatile


class Needed:
    """Collects what relocations need of one target BTF."""

    __slots__ = ("_matched", "members", "target", "types")

    def __init__(self, target: Btf) -> None:
        self.target = target
        self.types: set[int] = set()
        self.members: dict[int, set[int]] = {}
        self._matched: set[tuple[int, bool]] = set()

    def add(self, local: Btf, relos: Iterable[CoreRelo]) -> None:
        """Note what these relocations resolve to; those without a target need nothing.

        Raises RelocationError for relocations that libbpf would refuse.
        """
        resolver = Resolver(local, [self.target])
        for relo in relos:
            spec = resolver.resolve(relo).target
            if spec is not None:
                self.add_spec(spec)

    def add_spec(self, spec: Spec) -> None:
        if spec.kind in FIELD_KINDS:
            self._add_field(spec)
        elif spec.kind == CoreKind.TYPE_MATCHES:
            self._add_matched(spec.root)
        else:
            enum_value = spec.kind in (CoreKind.ENUMVAL_EXISTS, CoreKind.ENUMVAL_VALUE)
            self._add_type(spec.root, through_pointers=not enum_value)

    def _add_field(self, spec: Spec) -> None:
        type_id = spec.root
        self._add_type(type_id, through_pointers=False)
        for index in spec.raw[1:]:
            type_id = self.target.resolve(type_id)
            type_ = self.target.type(type_id)
            if isinstance(type_, (Struct, Union)):
                self.members.setdefault(type_id, set()).add(index)
                type_id = type_.members[index].type
                self._add_type(type_id, through_pointers=False)
            elif isinstance(type_, Array):
                type_id = type_.type

    def _add_type(self, type_id: int, *, through_pointers: bool) -> None:
        """A type and what its name alone stands for: structs come without members."""
        todo = [type_id]
        seen: set[int] = set()
        while todo:
            current = todo.pop()
            if current in seen or not current:
                continue
            seen.add(current)
            self.types.add(current)
            match self.target.type(current):
                case Ptr() as pointer:
                    if through_pointers:
                        todo.append(pointer.type)
                case (Const() | Restrict() | Volatile() | Typedef() | TypeTag() | Array() | FuncProto()) as type_:
                    todo += references(type_)

    def _add_matched(self, root: int) -> None:
        """A type with all its members; behind pointers structs come without members."""
        todo = [(root, False)]
        while todo:
            type_id, behind = todo.pop()
            if not type_id or (type_id, behind) in self._matched:
                continue
            self._matched.add((type_id, behind))
            self.types.add(type_id)
            match self.target.type(type_id):
                case (Struct() | Union()) as composite:
                    if not behind:
                        self.members.setdefault(type_id, set()).update(range(len(composite.members)))
                        todo += [(member.type, False) for member in composite.members]
                case (Const() | Restrict() | Volatile() | Typedef() | TypeTag()) as type_:
                    todo.append((type_.type, behind))
                case Ptr() as pointer:
                    todo.append((pointer.type, True))
                case (Array() | FuncProto()) as type_:
                    todo += [(ref, False) for ref in references(type_)]

    def build(self) -> Builder:
        """The minimal BTF. References to types that are not needed become void."""
        kept = sorted(self.types)
        new_ids = {old: new for new, old in enumerate(kept, 1)}
        builder = Builder(byteorder=self.target.byteorder)
        for type_id in kept:
            type_ = self._reduced(type_id, self.target.type(type_id))
            builder.add(with_references(type_, lambda old: new_ids.get(old, 0)))
        return builder

    def _reduced(self, type_id: int, type_: Type) -> Type:
        if not isinstance(type_, (Struct, Union)):
            return type_
        wanted = self.members.get(type_id, set())
        members = tuple([member for index, member in enumerate(type_.members) if index in wanted])
        return type_._replace(members=members, kind_flag=any(m.bits or m.offset % 8 for m in members))


def minimize(target: Btf, objects: Iterable[tuple[Btf, BtfExt]]) -> Builder:
    """The minimal BTF for objects given by their .BTF and .BTF.ext. Raises RelocationError."""
    needed = Needed(target)
    for local, ext in objects:
        for section in ext.core_relo:
            needed.add(local, section.records)
    return needed.build()
