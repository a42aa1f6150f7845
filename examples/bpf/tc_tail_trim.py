"""Cut packets to 60 bytes."""

from __future__ import annotations

from bombus.bpf import helpers, map, tc, u32, u64

cut = map.array(u32, u64, max_entries=1)


@tc
def trim(ctx: tc.Context) -> tc.Action:
    if ctx.len <= 60:
        return tc.OK
    slot = cut.lookup(0)
    if slot is not None:
        slot.value += u64(ctx.len - 60)
    helpers.skb_change_tail(ctx, 60, 0)
    return tc.PIPE
