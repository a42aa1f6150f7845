"""Where tail calls through one array jump to, as addresses of native code that programs read themselves."""

from __future__ import annotations

from array import array
from typing import Final

MAX_ENTRIES: Final = 1 << 16

busy: set[int] = set()  # runs of native code that go on now
_retired: list[object] = []  # programs that left a table while native code ran


def retire(thing: object) -> None:
    """Keep what native code may be using until none runs."""
    _retired.append(thing)
    if not busy:
        _retired.clear()


class JumpTable:
    """Entry i: address of the code in slot i, 0 where native code has to ask. All entries go when a slot changes."""

    __slots__ = ("_keep", "_words", "address", "entries")

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self._words = array("Q", bytes(8 * entries))
        self.address = self._words.buffer_info()[0]
        self._keep: list[object] = []

    def fill(self, index: int, code: int, program: object) -> None:
        """Remember the code of a slot. The program lives on as long as its code may be jumped to."""
        if index < self.entries:
            self._keep.append(program)
            self._words[index] = code

    def clear(self) -> None:
        for index in range(self.entries):
            self._words[index] = 0
        keep, self._keep = self._keep, []
        _retired.extend(keep)
        if not busy:
            _retired.clear()
