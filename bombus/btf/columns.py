"""Many values of one type at once: numpy structured arrays, bit-fields included.

`Columns(layout)` has the dtype, its `take` copies values out of a buffer. Enums are their numbers, char arrays bytes
("S"), unions overlapping fields; a type with bit-fields gets a packed dtype in which each is an integer of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.btf.layouts import ArrayLayout, Buffer, IntLayout, Layout, Slot, StructLayout
from bombus.errors import NotSupported

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_WORD = 8  # bytes that a bit-field may touch


def has_bits(layout: Layout) -> bool:
    """Whether bit-fields are somewhere inside."""
    if isinstance(layout, StructLayout):
        return any(slot.bits or has_bits(slot.layout) for slot in layout.fields.values())
    return isinstance(layout, ArrayLayout) and has_bits(layout.element)


class Columns:
    """How values of one type become an array. NotSupported for 128-bit numbers and bit-fields over 9 bytes."""

    def __init__(self, layout: Layout) -> None:
        import numpy as np

        self.layout = layout
        self.size = layout.size
        self._bits = has_bits(layout)
        self.dtype: np.dtype[Any] = np.dtype(_dtype(layout) if self._bits else layout.dtype())

    def take(self, data: Buffer, start: int, count: int, stride: int) -> Array:
        """`count` values, `stride` bytes from one to the next, as an array of their own."""
        import numpy as np

        if not self._bits:
            return np.ndarray((count,), self.dtype, buffer=data, offset=start, strides=(stride,)).copy()
        rows = np.ndarray((count, self.size), np.uint8, buffer=data, offset=start, strides=(stride, 1))
        return self._spread(rows)

    def take_rows(self, rows: Array) -> Array:
        """Values that lie in the rows of a (count, size) array of bytes."""
        import numpy as np

        if self._bits:
            return self._spread(rows)
        return np.ascontiguousarray(rows).reshape(-1).view(self.dtype).reshape(len(rows))

    def _spread(self, rows: Array) -> Array:
        import numpy as np

        out = np.zeros(len(rows), self.dtype)
        _fill(out, self.layout, rows, 0)
        return out


def _dtype(layout: Layout) -> Any:
    if not has_bits(layout):
        return layout.dtype()
    if isinstance(layout, ArrayLayout):
        return (_dtype(layout.element), (layout.count,))
    assert isinstance(layout, StructLayout)
    for name, slot in layout.fields.items():
        if slot.bits and (slot.bit_offset % 8 + slot.bits + 7) // 8 > _WORD:
            raise NotSupported(f"numpy dtype for {layout.name}", f"the bit-field {name} lies in nine bytes")
    return [(name, _dtype(slot.layout)) for name, slot in layout.fields.items()]


def _fill(out: Array, layout: Layout, rows: Array, base: int) -> None:
    """Write the values at byte `base` of each row into `out`, which has the dtype of `layout`."""
    import numpy as np

    if not has_bits(layout):
        part = np.ascontiguousarray(rows[:, base : base + layout.size])
        out[...] = part.reshape(-1).view(np.dtype((np.void, layout.size))).view(out.dtype).reshape(out.shape)
        return
    if isinstance(layout, ArrayLayout):
        for index in range(layout.count):
            _fill(out[:, index], layout.element, rows, base + index * layout.element.size)
        return
    assert isinstance(layout, StructLayout)
    for name, slot in layout.fields.items():
        if slot.bits:
            out[name] = _bits(layout, slot, rows, base)
        elif slot.layout.size:
            _fill(out[name], slot.layout, rows, base + slot.offset)


def _bits(layout: StructLayout, slot: Slot, rows: Array, base: int) -> Array:
    import numpy as np

    inside = slot.bit_offset % 8
    first = base + slot.bit_offset // 8
    count = (inside + slot.bits + 7) // 8
    little = layout.byteorder == "little"
    word = np.zeros(len(rows), np.uint64)
    for index in range(count):
        place = index if little else count - 1 - index
        word |= rows[:, first + index].astype(np.uint64) << np.uint64(8 * place)
    shift = inside if little else count * 8 - inside - slot.bits
    value = (word >> np.uint64(shift)) & np.uint64((1 << slot.bits) - 1)
    if isinstance(slot.layout, IntLayout) and slot.layout.signed:
        left = np.uint64(64 - slot.bits)
        return (value << left).view(np.int64) >> left.astype(np.int64)
    return value


__all__ = ["Columns", "has_bits"]
