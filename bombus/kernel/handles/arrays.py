"""Many elements of a map as numpy arrays: keys and values lie in them as the kernel reads and writes them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from bombus.errors import KernelError, NeedsKernel, NotSupported, UsageError
from bombus.kernel.api import Attr

if TYPE_CHECKING:
    import numpy as np

    from bombus.kernel.handles.maps import Map

    Columns = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]

_STEP = 1 << 16  # elements of one call


def dtype_of(item: Map, *, key: bool) -> np.dtype[Any]:
    """The numpy type of a key or of one CPU's value: as BTF says, else an unsigned int or bytes."""
    import numpy as np

    layout = item.layouts[0 if key else 1]
    size = item.key_size if key else item.value_size
    if layout is not None:
        from bombus.btf.data import dtype_of

        return dtype_of(layout)
    return np.dtype(f"u{size}") if size in (1, 2, 4, 8) else np.dtype((np.void, size))


def _bytes(item: Map, array: Any, size: int, what: str) -> tuple[memoryview, int]:
    """The bytes of an array in C order, and how many elements of `size` bytes they are."""
    import numpy as np

    rows = np.require(array, requirements=["C", "W"])  # addresses are taken of writable memory only
    if not rows.ndim or rows.nbytes != len(rows) * size:
        raise UsageError(f"the {what} are {rows.dtype} {rows.shape}; this map takes {size} bytes for each")
    return rows.view(np.uint8).reshape(-1).data, len(rows)


def update(item: Map, keys: Any, values: Any, flags: int) -> int:
    raw = item.raw
    names, count = _bytes(item, keys, item.key_size, "keys")
    data, rows = _bytes(item, values, raw.value_size, "values")
    if rows != count:
        raise UsageError(f"{count} keys and {rows} values")
    return raw.update_block(names, data, count, flags=flags)


def delete(item: Map, keys: Any) -> int:
    names, count = _bytes(item, keys, item.key_size, "keys")
    return item.raw.delete_block(names, count)


def columns(item: Map, *, delete: bool) -> Columns:
    import numpy as np

    raw = item.raw
    command = "BPF_MAP_LOOKUP_AND_DELETE_BATCH" if delete else "BPF_MAP_LOOKUP_BATCH"
    found = 0
    parts: Columns | None = None
    if raw.has_batch(command):
        try:
            found, names, data = _walk(item, command)
            parts = names, data
        except (KernelError, NotSupported, NeedsKernel) as error:
            if not raw.lacks(error):
                raise
    if parts is None:
        pairs = list(raw.pairs(delete=delete))
        found = len(pairs)
        parts = (
            np.frombuffer(b"".join(key for key, _ in pairs), np.uint8),
            np.frombuffer(b"".join(value for _, value in pairs), np.uint8),
        )
    names, data = parts
    key_type, value_type = dtype_of(item, key=True), dtype_of(item, key=False)
    keys = np.ndarray((found,), key_type, buffer=names)
    if not item.type.per_cpu:
        return keys, np.ndarray((found,), value_type, buffer=data)
    return keys, np.ndarray((found, raw.cpus), value_type, buffer=data, strides=(raw.value_size, raw.slot))


def _walk(item: Map, command: str) -> tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """All elements, in memory that was big enough from the beginning or grew."""
    import numpy as np

    size, width = item.key_size, item.raw.value_size
    room = max(item.max_entries, 1)
    names, data = np.empty(room * size, np.uint8), np.empty(room * width, np.uint8)
    place, following = bytearray(max(size, 4)), bytearray(max(size, 4))
    found, first, step = 0, True, _STEP
    while True:
        if room - found < 1:  # others add elements meanwhile, or delete and add
            room *= 2
            names, data = np.resize(names, room * size), np.resize(data, room * width)
        count = min(step, room - found)
        attr = Attr(
            command, map_fd=item.fd, count=count, out_batch=following, in_batch=None if first else place,
            keys=names.data[found * size : (found + count) * size],
            values=data.data[found * width : (found + count) * width],
        )  # fmt: skip
        ended = False
        try:
            item.kernel.bpf(attr)
        except KernelError as error:
            if error.errno == errno.ENOSPC and step < 1 << 24:  # a bucket has more elements than there is room
                step *= 4
                room += step
                names, data = np.resize(names, room * size), np.resize(data, room * width)
                continue
            if error.errno != errno.ENOENT:
                raise
            ended = True
        found += min(attr.get("count"), count)
        first = False
        if ended:
            return found, names, data
        place, following = following, place
