"""BTF as an object of the kernel, and the types that maps are given.

Linux 6.12 kernel/bpf/btf.c (btf_parse, btf_parse_fields, btf_get_info_by_fd), kernel/bpf/syscall.c (map_check_btf).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from bombus.btf.parse import Btf
from bombus.btf.types import Array, DataSec, Enum, Func, Int, Ptr, Struct, Type, TypeTag, Union, Var, Void
from bombus.errors import BtfError, KernelError
from bombus.kernel.api import Attr
from bombus.kernel.user.commands import ENOTSUPP, command, put
from bombus.kernel.user.info import get_field, info_body, read_info, write_info
from bombus.kernel.user.maps.base import Map, MapAttr, SpecialField
from bombus.kernel.user.objects import KernelObject
from bombus.spec.btfkinds import KIND_SINCE
from bombus.spec.maptypes import BPF_F_RDONLY_PROG, BPF_F_TOKEN_FD, BPF_F_WRONLY_PROG
from bombus.spec.version import KernelVersion, since

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel

_MAX_SIZE = 16 << 20  # BTF_MAX_SIZE
_MAX_FIELDS = 11  # BTF_FIELDS_MAX
_LOG_MASK = 0xF

# Structs that only the kernel may touch: size, and the kernel that brought them.
_SPECIAL_STRUCTS = {
    "bpf_spin_lock": (4, since("5.1")), "bpf_res_spin_lock": (4, since("6.15")), "bpf_timer": (16, since("5.15")),
    "bpf_wq": (16, since("6.10")), "bpf_list_head": (16, since("6.2")), "bpf_rb_root": (16, since("6.3")),
    "bpf_refcount": (4, since("6.4")), "bpf_task_work": (8, since("6.18")),
}  # fmt: skip
_ONLY_ONE = ("bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_refcount")
_KPTR_TAGS = {
    "kptr_untrusted": since("5.19"), "kptr": since("5.19"), "percpu_kptr": since("6.6"), "uptr": since("6.13"),
}

_STORAGES = ("SK_STORAGE", "INODE_STORAGE", "TASK_STORAGE", "CGRP_STORAGE")
_HOLDERS = {  # map types whose values may have a field
    "bpf_spin_lock": ("HASH", "ARRAY", "CGROUP_STORAGE", *_STORAGES),
    "bpf_res_spin_lock": ("HASH", "ARRAY", "CGROUP_STORAGE", *_STORAGES),
    "bpf_timer": ("HASH", "LRU_HASH", "ARRAY"),
    "bpf_wq": ("HASH", "LRU_HASH", "ARRAY"),
    "bpf_task_work": ("HASH", "LRU_HASH", "ARRAY"),
    "kptr": ("HASH", "PERCPU_HASH", "LRU_HASH", "LRU_PERCPU_HASH", "ARRAY", "PERCPU_ARRAY", *_STORAGES),
    "uptr": ("TASK_STORAGE",),
    "bpf_refcount": ("HASH", "PERCPU_HASH", "LRU_HASH", "LRU_PERCPU_HASH", "ARRAY", "PERCPU_ARRAY", *_STORAGES),
    "bpf_list_head": ("HASH", "LRU_HASH", "ARRAY"),
    "bpf_rb_root": ("HASH", "LRU_HASH", "ARRAY"),
}


class BtfObject(KernelObject):
    """Loaded BTF, or that of a module. `types` is its parsed form, `data` its bytes; in_kernel: it is the kernel's."""

    kind: ClassVar[str] = "btf"

    __slots__ = ("_kernel", "data", "in_kernel", "name", "types")

    def __init__(self, kernel: UserKernel, data: bytes, types: Btf, module: str = "") -> None:
        super().__init__()
        self._kernel = kernel
        self.data = data
        self.types = types
        self.name = module.encode()
        self.in_kernel = bool(module)

    def release(self) -> None:
        self._kernel.ids["btf"].remove(self)


def add_modules(kernel: UserKernel, modules: Mapping[str, bytes]) -> None:
    """Give the BTF of a new kernel's modules ids; it is there as long as the kernel. BtfError names the module."""
    for name, data in modules.items():
        try:
            types = Btf.parse(data, kernel.types())
        except BtfError as error:
            raise error.in_file(f"module {name}") from None
        kernel.ids["btf"].add(BtfObject(kernel, data, types, name))


