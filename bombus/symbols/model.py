"""Values of this room."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """One place in a stack. name: the function, or "[unknown]"; module: file, "[kernel]", a kernel module or "[jit]";
    offset: bytes from the function's start (from the module's when the function is not known); address: as sampled."""

    name: str
    module: str = ""
    offset: int = 0
    address: int = 0

    @property
    def known(self) -> bool:
        return not self.name.startswith("[unknown")

    def __str__(self) -> str:
        place = f"+{self.offset:#x}" if self.offset else ""
        module = self.module.rpartition("/")[2].strip("[]")
        return f"{self.name}{place} [{module}]" if module else f"{self.name}{place}"


class Table:
    """Functions by address. Rows are (start, size, name); size 0: up to the next one. Of several at one address the
    first wins."""

    __slots__ = ("_names", "_sizes", "_starts")

    def __init__(self, rows: Iterable[tuple[int, int, str]]) -> None:
        self._starts: list[int] = []
        self._sizes: list[int] = []
        self._names: list[str] = []
        last = -1
        for start, size, name in sorted(rows, key=_order):
            if start == last:
                continue
            last = start
            self._starts.append(start)
            self._sizes.append(size)
            self._names.append(name)

    def __len__(self) -> int:
        return len(self._starts)

    def find(self, address: int) -> tuple[str, int] | None:
        """(name, offset) of the function that an address lies in."""
        index = bisect_right(self._starts, address) - 1
        # A small function may lie inside a large one's range; the way back is short.
        for at in range(index, max(index - 4, -1), -1):
            offset = address - self._starts[at]
            size = self._sizes[at]
            if offset < size or (not size and at == index):
                return self._names[at], offset
        return None


def _order(row: tuple[int, int, str]) -> tuple[int, int]:
    return row[0], -row[1]
