"""Mark packets that have a listening socket here."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, be16, be32, helpers, map, tc, u32, u64
from bombus.bpf.net import ETH_IPV4, PROTO_TCP, Ethernet, IPv4, Tcp

LICENSE = bpf.license("GPL")
LISTEN = 10


class Tuple(Struct):
    source: be32
    destination: be32
    source_port: be16
    destination_port: be16


known = map.array(u32, u64, max_entries=2)


def count(index: u32) -> None:
    slot = known.lookup(index)
    if slot is not None:
        slot.value += 1


@tc
def sockets(ctx: tc.Context) -> tc.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return tc.OK
    ip = ctx.parse(IPv4, 14)
    if ip is None or ip.protocol != PROTO_TCP or ip.ihl != 5:
        return tc.OK
    tcp = ctx.parse(Tcp, 34)
    if tcp is None:
        return tc.SHOT
    wanted = Tuple(
        source=ip.source, destination=ip.destination, source_port=tcp.source, destination_port=tcp.destination
    )
    sock = helpers.skc_lookup_tcp(ctx, wanted, 12, u64(u32.MAX << 32 | u32.MAX), 0)
    if sock is None:
        count(u32(0))
        return tc.OK
    if sock.state == LISTEN:
        ctx.mark = u32(1)
    count(u32(1))
    helpers.sk_release(sock)
    return tc.OK
