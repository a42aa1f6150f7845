"""Count packets by network protocol."""

from __future__ import annotations

from bombus.bpf import map, u32, u64, xdp
from bombus.bpf.net import ETH_ARP, ETH_IPV4, ETH_IPV6, Ethernet

packets = map.percpu_array(u32, u64, max_entries=4)


@xdp
def count(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None:
        return xdp.DROP
    key = u32(0)
    if eth.protocol == ETH_IPV4:
        key = u32(1)
    elif eth.protocol == ETH_IPV6:
        key = u32(2)
    elif eth.protocol == ETH_ARP:
        key = u32(3)
    slot = packets.lookup(key)
    if slot is not None:
        slot.value += 1
    return xdp.PASS
