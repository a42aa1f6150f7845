"""SYN cookies by the kernel's own helpers, for a host behind the program."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import be16, be32, helpers, map, s64, u8, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, PROTO_TCP, Ethernet, IPv4, Tcp

LICENSE = bpf.license("GPL")


results = map.array(u32, u64, max_entries=4)  # SYNs answered, good and bad acknowledgements, failures


@bpf.inline
def count(which: u32) -> None:
    slot = results.lookup(which)
    if slot is not None:
        slot.value += 1


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
    if tcp.syn != 0 and tcp.ack == 0:
        if tcp.offset != 5:
            return xdp.DROP
        made = helpers.tcp_raw_gen_syncookie_ipv4(ip, tcp, 20)
        if made < 0:
            count(u32(3))
            return xdp.ABORTED
        sequence = u32(tcp.sequence)
        tcp.sequence = be32(u32(made))
        tcp.acknowledgment = be32(sequence + 1)
        tcp.ack = u8(1)
        port = be16(tcp.source)
        tcp.source = tcp.destination
        tcp.destination = port
        address = be32(ip.source)
        ip.source = ip.destination
        ip.destination = address
        count(u32(0))
        return xdp.TX
    if tcp.ack == 0 or tcp.rst != 0:
        return xdp.DROP
    if helpers.tcp_raw_check_syncookie_ipv4(ip, tcp) != s64(0):
        count(u32(2))
        return xdp.DROP
    count(u32(1))
    return xdp.PASS
