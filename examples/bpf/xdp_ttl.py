"""Forward: count the hop limit down and fix the checksum up."""

from __future__ import annotations

from bombus.bpf import be16, u16, u32, xdp
from bombus.bpf.net import ETH_IPV4, ETH_IPV6, Ethernet, IPv4, IPv6


@xdp
def hop(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None:
        return xdp.DROP
    if eth.protocol == ETH_IPV4:
        ip = ctx.parse(IPv4, 14)
        if ip is None or ip.ttl <= 1:
            return xdp.DROP
        ip.ttl -= 1
        total = u32(u16(ip.checksum)) + 0x100
        ip.checksum = be16(total + u32(total >= 0xFFFF))
    elif eth.protocol == ETH_IPV6:
        ip6 = ctx.parse(IPv6, 14)
        if ip6 is None or ip6.hop_limit <= 1:
            return xdp.DROP
        ip6.hop_limit -= 1
    else:
        return xdp.PASS
    return xdp.TX
