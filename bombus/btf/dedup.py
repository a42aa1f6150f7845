"""Equal types become one, forward declarations find their definitions.

Facts: what libbpf's btf__dedup merges (Linux 6.12 tools/lib/bpf/btf.c). Types may form cycles through pointers, so
two structs are one when the graphs under them can be laid over each other with every type meeting one partner.
Variables and data sections are never merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bombus.btf.build import Builder
from bombus.btf.parse import Btf
from bombus.btf.refs import references, with_references
from bombus.btf.types import (
    Array,
    Const,
    DataSec,
    Enum,
    Enum64,
    Fwd,
    Kind,
    Ptr,
    Restrict,
    Struct,
    Type,
    Union,
    Var,
    Void,
    Volatile,
)
from bombus.errors import BtfError

# Real inputs need less than 30 steps a type; the budget bounds what hostile graphs can cost.
STEPS = 1_000_000
STEPS_PER_TYPE = 500
MAX_DEPTH = 200

# How far `_gist` looks, and its letters for types without names.
GIST = 8
_LETTER = {Kind.PTR: "*", Kind.CONST: "c", Kind.VOLATILE: "v", Kind.RESTRICT: "r", Kind.ARRAY: "["}

_Shape = tuple[object, ...]


class Deduped(NamedTuple):
    """The merged types and, for each old id, the new one."""

    builder: Builder
    ids: list[int]


def dedup(source: Btf | Builder, *, resolve_forwards: bool = True) -> Deduped:
    """Merge equal types of a blob (against its base too, which does not change).

    `resolve_forwards`: also let a forward declaration stand for the only definition of its name, though nothing
    but the name says so (libbpf does since 1.2).
    Raises BtfError for references out of range and for reference loops without a struct.
    """
    types = list(source) if isinstance(source, Btf) else source.types
    work = _Dedup(source.base, types, source.first_id)
    builder = Builder(source.base, source.byteorder)
    ids = work.run(builder, resolve_forwards)
    return Deduped(builder, ids)


class _Dedup:
    """`canon[i]` is the id that type `i` was found equal to (itself when it is kept), -1 while unknown."""

    __slots__ = (
        "_numbers",
        "_shapes",
        "canon",
        "exact",
        "first",
        "partners",
        "same_shape",
        "steps",
        "types",
        "widened",
    )

    def __init__(self, base: Btf | None, own: Sequence[Type], first: int) -> None:
        self.types: list[Type] = [Void()] if base is None else [base.type(i) for i in range(first)]
        self.types += own
        self.first = first
        self.canon = [-1] * len(self.types)
        self.exact: dict[Type, int] = {}
        self.same_shape: dict[int, list[int]] = {}
        self._numbers: dict[_Shape, int] = {}
        self._shapes: dict[int, int] = {}
        self.partners: dict[int, int] = {}
        self.widened = False
        self.steps = STEPS + STEPS_PER_TYPE * len(self.types)
        last = len(self.types)
        for type_id, type_ in enumerate(self.types):
            if any(ref >= last for ref in references(type_)):
                raise BtfError(f"type {type_id} refers beyond the last type ({last - 1})")

    def run(self, builder: Builder, resolve_forwards: bool) -> list[int]:
        self._keep_base()
        own = range(self.first, len(self.types))
        for type_id in own:
            self._simple(type_id)
        for type_id in own:
            self._composite(type_id)
        if resolve_forwards:
            self._forwards(own)
        for type_id in own:
            self._derived(type_id, 0)
        final: dict[int, int] = {i: i for i in range(self.first)}
        kept = [type_id for type_id in own if self.canon[type_id] == type_id]
        for number, type_id in enumerate(kept, self.first):
            final[type_id] = number

        def new_id(type_id: int) -> int:
            return final[self.resolve(type_id)]

        builder.types = [with_references(self.types[type_id], new_id) for type_id in kept]
        return [new_id(type_id) for type_id in range(len(self.types))]

    def resolve(self, type_id: int) -> int:
        """The id that stands for a type now: chains are followed, an unknown type stands for itself."""
        for _ in range(len(self.canon) + 1):
            step = self.canon[type_id]
            if step < 0 or step == type_id:
                return type_id
            type_id = step
        raise BtfError("types stand for each other in a circle")

    def _keep_base(self) -> None:
        self.canon[0] = 0
        for type_id in range(1, self.first):
            self.canon[type_id] = type_id
            type_ = self.types[type_id]
            match type_:
                case Struct() | Union():
                    self.same_shape.setdefault(self._shape(type_id), []).append(type_id)
                case Enum() | Enum64():
                    self.same_shape.setdefault(self._shape(type_id), []).append(type_id)
                    self.exact[type_] = type_id
                case Var() | DataSec():
                    pass
                case _:
                    self.exact[type_] = type_id

    # Types without references

    def _simple(self, type_id: int) -> None:
        type_ = self.types[type_id]
        match type_:
            case Var() | DataSec():
                self.canon[type_id] = type_id
            case Enum() | Enum64():
                self._enum(type_id, type_)
            case Struct() | Union():
                pass
            case _ if not references(type_):
                self.canon[type_id] = self.exact.setdefault(type_, type_id)

    def _enum(self, type_id: int, type_: Enum | Enum64) -> None:
        """Equal enums are one; a forward declaration (no values) stands for any enum of its name."""
        same_name = self.same_shape.setdefault(self._shape(type_id), [])
        found = self.exact.get(type_)
        if found is None and same_name:
            if not type_.values:
                found = same_name[-1]
            elif not _values(self.types[same_name[0]]):
                # Only the first of a name can be a forward declaration: later ones find that one.
                self.canon[same_name[0]] = type_id
        if found is None:
            self.exact[type_] = found = type_id
            same_name.append(type_id)
        self.canon[type_id] = found

    # Structs and unions

    def _composite(self, type_id: int) -> None:
        type_ = self.types[type_id]
        if self.canon[type_id] != -1 or not isinstance(type_, (Struct, Union)):
            return
        same_shape = self.same_shape.setdefault(self._shape(type_id), [])
        for candidate in reversed(same_shape):
            if not self._equivalent(type_id, candidate):
                continue
            self._merge_partners()
            if self.widened:
                continue
            self.canon[type_id] = candidate
            return
        self.canon[type_id] = type_id
        same_shape.append(type_id)

    def _equivalent(self, mine: int, theirs: int) -> bool:
        """Whether the graph under `mine` can be laid over the one under `theirs`; fills `partners`."""
        self.partners = {}
        self.widened = False
        stack = [(mine, theirs)]
        while stack:
            self.steps -= 1
            if self.steps < 0:
                raise BtfError("comparing types takes too long; they are all too similar")
            a, b = stack.pop()
            if self.resolve(a) == self.resolve(b):
                continue
            if isinstance(self.types[b], Fwd):
                resolved = self.resolve(b)
                b = b if isinstance(self.types[resolved], Fwd) else resolved
            partner = self.partners.get(b)
            if partner is not None:
                if partner != a and not self._identical(partner, a):
                    return False
                continue
            self.partners[b] = a
            pairs = self._compare(a, b)
            if pairs is None:
                return False
            stack += reversed(pairs)
        return True

    def _compare(self, a_id: int, b_id: int) -> list[tuple[int, int]] | None:
        """None when two types differ, else the pairs below them that must be equal too."""
        a, b = self.types[a_id], self.types[b_id]
        if a.name != b.name:
            return None
        if isinstance(a, Fwd) != isinstance(b, Fwd):
            forward, other = (a, b) if isinstance(a, Fwd) else (b, a)
            assert isinstance(forward, Fwd)
            if not isinstance(other, Union if forward.union else Struct):
                return None
            if forward is b and b_id < self.first:
                self.widened = True  # the base would have to change
            return []
        match a, b:
            case (Enum() | Enum64(), Enum() | Enum64()):
                return [] if a == b or _enums_compatible(a, b) else None
            case (Struct() | Union(), Struct() | Union()):
                if self._shape(a_id) != self._shape(b_id):
                    return None
            case (Array(), Array()):
                if a.nelems != b.nelems:
                    return None
                return [(a.index_type, b.index_type), (a.type, b.type)]
            case _:
                if a.kind != b.kind or with_references(a, _zero) != with_references(b, _zero):
                    return None
        return list(zip(references(a), references(b), strict=True))

    def _identical(self, a_id: int, b_id: int) -> bool:
        """Two types of one blob that the compiler wrote twice, equal down to the ids they refer to."""
        stack = [(a_id, b_id)]
        top = True
        while stack:
            self.steps -= 1
            if self.steps < 0:
                raise BtfError("comparing types takes too long; they are all too similar")
            a_id, b_id = stack.pop()
            a, b = self.types[a_id], self.types[b_id]
            match a, b:
                case (Array(), Array()):
                    if a != b:
                        return False
                case (Ptr(), Ptr()) if top:
                    if a != b:
                        return False
                case (Struct() | Union(), Struct() | Union()):
                    if self._shape(a_id) != self._shape(b_id):
                        return False
                    stack += [(x.type, y.type) for x, y in zip(a.members, b.members, strict=True) if x.type != y.type]
                case _:
                    return False
            top = False
        return True

    def _shape(self, type_id: int) -> int:
        """A number that structs share only if they may be equal; for enums it stands for the name alone."""
        known = self._shapes.get(type_id)
        if known is None:
            type_ = self.types[type_id]
            if isinstance(type_, (Struct, Union)):
                members = tuple([(name, offset, bits, self._gist(i)) for name, i, offset, bits in type_.members])
                shape: _Shape = (type_.kind, type_.name, type_.size, type_.kind_flag, members)
            else:
                shape = (Enum, type_.name)
            known = self._shapes[type_id] = self._numbers.setdefault(shape, len(self._numbers))
        return known

    def _gist(self, type_id: int) -> str:
        """What equal types have in common without looking far: kinds down to the first name."""
        gist = ""
        for _ in range(GIST):
            type_ = self.types[type_id]
            if type_.name:
                return gist + type_.name
            if not isinstance(type_, (Ptr, Const, Volatile, Restrict, Array)):
                return gist + type_.kind.name
            gist += _LETTER[type_.kind]
            type_id = type_.type
        return gist

    def _merge_partners(self) -> None:
        for theirs, mine in self.partners.items():
            a, b = self.resolve(mine), self.resolve(theirs)
            a_type, b_type = self.types[a], self.types[b]
            if isinstance(b_type, Fwd) and not isinstance(a_type, Fwd):
                self.canon[b] = a
            if self.widened or isinstance(b_type, Fwd):
                continue
            known = self.canon[b] != -1 and self.canon[a] == -1
            if isinstance(a_type, Fwd) or (isinstance(a_type, (Struct, Union)) and known):
                self.canon[a] = b

    def _forwards(self, own: range) -> None:
        """Forward declarations that met no definition on the way take the only one of their name."""
        named: dict[str, int] = {}
        for type_id, type_ in enumerate(self.types):
            if isinstance(type_, (Struct, Union)) and self.canon[type_id] == type_id:
                named[type_.name] = 0 if type_.name in named else type_id
        for type_id in own:
            type_ = self.types[type_id]
            if not isinstance(type_, Fwd) or self.canon[type_id] != type_id:
                continue
            found = named.get(type_.name, 0)
            if found and isinstance(self.types[found], Union if type_.union else Struct):
                self.canon[type_id] = found

    # Types that are nothing but references

    def _derived(self, type_id: int, depth: int) -> int:
        """Settle what `type_id` refers to, then itself; the id that stands for it."""
        if self.canon[type_id] == -2 or depth > MAX_DEPTH:
            raise BtfError(f"type {type_id} refers to itself or is nested more than {MAX_DEPTH} deep")
        if self.canon[type_id] != -1:
            return self.resolve(type_id)
        self.canon[type_id] = -2
        type_ = with_references(self.types[type_id], lambda ref: self._derived(ref, depth + 1))
        self.types[type_id] = type_
        chosen = self.exact.setdefault(type_, type_id)
        self.canon[type_id] = chosen
        return chosen


def _zero(_: int) -> int:
    return 0


def _values(type_: Type) -> bool:
    return isinstance(type_, (Enum, Enum64)) and bool(type_.values)


def _enums_compatible(a: Type, b: Type) -> bool:
    """Equal names, and one of the two is only a forward declaration."""
    if not isinstance(a, (Enum, Enum64)) or not isinstance(b, (Enum, Enum64)):
        return False
    return a.name == b.name and (not a.values or not b.values)
