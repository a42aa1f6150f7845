"""Helpers: redirection and routing."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        23, "redirect", "4.4", "redirect", "long", "u32 ifindex, u64 flags",
        ("ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Sends the packet to another device once the program has returned this helper's result.",
    ),
    row(
        51, "redirect_map", "4.14", "redirect", "long", "struct bpf_map *map, u64 key, u64 flags",
        ("ARG_CONST_MAP_PTR", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Sends the packet where the slot of a device, CPU or XDP socket map says.",
    ),
    row(
        69, "fib_lookup", "4.18", "redirect", "long", "void *ctx, struct bpf_fib_lookup *params, int plen, u32 flags",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM", "ARG_CONST_SIZE", "ARG_ANYTHING"), "RET_INTEGER",
        "Looks a destination up in the routing and neighbour tables.",
        gpl_only=True,
    ),
    row(
        152, "redirect_neigh", "5.10", "redirect", "long",
        "u32 ifindex, struct bpf_redir_neigh *params, int plen, u64 flags",
        (
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|PTR_MAYBE_NULL|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Sends the packet to another device and lets the kernel find the link-layer address.",
    ),
    row(
        155, "redirect_peer", "5.10", "redirect", "long", "u32 ifindex, u64 flags",
        ("ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Sends the packet straight to the other end of a device pair in another namespace.",
    ),
    row(
        163, "check_mtu", "5.12", "redirect", "long", "void *ctx, u32 ifindex, u32 *mtu_len, s32 len_diff, u64 flags",
        (
            "ARG_PTR_TO_CTX",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_WRITE|MEM_ALIGNED",
            "ARG_ANYTHING",
            "ARG_ANYTHING",
        ),
        "RET_INTEGER",
        "Whether a packet, grown by so much, fits the MTU of a device.",
        sizes=(0, 0, 4, 0, 0,), gpl_only=True,
    ),
)  # fmt: skip
