"""Many runs of one program in one native call, for what needs nothing else between two runs.

The loops (`loops`) are the same for all programs: they get the program's `bpf_main` as a pointer. The GIL is not held
while they run. `struct batch` (BATCH) says what to do and counts what was done. `index` finds the packets of captures.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any, Final

from bombus.jit import cache as objects
from bombus.jit import index, loops
from bombus.jit.compile import COMPILER
from bombus.jit.link import Linked, link
from bombus.jit.loops import BATCH, BATCH_BYTES, TALLIES, TALLY_OFFSET
from bombus.jit.model import Lowered, Options
from bombus.jit.target import host

_NOTHING: Final[dict[str, int]] = {}
_LOOP = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)
_TEXT: Final = loops.TEXT + index.TEXT

_lock = threading.Lock()
_loops: dict[str, Any] = {}
_placed: list[Linked] = []


def _linked() -> Linked:
    options = Options()
    key = objects.text_key(_TEXT, host())
    found = objects.load(key, (), host(), options)
    if found is None:
        found = Lowered(host(), options), COMPILER.compile(_TEXT, host(), level=2)
        objects.store(key, *found)
    return link(found[1], _NOTHING.__getitem__)


def loop(name: str) -> Any:
    """One of LOOPS as a function of the addresses of a `struct run` and a `struct batch`; or one of INDEXERS, of 0 and
    of `struct chain`s."""
    found = _loops.get(name)
    if found is None:
        with _lock:  # code that another thread placed a moment later must not take the place of code that runs
            if not _placed:
                _placed.append(_linked())
            found = _loops.setdefault(name, _LOOP(_placed[0].symbols[name]))
    return found


class Batch:
    """A `struct batch` for one program."""

    __slots__ = ("address", "buffer", "words")

    def __init__(self, **members: int) -> None:
        self.buffer = ctypes.create_string_buffer(BATCH_BYTES + 8)
        self.address = ctypes.addressof(self.buffer)
        self.words = memoryview(self.buffer).cast("B")[:BATCH_BYTES].cast("Q")
        for name, value in members.items():
            self[name] = value

    def __getitem__(self, name: str) -> int:
        return self.words[BATCH[name] // 8]

    def __setitem__(self, name: str, value: int) -> None:
        self.words[BATCH[name] // 8] = value

    def tallies(self) -> list[tuple[int, int]]:
        """Packets and bytes of each verdict below TALLIES - 1, and of the verdict `also`."""
        first = TALLY_OFFSET // 8
        return [(self.words[first + 2 * v], self.words[first + 2 * v + 1]) for v in range(TALLIES)]

    def clear(self) -> None:
        """Begin to count again."""
        first = TALLY_OFFSET // 8
        for number in range(2 * TALLIES):
            self.words[first + number] = 0
        self["cut"] = 0
