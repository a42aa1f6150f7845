"""Which members of its context a program may read and write, by the rules of spec."""

from __future__ import annotations

import ast
from functools import lru_cache

from bombus.bpf.context import Context
from bombus.bpf.layout import PointerType, size_of
from bombus.compiler import tree
from bombus.compiler.check import Checker
from bombus.compiler.types import RefT


def check_access(c: Checker, node: ast.AST, place: tree.Spot, *, write: bool) -> None:
    """Report an access to the context that the verifier refuses. Functions are checked where they are programs: what
    others are given is not known."""
    found = _offset(place)
    if found is None or not c.function.prog_type:
        return
    offset = found[1]
    name = c.text(node)
    if offset is None:
        c.wrong(node, f"{name}: members of a context are indexed by constants", "write the index as a number")
    answer = _rule(c.function.prog_type, c.function.attach_type, offset, size_of(place.kind), write)
    if answer is None:
        short = c.function.prog_type.removeprefix("BPF_PROG_TYPE_").lower()
        c.wrong(node, f"{short} programs may not {'write' if write else 'read'} {name}",
                "programs write packets, maps and globals" if write else "programs of other kinds may")  # fmt: skip
    if isinstance(place.kind, PointerType):
        return
    if answer.startswith("PTR_TO_PACKET"):
        c.wrong(node, f"{name} is an address", "take the packet apart with .parse(Struct, offset), or ask for .length")
    if answer:
        c.wrong(node, f"{name} is a pointer ({answer}), which is not part of the language yet",
                "helpers that take the context read what it points to")  # fmt: skip


def _offset(place: tree.Spot) -> tuple[type[Context], int | None] | None:
    """Where in a context a place lies; None when it lies elsewhere. The offset is None when it is not constant."""
    base = place.base.type
    assert isinstance(base, RefT)
    if base.space != "ctx":
        return None
    if place.member is not None and isinstance(base.target, type) and issubclass(base.target, Context):
        return base.target, place.member.offset
    if isinstance(place.base, tree.Inside):
        outer = _offset(place.base.place)
        if outer is None or outer[1] is None:
            return outer
        if place.member is not None:
            return outer[0], outer[1] + place.member.offset
        if isinstance(place.index, tree.Const):
            return outer[0], outer[1] + place.index.value * size_of(place.kind)
        return outer[0], None
    return None


@lru_cache(maxsize=4096)
def _rule(prog_type: str, attach_type: str, offset: int, size: int, write: bool) -> str | None:
    """The kind of pointer that a load yields, "" for numbers; None when the access is refused."""
    from bombus.spec.attachtypes import ATTACH_TYPE
    from bombus.spec.contexts import access
    from bombus.spec.progtypes import PROG_TYPE

    attach = ATTACH_TYPE[attach_type].id if attach_type else 0
    try:
        found = access(PROG_TYPE[prog_type].id, offset, size, write, attach)
    except KeyError:  # decided by the kernel's BTF
        return ""
    return None if found is None else found.pointer
