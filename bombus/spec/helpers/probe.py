"""Helpers: reading memory that may be unreadable."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        4, "probe_read", "4.1", "probe", "long", "void *dst, u32 size, const void *unsafe_ptr",
        ("ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING"), "RET_INTEGER",
        "Copies memory that may be unreadable, of the kernel or of user space; zeroes the target when it fails.",
        gpl_only=True,
    ),
    row(
        36, "probe_write_user", "4.8", "probe", "long", "void *dst, const void *src, u32 len",
        ("ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Writes into the memory of the current task; for experiments only.",
        gpl_only=True,
    ),
    row(
        45, "probe_read_str", "4.11", "probe", "long", "void *dst, u32 size, const void *unsafe_ptr",
        ("ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING"), "RET_INTEGER",
        "Copies a string from unsafe memory up to its zero byte.",
        gpl_only=True,
    ),
    row(
        112, "probe_read_user", "5.5", "probe", "long", "void *dst, u32 size, const void *unsafe_ptr",
        ("ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING"), "RET_INTEGER",
        "Copies memory of user space; zeroes the target when it fails.",
        gpl_only=True,
    ),
    row(
        113, "probe_read_kernel", "5.5", "probe", "long", "void *dst, u32 size, const void *unsafe_ptr",
        ("ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING"), "RET_INTEGER",
        "Copies memory of the kernel; zeroes the target when it fails.",
        gpl_only=True,
    ),
    row(
        114, "probe_read_user_str", "5.5", "probe", "long", "void *dst, u32 size, const void *unsafe_ptr",
        ("ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING"), "RET_INTEGER",
        "Copies a string of user space up to its zero byte.",
        gpl_only=True,
    ),
    row(
        115, "probe_read_kernel_str", "5.5", "probe", "long", "void *dst, u32 size, const void *unsafe_ptr",
        ("ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING"), "RET_INTEGER",
        "Copies a string of the kernel up to its zero byte.",
        gpl_only=True,
    ),
    row(
        148, "copy_from_user", "5.10", "probe", "long", "void *dst, u32 size, const void *user_ptr",
        ("ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING"), "RET_INTEGER",
        "Copies memory of user space and may wait for it to be paged in.",
        might_sleep=True,
    ),
    row(
        191, "copy_from_user_task", "5.18", "probe", "long",
        "void *dst, u32 size, const void *user_ptr, struct task_struct *tsk, u64 flags",
        (
            "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_ANYTHING",
            "ARG_PTR_TO_BTF_ID",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Copies user memory of a given task and may wait for it.",
        gpl_only=True, might_sleep=True,
    ),
)  # fmt: skip
