"""Answer pings."""

from __future__ import annotations

from bombus.bpf import be16, be32, u8, u16, u32, xdp
from bombus.bpf.net import ETH_IPV4, PROTO_ICMP, Ethernet, Icmp, IPv4

ECHO_REQUEST, ECHO_REPLY = 8, 0


@xdp
def echo(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None or ip.protocol != PROTO_ICMP or ip.ihl != 5:
        return xdp.PASS
    icmp = ctx.parse(Icmp, 34)
    if icmp is None or icmp.type != ECHO_REQUEST:
        return xdp.PASS
    icmp.type = u8(ECHO_REPLY)
    total = u32(u16(icmp.checksum)) + (ECHO_REQUEST << 8)
    icmp.checksum = be16((total & 0xFFFF) + (total >> 16))
    for i in range(6):
        byte = eth.source[i]
        eth.source[i] = eth.destination[i]
        eth.destination[i] = byte
    address = be32(ip.source)
    ip.source = ip.destination
    ip.destination = address
    return xdp.TX
