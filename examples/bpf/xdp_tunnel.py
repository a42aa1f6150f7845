"""Put IPv4 packets into IPv4 (IPIP)."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import be16, be32, helpers, u8, u16, u32, xdp
from bombus.bpf.net import ETH_IPV4, PROTO_IPIP, Ethernet, IPv4

local = bpf.config(u32(0x0A000001))
remote = bpf.config(u32(0x0A000002))


def header_checksum(length: u16, source: u32, destination: u32) -> be16:
    total = u32(0x4500) + u32(length) + (u32(64) << 8) + PROTO_IPIP
    total += (source >> 16) + (source & 0xFFFF) + (destination >> 16) + (destination & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return be16(~total)


@xdp
def wrap(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    inner = ctx.parse(IPv4, 14)
    if inner is None:
        return xdp.DROP
    length = u16(inner.length) + 20
    kept = eth.copy()
    if helpers.xdp_adjust_head(ctx, -20) != 0:
        return xdp.DROP
    outer_eth = ctx.parse(Ethernet)
    outer = ctx.parse(IPv4, 14)
    if outer_eth is None or outer is None:
        return xdp.DROP
    outer_eth.assign(kept)
    outer.version = u8(4)
    outer.ihl = u8(5)
    outer.tos = u8(0)
    outer.length = be16(length)
    outer.id = be16(0)
    outer.fragment = be16(0)
    outer.ttl = u8(64)
    outer.protocol = u8(PROTO_IPIP)
    outer.source = be32(local.value)
    outer.destination = be32(remote.value)
    outer.checksum = header_checksum(length, local.value, remote.value)
    return xdp.TX
