"""Rewrite the destination through the checksum helpers."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, be32, helpers, map, tc, u32, u64
from bombus.bpf.net import ETH_IPV4, PROTO_TCP, PROTO_UDP, Ethernet, IPv4

targets = map.hash(u32, u32, max_entries=16)
IP_CHECKSUM, IP_DESTINATION = 24, 30
BPF_F_PSEUDO_HDR, BPF_F_MARK_MANGLED_0 = 0x10, 0x20


class Address(Struct):
    value: be32


@tc
def nat(ctx: tc.Context) -> tc.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return tc.OK
    ip = ctx.parse(IPv4, 14)
    if ip is None or ip.ihl != 5:
        return tc.OK
    target = targets.lookup(u32(ip.destination) & 3)
    if target is None:
        return tc.OK
    old = be32(ip.destination)
    new = Address(value=be32(target.value))
    protocol = ip.protocol
    if protocol == PROTO_TCP:
        helpers.l4_csum_replace(ctx, 50, u64(bpf.htonl(u32(old))), u64(bpf.htonl(target.value)), BPF_F_PSEUDO_HDR | 4)
    elif protocol == PROTO_UDP:
        flags = BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | 4
        helpers.l4_csum_replace(ctx, 40, u64(bpf.htonl(u32(old))), u64(bpf.htonl(target.value)), flags)
    helpers.l3_csum_replace(ctx, IP_CHECKSUM, u64(bpf.htonl(u32(old))), u64(bpf.htonl(target.value)), 4)
    helpers.skb_store_bytes(ctx, IP_DESTINATION, new, 4, 0)
    return tc.OK
