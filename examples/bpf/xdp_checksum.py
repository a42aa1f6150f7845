"""Verify the checksum of the IPv4 header, options and all."""

from __future__ import annotations

from bombus.bpf import Struct, be16, map, u16, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4


class Word(Struct):
    value: be16


verdicts = map.array(u32, u64, max_entries=2)


@xdp
def verify(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None or ip.ihl < 5:
        return xdp.DROP
    words = u32(ip.ihl) * 2
    total = u32(0)
    for i in range(30):
        if words <= i:
            break
        word = ctx.parse(Word, 14 + i * 2)
        if word is None:
            return xdp.DROP
        total += u32(u16(word.value))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    good = total == 0xFFFF
    slot = verdicts.lookup(u32(good))
    if slot is not None:
        slot.value += 1
    return xdp.PASS if good else xdp.DROP
