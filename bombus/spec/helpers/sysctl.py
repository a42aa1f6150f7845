"""Helpers: sysctls."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        101, "sysctl_get_name", "5.2", "sysctl", "long",
        "struct bpf_sysctl *ctx, char *buf, size_t buf_len, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM", "ARG_CONST_SIZE", "ARG_ANYTHING"), "RET_INTEGER",
        "Copies the name of the sysctl that is being used.",
    ),
    row(
        102, "sysctl_get_current_value", "5.2", "sysctl", "long", "struct bpf_sysctl *ctx, char *buf, size_t buf_len",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Copies the value that the sysctl has.",
    ),
    row(
        103, "sysctl_get_new_value", "5.2", "sysctl", "long", "struct bpf_sysctl *ctx, char *buf, size_t buf_len",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Copies the value that is about to be written to the sysctl.",
    ),
    row(
        104, "sysctl_set_new_value", "5.2", "sysctl", "long",
        "struct bpf_sysctl *ctx, const char *buf, size_t buf_len",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Replaces the value that is about to be written to the sysctl.",
    ),
)  # fmt: skip
