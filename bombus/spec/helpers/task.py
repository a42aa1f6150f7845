"""Helpers: tasks."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        14, "get_current_pid_tgid", "4.2", "task", "u64", "",
        (), "RET_INTEGER",
        "The current task's tgid in the upper and pid in the lower half.",
    ),
    row(
        15, "get_current_uid_gid", "4.2", "task", "u64", "",
        (), "RET_INTEGER",
        "The current task's gid in the upper and uid in the lower half.",
    ),
    row(
        16, "get_current_comm", "4.2", "task", "long", "void *buf, u32 size_of_buf",
        ("ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Copies the name of the current task.",
    ),
    row(
        35, "get_current_task", "4.8", "task", "u64", "",
        (), "RET_INTEGER",
        "The address of the current task's task_struct, as a number.",
        gpl_only=True,
    ),
    row(
        109, "send_signal", "5.3", "task", "long", "u32 sig",
        ("ARG_ANYTHING",), "RET_INTEGER",
        "Sends a signal to the current process.",
    ),
    row(
        117, "send_signal_thread", "5.6", "task", "long", "u32 sig",
        ("ARG_ANYTHING",), "RET_INTEGER",
        "Sends a signal to the current thread.",
    ),
    row(
        120, "get_ns_current_pid_tgid", "5.7", "task", "long",
        "u64 dev, u64 ino, struct bpf_pidns_info *nsdata, u32 size",
        ("ARG_ANYTHING", "ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Pid and tgid of the current task as a pid namespace sees them.",
    ),
    row(
        158, "get_current_task_btf", "5.11", "task", "struct task_struct *", "",
        (), "RET_PTR_TO_BTF_ID|PTR_TRUSTED",
        "The current task as a typed pointer.",
        gpl_only=True,
    ),
    row(
        175, "task_pt_regs", "5.15", "task", "long", "struct task_struct *task",
        ("ARG_PTR_TO_BTF_ID",), "RET_PTR_TO_BTF_ID",
        "The saved registers of a task.",
        gpl_only=True,
    ),
    row(
        180, "find_vma", "5.17", "task", "long",
        "struct task_struct *task, u64 addr, void *callback_fn, void *callback_ctx, u64 flags",
        (
            "ARG_PTR_TO_BTF_ID",
            "ARG_ANYTHING",
            "ARG_PTR_TO_FUNC",
            "ARG_PTR_TO_STACK|PTR_MAYBE_NULL",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Finds the mapping of a task that holds an address and calls a function with it.",
    ),
)  # fmt: skip
