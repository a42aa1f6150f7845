"""Forbid writing kernel settings."""

from __future__ import annotations

from bombus.bpf import contexts, map, section, u32, u64

asked = map.array(u32, u64, max_entries=2)


@section("cgroup/sysctl")
def guard(ctx: contexts.BpfSysctl) -> int:
    slot = asked.lookup(u32(ctx.write != 0))
    if slot is not None:
        slot.value += 1
    return 1 if ctx.write == 0 else 0
