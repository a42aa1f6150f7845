"""Walk the extension headers of IPv6 to the transport header."""

from __future__ import annotations

from bombus.bpf import Struct, map, u8, u32, u64, xdp
from bombus.bpf.net import ETH_IPV6, Ethernet, IPv6


class Extension(Struct):
    next: u8
    length: u8


HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
transports = map.array(u32, u64, max_entries=256)


@xdp
def walk(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV6:
        return xdp.PASS
    ip = ctx.parse(IPv6, 14)
    if ip is None:
        return xdp.DROP
    kind = ip.next
    offset = u32(54)
    for _ in range(6):
        if kind not in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION):
            break
        extension = ctx.parse(Extension, offset)
        if extension is None:
            return xdp.DROP
        offset += 8 if kind == FRAGMENT else (u32(extension.length) + 1) * 8
        kind = extension.next
    else:
        return xdp.DROP
    slot = transports.lookup(u32(kind))
    if slot is not None:
        slot.value += 1
    return xdp.PASS
