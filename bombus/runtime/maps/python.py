"""The bodies as functions of CPython: METH_FASTCALL, the address of the map's memory as `self`.

Only functions of the stable ABI are used. A call that is not plainly right (wrong type or size) answers NotImplemented:
the caller takes the long way, which says what is wrong.
"""

from __future__ import annotations

import errno

from bombus import bpf
from bombus.bpf import s64, u8, u32, u64
from bombus.runtime.maps.control import (
    Control,
    shape_cpus,
    shape_key_size,
    shape_lock_at,
    shape_max_entries,
    shape_user_size,
    shape_value_size,
)
from bombus.runtime.maps.table import (
    Element,
    Word2,
    Word4,
    Word8,
    element,
    following,
    get_value,
    give,
    key_of,
    take,
    value_of,
)

EINVAL = -errno.EINVAL
ERROR = 0xFFFF_FFFF_FFFF_FFFF  # of PyLong_AsUnsignedLongLong, and of sizes


@bpf.kfunc
def PyLong_AsUnsignedLongLong(number: u64) -> u64: ...  # type: ignore[empty-body]
@bpf.kfunc
def PyLong_FromUnsignedLongLong(value: u64) -> u64: ...  # type: ignore[empty-body]
@bpf.kfunc
def PyLong_FromLongLong(value: s64) -> u64: ...  # type: ignore[empty-body]
@bpf.kfunc
def PyErr_Occurred() -> u64: ...  # type: ignore[empty-body]
@bpf.kfunc
def PyErr_Clear() -> u32: ...  # type: ignore[empty-body]
@bpf.kfunc
def PyBytes_Size(data: u64) -> u64: ...  # type: ignore[empty-body]
@bpf.kfunc
def PyBytes_AsString(data: u64) -> u64: ...  # type: ignore[empty-body]
@bpf.kfunc
def PyBytes_FromStringAndSize(start: u64, size: u64) -> u64: ...  # type: ignore[empty-body]
@bpf.kfunc
def PyTuple_New(size: u64) -> u64: ...  # type: ignore[empty-body]
@bpf.kfunc
def PyTuple_SetItem(row: u64, place: u64, thing: u64) -> u32: ...  # type: ignore[empty-body]
@bpf.kfunc
def Py_IncRef(thing: u64) -> u32: ...  # type: ignore[empty-body]
@bpf.kfunc
def Py_DecRef(thing: u64) -> u32: ...  # type: ignore[empty-body]


def base_of(self: u64) -> u64:
    return PyLong_AsUnsignedLongLong(self)


def none(base: u64) -> u64:
    thing = bpf.at(base, Control).none
    Py_IncRef(thing)
    return thing


def other(base: u64) -> u64:
    if PyErr_Occurred() != 0:
        PyErr_Clear()
    thing = bpf.at(base, Control).other
    Py_IncRef(thing)
    return thing


def pair(done: u64, error: s64) -> u64:
    """(done, error)"""
    row = PyTuple_New(u64(2))
    if row != 0:
        PyTuple_SetItem(row, u64(0), PyLong_FromUnsignedLongLong(done))
        PyTuple_SetItem(row, u64(1), PyLong_FromLongLong(error))
    return row


def argument(args: u64, number: u64) -> u64:
    return bpf.at(args + number * 8, u64).value


def data(thing: u64, size: u64) -> u64:
    """Where the bytes of an object lie; 0 when it is not bytes of this size."""
    if PyBytes_Size(thing) != size:
        return u64(0)
    return PyBytes_AsString(thing)


def number(thing: u64, size: u64, place: u64) -> bool:
    """Store an int that fits into `size` bytes. False for others."""
    value = PyLong_AsUnsignedLongLong(thing)
    if value == ERROR and PyErr_Occurred() != 0:
        return False
    bpf.at(place, u64).value = value
    return size == 8 or value >> (size * 8 & 63) == 0


