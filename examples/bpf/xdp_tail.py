"""A chain of programs through tail calls."""

from __future__ import annotations

from bombus.bpf import map, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, ETH_IPV6, Ethernet

jumps = map.prog_array(max_entries=4)
counts = map.array(u32, u64, max_entries=4)


def bump(index: u32) -> None:
    slot = counts.lookup(index)
    if slot is not None:
        slot.value += 1


@xdp
def enter(ctx: xdp.Context) -> xdp.Action:
    bump(u32(0))
    eth = ctx.parse(Ethernet)
    if eth is None:
        return xdp.DROP
    if eth.protocol == ETH_IPV4:
        jumps.tail_call(ctx, 0)
    elif eth.protocol == ETH_IPV6:
        jumps.tail_call(ctx, 1)
    bump(u32(3))
    return xdp.PASS


@xdp
def ipv4(ctx: xdp.Context) -> xdp.Action:
    bump(u32(1))
    return xdp.TX


@xdp
def ipv6(ctx: xdp.Context) -> xdp.Action:
    bump(u32(2))
    return xdp.DROP
