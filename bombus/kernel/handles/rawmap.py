"""The bytes view of a map: every map operation of bpf(2) on keys and values as bytes."""

from __future__ import annotations

import errno
from collections.abc import ItemsView, Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING

from bombus.bits import align_up
from bombus.errors import KernelError, NeedsKernel, NotSupported, UsageError
from bombus.kernel.api import Attr, Buffer, MapCalls
from bombus.spec.maptypes import BPF_F_LOCK, MapType

if TYPE_CHECKING:
    from bombus.kernel.handles.base import Handle

ENOTSUPP = 524  # Linux include/linux/errno.h: what bpf(2) returns where a map type lacks an operation
BATCH = 4096  # elements that one batch call asks for
_BATCH_BYTES = 1 << 22  # and at most that many bytes
_PLAIN_FLAGS = (0, 1, 2)  # BPF_ANY, BPF_NOEXIST, BPF_EXIST
_MISSING_COMMAND = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, ENOTSUPP})
# Keys that vanish under an iteration make the kernel start again; this many times round, and it ends.
_MAX_ROUNDS = 8
_GIVE_UP = 1 << 16


class _Slot:
    """Attrs with their buffers, made once and used by one thread at a time."""

    __slots__ = ("delete", "key", "lookup", "next_key", "pop", "update", "value")

    def __init__(self, fd: int, key_size: int, value_size: int) -> None:
        self.key = key = bytearray(key_size)
        self.value = value = bytearray(value_size)
        ref = key or None
        self.lookup = Attr("BPF_MAP_LOOKUP_ELEM", map_fd=fd, key=ref, value=value).pin()
        self.update = Attr("BPF_MAP_UPDATE_ELEM", map_fd=fd, key=ref, value=value).pin()
        self.delete = Attr("BPF_MAP_DELETE_ELEM", map_fd=fd, key=ref).pin()
        self.pop = Attr("BPF_MAP_LOOKUP_AND_DELETE_ELEM", map_fd=fd, key=ref, value=value).pin()


