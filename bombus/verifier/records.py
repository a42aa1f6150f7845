"""Special fields of map values: locks, timers, kptrs and their places, from the map's BTF.

Linux 6.12 kernel/bpf/btf.c: btf_parse_fields, btf_find_struct_field.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from bombus.btf.parse import Btf
from bombus.btf.types import Array, DataSec, DeclTag, Kind, Ptr, Struct, TypeTag, Union, Var, Volatile
from bombus.errors import BtfError
from bombus.spec.contexts import socket_field
from bombus.spec.version import KernelVersion, since
from bombus.verifier.program import Field, MapInfo

KPTRS: Final = ("kptr_unref", "kptr_ref", "kptr_percpu")
UPTR: Final = "uptr"  # a pointer to memory that user space shares, in the storage of a task
POINTERS: Final = (*KPTRS, UPTR)
# By the name of the field's struct: kind and size in bytes.
_STRUCTS: Final = {
    "bpf_spin_lock": ("spin_lock", 4),
    "bpf_res_spin_lock": ("res_spin_lock", 4),
    "bpf_timer": ("timer", 16),
    "bpf_wq": ("wq", 16),
    "bpf_task_work": ("task_work", 8),
    "bpf_list_head": ("list_head", 16),
    "bpf_rb_root": ("rb_root", 16),
    "bpf_refcount": ("refcount", 4),
}
_SINCE: Final = {"bpf_res_spin_lock": since("6.15"), "bpf_task_work": since("6.18")}  # later than the others
# Of objects that programs allocate, too: nodes of lists and trees.
_OBJECT_STRUCTS: Final = {**_STRUCTS, "bpf_list_node": ("list_node", 24), "bpf_rb_node": ("rb_node", 32)}
_NODES: Final = {"list_head": "bpf_list_node", "rb_root": "bpf_rb_node"}
_REPEATED: Final = frozenset((*POINTERS, "list_head", "rb_root"))  # of which there may be arrays
_CONTAINS: Final = "contains:"
_TAGS: Final = {"kptr_untrusted": "kptr_unref", "kptr": "kptr_ref", "percpu_kptr": "kptr_percpu"}
# Until 6.2, references had a name of their own, and there were no per-CPU ones; with any other tag on a pointer the
# map has no kptrs at all (Linux 6.1 kernel/bpf/btf.c: btf_find_kptr).
_STRANGE: Final = "strange tag"
_OLD_TAGS: Final = {"kptr": "kptr_unref", "kptr_ref": "kptr_ref"}
_NEW_TAGS: Final = since("6.3")
_UPTRS: Final = since("6.13")
_NEWEST: Final = since("6.18")
_MAX_FIELDS: Final = 11
_MAX_DEPTH: Final = 32


def parse(btf: Btf, type_id: int, version: KernelVersion = _NEWEST) -> tuple[Field, ...]:
    """The special fields of a map's value type, by offset, as a kernel of that version reads it; none of broken BTF."""
    found: list[Field] = []
    tags = _TAGS if version >= _NEW_TAGS else _OLD_TAGS
    if version >= _UPTRS:
        tags = _TAGS | {UPTR: UPTR}
    structs = _known(_STRUCTS, version)
    try:
        type_ = btf.resolved(type_id)
        if isinstance(type_, DataSec):
            for entry in type_.vars:
                var = btf.type(entry.type)
                if isinstance(var, Var):
                    _one(btf, var.type, entry.offset, found, 0, tags, structs, (entry.type, -1))
        else:
            _members(btf, type_id, 0, found, 0, tags, structs)
    except BtfError:
        return ()
    if any(field.kind == _STRANGE for field in found):
        found = [field for field in found if field.kind != _STRANGE and field.kind not in KPTRS]
    return _whole(found)


def _known(structs: dict[str, tuple[str, int]], version: KernelVersion) -> dict[str, tuple[str, int]]:
    return {name: row for name, row in structs.items() if name not in _SINCE or version >= _SINCE[name]}


def _whole(found: list[Field]) -> tuple[Field, ...]:
    """All special fields in order; none of a type that has too many."""
    return () if len(found) > _MAX_FIELDS else tuple(sorted(found, key=lambda field: field.offset))


@lru_cache(maxsize=4096)
def of_object(btf: Btf, type_id: int, version: KernelVersion) -> tuple[Field, ...]:
    """The special fields of an object of a program's own type, by offset."""
    found: list[Field] = []
    try:
        tags = _TAGS if version >= _NEW_TAGS else _OLD_TAGS
        _members(btf, type_id, 0, found, 0, tags, _known(_OBJECT_STRUCTS, version))
    except BtfError:
        return ()
    return _whole(found)


