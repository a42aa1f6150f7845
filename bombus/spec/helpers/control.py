"""Helpers: control flow."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        12, "tail_call", "4.2", "control", "long", "void *ctx, struct bpf_map *prog_array_map, u32 index",
        ("ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_ANYTHING"), "RET_VOID",
        "Jumps into another program of a prog array and does not come back; falls through when it cannot.",
    ),
    row(
        164, "for_each_map_elem", "5.13", "control", "long",
        "struct bpf_map *map, void *callback_fn, void *callback_ctx, u64 flags",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_FUNC", "ARG_PTR_TO_STACK|PTR_MAYBE_NULL", "ARG_ANYTHING"), "RET_INTEGER",
        "Calls a function for every element of a map.",
    ),
    row(
        181, "loop", "5.17", "control", "long", "u32 nr_loops, void *callback_fn, void *callback_ctx, u64 flags",
        ("ARG_SCALAR", "ARG_PTR_TO_FUNC", "ARG_PTR_TO_STACK|PTR_MAYBE_NULL", "ARG_ANYTHING"), "RET_INTEGER",
        "Calls a function so many times, or until it returns 1.",
    ),
)  # fmt: skip
