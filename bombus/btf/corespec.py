"""CO-RE access specs: which field, type or enumerator a relocation names, and libbpf's text for it.

Facts: Linux 6.12 tools/lib/bpf/relo_core.c (libbpf 1.5).
"""

from __future__ import annotations

from typing import NamedTuple

from bombus.btf.ext import CoreKind
from bombus.btf.parse import Btf
from bombus.btf.types import Array, Enum, Enum64, Kind, Struct, Union
from bombus.errors import BtfError, RelocationError

MAX_SPEC = 64

FIELD_KINDS = frozenset(
    (
        CoreKind.FIELD_BYTE_OFFSET,
        CoreKind.FIELD_BYTE_SIZE,
        CoreKind.FIELD_EXISTS,
        CoreKind.FIELD_SIGNED,
        CoreKind.FIELD_LSHIFT_U64,
        CoreKind.FIELD_RSHIFT_U64,
    )
)
TYPE_KINDS = frozenset(
    (
        CoreKind.TYPE_ID_LOCAL,
        CoreKind.TYPE_ID_TARGET,
        CoreKind.TYPE_EXISTS,
        CoreKind.TYPE_SIZE,
        CoreKind.TYPE_MATCHES,
    )
)
ENUM_KINDS = frozenset((CoreKind.ENUMVAL_EXISTS, CoreKind.ENUMVAL_VALUE))

# The short names that libbpf and bpftool print.
KIND_TEXT: dict[CoreKind, str] = {
    CoreKind.FIELD_BYTE_OFFSET: "byte_off",
    CoreKind.FIELD_BYTE_SIZE: "byte_sz",
    CoreKind.FIELD_EXISTS: "field_exists",
    CoreKind.FIELD_SIGNED: "signed",
    CoreKind.FIELD_LSHIFT_U64: "lshift_u64",
    CoreKind.FIELD_RSHIFT_U64: "rshift_u64",
    CoreKind.TYPE_ID_LOCAL: "local_type_id",
    CoreKind.TYPE_ID_TARGET: "target_type_id",
    CoreKind.TYPE_EXISTS: "type_exists",
    CoreKind.TYPE_SIZE: "type_size",
    CoreKind.ENUMVAL_EXISTS: "enumval_exists",
    CoreKind.ENUMVAL_VALUE: "enumval_value",
    CoreKind.TYPE_MATCHES: "type_matches",
}


class Accessor(NamedTuple):
    """One step that has a meaning in C: a named member (`place` is its number) or an array index (no name)."""

    type: int
    place: int
    name: str


class Spec:
    """An access against one BTF. `raw` is the access string, one number a level; `bit_offset` from the root."""

    __slots__ = ("bit_offset", "btf", "kind", "raw", "root", "steps")

    def __init__(self, btf: Btf, kind: CoreKind, root: int) -> None:
        self.btf = btf
        self.kind = kind
        self.root = root
        self.steps: list[Accessor] = []
        self.raw: list[int] = []
        self.bit_offset = 0

    def __str__(self) -> str:
        btf = self.btf
        head = f"<{KIND_TEXT[self.kind]}> [{self.root}] {btf.kind(self.root).name.lower()} "
        head += btf.name(self.root) or "<anon>"
        if self.kind in TYPE_KINDS:
            return head
        if self.kind in ENUM_KINDS:
            enum = btf.resolved(self.root)
            if not self.raw or not isinstance(enum, (Enum, Enum64)):
                return head
            name, value = enum.values[self.raw[0]]
            return f"{head}::{name} = {value}"
        for number, step in enumerate(self.steps):
            if step.name:
                head += f".{step.name}"
            elif number or step.place:
                head += f"[{step.place}]"
        byte, bit = divmod(self.bit_offset, 8)
        raw = ":".join(map(str, self.raw))
        return f"{head} ({raw} @ offset {byte}.{bit})" if bit else f"{head} ({raw} @ offset {byte})"


def is_flexible(btf: Btf, step: Accessor, array: Array) -> bool:
    """Whether the array that `step` led to may be indexed at will: zero-sized and last in its struct."""
    return bool(step.name) and not array.nelems and step.place == btf.vlen(step.type) - 1


def parse_spec(btf: Btf, kind: CoreKind, type_id: int, access: str) -> Spec:
    """What a relocation of this kind on `type_id` with access string `access` means locally.

    Raises RelocationError when the string does not fit the type.
    """
    try:
        return _parse_spec(btf, kind, type_id, access)
    except BtfError as error:
        raise RelocationError(f"CO-RE access [{type_id}] {access!r}: {error.message}") from None


def _parse_spec(btf: Btf, kind: CoreKind, type_id: int, access: str) -> Spec:
    def bad(text: str) -> RelocationError:
        name = btf.name(type_id) or "<anon>"
        return RelocationError(f"CO-RE access [{type_id}] {btf.kind(type_id).name.lower()} {name} {access!r}: {text}")

    spec = Spec(btf, kind, type_id)
    if kind in TYPE_KINDS:
        if access != "0":
            raise bad("a type relocation has access string '0'")
        return spec
    if len(access) > 10 * MAX_SPEC or not all(
        part.isascii() and part.isdigit() and len(part) < 10 for part in access.split(":")
    ):
        raise bad("not numbers with colons")
    spec.raw = [int(part) for part in access.split(":")]
    if len(spec.raw) > MAX_SPEC:
        raise bad(f"more than {MAX_SPEC} levels")
    current = btf.resolve(type_id)
    first = spec.raw[0]
    if kind in ENUM_KINDS:
        enum = btf.type(current)
        if not isinstance(enum, (Enum, Enum64)) or len(spec.raw) > 1 or first >= len(enum.values):
            raise bad("names no enumerator")
        spec.steps.append(Accessor(current, first, enum.values[first].name))
        return spec
    spec.steps.append(Accessor(current, first, ""))
    spec.bit_offset = first * btf.size_of(current) * 8
    for index in spec.raw[1:]:
        current = btf.resolve(current)
        type_ = btf.type(current)
        if isinstance(type_, (Struct, Union)):
            if index >= len(type_.members):
                raise bad(f"{type_.name or 'anonymous type'} has no member {index}")
            member = type_.members[index]
            spec.bit_offset += member.offset
            if member.name:
                spec.steps.append(Accessor(current, index, member.name))
            current = member.type
        elif isinstance(type_, Array):
            current = btf.resolve(type_.type)
            if index >= type_.nelems and not is_flexible(btf, spec.steps[-1], type_):
                raise bad(f"index {index} is beyond an array of {type_.nelems}")
            spec.steps.append(Accessor(current, index, ""))
            spec.bit_offset += index * btf.size_of(current) * 8
        else:
            raise bad(f"goes into a {Kind(type_.kind).name.lower()}")
    return spec
