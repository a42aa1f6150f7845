"""Mark packets by protocol and read the mark back."""

from __future__ import annotations

from bombus.bpf import map, tc, u32, u64
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4

marks = map.hash(u32, u64, max_entries=64)


@tc
def mark(ctx: tc.Context) -> tc.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return tc.OK
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return tc.SHOT
    ctx.mark = u32(ip.protocol) << 8 | u32(ip.tos)
    ctx.priority = ctx.mark & 7
    ctx.cb[0] = ctx.mark + 1
    seen = marks.lookup(ctx.mark)
    if seen is None:
        marks.update(ctx.mark, u64(ctx.cb[0]))
    else:
        seen.value += u64(ctx.priority)
    return tc.OK
