"""BPF_MAP_CREATE and the commands on single elements. Linux 6.12 kernel/bpf/syscall.c."""

from __future__ import annotations

import errno
import re
from dataclasses import fields
from typing import TYPE_CHECKING

from bombus.errors import KernelError, NeedsKernel, NotSupported
from bombus.kernel.api import Attr
from bombus.kernel.user.commands import ENOTSUPP, command
from bombus.kernel.user.maps.base import Map, MapAttr, class_of
from bombus.spec.maptypes import (
    BPF_F_LOCK,
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_TOKEN_FD,
    BPF_F_VTYPE_BTF_OBJ_FD,
    BPF_F_WRONLY,
    FLAGS,
    MAP_TYPE_BY_ID,
)

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel

_NAME = re.compile(rb"[A-Za-z0-9_.]{0,15}\0")
_ATTR_FIELDS = tuple(f.name for f in fields(MapAttr))
_SHA256_SIZE = 32
_ARENA, _STRUCT_OPS, _BLOOM, _QUEUES = 33, 26, 30, (22, 23)
_MAP_FLAGS = tuple(f for f in FLAGS if f.where == "map")


def refuse(call: str, number: int, message: str = "") -> KernelError:
    """The error for a result that a map gave: a negative errno."""
    if number == -ENOTSUPP and not message:
        message = "not possible with this map type"
    return KernelError(-number, call, message)


def _fail(attr: Attr, message: str, number: int = errno.EINVAL) -> KernelError:
    return KernelError(number, attr.command.name, message)


@command("BPF_MAP_CREATE")
def map_create(kernel: UserKernel, attr: Attr) -> int:
    data = _decode(attr)
    flags = data.map_flags
    # Which of the later rules applies does not depend on the token, so the user kernel, where everybody has all
    # capabilities, looks at it no further than the kernel does: it must be one.
    if data.btf_vmlinux_value_type_id:
        if data.map_type != _STRUCT_OPS or data.btf_key_type_id or data.btf_value_type_id:
            raise _fail(attr, "btf_vmlinux_value_type_id is for struct_ops maps without other types")
    elif data.btf_key_type_id and not data.btf_value_type_id:
        raise _fail(attr, "a key type needs a value type")
    if data.map_extra and data.map_type not in (_BLOOM, _ARENA):
        raise _fail(attr, "map_extra is for bloom filters and arenas")
    if flags & BPF_F_RDONLY and flags & BPF_F_WRONLY:
        raise _fail(attr, "BPF_F_RDONLY and BPF_F_WRONLY exclude each other")
    if flags & BPF_F_NUMA_NODE and data.numa_node not in (0, 0xFFFF_FFFF):
        raise _fail(attr, f"there is no NUMA node {data.numa_node}")
    row = MAP_TYPE_BY_ID.get(data.map_type)
    if row is None:
        raise _fail(attr, f"there is no map type {data.map_type}")
    if row.since > kernel.version:
        raise NeedsKernel(
            errno.EINVAL, attr.command.name, feature=row.name, since=str(row.since), version=str(kernel.version)
        )
    for flag in _MAP_FLAGS:
        if flags & flag.value and flag.since > kernel.version:
            raise NeedsKernel(
                errno.EINVAL, attr.command.name, feature=flag.name, since=str(flag.since), version=str(kernel.version)
            )
    cls = class_of(row)
    if cls is None:
        raise NotSupported(row.name, "the user kernel does not have this map type")
    token = flags & BPF_F_TOKEN_FD
    if token:
        data = _decode(attr, flags & ~BPF_F_TOKEN_FD)
    _check(attr, row.short, cls.check_early(kernel, data))
    if token:
        kernel.object(attr.command.name, data.map_token_fd, "token")
    if data.map_ifindex:
        offloadable = data.map_ifindex in kernel.netdevs and row.short in ("array", "hash")
        number = errno.EOPNOTSUPP if offloadable else errno.EINVAL
        raise _fail(attr, "there is no device that maps can be offloaded to", number)
    _check(attr, row.short, cls.check(kernel, data))
    item = cls(kernel, data)
    try:
        _finish(kernel, attr, item, data)
        item = item.settle(data)
    except BaseException:
        item.put()
        raise
    kernel.adopt_map(item)
    return kernel.install(
        item, attr.command.name, readable=not flags & BPF_F_WRONLY, writable=not flags & BPF_F_RDONLY
    )


def _check(attr: Attr, kind: str, result: int) -> None:
    if result:
        raise refuse(attr.command.name, result, f"these attributes do not suit a {kind} map")


def _decode(attr: Attr, flags: int | None = None) -> MapAttr:
    values: dict[str, int | bytes] = {}
    for name in _ATTR_FIELDS:
        field = attr.command.by_name[name]
        raw = bytes(attr.raw[field.offset : field.offset + field.size]).ljust(field.size, b"\0")
        values[name] = raw if field.kind == "name" else int.from_bytes(raw, "little")
    if flags is not None:
        values["map_flags"] = flags
    return MapAttr(**values)  # type: ignore[arg-type]


