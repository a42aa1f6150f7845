"""Maps as Python mappings with typed keys and values."""

from __future__ import annotations

import errno
import os
import sys
from array import array
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Self

from bombus.bits import NUMBER_CODES
from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.api import Attr, Buffer, Kernel
from bombus.kernel.handles.base import Handle, open_id, open_pin
from bombus.kernel.handles.features import features
from bombus.kernel.handles.info import Info, check_kind, read_info
from bombus.kernel.handles.programs import Program
from bombus.kernel.handles.rawmap import RawMap
from bombus.spec.maptypes import BPF_F_MMAPABLE, MAP_TYPE, MAP_TYPE_BY_ID, MapType

if TYPE_CHECKING:
    import numpy as np

    from bombus.btf.layouts import Layout
    from bombus.btf.parse import Btf

_INT_SIZES = frozenset({1, 2, 4, 8})
_ORDER = sys.byteorder
_MAP_VALUES = frozenset({"BPF_MAP_TYPE_ARRAY_OF_MAPS", "BPF_MAP_TYPE_HASH_OF_MAPS"})
_NAME_ERRNOS = (errno.E2BIG, errno.EINVAL)  # of an attr that is longer than the kernel knows
_PROG_VALUES = frozenset({"BPF_MAP_TYPE_PROG_ARRAY"})


def map_type_of(kind: str | int | MapType) -> MapType:
    """A map type by "hash", "BPF_MAP_TYPE_HASH", its number or its row. UsageError for others."""
    if isinstance(kind, MapType):
        return kind
    row = (
        MAP_TYPE_BY_ID.get(kind)
        if isinstance(kind, int)
        else MAP_TYPE.get(kind) or MAP_TYPE.get(f"BPF_MAP_TYPE_{kind.upper()}")
    )
    if row is None:
        raise UsageError(f"{kind!r} is no map type")
    return row


