"""Helpers: maps."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        1, "map_lookup_elem", "3.19", "map", "void *", "struct bpf_map *map, const void *key",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_KEY"), "RET_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
        "Finds the value of a key; null when the map has none.",
        pkt_access=True,
    ),
    row(
        2, "map_update_elem", "3.19", "map", "long",
        "struct bpf_map *map, const void *key, const void *value, u64 flags",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_KEY", "ARG_PTR_TO_MAP_VALUE", "ARG_ANYTHING"), "RET_INTEGER",
        "Stores a value under a key, creating or replacing it as the flags say.",
        pkt_access=True,
    ),
    row(
        3, "map_delete_elem", "3.19", "map", "long", "struct bpf_map *map, const void *key",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_KEY"), "RET_INTEGER",
        "Removes a key with its value.",
        pkt_access=True,
    ),
    row(
        87, "map_push_elem", "4.20", "map", "long", "struct bpf_map *map, const void *value, u64 flags",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_VALUE", "ARG_ANYTHING"), "RET_INTEGER",
        "Adds a value to a queue, stack or bloom filter.",
        pkt_access=True,
    ),
    row(
        88, "map_pop_elem", "4.20", "map", "long", "struct bpf_map *map, void *value",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_VALUE|MEM_UNINIT|MEM_WRITE"), "RET_INTEGER",
        "Takes the next value out of a queue or stack.",
    ),
    row(
        89, "map_peek_elem", "4.20", "map", "long", "struct bpf_map *map, void *value",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_VALUE|MEM_UNINIT|MEM_WRITE"), "RET_INTEGER",
        "Copies the next value of a queue or stack, or asks a bloom filter for a value.",
    ),
    row(
        93, "spin_lock", "5.1", "map", "long", "struct bpf_spin_lock *lock",
        ("ARG_PTR_TO_SPIN_LOCK",), "RET_VOID",
        "Takes the lock inside a map value.",
    ),
    row(
        94, "spin_unlock", "5.1", "map", "long", "struct bpf_spin_lock *lock",
        ("ARG_PTR_TO_SPIN_LOCK",), "RET_VOID",
        "Gives the lock inside a map value back.",
    ),
    row(
        194, "kptr_xchg", "5.19", "map", "void *", "void *dst, void *ptr",
        ("ARG_KPTR_XCHG_DEST", "ARG_PTR_TO_BTF_ID|PTR_MAYBE_NULL|OBJ_RELEASE"), "RET_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
        "Exchanges the pointer in a map value for another one.",
    ),
    row(
        195, "map_lookup_percpu_elem", "5.19", "map", "void *", "struct bpf_map *map, const void *key, u32 cpu",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_KEY", "ARG_ANYTHING"), "RET_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
        "Finds the value that a key has on a given CPU; null when there is none.",
        pkt_access=True,
    ),
)  # fmt: skip
