"""A map of counters for each tenant, found through a map of maps."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import map, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4

tenant = map.array(u32, u64, max_entries=4)
tenants = map.hash_of_maps(u32, tenant, max_entries=16)
unknown = map.array(u32, u64, max_entries=1)


@xdp
def account(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.DROP
    counters = tenants.lookup(u32(ip.source) & 7)
    if counters is None:
        slot = unknown.lookup(0)
        if slot is not None:
            slot.value += 1
        return xdp.DROP
    mine = counters.lookup(u32(ip.protocol) & 3)
    if mine is not None:
        bpf.atomic(mine).value += u64(ctx.length)
    return xdp.PASS
