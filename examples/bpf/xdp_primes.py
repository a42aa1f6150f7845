"""Numbers: greatest common divisor, integer square root, primality."""

from __future__ import annotations

from bombus.bpf import map, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4

results = map.array(u32, u64, max_entries=4)


def gcd(a: u32, b: u32) -> u32:
    for _ in range(40):
        if b == 0:
            break
        a, b = b, a % b
    return a


def sqrt(value: u32) -> u32:
    root = u32(0)
    for i in range(15, -1, -1):
        more = root | u32(1) << u32(i)
        if more * more <= value:
            root = more
    return root


def prime(value: u32) -> bool:
    if value < 2:
        return False
    for divisor in range(2, 32):
        if value % divisor == 0:
            return value == divisor
    return True


@xdp
def numbers(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.PASS
    a, b = u32(ip.source), u32(ip.destination)
    results.update(0, u64(gcd(a, b)))
    results.update(1, u64(sqrt(a >> 1)))
    results.update(2, u64(prime(a & 1023)))
    return xdp.PASS
