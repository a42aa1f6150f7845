"""Count how processes end, by name."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, helpers, map, tracepoint, u8, u64

LICENSE = bpf.license("GPL")


class Exit(Struct):
    common: u64


class Name(Struct):
    comm: Array[u8] = array(16)


ended = map.lru_hash(Name, u64, max_entries=1024)


@tracepoint("sched/sched_process_exit")
def exit(ctx: Exit) -> int:
    name = Name()
    helpers.get_current_comm(name, 16)
    seen = ended.lookup(name)
    if seen is None:
        ended.update(name, 1)
    else:
        bpf.atomic(seen).value += 1
    return 0
