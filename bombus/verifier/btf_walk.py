"""Which member of a struct an access through a typed pointer reaches, and what type a load of it has.

Linux 6.12 kernel/bpf/btf.c: btf_struct_walk, btf_struct_access, btf_struct_ids_match, btf_nested_type_is_trusted.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from bombus.btf.parse import Btf
from bombus.btf.query import MAX_DEPTH
from bombus.btf.types import Array, Const, Int, Member, Ptr, Restrict, Struct, Type, Typedef, TypeTag, Union, Volatile
from bombus.errors import BtfError
from bombus.verifier.env import EACCES, EFAULT, EINVAL, Env
from bombus.verifier.regs import MEM_PERCPU, MEM_RCU, MEM_RDONLY, MEM_USER, PTR_UNTRUSTED

SCALAR: Final = "scalar"
POINTER: Final = "pointer"
STRUCT: Final = "struct"
MEMORY: Final = "memory"  # a pointer to what is no struct, as Linux 6.17 and later keep it
_ANONYMOUS: Final = "(anon)"
_TAGS: Final = {"user": MEM_USER, "percpu": MEM_PERCPU, "rcu": MEM_RCU}


class Found(NamedTuple):
    """What lies at an offset. type_id: of the nested struct, or of what the pointer points to; field: its name.

    off: where in the nested struct to look on, behind a flexible array.
    """

    kind: str
    type_id: int = 0
    flags: int = 0
    field: str = ""
    off: int = 0


class _Value(NamedTuple):
    """A member's type behind modifiers. element: of an array, the type of one; elements: how many there are."""

    type_id: int
    type: Type
    size: int
    element: int = 0
    elements: int = 1


def pointer_tag(btf: Btf, pointer: Ptr) -> int:
    """The flag for the type tag ("user", "percpu", "rcu") right behind a pointer, or 0."""
    target = btf.type(pointer.type)
    return _TAGS.get(target.name, 0) if isinstance(target, TypeTag) else 0


def target_of(btf: Btf, pointer: Ptr) -> int:
    """The id of what a pointer points to, behind typedefs and modifiers."""
    return btf.resolve(pointer.type)


def _value(btf: Btf, type_id: int) -> _Value:
    """A type with its size; arrays of arrays count as one long array. BtfError for what has no size."""
    outer = type_ = btf.type(type_id)
    outer_id = type_id
    element = 0
    count = 1
    for _ in range(MAX_DEPTH):
        if isinstance(type_, (Typedef, Const, Volatile, Restrict, TypeTag)):
            type_id = type_.type
            if not element:
                outer_id = type_id
                outer = btf.type(type_id)
        elif isinstance(type_, Array):
            count *= type_.nelems
            element = type_id = type_.type
        else:
            break
        type_ = btf.type(type_id)
    size = btf.size_of(type_id) * count
    return _Value(outer_id, outer, size, element, count)


def _step(env: Env, btf: Btf, type_id: int, off: int, size: int, flags: int, *, flexible: bool) -> Found:
    """One look into a struct: a scalar, a pointer, or the nested struct that begins where the access does.

    flags: of what was walked before. Says why and refuses otherwise.
    """
    while True:
        type_ = btf.resolved(type_id)
        if not isinstance(type_, (Struct, Union)):
            env.fail(EINVAL, f"Type '{type_.name or _ANONYMOUS}' is not a struct")
        if isinstance(type_, Union) and len(type_.members) != 1:
            flags |= PTR_UNTRUSTED
        if off + size > type_.size:
            inner = _flexible(btf, type_, off) if flexible else None
            if inner is None:
                env.fail(EACCES, f"access beyond struct {type_.name or _ANONYMOUS} at off {off} size {size}")
            if inner.kind == SCALAR:
                return inner._replace(flags=flags)
            type_id = inner.type_id
            off = inner.off
            continue
        found = _member(env, btf, type_, off, size, flags)
        if isinstance(found, Found):
            return found
        type_id, off = found


