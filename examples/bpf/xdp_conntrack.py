"""Follow TCP connections: pass packets only of those that began with a SYN."""

from __future__ import annotations

from bombus.bpf import Struct, be16, be32, map, u8, u64, xdp
from bombus.bpf.net import ETH_IPV4, PROTO_TCP, Ethernet, IPv4, Tcp


class Flow(Struct):
    source: be32
    destination: be32
    source_port: be16
    destination_port: be16


class Connection(Struct):
    state: u8
    packets: u64


NEW, OPEN, CLOSING = u8(1), u8(2), u8(3)

connections = map.lru_hash(Flow, Connection, max_entries=1024)


@xdp
def track(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None or ip.protocol != PROTO_TCP or ip.ihl != 5:
        return xdp.PASS
    tcp = ctx.parse(Tcp, 34)
    if tcp is None:
        return xdp.DROP
    forward = Flow(
        source=ip.source, destination=ip.destination, source_port=tcp.source, destination_port=tcp.destination
    )
    backward = Flow(
        source=ip.destination, destination=ip.source, source_port=tcp.destination, destination_port=tcp.source
    )
    known = connections.lookup(forward)
    if known is None:
        known = connections.lookup(backward)
    if known is None:
        if tcp.syn == 0 or tcp.ack != 0:
            return xdp.DROP
        connections.update(forward, Connection(state=NEW, packets=1), map.NOEXIST)
        return xdp.PASS
    known.packets += 1
    if tcp.rst != 0:
        connections.delete(forward)
        connections.delete(backward)
    elif tcp.fin != 0:
        known.state = CLOSING
    elif known.state == NEW and tcp.ack != 0:
        known.state = OPEN
    return xdp.PASS
