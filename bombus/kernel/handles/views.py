"""numpy views of array maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.bits import align_up
from bombus.errors import NotSupported

if TYPE_CHECKING:
    import numpy as np

    from bombus.kernel.handles.maps import Map

_ARRAYS = frozenset({"BPF_MAP_TYPE_ARRAY", "BPF_MAP_TYPE_PERCPU_ARRAY"})


def values_of(item: Map, *, live: bool, writable: bool) -> np.ndarray[Any, Any]:
    """See `Map.numpy`."""
    import numpy as np

    if item.type.name not in _ARRAYS:
        raise NotSupported("numpy view", f"of a {item.type.short} map; arrays and per-CPU arrays have one")
    size = item.value_size
    if item._value_layout is not None:
        from bombus.btf.data import dtype_of

        dtype = dtype_of(item._value_layout)
    else:
        dtype = np.dtype(f"u{size}") if size in (1, 2, 4, 8) else np.dtype((np.void, size))
    entries = item.max_entries
    if live:
        stride = align_up(size, 8)
        return np.ndarray((entries,), dtype, buffer=item.mmap(writable=writable), strides=(stride,))
    # Values by their keys: a batch walks an array in order, but a fallback need not.
    raw = item.raw
    data = bytearray(entries * raw.value_size)
    for key, value in raw.pairs():
        at = int.from_bytes(key, "little" if np.little_endian else "big") * raw.value_size
        data[at : at + raw.value_size] = value
    shape, strides = ((entries, raw.cpus), (raw.value_size, raw.slot)) if item.type.per_cpu else ((entries,), (size,))
    return np.ndarray(shape, dtype, buffer=data, strides=strides)
