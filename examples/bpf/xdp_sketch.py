"""Find heavy senders with a count-min sketch."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, map, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4

ROWS, COLUMNS = 4, 64


class Row(Struct):
    counts: Array[u32] = array(COLUMNS)


sketch = map.array(u32, Row, max_entries=ROWS)
heavy = map.hash(u32, u64, max_entries=64)
threshold = bpf.config(u32(5))


def spread(value: u32, seed: u32) -> u32:
    value = (value ^ seed) * 0x9E3779B1
    return value ^ (value >> 15)


@xdp
def hitters(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.PASS
    source = u32(ip.source)
    least = u32(u32.MAX)
    for i in range(ROWS):
        row = sketch.lookup(u32(i))
        if row is None:
            return xdp.ABORTED
        column = spread(source, u32(i) * 0x51ED270B) % COLUMNS
        row.counts[column] += 1
        least = min(least, row.counts[column])
    if least > threshold.value:
        heavy.update(source, u64(least))
        return xdp.DROP
    return xdp.PASS
