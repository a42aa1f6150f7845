"""Helpers: remote controls."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        77, "rc_repeat", "4.18", "lirc", "long", "void *ctx",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "Reports that the remote control's key is still held.",
        gpl_only=True,
    ),
    row(
        78, "rc_keydown", "4.18", "lirc", "long", "void *ctx, u32 protocol, u64 scancode, u32 toggle",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Reports a decoded key of a remote control.",
        gpl_only=True,
    ),
    row(
        92, "rc_pointer_rel", "5.0", "lirc", "long", "void *ctx, s32 rel_x, s32 rel_y",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Reports a movement of a remote control's pointer.",
        gpl_only=True,
    ),
)  # fmt: skip
