"""Special fields of map values: locks, timers, kptrs and their places, from the map's BTF.

Linux 6.12 kernel/bpf/btf.c: btf_parse_fields, btf_find_struct_field.
"""

from __future__ import annotations

from typing import Final

from bombus.btf.parse import Btf
from bombus.btf.types import Array, DataSec, Ptr, Struct, TypeTag, Union, Var, Volatile
from bombus.errors import BtfError
from bombus.spec.contexts import socket_field
from bombus.spec.version import KernelVersion, since
from bombus.verifier.program import Field, MapInfo

KPTRS: Final = ("kptr_unref", "kptr_ref", "kptr_percpu")
# By the name of the field's struct: kind and size in bytes.
_STRUCTS: Final = {
    "bpf_spin_lock": ("spin_lock", 4),
    "bpf_timer": ("timer", 16),
    "bpf_wq": ("wq", 16),
    "bpf_list_head": ("list_head", 16),
    "bpf_rb_root": ("rb_root", 16),
    "bpf_refcount": ("refcount", 4),
}
_TAGS: Final = {"kptr_untrusted": "kptr_unref", "kptr": "kptr_ref", "percpu_kptr": "kptr_percpu"}
# Until 6.2, references had a name of their own, and there were no per-CPU ones.
_OLD_TAGS: Final = {"kptr": "kptr_unref", "kptr_ref": "kptr_ref"}
_NEW_TAGS: Final = since("6.3")
_MAX_FIELDS: Final = 11
_MAX_DEPTH: Final = 32


def parse(btf: Btf, type_id: int, version: KernelVersion = _NEW_TAGS) -> tuple[Field, ...]:
    """The special fields of a map's value type, by offset, as a kernel of that version reads it; none of broken BTF."""
    found: list[Field] = []
    tags = _TAGS if version >= _NEW_TAGS else _OLD_TAGS
    try:
        type_ = btf.resolved(type_id)
        if isinstance(type_, DataSec):
            for entry in type_.vars:
                var = btf.type(entry.type)
                if isinstance(var, Var):
                    _one(btf, var.type, entry.offset, found, 0, tags)
        else:
            _members(btf, type_id, 0, found, 0, tags)
    except BtfError:
        return ()
    return tuple(sorted(found[:_MAX_FIELDS], key=lambda field: field.offset))


def _members(
    btf: Btf, type_id: int, base: int, found: list[Field], depth: int, tags: dict[str, str]
) -> None:
    type_ = btf.resolved(type_id)
    if not isinstance(type_, (Struct, Union)) or depth > _MAX_DEPTH:
        return
    for member in type_.members:
        if member.offset % 8 == 0:
            _one(btf, member.type, base + member.offset // 8, found, depth, tags)


def _one(
    btf: Btf, type_id: int, offset: int, found: list[Field], depth: int, tags: dict[str, str]
) -> None:
    count = 1
    type_ = btf.type(type_id)
    while isinstance(type_, Array):
        count *= type_.nelems
        type_id = type_.type
        type_ = btf.type(type_id)
    if isinstance(type_, (Struct, Union)):
        known = _STRUCTS.get(type_.name)
        if known is not None:
            kind, size = known
            if type_.size == size or kind not in ("spin_lock", "timer", "wq"):
                found.append(Field(kind, type_.name, offset, size))
            return
        inner: list[Field] = []
        _members(btf, type_id, 0, inner, depth + 1, tags)
        for i in range(min(count, _MAX_FIELDS)):
            for field in inner:
                found.append(
                    Field(
                        field.kind, field.name, offset + i * type_.size + field.offset, field.size, field.target,
                        field.target_id,
                    )
                )
        return
    if isinstance(type_, Volatile):
        type_ = btf.type(type_.type)
    if isinstance(type_, Ptr):
        tag = btf.type(type_.type)
        if isinstance(tag, TypeTag) and tag.name in tags:
            kind = tags[tag.name]
            name = "percpu_kptr" if kind == "kptr_percpu" else "kptr"
            target_id = btf.resolve(tag.type)
            struct = btf.type(target_id)
            if not isinstance(struct, Struct):  # the kernel then knows no special field of the map at all
                raise BtfError("a kptr to what is no struct")
            target = struct.name
            for i in range(min(count, _MAX_FIELDS)):
                found.append(Field(kind, name, offset + 8 * i, 8, target, target_id))


def has_field(map_: MapInfo, kind: str) -> bool:
    return any(field.kind == kind for field in map_.fields)


def find(map_: MapInfo, kind: str) -> Field | None:
    return next((field for field in map_.fields if field.kind == kind), None)


def socket_access(struct: str, off: int, size: int) -> bool:
    """Whether a load from one of the socket structs that programs see is allowed."""
    return socket_field(struct, off, size)
