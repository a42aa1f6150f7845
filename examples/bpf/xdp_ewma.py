"""An exponentially weighted mean of packet sizes and its deviation, in fixed point with signs."""

from __future__ import annotations

from bombus.bpf import Struct, map, s64, u32, xdp


class Mean(Struct):
    mean: s64
    deviation: s64


means = map.array(u32, Mean, max_entries=1)


@xdp
def average(ctx: xdp.Context) -> xdp.Action:
    m = means.lookup(0)
    if m is None:
        return xdp.ABORTED
    sample = s64(ctx.length) << 8
    error = sample - m.mean
    m.mean += error // 8
    if error < 0:
        error = -error
    m.deviation += (error - m.deviation) // 4
    return xdp.DROP if sample > m.mean + m.deviation * 4 else xdp.PASS
