"""Group packets by the kernel's flow hash and length classes."""

from __future__ import annotations

from bombus.bpf import Struct, map, tc, u32, u64


class Group(Struct):
    protocol: u32
    size: u32


groups = map.hash(Group, u64, max_entries=64)


@tc
def group(ctx: tc.Context) -> tc.Action:
    size = u32(0) if ctx.len < 64 else u32(1) if ctx.len < 128 else u32(2)
    key = Group(protocol=ctx.protocol, size=size)
    seen = groups.lookup(key)
    if seen is None:
        groups.update(key, 1)
    else:
        seen.value += 1
    return tc.OK
