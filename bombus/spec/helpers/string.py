"""Helpers: text."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        105, "strtol", "5.2", "string", "long", "const char *buf, size_t buf_len, u64 flags, long *res",
        (
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE|MEM_ALIGNED",
        ),
        "RET_INTEGER",
        "Reads a signed number out of a text.",
        sizes=(0, 0, 0, 8,),
    ),
    row(
        106, "strtoul", "5.2", "string", "long", "const char *buf, size_t buf_len, u64 flags, unsigned long *res",
        (
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE|MEM_ALIGNED",
        ),
        "RET_INTEGER",
        "Reads an unsigned number out of a text.",
        sizes=(0, 0, 0, 8,),
    ),
    row(
        149, "snprintf_btf", "5.10", "string", "long",
        "char *str, u32 str_size, struct btf_ptr *ptr, u32 btf_ptr_size, u64 flags",
        (
            "ARG_PTR_TO_MEM",
            "ARG_CONST_SIZE",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Writes a kernel object as text by its BTF type.",
    ),
    row(
        165, "snprintf", "5.13", "string", "long", "char *str, u32 str_size, const char *fmt, u64 *data, u32 data_len",
        (
            "ARG_PTR_TO_MEM|PTR_MAYBE_NULL",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_PTR_TO_CONST_STR",
            "ARG_PTR_TO_MEM|PTR_MAYBE_NULL|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
        ),
        "RET_INTEGER",
        "Writes formatted text into memory.",
        gpl_only=True,
    ),
    row(
        182, "strncmp", "5.17", "string", "long", "const char *s1, u32 s1_sz, const char *s2",
        ("ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE", "ARG_PTR_TO_CONST_STR"), "RET_INTEGER",
        "Compares a text with a constant one.",
    ),
)  # fmt: skip
