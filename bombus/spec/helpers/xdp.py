"""Helpers: XDP frames."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        44, "xdp_adjust_head", "4.10", "xdp", "long", "struct xdp_buff *xdp_md, int delta",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Moves the start of an XDP frame.",
    ),
    row(
        54, "xdp_adjust_meta", "4.15", "xdp", "long", "struct xdp_buff *xdp_md, int delta",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Moves the start of the metadata in front of an XDP frame.",
    ),
    row(
        65, "xdp_adjust_tail", "4.18", "xdp", "long", "struct xdp_buff *xdp_md, int delta",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Moves the end of an XDP frame.",
    ),
    row(
        188, "xdp_get_buff_len", "5.18", "xdp", "u64", "struct xdp_buff *xdp_md",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "The whole length of an XDP frame, fragments included.",
    ),
    row(
        189, "xdp_load_bytes", "5.18", "xdp", "long", "struct xdp_buff *xdp_md, u32 offset, void *buf, u32 len",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Copies bytes out of an XDP frame, also out of its fragments.",
    ),
    row(
        190, "xdp_store_bytes", "5.18", "xdp", "long", "struct xdp_buff *xdp_md, u32 offset, void *buf, u32 len",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Writes bytes into an XDP frame, also into its fragments.",
    ),
)  # fmt: skip
