"""Maps of the programs that `jit_generate` makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Shape:
    """What a program's map is made with. key: 0 where it has none. lock, timer: what values begin with. type TEXTS: an
    array with `jit_stack.texts`, read-only."""

    type: str
    key: int
    value: int
    entries: int
    flags: int = 0
    inner: Shape | None = None
    lock: bool = False
    timer: bool = False

    @property
    def special(self) -> bool:
        return self.lock or self.timer

    @property
    def walks(self) -> bool:
        return self.type in ("ARRAY", "PERCPU_ARRAY", "HASH", "LRU_HASH", "PERCPU_HASH", "LRU_PERCPU_HASH")


SHAPES: Final = (
    *(Shape(kind, size, value, 5) for kind in ("HASH", "LRU_HASH", "PERCPU_HASH", "LRU_PERCPU_HASH")
      for size, value in ((4, 8), (7, 16), (16, 24))),
    Shape("LRU_HASH", 8, 8, 4, 2),
    *(Shape(kind, 4, 12, 5) for kind in ("PERCPU_HASH", "LRU_PERCPU_HASH")),
    *[Shape("ARRAY", 4, 24, 3)] * 3, *(Shape("PERCPU_ARRAY", 4, size, 3) for size in (8, 12, 20)),
    Shape("LPM_TRIE", 8, 16, 6, 1), Shape("LPM_TRIE", 5, 8, 6, 1),
    *(Shape(kind, 4, 4, 3, 0, inner) for kind in ("ARRAY_OF_MAPS", "HASH_OF_MAPS")
      for inner in (Shape("HASH", 8, 8, 5), Shape("LRU_HASH", 4, 16, 4), Shape("ARRAY", 4, 8, 3),
                    Shape("PERCPU_HASH", 4, 12, 5), Shape("PERCPU_ARRAY", 4, 12, 2))),
    Shape("QUEUE", 0, 8, 3), Shape("STACK", 0, 12, 3), Shape("BLOOM_FILTER", 0, 8, 4096),
    *[Shape("RINGBUF", 0, 0, 4096)] * 3,
    *(Shape(kind, 4, 24, 3, lock=True) for kind in ("HASH", "ARRAY")),
    *(Shape(kind, 4, 32, 3, timer=True) for kind in ("HASH", "ARRAY")),
)  # fmt: skip
TEXTS: Final = Shape("TEXTS", 4, 16 * 16, 1)
JUMPS: Final = Shape("PROG_ARRAY", 4, 4, 3)