def loaded(place: u64, size: u64) -> u64:
    """The int in 1, 2, 4 or 8 bytes."""
    if size == 8:
        return bpf.at(place, Word8).value
    if size == 4:
        return u64(bpf.at(place, Word4).value)
    if size == 2:
        return u64(bpf.at(place, Word2).value)
    return u64(bpf.at(place, u8).value)


# The bodies of the map's type, which the linker puts in.


@bpf.kfunc
def map_lookup(base: u64, key: u64, cpu: u64) -> u64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_seen(base: u64, key: u64) -> u64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_update(base: u64, key: u64, value: u64, flags: u64, cpu: u64) -> s64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_store(base: u64, key: u64, value: u64, flags: u64) -> s64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_delete(base: u64, key: u64) -> s64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_grab(base: u64, key: u64, target: u64) -> s64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_push(base: u64, value: u64, flags: u64) -> s64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_pop(base: u64, target: u64) -> s64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_peek(base: u64, target: u64) -> s64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_contains(base: u64, value: u64) -> s64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_stored(base: u64, key: u64, target: u64) -> s64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_reserve(base: u64, size: u64, flags: u64) -> u64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_commit(sample: u64, flags: u64, extra: u32) -> u64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_each(base: u64, state: u64, cpu: u64) -> u64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_enter(base: u64) -> u64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_leave(base: u64) -> u64: ...  # type: ignore[empty-body]


@bpf.kfunc
def map_drop(base: u64, at: u32) -> None: ...


def py_lookup(self: u64, args: u64, count: u64) -> u64:
    """(key, cpu) -> address or 0"""
    base = base_of(self)
    key = data(argument(args, u64(0)), shape_key_size(base))
    if count != 2 or key == 0:
        return other(base)
    return PyLong_FromUnsignedLongLong(map_lookup(base, key, PyLong_AsUnsignedLongLong(argument(args, u64(1)))))


def py_update(self: u64, args: u64, count: u64) -> u64:
    """(key, value, flags, cpu) -> 0 or negative errno"""
    base = base_of(self)
    if count != 4:
        return other(base)
    key = data(argument(args, u64(0)), shape_key_size(base))
    value = data(argument(args, u64(1)), shape_value_size(base))
    if key == 0 or value == 0:
        return other(base)
    flags = PyLong_AsUnsignedLongLong(argument(args, u64(2)))
    cpu = PyLong_AsUnsignedLongLong(argument(args, u64(3)))
    if cpu >= shape_cpus(base):
        return PyLong_FromLongLong(s64(EINVAL))
    return PyLong_FromLongLong(map_update(base, key, value, flags, cpu))


def py_delete(self: u64, args: u64, count: u64) -> u64:
    """(key) -> 0 or negative errno"""
    base = base_of(self)
    if count != 1:
        return other(base)
    key = data(argument(args, u64(0)), shape_key_size(base))
    if key == 0:
        return other(base)
    return PyLong_FromLongLong(map_delete(base, key))


def py_read(self: u64, args: u64, count: u64) -> u64:
    """(key) or (key, flags) -> bytes of the value (of all CPUs), None"""
    base = base_of(self)
    if count != 1 and count != 2:
        return other(base)
    key = data(argument(args, u64(0)), shape_key_size(base))
    if key == 0:
        return other(base)
    flags = PyLong_AsUnsignedLongLong(argument(args, u64(1))) if count == 2 else u64(0)
    place = map_seen(base, key)
    if place == 0:
        return none(base)
    if shape_lock_at(base) == 0:
        return PyBytes_FromStringAndSize(place, shape_user_size(base))
    result = PyBytes_FromStringAndSize(u64(0), shape_user_size(base))
    if result != 0:
        get_value(base, place, PyBytes_AsString(result), flags)
    return result


def py_take(self: u64, args: u64, count: u64) -> u64:
    """(key) -> bytes of the value (of all CPUs), None"""
    base = base_of(self)
    if count != 1:
        return other(base)
    key = data(argument(args, u64(0)), shape_key_size(base))
    if key == 0:
        return other(base)
    result = PyBytes_FromStringAndSize(u64(0), shape_user_size(base))
    if result == 0 or map_grab(base, key, PyBytes_AsString(result)) == 0:
        return result
    Py_DecRef(result)
    return none(base)


