"""BPF_OBJ_GET_INFO_BY_FD. Linux 6.12 kernel/bpf/syscall.c, kernel/bpf/btf.c.

Each kind of object binds its body with `@info_body("prog")`, in the module that _MODULES names; `read_info` and
`write_info` do the sizes.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from bombus.errors import KernelError
from bombus.kernel.api import Attr
from bombus.kernel.user.commands import command, put
from bombus.kernel.user.maps.array import ArrayMap
from bombus.kernel.user.maps.base import Map
from bombus.kernel.user.objects import KernelObject
from bombus.spec.infos import INFO
from bombus.spec.maptypes import PAGE_SIZE

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.spec.version import KernelVersion

InfoFn = Callable[["UserKernel", KernelObject, Attr], None]
_BODIES: dict[str, InfoFn] = {}
_MODULES = {"prog": "proginfo", "btf": "btf", "link": "userlink"}  # imported when the first info of the kind is read
_SHA256_SIZE = 32


def info_body(kind: str) -> Callable[[InfoFn], InfoFn]:
    """Bind what fills the info struct of one kind of object."""

    def bind(body: InfoFn) -> InfoFn:
        _BODIES[kind] = body
        return body

    return bind


@command("BPF_OBJ_GET_INFO_BY_FD")
def obj_get_info_by_fd(kernel: UserKernel, attr: Attr) -> int:
    file = kernel.fds.find(attr.get("bpf_fd"))
    if file is None:
        raise KernelError(errno.EBADFD, attr.command.name, f"{attr.get('bpf_fd')} is not a descriptor of this kernel")
    kind = file.obj.kind
    if kind not in _BODIES and kind in _MODULES:
        import_module(f"bombus.kernel.user.{_MODULES[kind]}")
    body = _BODIES.get(kind)
    if body is None:
        raise KernelError(errno.EINVAL, attr.command.name, f"a {file.obj.kind} has no info")
    body(kernel, file.obj, attr)
    return 0


def info_size(name: str, version: KernelVersion) -> int:
    """sizeof of an info struct in a kernel version, bytes."""
    row = INFO[name]
    end = max(f.offset + f.size for f in row.fields if (f.since or row.since) <= version)
    return (end + 7) & ~7


def read_info(kernel: UserKernel, attr: Attr, name: str) -> bytearray:
    """The caller's struct, as long as this kernel knows it, filled up with zeros.

    KernelError(E2BIG) when the caller's is longer and not zero there or longer than a page; EFAULT.
    """
    size = info_size(name, kernel.version)
    given = attr.get("info_len")
    if given > PAGE_SIZE:
        raise KernelError(errno.E2BIG, attr.command.name, f"info_len {given}")
    data = attr.read(attr.get("info"), given)
    if any(data[size:]):
        raise KernelError(errno.E2BIG, attr.command.name, f"bytes of the info struct after {size} are not zero")
    return bytearray(data[:size].ljust(size, b"\0"))


def get_field(name: str, data: bytearray, field: str) -> int:
    row = INFO[name].by_name[field]
    return int.from_bytes(data[row.offset : row.offset + row.size], "little")


def write_info(
    kernel: UserKernel, attr: Attr, name: str, data: bytearray, values: Mapping[str, int | bytes]
) -> None:
    """Set fields that this version has, then hand as many bytes to the caller as its struct takes."""
    row = INFO[name]
    for field, value in values.items():
        place = row.by_name[field]
        if (place.since or row.since) > kernel.version:
            continue
        raw = value.ljust(place.size, b"\0") if isinstance(value, bytes) else value.to_bytes(place.size, "little")
        data[place.offset : place.offset + place.size] = raw
    size = min(len(data), attr.get("info_len"))
    attr.write(attr.get("info"), bytes(data[:size]))
    put(attr, "info_len", size)


@info_body("map")
def map_info(kernel: UserKernel, obj: KernelObject, attr: Attr) -> None:
    assert isinstance(obj, Map)
    data = read_info(kernel, attr, "bpf_map_info")
    given = bytes(data)
    key_type, value_type, vmlinux_type = obj.btf_ids
    data[:] = bytes(len(data))
    values: dict[str, int | bytes] = {
        "type": obj.type.id, "id": obj.id, "key_size": obj.key_size, "value_size": obj.value_size,
        "max_entries": obj.max_entries, "map_flags": obj.map_flags, "name": obj.name, "map_extra": obj.map_extra,
        "btf_id": obj.btf.id if obj.btf is not None else 0, "btf_key_type_id": key_type,
        "btf_value_type_id": value_type, "btf_vmlinux_value_type_id": vmlinux_type,
    }  # fmt: skip
    if INFO["bpf_map_info"].by_name["hash"].since <= kernel.version:  # type: ignore[operator]
        values |= _hash(obj, attr, bytearray(given))
    write_info(kernel, attr, "bpf_map_info", data, values)


def _hash(item: Map, attr: Attr, given: bytearray) -> dict[str, int | bytes]:
    """The SHA-256 of a frozen array's values, for signed loaders. Linux 6.18 kernel/bpf/syscall.c."""
    address, size = get_field("bpf_map_info", given, "hash"), get_field("bpf_map_info", given, "hash_size")
    if not address:
        if size:
            raise KernelError(errno.EINVAL, attr.command.name, "hash_size without hash")
        return {}
    if not isinstance(item, ArrayMap) or size != _SHA256_SIZE:
        raise KernelError(errno.EINVAL, attr.command.name, "only arrays have a hash, of 32 bytes")
    if not item.frozen:
        raise KernelError(errno.EPERM, attr.command.name, "only a frozen map has a hash")
    attr.write(address, hashlib.sha256(item.region.view[: item.elem_size * item.max_entries]).digest())
    return {"hash": address, "hash_size": size}
