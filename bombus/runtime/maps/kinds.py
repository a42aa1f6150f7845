"""Which bodies a map type has, as names: nothing is compiled, and no dialect is loaded, to look here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bombus.spec.maptypes import MAP_TYPE

HELPERS: Final = "helpers"
OF_DYNPTRS: Final = (201, 202, 203)  # helpers whose code knows dynptrs that no kernel function made
OF_PACKETS: Final = (26, 68)  # helpers whose code reads the words behind a packet's context
ROOM: Final = "bombus.runtime.maps"


@dataclass(frozen=True, slots=True)
class Kind:
    """module: of the bodies in this room. bodies: functions of it, or of `table`. python: name of a call -> function of
    `python`. helpers: number of a BPF helper -> body, and its arguments after the map (see `vm.env.MapCode`)."""

    module: str
    bodies: tuple[str, ...]
    python: Mapping[str, str]
    helpers: Mapping[int, tuple[str, str]]


_KEYED: Final = ("lookup", "update", "delete", "read", "write", "get", "set", "update_many", "delete_many", "read_many")
_TABLE: Final = ("lookup", "seen", "update", "store", "delete", "grab", "drop", "each")
_HELPERS: Final = {1: ("lookup", "2c"), 2: ("update", "234c"), 3: ("delete", "2")}
_EACH: Final = {164: ("each", "")}  # the key lies in the native frame
_EACH_OWN: Final = {164: ("each", "o")}
_PUSH: Final = {87: ("push", "23")}


def _python(*names: str, **others: str) -> dict[str, str]:
    return {name: f"py_{name}" for name in names} | others


KINDS: Final[dict[str, Kind]] = {
    "array": Kind(
        "array", ("lookup", "seen", "update", "store", "delete", "each"), _python(*_KEYED, "indexes"),
        _HELPERS | _EACH,
    ),
    "hash": Kind("hash", _TABLE, _python(*_KEYED, "take", "next", "walk", "each"), _HELPERS | _EACH_OWN),
    "lru": Kind("lru", _TABLE, _python(*_KEYED, "take", "next", "walk", "each"), _HELPERS | _EACH_OWN),
    "lpm": Kind(
        "lpm", ("lookup", "seen", "update", "store", "delete", "drop", "stored"), _python(*_KEYED, "walk", "stored"),
        _HELPERS,
    ),
    "queue": Kind(
        "queue", ("push", "pop", "peek"),
        _python("push", "pop", "peek", read="py_peek", take="py_pop", write="py_keyless_write"),
        _PUSH | {88: ("pop", "2"), 89: ("peek", "2")},
    ),
    "ringbuf": Kind(
        "ringbuf", ("reserve", "commit", "output", "query", "reserve_dynptr"), _python("reserve", "commit"),
        {130: ("output", "234"), 131: ("reserve", "23"), 134: ("query", "2"), 198: ("reserve_dynptr", "234")},
    ),
    "user_ringbuf": Kind(
        "userring", ("begin", "each", "finish", "enter", "leave"), _python("enter", "leave"), {209: ("each", "b")}
    ),
    HELPERS: Kind(
        "helpers",
        ("submit", "discard", "lock", "unlock", "cpu", "monotonic", "boottime", "coarse", "tai", "random", "csum_diff",
         "load_bytes", "load_relative", "submit_dynptr", "discard_dynptr", "dynptr_from_mem", "dynptr_read",
         "dynptr_write", "dynptr_data", "seeded"),
        {},
        {5: ("monotonic", "w"), 7: ("random", "w"), 8: ("cpu", "c"), 26: ("load_bytes", "1234"),
         28: ("csum_diff", "12345"), 68: ("load_relative", "12345"), 93: ("lock", "1"), 94: ("unlock", "1"),
         125: ("boottime", "w"), 132: ("submit", "12"), 133: ("discard", "12"), 160: ("coarse", "w"),
         197: ("dynptr_from_mem", "1234"), 199: ("submit_dynptr", "12"), 200: ("discard_dynptr", "12"),
         201: ("dynptr_read", "12345"), 202: ("dynptr_write", "12345"), 203: ("dynptr_data", "123"),
         208: ("tai", "w")},
    ),
    "outer_array": Kind("outer", ("of_array",), {}, {1: ("of_array", "2")}),
    "outer_hash": Kind("outer", ("of_hash",), {}, {1: ("of_hash", "2")}),
    "bloom": Kind(
        "bloom", ("push", "contains"), _python("push", "contains", write="py_keyless_write"),
        _PUSH | {89: ("contains", "2")},
    ),
}  # fmt: skip

# Map types (their numbers) that maps of maps can hold and that have bodies here -> kind.
INNER: Final[dict[int, str]] = {
    MAP_TYPE[f"BPF_MAP_TYPE_{name}"].id: kind
    for name, kind in (
        ("HASH", "hash"), ("PERCPU_HASH", "hash"), ("LRU_HASH", "lru"), ("LRU_PERCPU_HASH", "lru"), ("ARRAY", "array"),
        ("PERCPU_ARRAY", "array"), ("LPM_TRIE", "lpm"), ("QUEUE", "queue"), ("STACK", "queue"),
        ("BLOOM_FILTER", "bloom"), ("RINGBUF", "ringbuf"),
    )
}  # fmt: skip
