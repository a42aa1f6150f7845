"""Helpers: sockmaps and messages."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        52, "sk_redirect_map", "4.14", "sockmap", "long",
        "struct sk_buff *skb, struct bpf_map *map, u32 key, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Hands received data to a socket of a sockmap.",
    ),
    row(
        53, "sock_map_update", "4.14", "sockmap", "long",
        "struct bpf_sock_ops *skops, struct bpf_map *map, void *key, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_KEY", "ARG_ANYTHING"), "RET_INTEGER",
        "Puts the socket of a connection event into a sockmap.",
        pkt_access=True,
    ),
    row(
        60, "msg_redirect_map", "4.17", "sockmap", "long",
        "struct sk_msg_buff *msg, struct bpf_map *map, u32 key, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Hands a message that is being sent to a socket of a sockmap.",
    ),
    row(
        61, "msg_apply_bytes", "4.17", "sockmap", "long", "struct sk_msg_buff *msg, u32 bytes",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Lets the verdict hold for so many bytes.",
    ),
    row(
        62, "msg_cork_bytes", "4.17", "sockmap", "long", "struct sk_msg_buff *msg, u32 bytes",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Holds a message back until so many bytes have come together.",
    ),
    row(
        63, "msg_pull_data", "4.17", "sockmap", "long", "struct sk_msg_buff *msg, u32 start, u32 end, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Makes part of a message linear, so that it can be reached directly.",
    ),
    row(
        70, "sock_hash_update", "4.18", "sockmap", "long",
        "struct bpf_sock_ops *skops, struct bpf_map *map, void *key, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_KEY", "ARG_ANYTHING"), "RET_INTEGER",
        "Puts the socket of a connection event into a sockhash.",
        pkt_access=True,
    ),
    row(
        71, "msg_redirect_hash", "4.18", "sockmap", "long",
        "struct sk_msg_buff *msg, struct bpf_map *map, void *key, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_KEY", "ARG_ANYTHING"), "RET_INTEGER",
        "Hands a message that is being sent to a socket of a sockhash.",
    ),
    row(
        72, "sk_redirect_hash", "4.18", "sockmap", "long",
        "struct sk_buff *skb, struct bpf_map *map, void *key, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_KEY", "ARG_ANYTHING"), "RET_INTEGER",
        "Hands received data to a socket of a sockhash.",
    ),
    row(
        90, "msg_push_data", "4.20", "sockmap", "long", "struct sk_msg_buff *msg, u32 start, u32 len, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Inserts room into a message.",
    ),
    row(
        91, "msg_pop_data", "5.0", "sockmap", "long", "struct sk_msg_buff *msg, u32 start, u32 len, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Removes bytes from a message.",
    ),
)  # fmt: skip
