"""Let only some TCP and UDP ports through."""

from __future__ import annotations

from bombus.bpf import map, u16, u64, xdp
from bombus.bpf.net import ETH_IPV4, PROTO_TCP, PROTO_UDP, Ethernet, IPv4, Udp

allowed = map.hash(u16, u64, max_entries=64)


@xdp
def ports(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None:
        return xdp.DROP
    if eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None or ip.ihl < 5:
        return xdp.DROP
    if ip.protocol not in (PROTO_TCP, PROTO_UDP):
        return xdp.PASS
    udp = ctx.parse(Udp, 14 + u64(ip.ihl) * 4)  # the ports of TCP lie in the same place
    if udp is None:
        return xdp.DROP
    seen = allowed.lookup(u16(udp.destination))
    if seen is None:
        return xdp.DROP
    seen.value += 1
    return xdp.PASS
