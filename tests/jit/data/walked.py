"""Elements that stay are seen once by each walk, whatever comes and goes beside them. Tests say which kind of map."""

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


table = map.hash(u32, u64, max_entries=12000)                      # an LRU map of this size drops none of 400


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


@xdp
def walk(ctx: xdp.Context) -> xdp.Action:
    order = ctx.parse(Order)
    if order is None:
        return xdp.ABORTED
    seen = Seen()
    if order.what == 0:
        table.for_each(visit, seen)
        return xdp.PASS if seen.staying == STAYING and seen.twice == 0 else xdp.DROP
    if order.what == 1:
        table.update(order.key, 1)
    else:
        table.delete(order.key)
    return xdp.PASS