def py_write(self: u64, args: u64, count: u64) -> u64:
    """(key, value of all CPUs, flags) -> 0 or negative errno"""
    base = base_of(self)
    if count != 3:
        return other(base)
    key = data(argument(args, u64(0)), shape_key_size(base))
    value = data(argument(args, u64(1)), shape_user_size(base))
    flags = PyLong_AsUnsignedLongLong(argument(args, u64(2)))
    if key == 0 or value == 0 or (flags == ERROR and PyErr_Occurred() != 0):
        return other(base)
    return PyLong_FromLongLong(map_store(base, key, value, flags))


def py_get(self: u64, args: u64, count: u64) -> u64:
    """(int) -> int, None"""
    base = base_of(self)
    room = bpf.local(u64(0))
    if (
        count != 1
        or shape_lock_at(base) != 0
        or not number(argument(args, u64(0)), shape_key_size(base), bpf.address(room))
    ):
        return other(base)
    place = map_seen(base, bpf.address(room))
    if place == 0:
        return none(base)
    return PyLong_FromUnsignedLongLong(loaded(place, shape_value_size(base)))


def py_set(self: u64, args: u64, count: u64) -> u64:
    """(int, int) -> 0 or negative errno"""
    base = base_of(self)
    room = bpf.local(u64(0))
    value = bpf.local(u64(0))
    if (
        count != 2
        or not number(argument(args, u64(0)), shape_key_size(base), bpf.address(room))
        or not number(argument(args, u64(1)), shape_value_size(base), bpf.address(value))
    ):
        return other(base)
    return PyLong_FromLongLong(map_store(base, bpf.address(room), bpf.address(value), u64(0)))


def py_update_many(self: u64, args: u64, count: u64) -> u64:
    """(address of keys, of values, how many, flags) -> (how many were done, 0 or the negative errno that stopped it)"""
    base = base_of(self)
    keys = PyLong_AsUnsignedLongLong(argument(args, u64(0)))
    values = PyLong_AsUnsignedLongLong(argument(args, u64(1)))
    wanted = PyLong_AsUnsignedLongLong(argument(args, u64(2)))
    flags = PyLong_AsUnsignedLongLong(argument(args, u64(3)))
    done = u64(0)
    error = s64(0)
    while done < wanted:
        result = map_store(base, keys, values, flags)
        if result != 0:
            error = result
            break
        keys = keys + shape_key_size(base)
        values = values + shape_user_size(base)
        done = done + 1
    return pair(done, error)


def py_delete_many(self: u64, args: u64, count: u64) -> u64:
    """(address of keys, how many) -> (how many were done, 0 or the negative errno that stopped it)"""
    base = base_of(self)
    keys = PyLong_AsUnsignedLongLong(argument(args, u64(0)))
    wanted = PyLong_AsUnsignedLongLong(argument(args, u64(1)))
    done = u64(0)
    error = s64(0)
    while done < wanted:
        result = map_delete(base, keys)
        if result != 0:
            error = result
            break
        keys = keys + shape_key_size(base)
        done = done + 1
    return pair(done, error)


def py_read_many(self: u64, args: u64, count: u64) -> u64:
    """(address of keys, of values, of a byte each: was it there, how many) -> how many were there"""
    base = base_of(self)
    keys = PyLong_AsUnsignedLongLong(argument(args, u64(0)))
    values = PyLong_AsUnsignedLongLong(argument(args, u64(1)))
    there = PyLong_AsUnsignedLongLong(argument(args, u64(2)))
    wanted = PyLong_AsUnsignedLongLong(argument(args, u64(3)))
    done = u64(0)
    found = u64(0)
    while done < wanted:
        place = map_seen(base, keys)
        if place != 0:
            get_value(base, place, values, u64(0))
            found = found + 1
        bpf.at(there, u8).value = u8(place != 0)
        keys = keys + shape_key_size(base)
        values = values + shape_user_size(base)
        there = there + 1
        done = done + 1
    return PyLong_FromUnsignedLongLong(found)


