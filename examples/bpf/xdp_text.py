"""Write what packets are into records, as text."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, map, s64, u8, u32, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4

LICENSE = bpf.license("GPL")


class Line(Struct):
    needed: s64
    text: Array[u8] = array(40)


lines = map.array(u32, Line, max_entries=2)


@xdp
def describe(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    line = lines.lookup(0)
    other = lines.lookup(1)
    if eth is None or line is None or other is None:
        return xdp.DROP
    other.needed = bpf.snprintf(other.text, f"{ctx.length} bytes, 100% read")
    if eth.protocol != ETH_IPV4:
        line.needed = bpf.snprintf(line.text, f"{eth.protocol:#x} is not IPv4 and this is too long to fit")
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.DROP
    line.needed = bpf.snprintf(line.text, f"{ip.source:08x} to {ip.destination:08X}, {ip.ttl:3d} hops")
    return xdp.PASS
