"""Helpers: ring buffers."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        130, "ringbuf_output", "5.8", "ringbuf", "long", "void *ringbuf, void *data, u64 size, u64 flags",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING"), "RET_INTEGER",
        "Copies a record into a ring buffer.",
    ),
    row(
        131, "ringbuf_reserve", "5.8", "ringbuf", "void *", "void *ringbuf, u64 size, u64 flags",
        (
            "ARG_CONST_MAP_PTR",
            "ARG_CONST_ALLOC_SIZE_OR_ZERO",
            "ARG_ANYTHING",
        ),
        "RET_PTR_TO_MEM|PTR_MAYBE_NULL|MEM_RINGBUF",
        "Reserves room for a record in a ring buffer; it must be submitted or discarded.",
    ),
    row(
        132, "ringbuf_submit", "5.8", "ringbuf", "void", "void *data, u64 flags",
        ("ARG_PTR_TO_RINGBUF_MEM|OBJ_RELEASE", "ARG_ANYTHING"), "RET_VOID",
        "Hands a reserved record to the reader.",
    ),
    row(
        133, "ringbuf_discard", "5.8", "ringbuf", "void", "void *data, u64 flags",
        ("ARG_PTR_TO_RINGBUF_MEM|OBJ_RELEASE", "ARG_ANYTHING"), "RET_VOID",
        "Gives a reserved record up.",
    ),
    row(
        134, "ringbuf_query", "5.8", "ringbuf", "u64", "void *ringbuf, u64 flags",
        ("ARG_CONST_MAP_PTR", "ARG_ANYTHING"), "RET_INTEGER",
        "Asks a ring buffer for its size, positions or unread bytes.",
    ),
    row(
        198, "ringbuf_reserve_dynptr", "5.19", "ringbuf", "long",
        "void *ringbuf, u32 size, u64 flags, struct bpf_dynptr *ptr",
        (
            "ARG_CONST_MAP_PTR",
            "ARG_ANYTHING",
            "ARG_ANYTHING",
            "ARG_PTR_TO_DYNPTR|DYNPTR_TYPE_RINGBUF|MEM_UNINIT|MEM_WRITE",
        ),
        "RET_INTEGER",
        "Reserves a record of any size in a ring buffer as a dynptr.",
    ),
    row(
        199, "ringbuf_submit_dynptr", "5.19", "ringbuf", "void", "struct bpf_dynptr *ptr, u64 flags",
        ("ARG_PTR_TO_DYNPTR|DYNPTR_TYPE_RINGBUF|OBJ_RELEASE", "ARG_ANYTHING"), "RET_VOID",
        "Hands a record that was reserved as a dynptr to the reader.",
    ),
    row(
        200, "ringbuf_discard_dynptr", "5.19", "ringbuf", "void", "struct bpf_dynptr *ptr, u64 flags",
        ("ARG_PTR_TO_DYNPTR|DYNPTR_TYPE_RINGBUF|OBJ_RELEASE", "ARG_ANYTHING"), "RET_VOID",
        "Gives a record up that was reserved as a dynptr.",
    ),
    row(
        209, "user_ringbuf_drain", "6.1", "ringbuf", "long",
        "struct bpf_map *map, void *callback_fn, void *ctx, u64 flags",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_FUNC", "ARG_PTR_TO_STACK|PTR_MAYBE_NULL", "ARG_ANYTHING"), "RET_INTEGER",
        "Calls a function for every record that user space put into a user ring buffer.",
    ),
)  # fmt: skip
