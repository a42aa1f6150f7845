"""Elements that stay are seen once by each walk, whatever comes and goes beside them."""

from bombus.bpf import Ref, Struct, map, s64, u32, u64, xdp

STAYING = u32(64)


class Seen(Struct):
    staying: u32
    twice: u32
    which: u64
    turns: u64


class Order(Struct):
    pad: u64
    pad2: u64
    key: u32
    what: u32


in_hash = map.hash(u32, u64, max_entries=400)
in_lru_hash = map.lru_hash(u32, u64, max_entries=12000)                      # never drops one of 250
in_percpu_hash = map.percpu_hash(u32, u64, max_entries=400)


def visit(_map: u64, key: Ref[u32], value: Ref[u64], seen: Seen) -> s64:
    number = key.value
    for _ in range(40):                           # time for other CPUs
        seen.turns += seen.turns * u64(31) ^ u64(number)
    if number < STAYING:
        bit = u64(1) << u64(number)
        if (seen.which & bit) != 0:
            seen.twice += 1
        seen.which |= bit
        seen.staying += 1
    return s64(0)


def judged(seen: Seen) -> xdp.Action:
    return xdp.PASS if seen.staying == STAYING and seen.twice == 0 else xdp.DROP


@xdp
def hash_walk(ctx: xdp.Context) -> xdp.Action:
    order = ctx.parse(Order)
    if order is None:
        return xdp.ABORTED
    seen = Seen()
    if order.what == 0:
        in_hash.for_each(visit, seen)
        return judged(seen)
    if order.what == 1:
        in_hash.update(order.key, 1)
    else:
        in_hash.delete(order.key)
    return xdp.PASS


@xdp
def lru_hash_walk(ctx: xdp.Context) -> xdp.Action:
    order = ctx.parse(Order)
    if order is None:
        return xdp.ABORTED
    seen = Seen()
    if order.what == 0:
        in_lru_hash.for_each(visit, seen)
        return judged(seen)
    if order.what == 1:
        in_lru_hash.update(order.key, 1)
    else:
        in_lru_hash.delete(order.key)
    return xdp.PASS


@xdp
def percpu_hash_walk(ctx: xdp.Context) -> xdp.Action:
    order = ctx.parse(Order)
    if order is None:
        return xdp.ABORTED
    seen = Seen()
    if order.what == 0:
        in_percpu_hash.for_each(visit, seen)
        return judged(seen)
    if order.what == 1:
        in_percpu_hash.update(order.key, 1)
    else:
        in_percpu_hash.delete(order.key)
    return xdp.PASS