class RawMap(MutableMapping[bytes, bytes]):
    """A map as bytes to bytes. Per-CPU values are `slot`-sized pieces, one for each possible CPU.

    Missing keys raise KeyError from the mapping's methods. All else is the kernel's KernelError.
    """

    def __init__(
        self, handle: Handle, type: MapType, key_size: int, value_size: int, max_entries: int
    ) -> None:  # fmt: skip
        self.handle = handle
        self.type = type
        self.key_size = key_size
        self.slot = align_up(value_size, 8) if type.per_cpu else value_size
        self.cpus = handle.kernel.possible_cpus if type.per_cpu else 1
        self.value_size = self.slot * self.cpus  # as bpf(2) copies it
        self.max_entries = max_entries
        self._fd = handle.fd
        self._pool: list[_Slot] = []
        granting = getattr(handle.kernel, "map_calls", None)
        self.calls: MapCalls = (granting(handle.fd) if granting is not None else None) or MapCalls()
        self._no_batch: set[str] = set()

    # One element

    def _take(self) -> _Slot:
        if self.handle.closed:
            raise UsageError("this map is closed")
        try:
            return self._pool.pop()
        except IndexError:
            return _Slot(self._fd, self.key_size, self.value_size)

    def _key(self, key: bytes) -> bytes:
        if len(key) != self.key_size:
            raise UsageError(f"the key has {len(key)} bytes; this map's keys have {self.key_size}")
        return key

    def _value(self, value: bytes) -> bytes:
        if len(value) != self.value_size:
            raise UsageError(f"the value has {len(value)} bytes; this map's values have {self.value_size}")
        return value

    def lookup(self, key: bytes, *, flags: int = 0) -> bytes:
        """The value of a key. KernelError(ENOENT) when it is missing. flags: BPF_F_LOCK."""
        if not flags:
            value = self.calls.lookup(key)
            if value is None:
                raise KernelError(errno.ENOENT, "BPF_MAP_LOOKUP_ELEM")
            if value is not NotImplemented:
                return value  # type: ignore[no-any-return]
        return self._read("lookup", key, flags)

    def lookup_and_delete(self, key: bytes, *, flags: int = 0) -> bytes:
        """Take a key's value out of the map."""
        if not flags:
            value = self.calls.take(key)
            if value is None:
                raise KernelError(errno.ENOENT, "BPF_MAP_LOOKUP_AND_DELETE_ELEM")
            if value is not NotImplemented:
                return value  # type: ignore[no-any-return]
        return self._read("pop", key, flags)

    def _read(self, which: str, key: bytes, flags: int) -> bytes:
        slot = self._take()
        attr: Attr = slot.lookup if which == "lookup" else slot.pop
        slot.key[:] = self._key(key)
        if flags:
            attr.set("flags", flags)
        try:
            self.handle.kernel.bpf(attr)
            return bytes(slot.value)
        finally:
            if flags:
                attr.set("flags", 0)
            self._pool.append(slot)

    def update(self, key: bytes, value: bytes, *, flags: int = 0) -> None:  # type: ignore[override]
        """Store a value. flags: BPF_ANY (0), BPF_NOEXIST (1: else EEXIST), BPF_EXIST (2: else ENOENT), BPF_F_LOCK (4).

        E2BIG when the map is full, or for an index outside an array.
        """
        if flags in _PLAIN_FLAGS:
            result = self.calls.update(key, value, flags)
            if result == 0:
                return
            if result is not NotImplemented:
                raise KernelError(-result, "BPF_MAP_UPDATE_ELEM")
        slot = self._take()
        slot.key[:] = self._key(key)
        slot.value[:] = self._value(value)
        attr = slot.update
        if flags:
            attr.set("flags", flags)
        try:
            self.handle.kernel.bpf(attr)
        finally:
            if flags:
                attr.set("flags", 0)
            self._pool.append(slot)

    def delete(self, key: bytes) -> None:
        """Remove a key. KernelError(ENOENT) when it is missing; EINVAL for arrays."""
        result = self.calls.delete(key)
        if result == 0:
            return
        if result is not NotImplemented:
            raise KernelError(-result, "BPF_MAP_DELETE_ELEM")
        slot = self._take()
        slot.key[:] = self._key(key)
        try:
            self.handle.kernel.bpf(slot.delete)
        finally:
            self._pool.append(slot)

    def next_key(self, key: bytes | None = None) -> bytes | None:
        """The key after another; the first one for None or for a key that is not there. None at the end."""
        found = self.calls.next_key(key)
        if found is not NotImplemented:
            return found  # type: ignore[no-any-return]
        following = bytearray(self.key_size)
        given = None if key is None else bytes(self._key(key))
        attr = Attr("BPF_MAP_GET_NEXT_KEY", map_fd=self.handle.fd, key=given, next_key=following)
        try:
            self.handle.kernel.bpf(attr)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return bytes(following)

    # Queues, stacks, bloom filters: no keys

    def push(self, value: bytes, *, flags: int = 0) -> None:
        """Add a value to a queue, stack or bloom filter. E2BIG when full; BPF_EXIST (2) drops the oldest instead."""
        self._keyless("push")
        self.update(b"", value, flags=flags)

    def pop_value(self) -> bytes:
        """Take the next value out of a queue or stack. KernelError(ENOENT) when empty."""
        self._keyless("pop")
        return self.lookup_and_delete(b"")

    def peek(self) -> bytes:
        """The next value, left in place. KernelError(ENOENT) when empty."""
        self._keyless("peek")
        return self.lookup(b"")

    def contains_value(self, value: bytes) -> bool:
        """Whether a bloom filter may have seen a value."""
        self._keyless("contains")
        attr = Attr("BPF_MAP_LOOKUP_ELEM", map_fd=self.handle.fd, value=bytearray(self._value(value)))
        try:
            self.handle.kernel.bpf(attr)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def _keyless(self, what: str) -> None:
        if self.key_size:
            raise UsageError(f"{what}: a {self.type.short} map has keys; use map[key]")

    # The mapping

    def __getitem__(self, key: bytes) -> bytes:
        value = self.calls.lookup(key)
        if value is None:
            raise KeyError(key)
        if value is not NotImplemented:
            return value  # type: ignore[no-any-return]
        try:
            return self.lookup(key)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(key) from None
            raise

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.update(key, value)

    def __delitem__(self, key: bytes) -> None:
        try:
            self.delete(key)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(key) from None
            raise

    def __iter__(self) -> Iterator[bytes]:
        """Every key once. Ends whatever others do to the map meanwhile; keys that come or go during the walk may or
        may not be seen."""
        if "next_key" not in self.type.operations:
            raise UsageError(f"the keys of a {self.type.short} map cannot be listed")
        seen: set[bytes] = set()
        steps = 0
        key: bytes | None = None
        while True:
            key = self.next_key(key)
            if key is None:
                return
            steps += 1
            if key not in seen:
                seen.add(key)
                yield key
            elif steps > _MAX_ROUNDS * len(seen) + _GIVE_UP:
                return

    def __len__(self) -> int:
        """Number of keys. Walks the map, except for arrays."""
        if "array" in self.type.short and "delete" not in self.type.operations:
            return self.max_entries
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        try:
            self[key]  # type: ignore[index]
        except KeyError:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def clear(self) -> None:
        """Remove every key."""
        for key in list(self):
            try:
                self.delete(key)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise

    def items(self) -> ItemsView[bytes, bytes]:
        return _Items(self)

    # Many elements

    def pairs(self, *, delete: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Every key with its value, many for one call where the kernel can; else one by one.

        delete: also take them out of the map.
        """
        size, width = self.key_size, self.value_size
        for names, data, count in self.blocks(delete=delete):
            keys, values = bytes(names), bytes(data)
            for i in range(count):
                yield keys[i * size : (i + 1) * size], values[i * width : (i + 1) * width]

    def blocks(self, *, delete: bool = False) -> Iterator[tuple[Buffer, Buffer, int]]:
        """`pairs` as they lie in memory: keys one after the other, their values, how many there are."""
        command = "BPF_MAP_LOOKUP_AND_DELETE_BATCH" if delete else "BPF_MAP_LOOKUP_BATCH"
        if self.has_batch(command):
            try:
                yield from self._walk(command)
                return
            except _NoBatch:
                self._no_batch.add(command)
        for key in self:
            try:
                value = self.take(key) if delete else self.lookup(key)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
            else:
                yield key, value, 1

    def take(self, key: bytes) -> bytes:
        """`lookup_and_delete`, in two steps for map types and kernels without it."""
        try:
            return self.lookup_and_delete(key)
        except (KernelError, NotSupported) as error:
            if not _lacks(error):
                raise
        value = self.lookup(key)
        self.delete(key)
        return value

    def has_batch(self, command: str) -> bool:
        operation = command.removeprefix("BPF_MAP_").lower()
        return operation in self.type.operations and command not in self._no_batch

    def _walk(self, command: str) -> Iterator[tuple[Buffer, Buffer, int]]:
        size, width = self.key_size, self.value_size
        count = max(1, min(BATCH, self.max_entries or 1, _BATCH_BYTES // (size + width)))
        # The place in the walk: a bucket number (u32) or a key.
        place, following = bytearray(max(size, 4)), bytearray(max(size, 4))
        first, rounds, bound = True, 0, 2 * self.max_entries + _GIVE_UP
        while rounds <= bound:
            rounds += 1
            keys, values = bytearray(count * size), bytearray(count * width)
            attr = Attr(
                command, map_fd=self.handle.fd, out_batch=following, keys=keys, values=values, count=count,
                in_batch=None if first else place,
            )  # fmt: skip
            end = False
            try:
                self.handle.kernel.bpf(attr)
            except (KernelError, NotSupported) as error:
                number = getattr(error, "errno", None)
                if number == errno.ENOENT:
                    end = True
                elif number == errno.ENOSPC and count < 1 << 24:
                    count *= 4  # one hash bucket has more elements than we asked for
                    continue
                elif first and _lacks(error):
                    raise _NoBatch from None
                else:
                    raise
            first = False
            yield keys, values, min(attr.get("count"), count)
            if end:
                return
            place, following = following, place

    def update_batch(self, pairs: Iterable[tuple[bytes, bytes]], *, flags: int = 0) -> int:
        """Store many pairs. Returns how many. `count` of the KernelError says how many went in before it."""
        rows = [(self._key(key), self._value(value)) for key, value in pairs]
        keys, values = bytearray().join(k for k, _ in rows), bytearray().join(v for _, v in rows)
        return self.update_block(keys, values, len(rows), flags=flags)

    def update_block(
        self, keys: bytearray | memoryview, values: bytearray | memoryview, count: int, *, flags: int = 0
    ) -> int:
        """`update_batch` of keys that lie one after the other, and of their values. Both can be written to: nobody
        does, but the addresses of other memory are not to be had."""
        size, width = self.key_size, self.value_size
        names, data = memoryview(keys), memoryview(values)
        done = 0
        # Batches know no other flag (Linux 6.12 kernel/bpf/syscall.c: generic_map_update_batch).
        if count and not flags & ~BPF_F_LOCK and self.has_batch("BPF_MAP_UPDATE_BATCH"):
            step = self._step()
            try:
                while done < count:
                    end = min(done + step, count)
                    self._send("BPF_MAP_UPDATE_BATCH", end - done, done, names[done * size : end * size],
                               data[done * width : end * width], flags)  # fmt: skip
                    done = end
                return count
            except _NoBatch:
                self._no_batch.add("BPF_MAP_UPDATE_BATCH")
        for i in range(count):
            key, value = bytes(names[i * size : (i + 1) * size]), bytes(data[i * width : (i + 1) * width])
            self.update(key, value, flags=flags)
        return count

    def delete_batch(self, keys: Iterable[bytes]) -> int:
        """Remove many keys. Returns how many; KernelError(ENOENT) at the first that is missing."""
        rows = [self._key(key) for key in keys]
        return self.delete_block(bytearray().join(rows), len(rows))

    def delete_block(self, keys: bytearray | memoryview, count: int) -> int:
        """`delete_batch` of keys that lie one after the other (see `update_block`)."""
        size = self.key_size
        names = memoryview(keys)
        done = 0
        if count and self.has_batch("BPF_MAP_DELETE_BATCH"):
            step = self._step()
            try:
                while done < count:
                    end = min(done + step, count)
                    self._send("BPF_MAP_DELETE_BATCH", end - done, done, names[done * size : end * size], None, 0)
                    done = end
                return count
            except _NoBatch:
                self._no_batch.add("BPF_MAP_DELETE_BATCH")
        for i in range(count):
            self.delete(bytes(names[i * size : (i + 1) * size]))
        return count

    def _step(self) -> int:
        return max(1, _BATCH_BYTES // (self.key_size + self.value_size))

    def _send(
        self, command: str, count: int, before: int, keys: memoryview, values: memoryview | None, flags: int
    ) -> None:
        attr = Attr(command, map_fd=self.handle.fd, keys=keys, values=values, count=count, elem_flags=flags)
        try:
            self.handle.kernel.bpf(attr)
        except (KernelError, NotSupported) as error:
            if before == 0 and _lacks(error):
                raise _NoBatch from None
            error.count = before + attr.get("count")  # type: ignore[union-attr]
            raise


    def lacks(self, error: KernelError | NotSupported) -> bool:
        """Does the kernel say that it has no such command?"""
        return _lacks(error)


class _Items(ItemsView[bytes, bytes]):
    _mapping: RawMap

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return self._mapping.pairs()


class _NoBatch(Exception):
    """Internal: the kernel has no such batch command."""


def _lacks(error: KernelError | NotSupported) -> bool:
    if isinstance(error, (NotSupported, NeedsKernel)):
        return True
    return error.errno in _MISSING_COMMAND


__all__ = ["RawMap"]
