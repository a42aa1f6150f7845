"""Look through a whole map for the largest count."""

from __future__ import annotations

from bombus.bpf import Ref, Struct, map, s64, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4


class Best(Struct):
    key: u32
    seen: u32
    value: u64


counts = map.hash(u32, u64, max_entries=32)
best = map.array(u32, Best, max_entries=1)


def compare(_map: u64, key: Ref[u32], value: Ref[u64], best: Best) -> s64:
    best.seen += 1
    if value.value > best.value or (value.value == best.value and key.value < best.key):
        best.value = value.value
        best.key = key.value
    return s64(0)


@xdp
def largest(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.PASS
    key = u32(ip.source) & 0xF
    slot = counts.lookup(key)
    if slot is None:
        counts.update(key, 1)
    else:
        slot.value += 1
    found = Best()
    counts.for_each(compare, found)
    best.update(0, found)
    return xdp.PASS if found.key != key else xdp.TX
