"""Take the name out of DNS questions and count questions by length and type."""

from __future__ import annotations

from bombus.bpf import Array, Struct, array, be16, map, u8, u16, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, PROTO_UDP, Ethernet, IPv4, Udp


class Dns(Struct):
    id: be16
    flags: be16
    questions: be16
    answers: be16
    authorities: be16
    additional: be16


class Byte(Struct):
    value: u8


class Tail(Struct):
    type: be16
    kind: be16


class Name(Struct):
    length: u32
    text: Array[u8] = array(32)


names = map.hash(Name, u64, max_entries=64)
types = map.hash(u16, u64, max_entries=64)


@xdp
def dns(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None or ip.protocol != PROTO_UDP or ip.ihl != 5:
        return xdp.PASS
    udp = ctx.parse(Udp, 34)
    if udp is None or udp.destination != 53:
        return xdp.PASS
    query = ctx.parse(Dns, 42)
    if query is None or query.questions != 1:
        return xdp.DROP
    name = Name()
    end = u32(0)
    for i in range(32):
        byte = ctx.parse(Byte, i + 54)
        if byte is None:
            return xdp.DROP
        if byte.value == 0:
            end = u32(i + 55)
            break
        name.text[i] = byte.value
        name.length += 1
    if end == 0:
        return xdp.PASS
    tail = ctx.parse(Tail, end)
    if tail is None:
        return xdp.DROP
    seen = names.lookup(name)
    if seen is None:
        names.update(name, 1)
    else:
        seen.value += 1
    kind = types.lookup(u16(tail.type))
    if kind is None:
        types.update(u16(tail.type), 1)
    else:
        kind.value += 1
    return xdp.PASS
