"""Helpers: dynptrs."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        197, "dynptr_from_mem", "5.19", "dynptr", "long", "void *data, u32 size, u64 flags, struct bpf_dynptr *ptr",
        (
            "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_ANYTHING",
            "ARG_PTR_TO_DYNPTR|DYNPTR_TYPE_LOCAL|MEM_UNINIT|MEM_WRITE",
        ),
        "RET_INTEGER",
        "Makes a dynptr over part of a map value.",
    ),
    row(
        201, "dynptr_read", "5.19", "dynptr", "long",
        "void *dst, u32 len, const struct bpf_dynptr *src, u32 offset, u64 flags",
        (
            "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_PTR_TO_DYNPTR|MEM_RDONLY",
            "ARG_ANYTHING",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Copies bytes out of the memory behind a dynptr.",
    ),
    row(
        202, "dynptr_write", "5.19", "dynptr", "long",
        "const struct bpf_dynptr *dst, u32 offset, void *src, u32 len, u64 flags",
        (
            "ARG_PTR_TO_DYNPTR|MEM_RDONLY",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Writes bytes into the memory behind a dynptr.",
    ),
    row(
        203, "dynptr_data", "5.19", "dynptr", "void *", "const struct bpf_dynptr *ptr, u32 offset, u32 len",
        (
            "ARG_PTR_TO_DYNPTR|MEM_RDONLY",
            "ARG_ANYTHING",
            "ARG_CONST_ALLOC_SIZE_OR_ZERO",
        ),
        "RET_PTR_TO_MEM|PTR_MAYBE_NULL",
        "The address of part of the memory behind a dynptr, or null.",
    ),
)  # fmt: skip
