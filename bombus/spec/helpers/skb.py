"""Helpers: packets as sk_buff."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        9, "skb_store_bytes", "4.1", "skb", "long",
        "struct sk_buff *skb, u32 offset, const void *from, u32 len, u64 flags",
        (
            "ARG_PTR_TO_CTX",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Writes bytes into a packet and, if asked to, mends its checksum and hash.",
    ),
    row(
        13, "clone_redirect", "4.2", "skb", "long", "struct sk_buff *skb, u32 ifindex, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Sends a copy of the packet to another device.",
    ),
    row(
        18, "skb_vlan_push", "4.3", "skb", "long", "struct sk_buff *skb, __be16 vlan_proto, u16 vlan_tci",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Puts a VLAN tag on a packet.",
    ),
    row(
        19, "skb_vlan_pop", "4.3", "skb", "long", "struct sk_buff *skb",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "Takes the VLAN tag off a packet.",
    ),
    row(
        20, "skb_get_tunnel_key", "4.3", "skb", "long",
        "struct sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE", "ARG_ANYTHING"), "RET_INTEGER",
        "Reads the tunnel metadata that came with a packet.",
    ),
    row(
        21, "skb_set_tunnel_key", "4.3", "skb", "long",
        "struct sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE", "ARG_ANYTHING"), "RET_INTEGER",
        "Sets the tunnel metadata with which a packet leaves.",
    ),
    row(
        24, "get_route_realm", "4.4", "skb", "u32", "struct sk_buff *skb",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "The routing realm of a packet's destination.",
    ),
    row(
        26, "skb_load_bytes", "4.5", "skb", "long", "const void *skb, u32 offset, void *to, u32 len",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Copies bytes out of a packet.",
    ),
    row(
        29, "skb_get_tunnel_opt", "4.6", "skb", "long", "struct sk_buff *skb, void *opt, u32 size",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Reads the tunnel options that came with a packet.",
    ),
    row(
        30, "skb_set_tunnel_opt", "4.6", "skb", "long", "struct sk_buff *skb, void *opt, u32 size",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Sets the tunnel options with which a packet leaves.",
    ),
    row(
        31, "skb_change_proto", "4.8", "skb", "long", "struct sk_buff *skb, __be16 proto, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Turns an IPv4 packet into an IPv6 one or back, making or taking away the room.",
    ),
    row(
        32, "skb_change_type", "4.8", "skb", "long", "struct sk_buff *skb, u32 type",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Changes whom a packet seems to be for: this host, another, all.",
    ),
    row(
        34, "get_hash_recalc", "4.8", "skb", "u32", "struct sk_buff *skb",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "The flow hash of a packet, computed when it has none.",
    ),
    row(
        38, "skb_change_tail", "4.9", "skb", "long", "struct sk_buff *skb, u32 len, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Cuts a packet or makes it longer at its end.",
    ),
    row(
        39, "skb_pull_data", "4.9", "skb", "long", "struct sk_buff *skb, u32 len",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Makes the first bytes of a packet linear, so that they can be reached directly.",
    ),
    row(
        41, "set_hash_invalid", "4.9", "skb", "void", "struct sk_buff *skb",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "Forgets the flow hash of a packet.",
    ),
    row(
        43, "skb_change_head", "4.10", "skb", "long", "struct sk_buff *skb, u32 len, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Makes room in front of a packet.",
    ),
    row(
        48, "set_hash", "4.13", "skb", "long", "struct sk_buff *skb, u32 hash",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Sets the flow hash of a packet.",
    ),
    row(
        50, "skb_adjust_room", "4.13", "skb", "long", "struct sk_buff *skb, s32 len_diff, u32 mode, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Makes or takes away room behind the MAC or the network header of a packet.",
    ),
    row(
        66, "skb_get_xfrm_state", "4.18", "skb", "long",
        "struct sk_buff *skb, u32 index, struct bpf_xfrm_state *xfrm_state, u32 size, u64 flags",
        (
            "ARG_PTR_TO_CTX",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE",
            "ARG_CONST_SIZE",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Reads an IPsec state of a packet.",
    ),
    row(
        68, "skb_load_bytes_relative", "4.18", "skb", "long",
        "const void *skb, u32 offset, void *to, u32 len, u32 start_header",
        (
            "ARG_PTR_TO_CTX",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE",
            "ARG_CONST_SIZE",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Copies bytes of a packet, counted from its MAC or network header.",
    ),
    row(
        97, "skb_ecn_set_ce", "5.1", "skb", "long", "struct sk_buff *skb",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "Marks a packet that can carry the mark as having met congestion.",
    ),
    row(
        192, "skb_set_tstamp", "5.18", "skb", "long", "struct sk_buff *skb, u64 tstamp, u32 tstamp_type",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Sets the time stamp of a packet.",
    ),
)  # fmt: skip
