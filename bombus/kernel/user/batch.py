"""Commands on many elements. Linux 6.12 kernel/bpf/syscall.c (generic_map_*_batch) and kernel/bpf/hashtab.c."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bombus.bits import U32
from bombus.errors import KernelError
from bombus.kernel.api import Attr, address_of
from bombus.kernel.user.commands import command, put
from bombus.kernel.user.mapcmds import check_lock, open_map, refuse
from bombus.kernel.user.maps.base import ENOENT, NOTSUPP, Map
from bombus.kernel.user.maps.hash import TableMap
from bombus.kernel.user.maps.mapinmap import HashOfMapsMap
from bombus.spec.maptypes import BPF_F_LOCK

if TYPE_CHECKING:
    from bombus.kernel.user.fds import File
    from bombus.kernel.user.kernel import UserKernel

_PLAIN_FLAGS = (0, 1, 2)
_BLOCK = 16 << 20  # bytes


def _start(
    kernel: UserKernel, attr: Attr, operation: str, *, read: bool = False, write: bool = False
) -> tuple[Map, File, int]:
    """(map, its file, count) after the common checks; the attr's count is 0 from then on."""
    item, file = open_map(kernel, attr, read=read, write=write)
    if operation not in item.type.operations:
        raise refuse(attr.command.name, NOTSUPP, f"not possible with a {item.type.short} map")
    flags = attr.get("elem_flags")
    if flags & ~BPF_F_LOCK:
        raise KernelError(errno.EINVAL, attr.command.name, f"elem_flags {flags:#x}")
    check_lock(attr, item, flags)
    return item, file, attr.get("count")


def _hash_flags(attr: Attr) -> None:
    if attr.get("flags"):
        raise KernelError(errno.EINVAL, attr.command.name, f"flags {attr.get('flags'):#x}")


@command("BPF_MAP_LOOKUP_BATCH")
def map_lookup_batch(kernel: UserKernel, attr: Attr) -> int:
    item, _, count = _start(kernel, attr, "lookup_batch", read=True)
    if isinstance(item, TableMap | HashOfMapsMap):
        return _table_lookup(attr, item, count, delete=False)
    return _generic_lookup(attr, item, count)


@command("BPF_MAP_LOOKUP_AND_DELETE_BATCH")
def map_lookup_and_delete_batch(kernel: UserKernel, attr: Attr) -> int:
    item, _, count = _start(kernel, attr, "lookup_and_delete_batch", read=True, write=True)
    assert isinstance(item, TableMap | HashOfMapsMap)
    return _table_lookup(attr, item, count, delete=True)


def _table_lookup(attr: Attr, item: TableMap | HashOfMapsMap, count: int, *, delete: bool) -> int:
    """Hash tables: the position between calls is a u32, the number of the next element."""
    _hash_flags(attr)
    if not count:
        return 0
    put(attr, "count", 0)
    position = 0
    if attr.get("in_batch"):
        position = int.from_bytes(attr.read(attr.get("in_batch"), 4), "little")
    if isinstance(item, TableMap) and item.fast():
        return _native_lookup(attr, item, count, position, delete=delete)
    table = item.table
    element = table.from_number(position)
    if element is None and position >= 1 << (item.max_entries - 1).bit_length():
        raise KernelError(errno.ENOENT, attr.command.name, "no more elements")
    found: list[tuple[bytes, bytes]] = []
    while element is not None and len(found) < count:
        value = item.read(element.key, attr.get("elem_flags"))
        assert isinstance(value, bytes)
        found.append((element.key, value))
        following = element.after
        if delete:
            item.delete(element.key)
        element = following if following is not table.head else None
    if found:
        attr.write(attr.get("keys"), b"".join(key for key, _ in found))
        attr.write(attr.get("values"), b"".join(value for _, value in found))
    following_position = element.number if element is not None else table.end
    attr.write(attr.get("out_batch"), (following_position & U32).to_bytes(4, "little"))
    put(attr, "count", len(found))
    if element is None:
        raise KernelError(errno.ENOENT, attr.command.name, "no more elements")
    return 0


def _are_buffers(attr: Attr, sizes: tuple[int, int]) -> bool:
    """May keys and values of so many bytes be written as memory?"""
    return attr.is_buffer(attr.get("keys"), sizes[0], write=True) and attr.is_buffer(
        attr.get("values"), sizes[1], write=True
    )


