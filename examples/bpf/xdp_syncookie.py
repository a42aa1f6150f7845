"""Answer SYNs in place with a cookie, and let only connections through that bring it back."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, be16, be32, map, u8, u16, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, PROTO_TCP, Ethernet, IPv4, Tcp


class Flow(Struct):
    source: be32
    destination: be32
    source_port: be16
    destination_port: be16


verified = map.lru_hash(Flow, u64, max_entries=4096)
statistics = map.array(u32, u64, max_entries=4)  # cookies sent, brought back, refused; packets of known connections
secret = bpf.config(u32(0x5EC2E75E))
period = bpf.var(u32(1))  # user space counts it up; cookies live for one to two periods

SENT, GOOD, BAD, KNOWN = 0, 1, 2, 3


@bpf.inline
def count(which: u32) -> None:
    slot = statistics.lookup(which)
    if slot is not None:
        bpf.atomic(slot).value += 1


@bpf.inline
def mixed(state: u32, word: u32) -> u32:
    state ^= word
    state ^= state >> 16
    state *= 0x85EBCA6B
    state ^= state >> 13
    state *= 0xC2B2AE35
    return state ^ (state >> 16)


@bpf.inline
def cookie_of(flow: Flow, sequence: u32, when: u32) -> u32:
    state = mixed(secret.value, u32(flow.source))
    state = mixed(state, u32(flow.destination))
    state = mixed(state, u32(u16(flow.source_port)) << 16 | u32(u16(flow.destination_port)))
    return mixed(mixed(state, sequence), when)


@bpf.inline
def changed(total: u32, old: u32, new: u32) -> u32:
    """The complement of a checksum, unfolded, after a word changed (RFC 1624)."""
    return total + (~old & 0xFFFF) + (~old >> 16) + (new & 0xFFFF) + (new >> 16)


@bpf.inline
def answer(eth: Ethernet, ip: IPv4, tcp: Tcp, cookie: u32) -> None:
    """Make a SYN a SYN and ACK to where it came from."""
    sequence = u32(tcp.sequence)
    total = u32(~u16(tcp.checksum))
    total = changed(total, sequence, cookie)
    total = changed(total, u32(tcp.acknowledgment), sequence + 1)
    total = changed(total, u32(0), u32(0x0010))  # the flag ACK
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    tcp.checksum = be16(~total)
    tcp.acknowledgment = be32(sequence + 1)
    tcp.sequence = be32(cookie)
    tcp.ack = u8(1)
    port = be16(tcp.source)
    tcp.source = tcp.destination
    tcp.destination = port
    address = be32(ip.source)
    ip.source = ip.destination
    ip.destination = address
    for i in range(6):
        byte = eth.source[i]
        eth.source[i] = eth.destination[i]
        eth.destination[i] = byte


@xdp
def guard(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None or ip.ihl != 5 or ip.protocol != PROTO_TCP:
        return xdp.PASS
    tcp = ctx.parse(Tcp, 34)
    if tcp is None:
        return xdp.DROP
    flow = Flow(source=ip.source, destination=ip.destination, source_port=tcp.source, destination_port=tcp.destination)
    if tcp.syn != 0 and tcp.ack == 0:
        answer(eth, ip, tcp, cookie_of(flow, u32(tcp.sequence), period.value))
        count(u32(SENT))
        return xdp.TX
    seen = verified.lookup(flow)
    if seen is not None:
        bpf.atomic(seen).value += 1
        count(u32(KNOWN))
        return xdp.PASS
    brought = u32(tcp.acknowledgment) - 1
    sequence = u32(tcp.sequence) - 1
    now = period.value
    if tcp.ack != 0 and (brought == cookie_of(flow, sequence, now) or brought == cookie_of(flow, sequence, now - 1)):
        verified.update(flow, 1)
        count(u32(GOOD))
        return xdp.PASS
    count(u32(BAD))
    return xdp.DROP
