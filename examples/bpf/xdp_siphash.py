"""SipHash-2-4 of the addresses, as SYN cookies use it."""

from __future__ import annotations

from bombus.bpf import map, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4

KEY0, KEY1 = 0x0706050403020100, 0x0F0E0D0C0B0A0908
hashes = map.array(u32, u64, max_entries=1)


def rotl(x: u64, b: u64) -> u64:
    return x << b | x >> (64 - b)


def siphash(message: u64, length: u64) -> u64:
    v0 = u64(KEY0) ^ 0x736F6D6570736575
    v1 = u64(KEY1) ^ 0x646F72616E646F6D
    v2 = u64(KEY0) ^ 0x6C7967656E657261
    v3 = u64(KEY1) ^ 0x7465646279746573
    last = length << 56
    for step in (0, 1, 2):
        rounds = 2 if step < 2 else 4
        word = message if step == 0 else last
        if step < 2:
            v3 ^= word
        else:
            v2 ^= 0xFF
        for _ in range(rounds):
            v0 += v1
            v1 = rotl(v1, u64(13)) ^ v0
            v0 = rotl(v0, u64(32))
            v2 += v3
            v3 = rotl(v3, u64(16)) ^ v2
            v0 += v3
            v3 = rotl(v3, u64(21)) ^ v0
            v2 += v1
            v1 = rotl(v1, u64(17)) ^ v2
            v2 = rotl(v2, u64(32))
        if step < 2:
            v0 ^= word
    return v0 ^ v1 ^ v2 ^ v3


@xdp
def cookie(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.PASS
    hashes.update(0, siphash(u64(u32(ip.source)) << 32 | u64(u32(ip.destination)), u64(8)))
    return xdp.PASS
