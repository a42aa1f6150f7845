"""Helpers: local storage."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        107, "sk_storage_get", "5.2", "storage", "void *", "struct bpf_map *map, void *sk, void *value, u64 flags",
        (
            "ARG_CONST_MAP_PTR",
            "ARG_PTR_TO_BTF_ID_SOCK_COMMON",
            "ARG_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
            "ARG_ANYTHING",
        ),
        "RET_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
        "The storage that a map keeps with a socket, made if asked for.",
    ),
    row(
        108, "sk_storage_delete", "5.2", "storage", "long", "struct bpf_map *map, void *sk",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_BTF_ID_SOCK_COMMON"), "RET_INTEGER",
        "Removes the storage that a map keeps with a socket.",
    ),
    row(
        145, "inode_storage_get", "5.10", "storage", "void *",
        "struct bpf_map *map, void *inode, void *value, u64 flags",
        (
            "ARG_CONST_MAP_PTR",
            "ARG_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
            "ARG_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
            "ARG_ANYTHING",
        ),
        "RET_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
        "The storage that a map keeps with an inode, made if asked for.",
    ),
    row(
        146, "inode_storage_delete", "5.10", "storage", "int", "struct bpf_map *map, void *inode",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_BTF_ID|PTR_MAYBE_NULL"), "RET_INTEGER",
        "Removes the storage that a map keeps with an inode.",
    ),
    row(
        156, "task_storage_get", "5.11", "storage", "void *",
        "struct bpf_map *map, struct task_struct *task, void *value, u64 flags",
        (
            "ARG_CONST_MAP_PTR",
            "ARG_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
            "ARG_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
            "ARG_ANYTHING",
        ),
        "RET_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
        "The storage that a map keeps with a task, made if asked for.",
    ),
    row(
        157, "task_storage_delete", "5.11", "storage", "long", "struct bpf_map *map, struct task_struct *task",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_BTF_ID|PTR_MAYBE_NULL"), "RET_INTEGER",
        "Removes the storage that a map keeps with a task.",
    ),
    row(
        210, "cgrp_storage_get", "6.2", "storage", "void *",
        "struct bpf_map *map, struct cgroup *cgroup, void *value, u64 flags",
        (
            "ARG_CONST_MAP_PTR",
            "ARG_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
            "ARG_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
            "ARG_ANYTHING",
        ),
        "RET_PTR_TO_MAP_VALUE|PTR_MAYBE_NULL",
        "The storage that a map keeps with a cgroup, made if asked for.",
    ),
    row(
        211, "cgrp_storage_delete", "6.2", "storage", "long", "struct bpf_map *map, struct cgroup *cgroup",
        ("ARG_CONST_MAP_PTR", "ARG_PTR_TO_BTF_ID|PTR_MAYBE_NULL"), "RET_INTEGER",
        "Removes the storage that a map keeps with a cgroup.",
    ),
)  # fmt: skip
