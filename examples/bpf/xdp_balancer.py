"""Send TCP flows to one of several servers by consistent hashing, fixing checksums up."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, be16, be32, map, u16, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, PROTO_TCP, Ethernet, IPv4, Tcp


class Server(Struct):
    address: be32
    weight: u32
    packets: u64


RING = 64
SERVICE = 0x0A000001

ring = map.array(u32, u32, max_entries=RING)
servers = map.array(u32, Server, max_entries=8)


def scramble(value: u32) -> u32:
    """A finalizer that mixes all bits (MurmurHash3)."""
    value ^= value >> 16
    value *= 0x85EBCA6B
    value ^= value >> 13
    value *= 0xC2B2AE35
    return value ^ (value >> 16)


def adjusted(checksum: be16, old: be32, new: be32) -> be16:
    """The checksum after a 32-bit word changed (RFC 1624)."""
    before, after = u32(old), u32(new)
    total = u32(~u16(checksum))
    total += u32(~u16(before)) + u32(~u16(before >> 16))
    total += (after & 0xFFFF) + (after >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return be16(~total)


@xdp
def balance(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None or ip.ihl != 5 or ip.protocol != PROTO_TCP or ip.destination != SERVICE:
        return xdp.PASS
    tcp = ctx.parse(Tcp, 34)
    if tcp is None:
        return xdp.DROP
    place = ring.lookup(scramble(u32(ip.source) ^ (u32(u16(tcp.source)) << 16)) % RING)
    if place is None:
        return xdp.ABORTED
    server = servers.lookup(place.value)
    if server is None:
        return xdp.ABORTED
    bpf.atomic(server).packets += 1
    ip.checksum = adjusted(ip.checksum, ip.destination, server.address)
    tcp.checksum = adjusted(tcp.checksum, ip.destination, server.address)
    ip.destination = server.address
    return xdp.TX