class Map(Handle, MutableMapping[Any, Any]):
    """One map, as a dict of typed keys and values.

    - With BTF (`types`), keys and values are what their C types say: scalars as int, bool, float; structs, unions and
      arrays as `bombus.btf.data.TypedValue` (set them from dicts, lists, TypedValues or bytes).
    - Without, keys and values of 1, 2, 4 or 8 bytes are unsigned ints in host byte order, all others are bytes.
      Bytes of the exact size are always taken.
    - Values of per-CPU maps are lists, one value for each possible CPU.
    - Values of maps of maps are `Map`s, those of program arrays `Program`s: each look-up opens a new handle, which the
      caller closes (or the garbage collector does). Stored are handles, or descriptors as int.
    - `raw` is the same map as bytes to bytes, with every operation and flag of bpf(2).

    A missing key is a KeyError; everything else that the kernel refuses is a KernelError with its errno.
    """

    kind = "map"
    __hash__ = object.__hash__

    def __init__(self, kernel: Kernel, fd: int, *, types: tuple[Layout | None, Layout | None] | None = None) -> None:
        super().__init__(kernel, fd)
        info = self._info = self.info()
        self.type: MapType = map_type_of(int(info["type"]))
        self.name: str = info["name"]
        self.id: int = info["id"]
        self.key_size: int = info["key_size"]
        self.value_size: int = info["value_size"]  # bytes of one CPU's value
        self.max_entries: int = info["max_entries"]
        self.flags: int = info["map_flags"]
        self.raw = RawMap(self, self.type, self.key_size, self.value_size, self.max_entries)
        self._calls = self.raw.calls
        self._key_layout, self._value_layout = types or (None, None)
        self._untyped = self._key_layout is None and self._value_layout is None
        self._of_maps = self.type.name in _MAP_VALUES
        self._of_programs = self.type.name in _PROG_VALUES
        for what, layout, size in (
            ("key", self._key_layout, self.key_size),
            ("value", self._value_layout, self.value_size),
        ):
            if layout is not None and layout.size != size:
                raise UsageError(
                    f"the {what} type {layout.name!r} has {layout.size} bytes, the map's {what}s have {size}"
                )

    # Ways to get one

    @classmethod
    def create(
        cls, kernel: Kernel, type: str | int | MapType, key_size: int = 4, value_size: int = 4, max_entries: int = 1, *,
        flags: int = 0, name: str = "", inner: Map | int | None = None,
        types: tuple[Layout | None, Layout | None] | None = None, **fields: Any,
    ) -> Self:  # fmt: skip
        """Make a map. Sizes in bytes. inner: the template of a map of maps (a Map or a descriptor).

        fields: more of BPF_MAP_CREATE's attr (btf_fd, btf_key_type_id, map_extra, numa_node, ...). KernelError with
        the kernel's errno, NeedsKernel for a type or flag that this kernel is too old for.
        """
        attr = Attr(
            "BPF_MAP_CREATE", map_type=map_type_of(type).id, key_size=key_size, value_size=value_size,
            max_entries=max_entries, map_flags=flags, map_name=name[:15] or None, **fields,
        )  # fmt: skip
        if inner is not None:
            attr.set("inner_map_fd", inner.fd if isinstance(inner, Map) else inner)
        try:
            fd = kernel.bpf(attr)
        except KernelError as error:
            if not name or error.errno not in _NAME_ERRNOS or features(kernel).has("map_name"):
                raise
            attr.set("map_name", "")  # before 4.15
            fd = kernel.bpf(attr)
        return cls._own(kernel, fd, types)

    @classmethod
    def _own(cls, kernel: Kernel, fd: int, types: tuple[Layout | None, Layout | None] | None = None) -> Self:
        made = cls.__new__(cls)
        try:
            made.__init__(kernel, fd, types=types)  # type: ignore[misc]
        except BaseException:
            made.close() if hasattr(made, "_fd") else kernel.close(fd)
            raise
        return made

    @classmethod
    def from_id(cls, kernel: Kernel, number: int) -> Self:
        """The map with an id. KernelError(ENOENT) when there is none."""
        return cls._own(kernel, open_id(kernel, "map", number))

    @classmethod
    def pinned(cls, kernel: Kernel, path: str | os.PathLike[str], *, flags: int = 0) -> Self:
        """The map that a path pins. KernelError; EINVAL when the path pins something else."""
        fd = open_pin(kernel, path, flags=flags)
        try:
            check_kind(kernel, fd, "map")
        except KernelError:
            kernel.close(fd)
            raise
        return cls._own(kernel, fd)

    def with_types(self, btf: Btf, key_type: int = 0, value_type: int = 0) -> Self:
        """Set the C types of keys and values (ids in `btf`; 0: none, leaves ints and bytes). Returns the map itself."""
        from bombus.btf.data import layout_of

        key = layout_of(btf, key_type) if key_type else None
        value = layout_of(btf, value_type) if value_type else None
        for what, layout, size in (("key", key, self.key_size), ("value", value, self.value_size)):
            if layout is not None and layout.size != size:
                raise UsageError(f"{what} type {layout.name!r} has {layout.size} bytes, the map's {what}s have {size}")
        self._key_layout, self._value_layout = key, value
        self._untyped = key is None and value is None
        return self

    def load_types(self) -> Self:
        """Take the types from the BTF that the map was created with; nothing happens when there was none."""
        from bombus.kernel.handles.btf import Btf as BtfHandle

        info = self.info()
        if info["btf_id"] and (info["btf_key_type_id"] or info["btf_value_type_id"]):
            with BtfHandle.from_id(self.kernel, info["btf_id"]) as handle:
                self.with_types(handle.parsed(), info["btf_key_type_id"], info["btf_value_type_id"])
        return self

    @property
    def layouts(self) -> tuple[Layout | None, Layout | None]:
        """The C types of keys and of (one CPU's) values, where they are known."""
        return self._key_layout, self._value_layout

    # Between Python values and bytes

    def key_bytes(self, key: Any) -> bytes:
        """The bytes of a key. UsageError when it does not fit."""
        return _encode(self._key_layout, key, self.key_size, "key")

    def key_value(self, data: bytes) -> Any:
        """A key from its bytes."""
        return _decode(self._key_layout, data, self.key_size)

    def value_bytes(self, value: Any) -> bytes:
        """The bytes of a value, for per-CPU maps of a list of one value for each CPU."""
        if isinstance(value, Handle):
            if not (self._of_maps or isinstance(value, Program) or self.value_size == 4):
                raise UsageError(f"a {self.type.short} map holds no {value.kind}s")
            value = value.fd
        if not self.type.per_cpu:
            return _encode(self._value_layout, value, self.value_size, "value")
        raw = self.raw
        if isinstance(value, (bytes, bytearray, memoryview)):
            if len(value) != raw.value_size:
                raise UsageError(f"{len(value)} bytes for {raw.cpus} CPUs of {raw.slot} bytes each")
            return bytes(value)
        if not isinstance(value, (list, tuple)) or len(value) != raw.cpus:
            raise UsageError(f"a per-CPU value is a list of {raw.cpus} values, one for each possible CPU")
        return b"".join(_encode(self._value_layout, v, self.value_size, "value").ljust(raw.slot, b"\0") for v in value)

    def value(self, data: bytes) -> Any:
        """A value from its bytes (a new handle for maps of maps and program arrays)."""
        if self.type.per_cpu:
            slot, size = self.raw.slot, self.value_size
            return [
                _decode(self._value_layout, data[at : at + size], size) for at in range(0, self.raw.value_size, slot)
            ]
        if self._of_maps:
            return Map.from_id(self.kernel, int.from_bytes(data, _ORDER))
        if self._of_programs:
            return Program.from_id(self.kernel, int.from_bytes(data, _ORDER))
        return _decode(self._value_layout, data, self.value_size)

    # The mapping

    def __getitem__(self, key: Any) -> Any:
        if self._untyped:
            found = self._calls.get(key)
            if found is None:
                raise KeyError(key)
            if found is not NotImplemented:
                return found
        try:
            data = self.raw.lookup(self.key_bytes(key))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(key) from None
            raise
        return self.value(data)

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._untyped:
            result = self._calls.set(key, value)
            if result == 0:
                return
            if result is not NotImplemented:
                raise KernelError(-result, "BPF_MAP_UPDATE_ELEM")
        self.raw.update(self.key_bytes(key), self.value_bytes(value))

    def __delitem__(self, key: Any) -> None:
        try:
            self.raw.delete(self.key_bytes(key))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(key) from None
            raise

    def __contains__(self, key: object) -> bool:
        return self.raw.__contains__(self.key_bytes(key))

    def __iter__(self) -> Iterator[Any]:
        """Every key once (see `RawMap.__iter__`)."""
        return map(self.key_value, self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def __bool__(self) -> bool:
        """A map is true, also an empty one: counting would walk it."""
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    def items(self) -> ItemsView[Any, Any]:
        """Keys with values, read in batches where the kernel can."""
        return _TypedItems(self)

    def clear(self) -> None:
        self.raw.clear()

    # bpf(2) operations with typed values

    def lookup(self, key: Any, *, flags: int = 0) -> Any:
        """As `map[key]`, but with flags, and KernelError(ENOENT) when the key is missing."""
        return self.value(self.raw.lookup(self.key_bytes(key), flags=flags))

    def store(self, key: Any, value: Any, *, flags: int = 0) -> None:
        """As `map[key] = value` with flags: BPF_NOEXIST (1), BPF_EXIST (2), BPF_F_LOCK (4)."""
        self.raw.update(self.key_bytes(key), self.value_bytes(value), flags=flags)

    def lookup_and_delete(self, key: Any, *, flags: int = 0) -> Any:
        """Take a value out of the map in one step. KeyError when the key is missing."""
        try:
            return self.value(self.raw.lookup_and_delete(self.key_bytes(key), flags=flags))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(key) from None
            raise

    def lookup_batch(self) -> Iterator[tuple[Any, Any]]:
        """All keys with values, many with each call."""
        return self._pairs(delete=False)

    def lookup_and_delete_batch(self) -> Iterator[tuple[Any, Any]]:
        """As `lookup_batch`, and removes them."""
        return self._pairs(delete=True)

    def _pairs(self, *, delete: bool) -> Iterator[tuple[Any, Any]]:
        names, data = self._codes()
        if names and data:
            for keys, values, count in self.raw.blocks(delete=delete):
                yield from zip(_ints(names, keys, count), _ints(data, values, count), strict=True)
            return
        for key, value in self.raw.pairs(delete=delete):
            yield self.key_value(key), self.value(value)

    def update_batch(self, pairs: Mapping[Any, Any] | Iterable[tuple[Any, Any]], *, flags: int = 0) -> int:
        """Store many pairs. Returns how many."""
        rows = list(pairs.items() if isinstance(pairs, Mapping) else pairs)  # once: it may be a map that changes
        names, data = self._codes()
        if names and data:
            keys, values = _numbers(names, [key for key, _ in rows]), _numbers(data, [value for _, value in rows])
            if keys is not None and values is not None:
                return self.raw.update_block(keys, values, len(rows), flags=flags)
        return self.raw.update_batch(((self.key_bytes(k), self.value_bytes(v)) for k, v in rows), flags=flags)

    def delete_batch(self, keys: Iterable[Any]) -> int:
        """Remove many keys. Returns how many; KernelError(ENOENT) at the first that is missing."""
        rows = list(keys)
        names, _ = self._codes()
        numbers = _numbers(names, rows) if names else None
        if numbers is not None:
            return self.raw.delete_block(numbers, len(rows))
        return self.raw.delete_batch(self.key_bytes(key) for key in rows)

    def _codes(self) -> tuple[str, str]:
        """Type codes of `array` for keys and for values, "" where they are no plain numbers."""
        key, value = self._key_layout, self._value_layout
        names = NUMBER_CODES.get(self.key_size, "") if key is None else key.number_code
        if self.type.per_cpu or self._of_maps or self._of_programs:
            return names, ""
        return names, NUMBER_CODES.get(self.value_size, "") if value is None else value.number_code

    def push(self, value: Any, *, flags: int = 0) -> None:
        """Add to a queue, stack or bloom filter."""
        self.raw.push(self.value_bytes(value), flags=flags)

    def pop_value(self) -> Any:
        """Take the next value of a queue or stack. IndexError when it is empty."""
        return self._front(self.raw.pop_value)

    def peek(self) -> Any:
        """Look at the next value of a queue or stack. IndexError when it is empty."""
        return self._front(self.raw.peek)

    def _front(self, read: Any) -> Any:
        try:
            return self.value(read())
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise IndexError(f"the {self.type.short} is empty") from None
            raise

    def contains_value(self, value: Any) -> bool:
        """Whether a bloom filter may have seen a value."""
        return self.raw.contains_value(self.value_bytes(value))

    def update_arrays(self, keys: Any, values: Any, *, flags: int = 0) -> int:
        """Store many elements out of numpy arrays (or what becomes one). Returns how many.

        An element of `keys` has as many bytes as a key; one of `values` as a value, for per-CPU maps as the values of
        all CPUs, each rounded up to 8 bytes. C-contiguous arrays are read where they lie. KernelError as
        `update_batch`.
        """
        from bombus.kernel.handles import arrays

        return arrays.update(self, keys, values, flags)

    def delete_arrays(self, keys: Any) -> int:
        """Remove many keys out of a numpy array. Returns how many; KernelError(ENOENT) at the first that is missing."""
        from bombus.kernel.handles import arrays

        return arrays.delete(self, keys)

    def arrays(self, *, delete: bool = False) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """All keys and values as numpy arrays of their types; values of per-CPU maps as [element, CPU]. delete: also
        take them out of the map. NotSupported for types that numpy has none for."""
        from bombus.kernel.handles import arrays

        return arrays.columns(self, delete=delete)

    def freeze(self) -> None:
        """Forbid user space to change the map from now on. KernelError as BPF_MAP_FREEZE."""
        self.kernel.bpf(Attr("BPF_MAP_FREEZE", map_fd=self.fd))

    def info(self) -> Info:
        """Members of bpf_map_info, read anew."""
        return read_info(self.kernel, self.fd, "bpf_map_info")

    def mmap(self, *, writable: bool = True) -> memoryview:
        """The values of an array with BPF_F_MMAPABLE as live memory; each value at a multiple of 8 bytes."""
        import mmap

        from bombus.bits import align_up

        length = align_up(align_up(self.value_size, 8) * self.max_entries, mmap.PAGESIZE)
        return self.kernel.mmap(self.fd, length, writable=writable)

    def numpy(self, *, writable: bool = True) -> np.ndarray[Any, Any]:
        """The values of an array as a numpy array of their type, indexed by key; per-CPU arrays as [key, CPU].

        Live memory for arrays with BPF_F_MMAPABLE (writable unless the map is frozen), a copy for others.
        NotSupported for other map types and for values that numpy has no type for.
        """
        from bombus.kernel.handles.views import values_of

        return values_of(self, live=bool(self.flags & BPF_F_MMAPABLE), writable=writable)

    def __repr__(self) -> str:
        if self.closed:
            return "<Map closed>"
        sizes = f"{self.key_size} -> {self.value_size} bytes, {self.max_entries} entries"
        return f"<Map {self.name or '(no name)'} {self.type.short} {sizes}, fd {self.fd} on {self.kernel.name}>"


class _TypedItems(ItemsView[Any, Any]):
    _mapping: Map

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping.lookup_batch()


def _numbers(code: str, given: list[Any]) -> memoryview | None:
    """Numbers as they lie in memory. None when one is something else, or does not fit: then each is looked at."""
    try:
        return memoryview(array(code, given)).cast("B")
    except (TypeError, OverflowError):
        return None


def _ints(code: str, block: Buffer, count: int) -> memoryview[int]:
    found: memoryview[int] = memoryview(block).cast(code)[:count]  # type: ignore[call-overload]
    return found


def _encode(layout: Layout | None, value: Any, size: int, what: str) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        if len(value) != size:
            # char arrays may be given without their padding
            if layout is not None and len(value) < size:
                from bombus.btf.data import to_bytes

                return to_bytes(layout, bytes(value))
            raise UsageError(f"the {what} has {len(value)} bytes; this map's {what}s have {size}")
        return bytes(value)
    if layout is not None:
        from bombus.btf.data import to_bytes

        return to_bytes(layout, value)
    if isinstance(value, int) and size in _INT_SIZES:
        try:
            return value.to_bytes(size, _ORDER, signed=value < 0)
        except OverflowError:
            raise UsageError(f"the {what} {value} does not fit {size} bytes") from None
    if hasattr(value, "__bytes__"):
        return _encode(None, bytes(value), size, what)
    raise UsageError(f"{type(value).__name__} for a {what} of {size} bytes without BTF; give bytes")


def _decode(layout: Layout | None, data: bytes, size: int) -> Any:
    if layout is not None:
        from bombus.btf.data import value_of

        return value_of(layout, data)
    return int.from_bytes(data, _ORDER) if size in _INT_SIZES else data


__all__ = ["Map", "NotSupported", "map_type_of"]
