"""Helpers: checksums."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        10, "l3_csum_replace", "4.1", "csum", "long", "struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 size",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Mends a layer 3 checksum after a field changed.",
    ),
    row(
        11, "l4_csum_replace", "4.1", "csum", "long", "struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Mends a layer 4 checksum after a field or the pseudo header changed.",
    ),
    row(
        28, "csum_diff", "4.6", "csum", "s64", "__be32 *from, u32 from_size, __be32 *to, u32 to_size, __wsum seed",
        (
            "ARG_PTR_TO_MEM|PTR_MAYBE_NULL|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_PTR_TO_MEM|PTR_MAYBE_NULL|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "The difference that replacing one block of bytes by another makes to a checksum.",
        pkt_access=True,
    ),
    row(
        40, "csum_update", "4.9", "csum", "s64", "struct sk_buff *skb, __wsum csum",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Adds a difference to a packet's complete checksum.",
    ),
    row(
        135, "csum_level", "5.8", "csum", "long", "struct sk_buff *skb, u64 level",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Reads or changes for how many headers a packet's checksum was verified.",
    ),
)  # fmt: skip
