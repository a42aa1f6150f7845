"""Reserve a record for each packet, and give up those of packets that are too long."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, map, u32, u64, xdp


class Record(Struct):
    length: u64


records = map.ringbuf(max_entries=4096)
given_up = bpf.var(u64(0))
counts = map.array(u32, u64, max_entries=2)


@xdp
def lengths(ctx: xdp.Context) -> xdp.Action:
    with records.reserve(Record) as record:
        if record is None:
            return xdp.DROP
        record.length = u64(ctx.length)
        if ctx.length > 100:
            records.discard(record)
            given_up.value += 1
            counts.update(0, given_up.value)
            return xdp.DROP
        counts.update(1, record.length)
    return xdp.PASS