def py_indexes(self: u64, args: u64, count: u64) -> u64:
    """(first index, address of keys, of values, how many, flags) -> how many: of arrays, whose keys are a row."""
    base = base_of(self)
    index = PyLong_AsUnsignedLongLong(argument(args, u64(0)))
    keys = PyLong_AsUnsignedLongLong(argument(args, u64(1)))
    values = PyLong_AsUnsignedLongLong(argument(args, u64(2)))
    wanted = PyLong_AsUnsignedLongLong(argument(args, u64(3)))
    flags = PyLong_AsUnsignedLongLong(argument(args, u64(4)))
    end = min(index + wanted, shape_max_entries(base))
    first = index
    while index < end:
        bpf.at(keys, Word4).value = u32(index)
        get_value(base, map_seen(base, keys), values, flags)
        keys = keys + 4
        values = values + shape_user_size(base)
        index = index + 1
    return PyLong_FromUnsignedLongLong(index - first)


def py_next(self: u64, args: u64, count: u64) -> u64:
    """(key or None) -> key, None"""
    base = base_of(self)
    if count != 1:
        return other(base)
    key = u64(0)
    if argument(args, u64(0)) != bpf.at(base, Control).none:
        key = data(argument(args, u64(0)), shape_key_size(base))
        if key == 0:
            return other(base)
    result = PyBytes_FromStringAndSize(u64(0), shape_key_size(base))
    if result == 0:
        return result
    take(base)
    at = bpf.at(base, Control).oldest if key == 0 else following(base, key)
    if at != 0:
        bpf.copy(PyBytes_AsString(result), key_of(base, at), shape_key_size(base))
    give(base)
    if at != 0:
        return result
    Py_DecRef(result)
    return none(base)


def start(base: u64, position: u64) -> u32:
    """The first element with at least this number."""
    control = bpf.at(base, Control)
    if position >= control.number:
        return u32(0)
    at = control.element
    if at != 0 and bpf.at(element(base, at), Element).number == position:
        return at
    at = control.oldest
    while at != 0 and bpf.at(element(base, at), Element).number < position:
        at = bpf.at(element(base, at), Element).younger
    return at


def py_walk(self: u64, args: u64, count: u64) -> u64:
    """(position, address of keys, of values, or 0, of addresses of values, or 0, how many, do they go, flags) -> how
    many.

    Control: `position` is where it stopped, `element` what stands there, 0 at the end.
    """
    base = base_of(self)
    control = bpf.at(base, Control)
    position = PyLong_AsUnsignedLongLong(argument(args, u64(0)))
    keys = PyLong_AsUnsignedLongLong(argument(args, u64(1)))
    values = PyLong_AsUnsignedLongLong(argument(args, u64(2)))
    places = PyLong_AsUnsignedLongLong(argument(args, u64(3)))
    wanted = PyLong_AsUnsignedLongLong(argument(args, u64(4)))
    goes = PyLong_AsUnsignedLongLong(argument(args, u64(5)))
    flags = PyLong_AsUnsignedLongLong(argument(args, u64(6)))
    width = shape_user_size(base)
    take(base)
    at = start(base, position)
    done = u64(0)
    while at != 0 and done < wanted:
        one = bpf.at(element(base, at), Element)
        bpf.copy(keys, key_of(base, at), shape_key_size(base))
        keys = keys + shape_key_size(base)
        if values != 0:
            get_value(base, value_of(base, at), values, flags)
            values = values + width
        if places != 0:
            bpf.at(places, u64).value = value_of(base, at)
            places = places + 8
        after = one.younger
        if goes != 0:
            map_drop(base, at)
        at = after
        done = done + 1
    control.position = bpf.at(element(base, at), Element).number if at != 0 else control.number
    control.element = at
    give(base)
    return PyLong_FromUnsignedLongLong(done)


