"""Let a socket see TCP only, and of it the headers."""

from __future__ import annotations

from bombus.bpf import Struct, contexts, helpers, socket_filter, u8, u32
from bombus.bpf.net import PROTO_TCP


class Byte(Struct):
    value: u8


@socket_filter
def tcp(ctx: contexts.Skb) -> u32:
    protocol = Byte()
    if helpers.skb_load_bytes(ctx, 23 - 14, protocol, 1) != 0:
        return u32(0)
    if protocol.value != PROTO_TCP:
        return u32(0)
    return u32(54)
