"""Let a socket see every third packet."""

from __future__ import annotations

from bombus.bpf import contexts, map, socket_filter, u32, u64

counts = map.array(u32, u64, max_entries=1)


@socket_filter
def third(ctx: contexts.Skb) -> u32:
    slot = counts.lookup(0)
    if slot is None:
        return u32(0)
    slot.value += 1
    return ctx.len if slot.value % 3 == 0 else u32(0)
