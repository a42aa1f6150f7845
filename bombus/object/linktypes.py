"""Whether two files declare a global symbol alike.

Facts: Linux 6.12 tools/lib/bpf/linker.c (glob_sym_btf_matches, map_defs_match): types are compared whole, behind
pointers only by their names; a forward declaration stands for its struct there.
"""

from __future__ import annotations

from bombus.btf.build import Builder
from bombus.btf.parse import Btf
from bombus.btf.refs import references, with_references
from bombus.btf.types import (
    MODIFIERS_AND_TYPEDEFS,
    Enum,
    Enum64,
    Func,
    FuncProto,
    Fwd,
    Ptr,
    Struct,
    Type,
    Union,
    Var,
    Void,
)


def _get(types: Builder | Btf, type_id: int) -> Type:
    return types[type_id] if type_id else Void()


def _bare(types: Builder | Btf, type_id: int) -> tuple[int, Type]:
    seen = set()
    type_ = _get(types, type_id)
    while type_.kind in MODIFIERS_AND_TYPEDEFS and type_id not in seen:
        seen.add(type_id)
        type_id = references(type_)[0]
        type_ = _get(types, type_id)
    return type_id, type_


def type_difference(mine: Builder, a_id: int, theirs: Btf, b_id: int) -> str:
    """What differs between two types, "" for nothing."""
    todo = [(a_id, b_id, True)]
    seen: set[tuple[int, int, bool]] = set()
    while todo:
        row = todo.pop()
        if row in seen:
            continue
        seen.add(row)
        a_id, b_id, whole = row
        if whole:
            a, b = _get(mine, a_id), _get(theirs, b_id)
        else:
            (a_id, a), (b_id, b) = _bare(mine, a_id), _bare(theirs, b_id)
        composite = (Struct, Union, Fwd)
        if not whole and isinstance(a, composite) and isinstance(b, composite):
            if a.name != b.name or _is_union(a) != _is_union(b):
                return f"{a.kind.name} {a.name or '(anon)'} and {b.kind.name} {b.name or '(anon)'}"
            continue
        if a.kind != b.kind:
            return f"{a.kind.name} {a.name or '(anon)'} and {b.kind.name} {b.name or '(anon)'}"
        if a.name != b.name:
            return f"{a.kind.name} {a.name or '(anon)'} and {b.name or '(anon)'}"
        refs = references(a), references(b)
        if len(refs[0]) != len(refs[1]):
            return f"{a.kind.name} {a.name or '(anon)'} with {len(refs[0])} and {len(refs[1])} parts"
        if isinstance(a, (Enum, Enum64)) and not whole:
            continue
        if not isinstance(a, (Var, Func, FuncProto)) and with_references(a, _zero) != with_references(b, _zero):
            return f"{a.kind.name} {a.name or '(anon)'}"
        below = whole and not isinstance(a, Ptr)
        todo += reversed([(x, y, below) for x, y in zip(*refs, strict=True)])
    return ""


def map_difference(mine: Builder, a_id: int, theirs: Btf, b_id: int) -> str:
    """What differs between two definitions of a map, "" for nothing; the order of members does not count."""
    a, b = mine[a_id], theirs[b_id]
    if not isinstance(a, Var) or not isinstance(b, Var):
        return "not a map"
    _, one = _bare(mine, a.type)
    _, two = _bare(theirs, b.type)
    if not isinstance(one, Struct) or not isinstance(two, Struct):
        return "not a map"
    left, right = ({m.name: m.type for m in s.members} for s in (one, two))
    for name in left | right:
        if name not in left or name not in right:
            return f"map {name}"
        text = _behind(mine, left[name], theirs, right[name])
        if text:
            return f"map {name}: {text}"
    return ""


def _behind(mine: Builder, a_id: int, theirs: Btf, b_id: int) -> str:
    """Members of map definitions are pointers whose target says it all."""
    a, b = mine[a_id], theirs[b_id]
    if isinstance(a, Ptr) and isinstance(b, Ptr):
        return type_difference(mine, a.type, theirs, b.type)
    return type_difference(mine, a_id, theirs, b_id)


def _is_union(type_: Type) -> bool:
    return isinstance(type_, Union) or (isinstance(type_, Fwd) and type_.union)


def _zero(_: int) -> int:
    return 0