def _native_lookup(attr: Attr, item: TableMap, count: int, position: int, *, delete: bool) -> int:
    if position >= 1 << (item.max_entries - 1).bit_length() and position >= item.native.memory.get("number"):
        raise KernelError(errno.ENOENT, attr.command.name, "no more elements")
    count = min(count, item.max_entries + item.kernel.possible_cpus)
    flags = attr.get("elem_flags")
    keys, values = attr.get("keys"), attr.get("values")
    sizes = count * item.key_size, count * item.user_value_size
    walk, memory = item.native.calls["walk"], item.native.memory
    if _are_buffers(attr, sizes):
        found: int = walk(position, keys, values, 0, count, int(delete), flags)
    else:
        room = bytearray(sizes[0]), bytearray(sizes[1])
        found = walk(position, address_of(room[0]), address_of(room[1]), 0, count, int(delete), flags)
        if found:
            attr.write(keys, bytes(room[0][: found * item.key_size]))
            attr.write(values, bytes(room[1][: found * item.user_value_size]))
    attr.write(attr.get("out_batch"), (memory.get("position") & U32).to_bytes(4, "little"))
    put(attr, "count", found)
    if not memory.get("element"):
        raise KernelError(errno.ENOENT, attr.command.name, "no more elements")
    return 0


def _generic_lookup(attr: Attr, item: Map, count: int) -> int:
    """Other maps: the position between calls is the last key."""
    if not count:
        return 0
    put(attr, "count", 0)
    previous: bytes | None = None
    if attr.get("in_batch"):
        previous = attr.read(attr.get("in_batch"), item.key_size)
    keys, values = attr.get("keys"), attr.get("values")
    done = result = 0
    if "indexes" in item.fast():
        first = int.from_bytes(previous, "little") + 1 if previous is not None else 0
        there = min(count, item.max_entries - first)
        sizes = there * item.key_size, there * item.user_value_size
        if there > 0 and _are_buffers(attr, sizes):
            done = item.fast()["indexes"](first, keys, values, there, attr.get("elem_flags"))
            previous = (first + done - 1).to_bytes(4, "little")
    while done < count:
        previous = item.skip_empty(previous)
        key = item.next_key(previous)
        if isinstance(key, int):
            result = key
            break
        value = item.read(key, attr.get("elem_flags"))
        if isinstance(value, bytes):
            attr.write(keys + done * item.key_size, key)
            attr.write(values + done * item.user_value_size, value)
            done += 1
        elif value != ENOENT:
            raise refuse(attr.command.name, value)
        previous = key
    put(attr, "count", done)
    if done and previous is not None:
        attr.write(attr.get("out_batch"), previous)
    if result:
        raise refuse(attr.command.name, result, "no more elements" if result == ENOENT else "")
    return 0


@command("BPF_MAP_UPDATE_BATCH")
def map_update_batch(kernel: UserKernel, attr: Attr) -> int:
    item, file, count = _start(kernel, attr, "update_batch", write=True)
    flags, keys, values = attr.get("elem_flags"), attr.get("keys"), attr.get("values")
    many = item.fast().get("update_many")
    if (
        many is not None
        and flags in _PLAIN_FLAGS
        and attr.is_buffer(keys, count * item.key_size)
        and attr.is_buffer(values, count * item.user_value_size)
    ):
        return _counted(attr, *many(keys, values, count, flags))

    key_of = _reader(attr, keys, item.key_size, count)
    value_of = _reader(attr, values, item.user_value_size, count)

    def one(at: int) -> int:
        return item.write(key_of(at), value_of(at), flags, file)

    return _each(attr, count, one)


@command("BPF_MAP_DELETE_BATCH")
def map_delete_batch(kernel: UserKernel, attr: Attr) -> int:
    item, _, count = _start(kernel, attr, "delete_batch", write=True)
    keys = attr.get("keys")
    many = item.fast().get("delete_many")
    if many is not None and attr.is_buffer(keys, count * item.key_size):
        return _counted(attr, *many(keys, count))
    key_of = _reader(attr, attr.get("keys"), item.key_size, count)
    return _each(attr, count, lambda at: item.delete(key_of(at)))


def _reader(attr: Attr, address: int, size: int, count: int) -> Callable[[int], bytes]:
    """Element i of a caller's array: all read at once when they can be, else (a bad address) one by one."""
    if count * size <= _BLOCK:
        try:
            block = attr.read(address, count * size)
        except KernelError:
            pass
        else:
            return lambda at: block[at * size : at * size + size]
    return lambda at: attr.read(address + at * size, size)


def _counted(attr: Attr, done: int, result: int) -> int:
    put(attr, "count", done)
    if result:
        raise refuse(attr.command.name, result)
    return 0


def _each(attr: Attr, count: int, one: Callable[[int], int]) -> int:
    """Do one element after the other up to the first refusal; `count` tells how many were done."""
    if not count:
        return 0
    put(attr, "count", 0)
    for at in range(count):
        try:
            result = one(at)
        except KernelError:
            put(attr, "count", at)
            raise
        if result:
            put(attr, "count", at)
            raise refuse(attr.command.name, result)
    put(attr, "count", count)
    return 0


if TYPE_CHECKING:
    from collections.abc import Callable
