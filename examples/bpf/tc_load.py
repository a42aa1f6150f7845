"""Read packet bytes through the helpers instead of directly."""

from __future__ import annotations

from bombus.bpf import Array, Struct, array, helpers, map, tc, u8, u32


class Bytes(Struct):
    data: Array[u8] = array(24)


copies = map.array(u32, Bytes, max_entries=1)
LENGTHS = (1, 14, 24)


@tc
def read(ctx: tc.Context) -> tc.Action:
    room = copies.lookup(0)
    if room is None:
        return tc.UNSPEC
    bad = u32(0)
    for length in LENGTHS:
        if helpers.skb_load_bytes(ctx, 4, room, length) != 0:
            bad += 1
    return tc.OK if bad == 0 else tc.SHOT
