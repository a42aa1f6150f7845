"""Count what a cgroup sends, and stop it at a budget."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import contexts, map, section, u32, u64

sent = map.array(u32, u64, max_entries=1)
budget = bpf.config(u64(1000))


@section("cgroup_skb/egress")
def egress(ctx: contexts.Skb) -> int:
    slot = sent.lookup(0)
    if slot is None:
        return 1
    bpf.atomic(slot).value += u64(ctx.len)
    return 1 if slot.value < budget.value else 0
