"""Pass a source the second time it is seen."""

from __future__ import annotations

from bombus.bpf import map, u32, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4

known = map.bloom_filter(u32, max_entries=128)


@xdp
def second(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.PASS
    source = u32(ip.source)
    if known.has(source):
        return xdp.PASS
    known.push(source)
    return xdp.DROP