def _root(btf: Btf, holder_id: int, component: int, field: Field) -> Field:
    """A list head or tree root with what it contains, as a declaration tag "contains:type:node" says."""
    for type_id in btf.ids():
        if btf.kind(type_id) != Kind.DECL_TAG:
            continue
        tag = btf.type(type_id)
        if not isinstance(tag, DeclTag) or tag.type != holder_id or tag.component != component \
                or not tag.name.startswith(_CONTAINS):
            continue
        name, _, member = tag.name.removeprefix(_CONTAINS).partition(":")
        value_id = btf.find(name, Kind.STRUCT)
        value = btf.type(value_id) if value_id is not None else None
        nodes = [one for one in value.members if one.name == member] if isinstance(value, Struct) else []
        if len(nodes) == 1 and value_id is not None and btf.type(nodes[0].type).name == _NODES[field.kind]:
            return replace(field, value_id=value_id, node_offset=nodes[0].offset // 8)
        break
    raise BtfError(f"it is not said what a {field.name} contains")


def _members(
    btf: Btf, type_id: int, base: int, found: list[Field], depth: int, tags: dict[str, str],
    structs: dict[str, tuple[str, int]],
) -> None:
    type_id = btf.resolve(type_id)
    type_ = btf.type(type_id)
    if not isinstance(type_, (Struct, Union)) or depth > _MAX_DEPTH:
        return
    for number, member in enumerate(type_.members):
        if member.offset % 8 == 0:
            _one(btf, member.type, base + member.offset // 8, found, depth, tags, structs, (type_id, number))


def _one(
    btf: Btf, type_id: int, offset: int, found: list[Field], depth: int, tags: dict[str, str],
    structs: dict[str, tuple[str, int]], place: tuple[int, int],
) -> None:
    """One member or variable. place: the type that declares it, and its number there (-1: the type itself)."""
    count = 1
    type_ = btf.type(type_id)
    while isinstance(type_, Array):
        count *= type_.nelems
        type_id = type_.type
        type_ = btf.type(type_id)
    if isinstance(type_, (Struct, Union)):
        known = structs.get(type_.name)
        if known is not None:
            kind, size = known
            if type_.size == size or kind not in ("spin_lock", "res_spin_lock", "timer", "wq", "task_work"):
                field = Field(kind, type_.name, offset, size)
                if kind in _NODES:
                    field = _root(btf, *place, field)
                _repeat(found, [field], count, type_.size)
            return
        inner: list[Field] = []
        _members(btf, type_id, 0, inner, depth + 1, tags, structs)
        _repeat(found, [replace(field, offset=offset + field.offset) for field in inner], count, type_.size)
        return
    if isinstance(type_, Volatile):
        type_ = btf.type(type_.type)
    if isinstance(type_, Ptr):
        tag = btf.type(type_.type)
        if isinstance(tag, TypeTag) and tag.name not in tags and tags is _OLD_TAGS:
            found.append(Field(_STRANGE, tag.name, offset, 8))
        elif isinstance(tag, TypeTag) and tag.name in tags:
            kind = tags[tag.name]
            name = {"kptr_percpu": "percpu_kptr", UPTR: UPTR}.get(kind, "kptr")
            target_id = btf.resolve(tag.type)
            struct = btf.type(target_id)
            if not isinstance(struct, Struct):  # the kernel then knows no special field of the map at all
                raise BtfError("a kptr to what is no struct")
            target = struct.name
            _repeat(found, [Field(kind, name, offset, 8, target, target_id)], count, 8)


def _repeat(found: list[Field], fields: list[Field], count: int, size: int) -> None:
    """Fields of each element of an array. BtfError for those of which there can be no arrays, and for too many."""
    if not fields or not count:
        return
    if count > 1 and (len(fields) * count > _MAX_FIELDS or any(one.kind not in _REPEATED for one in fields)):
        raise BtfError("too many special fields, or an array of some that may stand alone only")
    for i in range(count):
        found += [replace(one, offset=one.offset + i * size) for one in fields]


def has_lock(fields: tuple[Field, ...]) -> bool:
    return any(field.kind in ("spin_lock", "res_spin_lock") for field in fields)


def has_field(map_: MapInfo, kind: str) -> bool:
    return any(field.kind == kind for field in map_.fields)


def find(map_: MapInfo, kind: str) -> Field | None:
    return next((field for field in map_.fields if field.kind == kind), None)


def socket_access(struct: str, off: int, size: int) -> bool:
    """Whether a load from one of the socket structs that programs see is allowed."""
    return socket_field(struct, off, size)
