"""Helpers: syscall programs."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        166, "sys_bpf", "5.14", "syscall", "long", "u32 cmd, void *attr, u32 attr_size",
        ("ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Makes a bpf(2) call.",
        might_sleep=True,
    ),
    row(
        167, "btf_find_by_name_kind", "5.14", "syscall", "long", "char *name, int name_sz, u32 kind, int flags",
        ("ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Finds the id of a type in the kernel's BTF by name and kind.",
        might_sleep=True,
    ),
    row(
        168, "sys_close", "5.14", "syscall", "long", "u32 fd",
        ("ARG_ANYTHING",), "RET_INTEGER",
        "Closes a file descriptor.",
        might_sleep=True,
    ),
    row(
        179, "kallsyms_lookup_name", "5.16", "syscall", "long", "const char *name, int name_sz, int flags, u64 *res",
        (
            "ARG_PTR_TO_MEM",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE|MEM_ALIGNED",
        ),
        "RET_INTEGER",
        "Finds the address of a kernel symbol.",
        sizes=(0, 0, 0, 8,),
    ),
)  # fmt: skip
