"""References: from functions, through loops, out of records that are given up."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Ref, Struct, map, s8, s16, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, Ethernet, IPv4

out = map.array(u32, u64, max_entries=16)
ring = map.ringbuf(max_entries=4096)
total = bpf.var(u64(0))


class Rec(Struct):
    a: u64


def ipv4(ctx: xdp.Context) -> IPv4 | None:
    eth = ctx.parse(Ethernet)
    if eth is None or eth.protocol != ETH_IPV4:
        return None
    return ctx.parse(IPv4, 14)


@bpf.noinline
def ttl(ctx: xdp.Context, flag: bool, small: s8) -> s16:
    ip = ipv4(ctx)
    if ip is None:
        return s16(-1)
    return s16(ip.ttl) + s16(small) if flag else s16(small)


def find(key: u32) -> Ref[u64] | None:
    return out.lookup(key)


@xdp
def main(ctx: xdp.Context) -> xdp.Action:
    """A program."""
    out.update(0, u64(ttl(ctx, ctx.length > 40, s8(-3))))
    slot = find(u32(1))
    if slot:
        slot.value += 2
    for i in range(5):
        with ring.reserve(Rec) as rec:
            if not rec:
                break
            rec.a = u64(i)
            if i == 1:
                continue
            if i == 3:
                ring.discard(rec)
                break
        bpf.atomic(total).value += 1
    n = u32(0)
    while True:
        n += 3
        if n > 20:
            break
    out.update(2, u64(n))
    out.update(3, total.value)
    best: Ref[u64] | None = None
    for k in (1, 2, 3):
        candidate = out.lookup(k)
        if candidate is not None and (best is None or candidate.value > best.value):
            best = candidate
    if best is not None:
        out.update(4, best.value)
    ok = not (n == 21 or n == 5)
    out.update(5, u64(ok))
    return xdp.PASS