def _flexible(btf: Btf, type_: Struct | Union, off: int) -> Found | None:
    """An access beyond a struct may lie in the array without length at its end."""
    if not type_.members:
        return None
    last = type_.members[-1]
    array = btf.resolved(last.type)
    if not isinstance(array, Array) or array.nelems or off < last.offset // 8:
        return None
    element = btf.resolved(array.type)
    if isinstance(element, Int):
        return Found(SCALAR)
    if not isinstance(element, (Struct, Union)) or not element.size:
        return None
    return Found(STRUCT, btf.resolve(array.type), off=(off - last.offset // 8) % element.size)


def _member(
    env: Env, btf: Btf, type_: Struct | Union, off: int, size: int, flags: int
) -> Found | tuple[int, int]:
    """The member at an offset; or (type id, offset) of the struct to look into next."""
    for member in type_.members:
        start = member.offset // 8
        if off + size <= start:
            break
        if member.bits:
            end = (member.offset + member.bits + 7) // 8
            if off <= start and end <= off + size:
                return Found(SCALAR, flags=flags)
            continue
        if off < start:
            break
        try:
            value = _value(btf, member.type)
        except BtfError:
            env.fail(EFAULT, f"field {member.name or _ANONYMOUS} doesn't have size")
        end = start + value.size
        if off >= end:
            continue
        inner, inner_size = value.type_id, value.size
        if value.element:
            if start == end:
                continue
            inner, inner_size = value.element, value.size // value.elements
            start += (off - start) // inner_size * inner_size
        target = btf.resolved(inner)
        if isinstance(target, (Struct, Union)):
            if off == start:
                return Found(STRUCT, inner, flags)
            return btf.resolve(inner), off - start
        if isinstance(target, Ptr):
            found = _pointer(env, btf, type_, member, target, (start, off, inner_size, size), flags)
            if found is not None:
                return found
        if off + size > end and not flags & PTR_UNTRUSTED:
            env.fail(
                EACCES,
                f"access beyond the end of member {member.name or _ANONYMOUS} (mend:{end}) "
                f"in struct {type_.name or _ANONYMOUS} with off {off} size {size}",
            )
        return Found(SCALAR, flags=flags)
    env.fail(EINVAL, f"struct {type_.name or _ANONYMOUS} doesn't have field at offset {off}")


def _pointer(
    env: Env, btf: Btf, struct: Struct | Union, member: Member, pointer: Ptr, place: tuple[int, int, int, int],
    flags: int,
) -> Found | None:
    start, off, pointer_size, size = place
    if pointer_size != size or off != start:
        env.fail(
            EACCES,
            f"cannot access ptr member {member.name or _ANONYMOUS} with moff {start} "
            f"in struct {struct.name or _ANONYMOUS} with off {off} size {size}",
        )
    target = target_of(btf, pointer)
    if isinstance(btf.type(target), (Struct, Union)):
        return Found(POINTER, target, flags | pointer_tag(btf, pointer), member.name)
    if env.rules.leaf_pointers:
        return Found(MEMORY, flags=MEM_RDONLY | PTR_UNTRUSTED)
    return None


def access(env: Env, btf: Btf, type_id: int, off: int, size: int, *, flexible: bool = True) -> Found:
    """What a load of `size` bytes at an offset of a struct yields. Refuses (and says why) what is no member."""
    flags = 0
    while True:
        found = _step(env, btf, type_id, off, size, flags, flexible=flexible)
        if found.kind != STRUCT:
            return found
        type_id, off, flags = found.type_id, 0, found.flags


def same_types(btf: Btf, type_id: int, other: Btf, other_id: int) -> bool:
    """Whether two ids name one type: those of vmlinux are the same in all modules (btf_types_are_same)."""
    if type_id != other_id or btf is other:
        return type_id == other_id
    base = btf if btf.base is None else btf.base
    return base is (other if other.base is None else other.base) and type_id < len(base)


def matches(
    env: Env, btf: Btf, type_id: int, off: int, needed: Btf, needed_id: int, *, strict: bool, flexible: bool = True
) -> bool:
    """Whether a pointer to `off` within a struct is one to the needed struct: itself, or the one that begins there."""
    from bombus.verifier.program import Refused

    if off == 0 and same_types(btf, type_id, needed, needed_id):
        return True
    if strict:
        return False
    flags = 0
    off &= 0xFFFFFFFF  # what lies before the struct is far behind it
    while True:
        try:
            found = _step(env, btf, type_id, off, 1, flags, flexible=flexible)
        except Refused:
            return False
        if found.kind != STRUCT:
            return False
        type_id, flags, off = found.type_id, found.flags, 0
        if same_types(btf, type_id, needed, needed_id):
            return True


def is_safe_field(btf: Btf, struct_id: int, field: str, target_id: int, how: str) -> bool:
    """Whether the kernel vouches for what a field points to.

    The lists are types of the kernel's own BTF: members of "task_struct__safe_rcu" are safe under RCU. how:
    "safe_rcu", "safe_rcu_or_null", "safe_trusted", "safe_trusted_or_null".
    """
    struct = btf.type(struct_id)
    found = btf.find(f"{struct.name or _ANONYMOUS}__{how}", struct.kind)
    safe = btf.type(found) if found is not None else None
    if not isinstance(safe, (Struct, Union)):
        return False
    for member in safe.members:
        pointer = btf.type(member.type)
        if isinstance(pointer, Ptr) and member.name == field and target_of(btf, pointer) == target_id:
            return True
    return False
