"""Every way through code: else of loops, nested breaks, walrus, ternary, match with guards."""

from __future__ import annotations

from bombus.bpf import map, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4

trace = map.array(u32, u64, max_entries=8)


def note(index: u32, value: u64) -> None:
    slot = trace.lookup(index)
    if slot is not None:
        slot.value = slot.value * 17 + value


def classify(value: u32) -> u32:
    match value:
        case 0:
            return u32(1)
        case 1 | 2 | 3:
            return u32(2)
        case 4 if value > 100:
            return u32(99)
        case 5:
            value += 10
        case _:
            value = value // 3 if value > 50 else value * 2
    return value


@xdp
def flow(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return xdp.PASS
    if (ip := ctx.parse(IPv4, 14)) is None:
        return xdp.DROP
    n = u32(ip.source) & 63
    note(u32(0), u64(classify(n)))
    for i in range(3):
        for j in range(4):
            if n == i * j + 1:
                break
            if (i + j) % 5 == 4:
                continue
            note(u32(1), u64(i * 8 + j))
        else:
            note(u32(2), u64(i))
            continue
        note(u32(3), u64(i))
        break
    else:
        note(u32(4), u64(1))
    steps = u32(0)
    while n != 1 and steps < 6:
        n = n // 2 if n % 2 == 0 else n * 3 + 1
        steps += 1
        if n == 0:
            break
    else:
        note(u32(5), u64(steps))
    low, high = (n, steps) if n < steps else (steps, n)
    note(u32(6), u64(low) << 32 | u64(high))
    small = 1 <= steps < 4
    note(u32(7), u64(small) + u64(not small and n > 1) * 2)
    return xdp.TX if small else xdp.PASS
