"""Let a cgroup receive only from some addresses."""

from __future__ import annotations

from bombus.bpf import contexts, helpers, map, section, u32, u64
from bombus.bpf.net import IPv4

friends = map.hash(u32, u64, max_entries=16)


@section("cgroup_skb/ingress")
def ingress(ctx: contexts.Skb) -> int:
    ip = IPv4()
    if helpers.skb_load_bytes(ctx, 0, ip, 20) != 0 or ip.version != 4:
        return 1
    friend = friends.lookup(u32(ip.source) & 0xFF)
    if friend is None:
        return 0
    friend.value += 1
    return 1