@command("BPF_BTF_LOAD")
def btf_load(kernel: UserKernel, attr: Attr) -> int:
    call = attr.command.name
    if attr.get("btf_flags") & ~BPF_F_TOKEN_FD:
        raise KernelError(errno.EINVAL, call, f"btf_flags {attr.get('btf_flags'):#x}")
    if attr.get("btf_flags") & BPF_F_TOKEN_FD:
        kernel.object(call, attr.get("btf_token_fd"), "token")
    size = attr.get("btf_size")
    if size > _MAX_SIZE:
        raise KernelError(errno.E2BIG, call, f"{size} bytes are more than {_MAX_SIZE}")
    _check_log(attr)
    data = attr.read(attr.get("btf"), size)
    try:
        types = Btf.parse(data)
        if types.byteorder != "little":
            raise BtfError("the byte order is not this machine's", offset=0)
        if len(types) < 2:
            raise BtfError("no types")
        types.validate()
        _check_kinds(types, kernel.version)
    except BtfError as error:
        _write_log(attr, f"{error}\n")
        raise KernelError(errno.EINVAL, call, log=str(error)) from None
    _write_log(attr, "")
    return kernel.install(BtfObject(kernel, data, types), call)


def _check_kinds(types: Btf, version: KernelVersion) -> None:
    """BtfError for kinds that came after a version. Linux kernel/bpf/btf.c: btf_check_meta, btf_func_check_meta."""
    lacks = {kind for kind, since in KIND_SINCE.items() if version < since}
    if not lacks:
        return
    for number, type_ in types.items():
        if type_.kind.name in lacks:
            raise BtfError(f"[{number}] Invalid kind:{type_.kind.value}")
        if "FUNC_GLOBAL" in lacks and isinstance(type_, Func) and type_.linkage:
            raise BtfError(f"[{number}] FUNC {type_.name} vlen != 0")
        if "ENUM_SIGN" in lacks and isinstance(type_, Enum) and type_.signed:
            raise BtfError(f"[{number}] ENUM {type_.name} Invalid btf_info kind_flag")


def _check_log(attr: Attr) -> None:
    """bpf_verifier_log_attr_valid."""
    level, size, address = attr.get("btf_log_level"), attr.get("btf_log_size"), attr.get("btf_log_buf")
    wrong = bool(address) != bool(size) or (address and not level) or level & ~_LOG_MASK or size > 0x3FFF_FFFF
    if wrong:
        raise KernelError(errno.EINVAL, attr.command.name, "log level, buffer and size do not fit together")


def _write_log(attr: Attr, text: str) -> None:
    if not attr.get("btf_log_level"):
        return
    data = text.encode() + b"\0"
    size, address = attr.get("btf_log_size"), attr.get("btf_log_buf")
    if address:
        attr.write(address, data if len(data) <= size else data[: size - 1] + b"\0")
    put(attr, "btf_log_true_size", len(data))


@info_body("btf")
def btf_info(kernel: UserKernel, obj: KernelObject, attr: Attr) -> None:
    assert isinstance(obj, BtfObject)
    name = "bpf_btf_info"
    data = read_info(kernel, attr, name)
    address, size = get_field(name, data, "btf"), get_field(name, data, "btf_size")
    if size:
        attr.write(address, obj.data[:size])
    text, text_size = get_field(name, data, "name"), get_field(name, data, "name_len")
    if bool(text) != bool(text_size):
        raise KernelError(errno.EINVAL, attr.command.name, "name and name_len do not fit together")
    whole = obj.name + b"\0"
    if text:
        attr.write(text, whole if len(whole) <= text_size else whole[: text_size - 1] + b"\0")
    values: dict[str, int | bytes] = {
        "btf_size": len(obj.data), "id": obj.id, "name_len": len(obj.name), "kernel_btf": obj.in_kernel,
    }  # fmt: skip
    write_info(kernel, attr, name, data, values)
    if text and text_size < len(whole):
        raise KernelError(errno.ENOSPC, attr.command.name, f"the name has {len(obj.name)} bytes")


# Types of maps


def _is_u32(key: Type) -> bool:
    return isinstance(key, Int) and key.bits == 32 and key.offset == 0


def _array_rule(item: Map, key: Type, value: Type) -> bool:
    if isinstance(key, Void):  # .bss, .data, .rodata
        return item.type.short == "array" and item.max_entries == 1 and isinstance(value, DataSec)
    return _is_u32(key)


def _cgroup_rule(item: Map, key: Type, value: Type) -> bool:
    if item.key_size == 8:
        return isinstance(key, Int) and key.bits == 64 and key.offset == 0
    return isinstance(key, Struct) and [m.offset for m in key.members] == [0, 64]


KEY_RULES: dict[str, Callable[[Map, Type, Type], bool]] = {
    "array": _array_rule,
    "struct": lambda item, key, value: isinstance(key, Struct),
    "keyless": lambda item, key, value: isinstance(key, Void),
    "int": lambda item, key, value: _is_u32(key),
    "cgroup": _cgroup_rule,
    "any": lambda item, key, value: True,
    "": lambda item, key, value: True,
}
"""Which key and value types a map takes by its `btf_rule` (the types' map_check_btf functions)."""


