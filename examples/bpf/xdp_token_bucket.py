"""Limit each source to a rate, with a token bucket. Every packet is a tick of the clock."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, map, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4


class Bucket(Struct):
    tokens: u64
    updated: u64


RATE = 3  # tokens in 16 ticks
BURST = 32

now = bpf.var(u64(0))
buckets = map.lru_hash(u32, Bucket, max_entries=256)


@xdp
def limit(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4 or (ip := ctx.parse(IPv4, 14)) is None:
        return xdp.PASS
    now.value += 1
    time = now.value
    source = u32(ip.source)
    bucket = buckets.lookup(source)
    if bucket is None:
        buckets.update(source, Bucket(tokens=BURST - 16, updated=time))
        return xdp.PASS
    tokens = bucket.tokens + (time - bucket.updated) * RATE
    if tokens > BURST:
        tokens = u64(BURST)
    bucket.updated = time
    if tokens < 16:
        bucket.tokens = tokens
        return xdp.DROP
    bucket.tokens = tokens - 16
    return xdp.PASS
