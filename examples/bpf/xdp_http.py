"""Count HTTP requests by method."""

from __future__ import annotations

from bombus.bpf import Array, Struct, array, map, u8, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, PROTO_TCP, Ethernet, IPv4, Tcp


class Start(Struct):
    text: Array[u8] = array(8)


GET, POST, HEAD, OTHER = 0, 1, 2, 3
requests = map.array(u32, u64, max_entries=4)


def starts(text: Start, a: u8, b: u8, c: u8, d: u8) -> bool:
    return text.text[0] == a and text.text[1] == b and text.text[2] == c and text.text[3] == d


@xdp
def http(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None or ip.protocol != PROTO_TCP or ip.ihl < 5:
        return xdp.PASS
    segment = 14 + u32(ip.ihl) * 4
    tcp = ctx.parse(Tcp, segment)
    if tcp is None or tcp.offset < 5 or tcp.destination != 80:
        return xdp.PASS
    start = ctx.parse(Start, segment + u32(tcp.offset) * 4)
    if start is None:
        return xdp.PASS
    key = u32(OTHER)
    if starts(start, u8(0x47), u8(0x45), u8(0x54), u8(0x20)):
        key = u32(GET)
    elif starts(start, u8(0x50), u8(0x4F), u8(0x53), u8(0x54)):
        key = u32(POST)
    elif starts(start, u8(0x48), u8(0x45), u8(0x41), u8(0x44)):
        key = u32(HEAD)
    slot = requests.lookup(key)
    if slot is not None:
        slot.value += 1
    return xdp.PASS