def set_map_types(kernel: UserKernel, call: str, item: Map, attr: MapAttr) -> None:
    """Check the BTF of a new map and find its special fields. KernelError as map_check_btf."""
    btf = kernel.object(call, attr.btf_fd, "btf")
    assert isinstance(btf, BtfObject)
    btf.get()
    item.btf = btf
    if attr.btf_value_type_id:
        try:
            _check_types(kernel, call, item, btf.types, attr)
        except BtfError as error:
            raise KernelError(errno.EINVAL, call, str(error)) from None
    item.btf_ids = (attr.btf_key_type_id, attr.btf_value_type_id, attr.btf_vmlinux_value_type_id)


def _check_types(kernel: UserKernel, call: str, item: Map, types: Btf, attr: MapAttr) -> None:
    key_id, value_id = attr.btf_key_type_id, attr.btf_value_type_id
    if key_id:
        if types.size_of(key_id) != item.key_size:
            raise KernelError(errno.EINVAL, call, f"BTF type {key_id} has not the key's size, {item.key_size}")
        key = types.resolved(key_id)
    else:
        if not item.btf_rule:
            raise KernelError(errno.EINVAL, call, f"a {item.type.short} map needs a key type")
        key = Void()
    if types.size_of(value_id) != item.value_size:
        raise KernelError(errno.EINVAL, call, f"BTF type {value_id} has not the value's size, {item.value_size}")
    value = types.resolved(value_id)
    fields = tuple(sorted(_fields(kernel, call, types, value_id), key=lambda f: f.offset))
    _check_fields(kernel, call, item, fields)
    if item.btf_rule == "never":
        raise KernelError(ENOTSUPP, call, f"a {item.type.short} map takes no BTF")
    if not KEY_RULES[item.btf_rule](item, key, value):
        raise KernelError(errno.EINVAL, call, f"a {item.type.short} map does not take these key and value types")
    item.fields = fields


def _fields(kernel: UserKernel, call: str, types: Btf, value_id: int) -> list[SpecialField]:
    """Special members of a value (a struct or the variables of a data section), arrays and structs unfolded."""
    found: list[SpecialField] = []

    def visit(type_id: int, offset: int, depth: int) -> None:
        tag, resolved = _tagged(types, type_id)
        repeat = 1
        while isinstance(resolved, Array):
            repeat *= resolved.nelems
            tag, resolved = _tagged(types, resolved.type)
        if isinstance(resolved, Ptr):
            kind, size = tag, 8
            if kind not in _KPTR_TAGS or _KPTR_TAGS[kind] > kernel.version:
                return
        elif isinstance(resolved, Struct | Union):
            kind, size = resolved.name, resolved.size
            known = _SPECIAL_STRUCTS.get(kind)
            if known is None or known[1] > kernel.version or known[0] != size or isinstance(resolved, Union):
                if isinstance(resolved, Struct) and depth < 4 and repeat <= _MAX_FIELDS:
                    for copy in range(repeat):
                        for member in resolved.members:
                            if not member.bits:
                                visit(member.type, offset + copy * size + member.offset // 8, depth + 1)
                return
        else:
            return
        if len(found) + repeat > _MAX_FIELDS:
            raise KernelError(errno.E2BIG, call, f"the value has more than {_MAX_FIELDS} special fields")
        found.extend(SpecialField(kind, offset + copy * size, size) for copy in range(repeat))

    for type_id, offset in _members(types, value_id):
        visit(type_id, offset, 0)
    for kind in _ONLY_ONE:
        if sum(f.kind == kind for f in found) > 1:
            raise KernelError(errno.E2BIG, call, f"the value has more than one {kind}")
    return found


def _members(types: Btf, value_id: int) -> Iterator[tuple[int, int]]:
    """(type id, byte offset) of the members of a struct or data section."""
    value = types.resolved(value_id)
    if isinstance(value, Struct):
        for member in value.members:
            if not member.bits:
                yield member.type, member.offset // 8
    elif isinstance(value, DataSec):
        for entry in value.vars:
            variable = types.type(entry.type)
            if isinstance(variable, Var):
                yield variable.type, entry.offset


def _tagged(types: Btf, type_id: int) -> tuple[str, Type]:
    """The pointed-to type's tag ("kptr", ...) if it is a pointer, and the type behind modifiers."""
    resolved = types.resolved(type_id)
    if isinstance(resolved, Ptr):
        inner = types.type(resolved.type)
        if isinstance(inner, TypeTag):
            return inner.name, resolved
    return "", resolved


def _check_fields(kernel: UserKernel, call: str, item: Map, fields: tuple[SpecialField, ...]) -> None:
    if not fields:
        return
    if item.map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG):
        raise KernelError(errno.EACCES, call, "a value with special fields is read and written by programs")
    for field in fields:
        kind = "kptr" if field.kind in ("kptr_untrusted", "percpu_kptr") else field.kind
        if item.type.name.removeprefix("BPF_MAP_TYPE_") not in _HOLDERS[kind]:
            raise KernelError(errno.EOPNOTSUPP, call, f"a {item.type.short} map's values cannot have a {field.kind}")
