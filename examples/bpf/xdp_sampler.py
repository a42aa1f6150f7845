"""Send every fourth packet's addresses to user space."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, be32, map, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4


class Sample(Struct):
    source: be32
    destination: be32
    length: u32
    number: u32


samples = map.ringbuf(max_entries=4096)
seen = bpf.var(u64(0))
lost = bpf.var(u64(0))


@xdp
def sample(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.PASS
    seen.value += 1
    if seen.value % 4 != 0:
        return xdp.PASS
    with samples.reserve(Sample) as record:
        if record is None:
            lost.value += 1
            return xdp.PASS
        record.source = ip.source
        record.destination = ip.destination
        record.length = ctx.length
        record.number = u32(seen.value)
    return xdp.PASS
