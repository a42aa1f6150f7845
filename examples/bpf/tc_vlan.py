"""Push a VLAN tag on, or pop it off."""

from __future__ import annotations

from bombus.bpf import be16, helpers, map, tc, u32, u64

done = map.array(u32, u64, max_entries=2)


@tc
def tag(ctx: tc.Context) -> tc.Action:
    if ctx.vlan_present != 0:
        helpers.skb_vlan_pop(ctx)
        slot = done.lookup(1)
    else:
        helpers.skb_vlan_push(ctx, be16(0x8100), 42)
        slot = done.lookup(0)
    if slot is not None:
        slot.value += u64(ctx.vlan_present) + 1
    return tc.OK
