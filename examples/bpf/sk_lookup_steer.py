"""Refuse connections to some ports before any socket is found."""

from __future__ import annotations

from bombus.bpf import contexts, map, sk_lookup, u32, u64

closed = map.hash(u32, u64, max_entries=16)


@sk_lookup
def steer(ctx: contexts.BpfSkLookup) -> int:
    port = closed.lookup(ctx.local_port)
    if port is None:
        return 1
    port.value += 1
    return 0
