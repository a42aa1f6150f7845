"""Sizes and places inside of the memory of a map, and the struct at its beginning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from bombus.bits import align_up

# Members of the control struct, at the beginning of a map's memory. Elements are named by their number + 1; 0 is none.
#
# free: the element on top of the free list. made: elements that were ever used. oldest, newest: ends of the list by
# age. number: of the next new element; position, element: where the last batch stopped. cpu: the address of a u32, the
# CPU of callers that are no program. none, other: the addresses of None and NotImplemented. error: why the last batch
# stopped.
_STATE: Final = (
    ("lock", 4), ("count", 4), ("free", 4), ("made", 4), ("oldest", 4), ("newest", 4), ("number", 8), ("position", 8),
    ("error", 8), ("element", 4), ("seed", 4), ("cpu", 8), ("none", 8), ("other", 8),
)  # fmt: skip
# What bodies ask for by `shape_NAME`: numbers of 8 bytes. lock_at: where a value has its bpf_spin_lock, + 1; 0: none.
# version: of the kernel, 0x60c for 6.12; words: see `vm.env.Env.packet_words`; both only for helpers without a map.
CONSTANTS: Final = (
    "key_size", "value_size", "user_size", "stride", "slot_bytes", "max_entries", "mask", "head", "per_cpu", "cpus",
    "buckets", "elements", "values", "element_bytes", "lists", "own_lists", "target",
    "lock_at", "version", "words",
)  # fmt: skip


def _offsets() -> dict[str, tuple[int, int]]:
    found, at = {}, 0
    for name, size in (*_STATE, *((name, 8) for name in CONSTANTS)):
        found[name] = at, size
        at += size
    return found


CONTROL: Final = _offsets()
CONTROL_BYTES: Final = 256


@dataclass(frozen=True)
class ArrayShape:
    """An array. values: where they lie, from whatever its bodies get as the map's memory."""

    value_size: int
    max_entries: int
    per_cpu: bool
    cpus: int
    values: int = 0
    lock_at: int = 0

    def constants(self) -> dict[str, int]:
        stride = align_up(self.value_size, 8)
        slot = stride * (self.cpus if self.per_cpu else 1)
        known = {
            "key_size": 4, "value_size": self.value_size, "user_size": slot if self.per_cpu else self.value_size,
            "stride": stride, "slot_bytes": slot, "max_entries": self.max_entries, "per_cpu": int(self.per_cpu),
            "cpus": self.cpus, "values": self.values, "lock_at": self.lock_at,
        }  # fmt: skip
        return dict.fromkeys(CONSTANTS, 0) | known


@dataclass(frozen=True)
class PlainShape:
    """Of what has no keys: `room` bytes behind the control struct. The other members are constants of the bodies."""

    value_size: int
    max_entries: int
    room: int
    mask: int = 0
    own_lists: bool = False
    target: int = 0

    @property
    def size(self) -> int:
        return CONTROL_BYTES + self.room

    def constants(self) -> dict[str, int]:
        return dict.fromkeys(CONSTANTS, 0) | {
            "value_size": self.value_size, "user_size": self.value_size, "max_entries": self.max_entries,
            "values": CONTROL_BYTES, "mask": self.mask, "own_lists": int(self.own_lists), "target": self.target,
        }  # fmt: skip


@dataclass(frozen=True)
class HashShape:
    """A table. head: bytes of an element before its key. slots: elements that it has room for. lists: bytes
    of an LRU map's lists; own_lists: each CPU has its own."""

    key_size: int
    value_size: int
    max_entries: int
    head: int
    slots: int
    per_cpu: bool = False
    cpus: int = 1
    lists: int = 0
    own_lists: bool = False
    target: int = 0
    lock_at: int = 0

    @property
    def stride(self) -> int:
        return align_up(self.value_size, 8)

    @property
    def slot_bytes(self) -> int:
        return self.stride * (self.cpus if self.per_cpu else 1)

    @property
    def element_bytes(self) -> int:
        size = self.head + self.key_size
        return 1 << (size - 1).bit_length() if size <= 64 else align_up(size, 8)

    @cached_property
    def mask(self) -> int:
        return (1 << (self.max_entries - 1).bit_length()) - 1

    @property
    def lists_at(self) -> int:
        return CONTROL_BYTES

    @property
    def buckets(self) -> int:
        return align_up(self.lists_at + self.lists, 64)

    @cached_property
    def elements(self) -> int:
        return align_up(self.buckets + 4 * (self.mask + 1), 64)

    @cached_property
    def values(self) -> int:
        return align_up(self.elements + self.slots * self.element_bytes, 4096)

    @property
    def size(self) -> int:
        return self.values + self.slots * self.slot_bytes

    def constants(self) -> dict[str, int]:
        return {
            "key_size": self.key_size, "value_size": self.value_size, "stride": self.stride,
            "user_size": self.slot_bytes if self.per_cpu else self.value_size, "slot_bytes": self.slot_bytes,
            "max_entries": self.max_entries, "mask": self.mask, "head": self.head, "per_cpu": int(self.per_cpu),
            "cpus": self.cpus, "buckets": self.buckets, "elements": self.elements, "values": self.values,
            "element_bytes": self.element_bytes, "lists": self.lists_at, "own_lists": int(self.own_lists),
            "target": self.target, "lock_at": self.lock_at, "version": 0, "words": 0,
        }  # fmt: skip
