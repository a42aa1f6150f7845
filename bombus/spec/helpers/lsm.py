"""Helpers: security."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        159, "bprm_opts_set", "5.11", "lsm", "long", "struct linux_binprm *bprm, u64 flags",
        ("ARG_PTR_TO_BTF_ID", "ARG_ANYTHING"), "RET_INTEGER",
        "Sets options of a program that is about to be executed.",
    ),
    row(
        161, "ima_inode_hash", "5.11", "lsm", "long", "struct inode *inode, void *dst, u32 size",
        ("ARG_PTR_TO_BTF_ID", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Copies the integrity hash of an inode.",
        might_sleep=True,
    ),
    row(
        193, "ima_file_hash", "5.18", "lsm", "long", "struct file *file, void *dst, u32 size",
        ("ARG_PTR_TO_BTF_ID", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Computes and copies the integrity hash of a file.",
        might_sleep=True,
    ),
)  # fmt: skip