def py_each(self: u64, args: u64, count: u64) -> u64:
    """(address of the state of a walk, cpu) -> address of a value or 0"""
    state = PyLong_AsUnsignedLongLong(argument(args, u64(0)))
    cpu = PyLong_AsUnsignedLongLong(argument(args, u64(1)))
    return PyLong_FromUnsignedLongLong(map_each(base_of(self), state, cpu))


# Queues, stacks, bloom filters: no keys.


def py_push(self: u64, args: u64, count: u64) -> u64:
    """(value, flags) -> 0 or negative errno"""
    base = base_of(self)
    if count != 2:
        return other(base)
    value = data(argument(args, u64(0)), shape_value_size(base))
    flags = PyLong_AsUnsignedLongLong(argument(args, u64(1)))
    if value == 0 or (flags == ERROR and PyErr_Occurred() != 0):
        return other(base)
    return PyLong_FromLongLong(map_push(base, value, flags))


def py_keyless_write(self: u64, args: u64, count: u64) -> u64:
    """(empty key, value, flags) -> 0 or negative errno"""
    return py_push(self, args + 8, count - 1)


def next_value(base: u64, goes: bool) -> u64:
    result = PyBytes_FromStringAndSize(u64(0), shape_value_size(base))
    if result == 0:
        return result
    place = PyBytes_AsString(result)
    if (map_pop(base, place) if goes else map_peek(base, place)) == 0:
        return result
    Py_DecRef(result)
    return none(base)


def py_pop(self: u64, args: u64, count: u64) -> u64:
    """() or (empty key) -> bytes, None"""
    return next_value(base_of(self), True)


def py_peek(self: u64, args: u64, count: u64) -> u64:
    """() or (empty key) -> bytes, None"""
    return next_value(base_of(self), False)


def py_contains(self: u64, args: u64, count: u64) -> u64:
    """(value) -> 0 or negative errno"""
    base = base_of(self)
    value = data(argument(args, u64(0)), shape_value_size(base)) if count == 1 else u64(0)
    if value == 0:
        return other(base)
    return PyLong_FromLongLong(map_contains(base, value))


def py_stored(self: u64, args: u64, count: u64) -> u64:
    """(key) -> the key of exactly this prefix as it was stored, None"""
    base = base_of(self)
    key = data(argument(args, u64(0)), shape_key_size(base)) if count == 1 else u64(0)
    if key == 0:
        return other(base)
    result = PyBytes_FromStringAndSize(u64(0), shape_key_size(base))
    if result == 0 or map_stored(base, key, PyBytes_AsString(result)) == 0:
        return result
    Py_DecRef(result)
    return none(base)


# Ring buffers.


def py_reserve(self: u64, args: u64, count: u64) -> u64:
    """(size, flags) -> address or 0"""
    base = base_of(self)
    if count != 2:
        return other(base)
    size = PyLong_AsUnsignedLongLong(argument(args, u64(0)))
    return PyLong_FromUnsignedLongLong(map_reserve(base, size, PyLong_AsUnsignedLongLong(argument(args, u64(1)))))


def py_commit(self: u64, args: u64, count: u64) -> u64:
    """(sample, flags, bits of its length) -> is somebody to be woken?"""
    base = base_of(self)
    if count != 3:
        return other(base)
    sample = PyLong_AsUnsignedLongLong(argument(args, u64(0)))
    flags = PyLong_AsUnsignedLongLong(argument(args, u64(1)))
    extra = u32(PyLong_AsUnsignedLongLong(argument(args, u64(2))))
    return PyLong_FromUnsignedLongLong(map_commit(sample, flags, extra))


def py_enter(self: u64, args: u64, count: u64) -> u64:
    """() -> 1, or 0 when somebody drains already"""
    return PyLong_FromUnsignedLongLong(map_enter(base_of(self)))


def py_leave(self: u64, args: u64, count: u64) -> u64:
    """() -> 0"""
    return PyLong_FromUnsignedLongLong(map_leave(base_of(self)))
