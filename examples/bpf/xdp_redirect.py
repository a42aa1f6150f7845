"""Send packets to another device by the last byte of their destination."""

from __future__ import annotations

from bombus.bpf import map, u32, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4

devices = map.devmap(max_entries=4)


@xdp
def send(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.PASS
    return xdp.Action(devices.redirect(u32(ip.destination) & 3, 2))
