"""Helpers: iterators."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        126, "seq_printf", "5.8", "iter", "long",
        "struct seq_file *m, const char *fmt, u32 fmt_size, const void *data, u32 data_len",
        (
            "ARG_PTR_TO_BTF_ID",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE",
            "ARG_PTR_TO_MEM|PTR_MAYBE_NULL|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
        ),
        "RET_INTEGER",
        "Writes formatted text to the file of an iterator.",
        gpl_only=True,
    ),
    row(
        127, "seq_write", "5.8", "iter", "long", "struct seq_file *m, const void *data, u32 len",
        ("ARG_PTR_TO_BTF_ID", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE_OR_ZERO"), "RET_INTEGER",
        "Writes bytes to the file of an iterator.",
        gpl_only=True,
    ),
    row(
        150, "seq_printf_btf", "5.10", "iter", "long",
        "struct seq_file *m, struct btf_ptr *ptr, u32 ptr_size, u64 flags",
        ("ARG_PTR_TO_BTF_ID", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING"), "RET_INTEGER",
        "Writes a kernel object as text to the file of an iterator.",
        gpl_only=True,
    ),
)  # fmt: skip
