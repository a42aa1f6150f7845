"""Spread flows over queues with Jenkins' one-at-a-time hash."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import map, u16, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, PROTO_TCP, PROTO_UDP, Ethernet, IPv4, Udp

queues = map.array(u32, u64, max_entries=8)


@bpf.noinline
def mix(state: u32, word: u32) -> u32:
    for shift in (0, 8, 16, 24):
        state += (word >> shift) & 0xFF
        state += state << 10
        state ^= state >> 6
    return state


def finish(state: u32) -> u32:
    state += state << 3
    state ^= state >> 11
    return state + (state << 15)


@xdp
def spread(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.PASS
    state = mix(mix(u32(0), u32(ip.source)), u32(ip.destination))
    if ip.protocol in (PROTO_TCP, PROTO_UDP) and ip.ihl == 5:
        udp = ctx.parse(Udp, 34)
        if udp is not None:
            state = mix(state, u32(u16(udp.source)) << 16 | u32(u16(udp.destination)))
    slot = queues.lookup(finish(state) % 8)
    if slot is not None:
        slot.value += 1
    return xdp.PASS
