"""Drop packets from networks in a table, by longest prefix."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, be32, map, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4


class Prefix(Struct):
    bits: u32
    address: be32


blocked = map.lpm_trie(Prefix, u64, max_entries=1024)


@xdp
def firewall(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.DROP
    hits = blocked.lookup(Prefix(bits=32, address=ip.source))
    if hits is None:
        return xdp.PASS
    bpf.atomic(hits).value += 1
    return xdp.DROP
