"""Helpers: cgroups."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        17, "get_cgroup_classid", "4.3", "cgroup", "u32", "struct sk_buff *skb",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "The net_cls class of the task behind a packet, or of the current task.",
    ),
    row(
        33, "skb_under_cgroup", "4.8", "cgroup", "long", "struct sk_buff *skb, struct bpf_map *map, u32 index",
        ("ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_ANYTHING"), "RET_INTEGER",
        "Whether the packet's socket lies under a cgroup of a cgroup array.",
    ),
    row(
        37, "current_task_under_cgroup", "4.9", "cgroup", "long", "struct bpf_map *map, u32 index",
        ("ARG_CONST_MAP_PTR", "ARG_ANYTHING"), "RET_INTEGER",
        "Whether the current task lies under a cgroup of a cgroup array.",
    ),
    row(
        79, "skb_cgroup_id", "4.18", "cgroup", "u64", "struct sk_buff *skb",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "The id of the cgroup of a packet's socket.",
    ),
    row(
        80, "get_current_cgroup_id", "4.18", "cgroup", "u64", "",
        (), "RET_INTEGER",
        "The id of the current task's cgroup.",
    ),
    row(
        81, "get_local_storage", "4.19", "cgroup", "void *", "void *map, u64 flags",
        ("ARG_CONST_MAP_PTR", "ARG_ANYTHING"), "RET_PTR_TO_MAP_VALUE",
        "The storage that the program has in the cgroup it is attached to.",
    ),
    row(
        83, "skb_ancestor_cgroup_id", "4.19", "cgroup", "u64", "struct sk_buff *skb, int ancestor_level",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "The id of an ancestor, at a given level, of the cgroup of a packet's socket.",
    ),
    row(
        123, "get_current_ancestor_cgroup_id", "5.7", "cgroup", "u64", "int ancestor_level",
        ("ARG_ANYTHING",), "RET_INTEGER",
        "The id of an ancestor, at a given level, of the current task's cgroup.",
    ),
    row(
        128, "sk_cgroup_id", "5.8", "cgroup", "u64", "void *sk",
        ("ARG_PTR_TO_BTF_ID_SOCK_COMMON",), "RET_INTEGER",
        "The id of a socket's cgroup.",
    ),
    row(
        129, "sk_ancestor_cgroup_id", "5.8", "cgroup", "u64", "void *sk, int ancestor_level",
        ("ARG_PTR_TO_BTF_ID_SOCK_COMMON", "ARG_ANYTHING"), "RET_INTEGER",
        "The id of an ancestor, at a given level, of a socket's cgroup.",
    ),
    row(
        151, "skb_cgroup_classid", "5.10", "cgroup", "u64", "struct sk_buff *skb",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "The net_cls class of the socket behind a packet.",
    ),
    row(
        186, "get_retval", "5.18", "cgroup", "int", "",
        (), "RET_INTEGER",
        "The result that the system call will have, as set so far.",
    ),
    row(
        187, "set_retval", "5.18", "cgroup", "int", "int retval",
        ("ARG_ANYTHING",), "RET_INTEGER",
        "Sets the result that the system call will have.",
    ),
)  # fmt: skip
