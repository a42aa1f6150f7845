"""Helpers: lightweight tunnels."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        73, "lwt_push_encap", "4.18", "lwt", "long", "struct sk_buff *skb, u32 type, void *hdr, u32 len",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Puts an outer header in front of a packet.",
    ),
    row(
        74, "lwt_seg6_store_bytes", "4.18", "lwt", "long",
        "struct sk_buff *skb, u32 offset, const void *from, u32 len",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Writes into the segment routing header where that is allowed.",
    ),
    row(
        75, "lwt_seg6_adjust_srh", "4.18", "lwt", "long", "struct sk_buff *skb, u32 offset, s32 delta",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Makes the segment routing header longer or shorter.",
    ),
    row(
        76, "lwt_seg6_action", "4.18", "lwt", "long", "struct sk_buff *skb, u32 action, void *param, u32 param_len",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Applies a segment routing action to a packet.",
    ),
)  # fmt: skip
