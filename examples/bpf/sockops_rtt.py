"""Count TCP connections and ask for round-trip times."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import contexts, helpers, map, sock_ops, u32, u64

events = map.array(u32, u64, max_entries=16)
ACTIVE, PASSIVE, RTT = 4, 5, 12
TELL_RTT = 1 << 3  # BPF_SOCK_OPS_RTT_CB_FLAG


@sock_ops
def watch(ctx: contexts.BpfSockOps) -> int:
    op = ctx.op
    if op >= 16:
        return 1
    slot = events.lookup(op)
    if slot is not None:
        bpf.atomic(slot).value += 1
    if op in (ACTIVE, PASSIVE):
        helpers.sock_ops_cb_flags_set(ctx, TELL_RTT)
    return 1
