"""What iterator programs write, as typed rows: records by their BTF type, tables by their heading.

`IterLink` gives lines, words and records of a struct format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bombus.errors import FormatError

if TYPE_CHECKING:
    import numpy as np

    from bombus.btf.layouts import Layout
    from bombus.kernel.handles.links import Link

_LIMIT = 1 << 24  # bytes


class IteratorError(FormatError):
    what = "iterator output"


def read_records(link: Link, layout: Layout, *, limit: int = _LIMIT) -> list[Any]:
    """One run of an iterator that writes one struct again and again, as records.

    IteratorError when the output is no whole number of structs; KernelError.
    """
    from bombus.btf.records import decoder

    data = _whole(link, layout, limit)
    decode = decoder(layout)
    return [decode(data, at) for at in range(0, len(data), layout.size)] if layout.size else []


def read_array(link: Link, layout: Layout, *, limit: int = _LIMIT) -> np.ndarray[Any, Any]:
    """The same as a numpy structured array."""
    from bombus.btf.columns import Columns

    data = _whole(link, layout, limit)
    return Columns(layout).take(data, 0, len(data) // max(layout.size, 1), layout.size)


def _whole(link: Link, layout: Layout, limit: int) -> bytes:
    data = link.read_iterator(limit)
    if layout.size and len(data) % layout.size:
        what = f"{layout.name or 'values'} of {layout.size} bytes"
        raise IteratorError(f"{len(data)} bytes are no whole number of {what}")
    return data


def read_table(link: Link, *, limit: int = _LIMIT) -> list[dict[str, str]]:
    """One run of an iterator that prints a heading and then rows of as many words: each row as a dict. The last column
    takes the rest of its line."""
    return table_of(link.read_iterator(limit).decode(errors="replace").splitlines())


def table_of(lines: list[str]) -> list[dict[str, str]]:
    """Rows by the words of the first line."""
    lines = [line for line in lines if line.strip()]
    if not lines:
        return []
    names = lines[0].split()
    rows: list[dict[str, str]] = []
    for line in lines[1:]:
        cells = line.split(None, len(names) - 1)
        rows.append(dict(zip(names, [*cells, *[""] * (len(names) - len(cells))], strict=True)))
    return rows
