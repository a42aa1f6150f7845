"""Take the VLAN tag off frames."""

from __future__ import annotations

from bombus.bpf import helpers, map, u16, u64, xdp
from bombus.bpf.net import ETH_VLAN, Ethernet, Vlan

tags = map.hash(u16, u64, max_entries=64)


@xdp
def pop(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_VLAN:
        return xdp.PASS
    vlan = ctx.parse(Vlan, 14)
    if vlan is None:
        return xdp.DROP
    number = u16(vlan.tag) & 0xFFF
    seen = tags.lookup(number)
    if seen is None:
        tags.update(number, 1)
    else:
        seen.value += 1
    kept = Ethernet(destination=eth.destination, source=eth.source, protocol=vlan.protocol)
    if helpers.xdp_adjust_head(ctx, 4) != 0:
        return xdp.DROP
    fresh = ctx.parse(Ethernet)
    if fresh is None:
        return xdp.DROP
    fresh.assign(kept)
    return xdp.TX
