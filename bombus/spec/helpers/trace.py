"""Helpers: tracing: output, stacks, traced functions."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        6, "trace_printk", "4.1", "trace", "long", "const char *fmt, u32 fmt_size, ...",
        ("ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Writes a formatted line with up to three numbers to the kernel's trace pipe.",
        gpl_only=True,
    ),
    row(
        22, "perf_event_read", "4.3", "trace", "u64", "struct bpf_map *map, u64 flags",
        ("ARG_CONST_MAP_PTR", "ARG_ANYTHING"), "RET_INTEGER",
        "Reads the counter of a perf event array's slot.",
        gpl_only=True,
    ),
    row(
        25, "perf_event_output", "4.4", "trace", "long",
        "void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size",
        (
            "ARG_PTR_TO_CTX",
            "ARG_CONST_MAP_PTR",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
        ),
        "RET_INTEGER",
        "Sends a record, if wanted with part of the packet, through a perf event array.",
        gpl_only=True,
    ),
    row(
        27, "get_stackid", "4.6", "trace", "long", "void *ctx, struct bpf_map *map, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_ANYTHING"), "RET_INTEGER",
        "Walks the stack, stores it in a stack trace map and gives its number.",
        gpl_only=True,
    ),
    row(
        55, "perf_event_read_value", "4.15", "trace", "long",
        "struct bpf_map *map, u64 flags, struct bpf_perf_event_value *buf, u32 buf_size",
        ("ARG_CONST_MAP_PTR", "ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Reads a perf counter with its enabled and running times.",
        gpl_only=True,
    ),
    row(
        56, "perf_prog_read_value", "4.15", "trace", "long",
        "struct bpf_perf_event_data *ctx, struct bpf_perf_event_value *buf, u32 buf_size",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Reads the counter of the perf event that the program is attached to.",
        gpl_only=True,
    ),
    row(
        58, "override_return", "4.16", "trace", "long", "struct pt_regs *regs, u64 rc",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Makes the probed function return at once with a given value, where it allows errors to be injected.",
        gpl_only=True,
    ),
    row(
        67, "get_stack", "4.18", "trace", "long", "void *ctx, void *buf, u32 size, u64 flags",
        (
            "ARG_PTR_TO_CTX",
            "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Copies the addresses of the kernel or user stack.",
        gpl_only=True,
    ),
    row(
        111, "skb_output", "5.5", "trace", "long", "void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size",
        (
            "ARG_PTR_TO_BTF_ID",
            "ARG_CONST_MAP_PTR",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
        ),
        "RET_INTEGER",
        "Sends a record with part of a packet through a perf event array, from tracing programs.",
        gpl_only=True,
    ),
    row(
        119, "read_branch_records", "5.7", "trace", "long",
        "struct bpf_perf_event_data *ctx, void *buf, u32 size, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|PTR_MAYBE_NULL", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING"), "RET_INTEGER",
        "Copies the branch records of a perf sample.",
        gpl_only=True,
    ),
    row(
        121, "xdp_output", "5.7", "trace", "long", "void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size",
        (
            "ARG_PTR_TO_BTF_ID",
            "ARG_CONST_MAP_PTR",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
        ),
        "RET_INTEGER",
        "Sends a record with part of an XDP frame through a perf event array, from tracing programs.",
        gpl_only=True,
    ),
    row(
        141, "get_task_stack", "5.9", "trace", "long", "struct task_struct *task, void *buf, u32 size, u64 flags",
        (
            "ARG_PTR_TO_BTF_ID",
            "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Copies the addresses of a task's kernel or user stack.",
    ),
    row(
        147, "d_path", "5.10", "trace", "long", "struct path *path, char *buf, u32 sz",
        ("ARG_PTR_TO_BTF_ID", "ARG_PTR_TO_MEM", "ARG_CONST_SIZE_OR_ZERO"), "RET_INTEGER",
        "Copies the full name of a path.",
    ),
    row(
        173, "get_func_ip", "5.15", "trace", "u64", "void *ctx",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "The address of the function that is being traced.",
        gpl_only=True,
    ),
    row(
        174, "get_attach_cookie", "5.15", "trace", "u64", "void *ctx",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "The number that was given when the program was attached.",
    ),
    row(
        176, "get_branch_snapshot", "5.16", "trace", "long", "void *entries, u32 size, u64 flags",
        ("ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE_OR_ZERO"), "RET_INTEGER",
        "Copies the CPU's last branches.",
        gpl_only=True,
    ),
    row(
        177, "trace_vprintk", "5.16", "trace", "long", "const char *fmt, u32 fmt_size, const void *data, u32 data_len",
        (
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE",
            "ARG_PTR_TO_MEM|PTR_MAYBE_NULL|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
        ),
        "RET_INTEGER",
        "Writes a formatted line with any number of arguments to the kernel's trace pipe.",
        gpl_only=True,
    ),
    row(
        183, "get_func_arg", "5.17", "trace", "long", "void *ctx, u32 n, u64 *value",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE|MEM_ALIGNED"), "RET_INTEGER",
        "Reads an argument of the traced function by number.",
        sizes=(0, 0, 8,),
    ),
    row(
        184, "get_func_ret", "5.17", "trace", "long", "void *ctx, u64 *value",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE|MEM_ALIGNED"), "RET_INTEGER",
        "Reads what the traced function returned.",
        sizes=(0, 8,),
    ),
    row(
        185, "get_func_arg_cnt", "5.17", "trace", "long", "void *ctx",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "How many arguments the traced function has.",
    ),
)  # fmt: skip