def _finish(kernel: UserKernel, attr: Attr, item: Map, data: MapAttr) -> None:
    """Name and types of a new map, checked in the kernel's order."""
    if _NAME.match(data.map_name) is None:
        raise _fail(attr, f"the name {data.map_name!r} is not letters, digits, `_` and `.` up to 15")
    item.name = data.map_name.split(b"\0")[0]
    if data.map_flags & BPF_F_VTYPE_BTF_OBJ_FD and data.map_type != _STRUCT_OPS:
        raise _fail(attr, "BPF_F_VTYPE_BTF_OBJ_FD is for struct_ops maps")
    if data.btf_key_type_id or data.btf_value_type_id or data.btf_vmlinux_value_type_id:
        from bombus.kernel.user.btf import set_map_types

        set_map_types(kernel, attr.command.name, item, data)
    if data.excl_prog_hash_size != (_SHA256_SIZE if data.excl_prog_hash else 0):
        raise _fail(attr, "excl_prog_hash is a SHA-256 of 32 bytes")
    if data.excl_prog_hash:
        item.excl_prog_hash = attr.read(data.excl_prog_hash, _SHA256_SIZE)


def _number(attr: Attr, name: str) -> int:
    return attr.get(name)


def _key(attr: Attr, item: Map) -> bytes:
    address = _number(attr, "key")
    if item.key_size:
        return attr.read(address, item.key_size)
    if address:
        raise _fail(attr, f"a {item.type.short} map has no keys")
    return b""


def _value(attr: Attr, item: Map) -> bytes:
    return attr.read(_number(attr, "value"), item.user_value_size)


def open_map(kernel: UserKernel, attr: Attr, *, read: bool = False, write: bool = False) -> tuple[Map, File]:
    """The map of field map_fd with the access that a command needs: EBADF, EINVAL, EPERM."""
    call = attr.command.name
    item, file = kernel.map_file(call, _number(attr, "map_fd"))
    if read and not file.readable:
        raise KernelError(errno.EPERM, call, "the descriptor is write-only")
    if write and (not file.writable or item.frozen):
        raise KernelError(errno.EPERM, call, "the map is frozen" if item.frozen else "the descriptor is read-only")
    return item, file


def check_lock(attr: Attr, item: Map, flags: int) -> None:
    if flags & BPF_F_LOCK and not item.has_lock:
        raise _fail(attr, "BPF_F_LOCK needs a bpf_spin_lock in the value")


@command("BPF_MAP_LOOKUP_ELEM")
def map_lookup_elem(kernel: UserKernel, attr: Attr) -> int:
    flags = _number(attr, "flags")
    if flags & ~BPF_F_LOCK:
        raise _fail(attr, f"flags {flags:#x}")
    item, _ = open_map(kernel, attr, read=True)
    check_lock(attr, item, flags)
    key = _key(attr, item)
    if item.type.id == _BLOOM:
        result = item.contains(_value(attr, item))  # type: ignore[attr-defined]
        if result:
            raise refuse(attr.command.name, result)
        return 0
    value = item.read(key, flags)
    if isinstance(value, int):
        raise refuse(attr.command.name, value)
    attr.write(_number(attr, "value"), value)
    return 0


@command("BPF_MAP_UPDATE_ELEM")
def map_update_elem(kernel: UserKernel, attr: Attr) -> int:
    item, file = open_map(kernel, attr, write=True)
    flags = _number(attr, "flags")
    check_lock(attr, item, flags)
    key = _key(attr, item)
    result = item.write(key, _value(attr, item), flags, file)
    if result:
        raise refuse(attr.command.name, result)
    return 0


@command("BPF_MAP_DELETE_ELEM")
def map_delete_elem(kernel: UserKernel, attr: Attr) -> int:
    item, _ = open_map(kernel, attr, write=True)
    result = item.delete(_key(attr, item))
    if result:
        raise refuse(attr.command.name, result)
    return 0


@command("BPF_MAP_GET_NEXT_KEY")
def map_get_next_key(kernel: UserKernel, attr: Attr) -> int:
    item, _ = open_map(kernel, attr, read=True)
    key = _key(attr, item) if _number(attr, "key") else None
    following = item.next_key(key)
    if isinstance(following, int):
        raise refuse(attr.command.name, following)
    attr.write(_number(attr, "next_key"), following)
    return 0


@command("BPF_MAP_LOOKUP_AND_DELETE_ELEM")
def map_lookup_and_delete_elem(kernel: UserKernel, attr: Attr) -> int:
    flags = _number(attr, "flags")
    if flags & ~BPF_F_LOCK:
        raise _fail(attr, f"flags {flags:#x}")
    item, _ = open_map(kernel, attr, read=True, write=True)
    if flags and item.type.id in _QUEUES:
        raise _fail(attr, f"flags {flags:#x}")
    check_lock(attr, item, flags)
    value = item.take(_key(attr, item), flags)
    if isinstance(value, int):
        raise refuse(attr.command.name, value)
    attr.write(_number(attr, "value"), value)
    return 0


@command("BPF_MAP_FREEZE")
def map_freeze(kernel: UserKernel, attr: Attr) -> int:
    item, file = kernel.map_file(attr.command.name, _number(attr, "map_fd"))
    if item.type.id == _STRUCT_OPS or item.fields:
        raise refuse(attr.command.name, -ENOTSUPP, "a map with special fields cannot be frozen")
    if not file.writable or item.frozen:  # map_get_sys_perms takes a frozen map for a read-only one
        raise KernelError(errno.EPERM, attr.command.name, "the map is frozen already" if item.frozen else "read-only")
    item.frozen = True
    for calls in item.granted.values():
        calls.revoke_writing()
    return 0
