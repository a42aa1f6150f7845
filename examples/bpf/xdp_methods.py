"""Methods of structs: what belongs to a record stands with it."""

from __future__ import annotations

from typing import ClassVar, Self

from bombus import bpf
from bombus.bpf import Struct, map, u8, u32, u64, xdp
from bombus.bpf.net import IPv4

ONE = u64(1)


class Traffic(Struct):
    WEIGHT: ClassVar = u64(3)

    packets: u64
    octets: u64
    largest: u32
    smallest: u32

    def add(self, length: u32, times: u64 = ONE) -> None:
        self.packets += times
        self.octets += u64(length) * times
        self.note(length)

    @bpf.noinline
    def note(self, length: u32) -> None:
        if length > self.largest:
            self.largest = length
        if self.smallest == 0 or length < self.smallest:
            self.smallest = length

    def mean(self) -> u64:
        return self.octets // self.packets

    def exceeds(self, other: Self, by: u64) -> bool:
        return self.octets > other.octets + by * Traffic.WEIGHT

    @staticmethod
    def slot(protocol: u8) -> u32:
        return u32(protocol == 6)

    @bpf.python_only
    def shown(self) -> str:
        return f"{self.packets} packets of {self.mean()} bytes on average"


class Pair(Struct):
    tcp: Traffic
    others: Traffic
    turns: u64

    def turn(self) -> None:
        if self.tcp.exceeds(self.others, u64(1000)):
            self.turns += 1
            Traffic.add(self.others, self.tcp.largest)


traffic = map.array(u32, Traffic, max_entries=2)
pairs = map.array(u32, Pair, max_entries=1)


@xdp
def sort(ctx: xdp.Context) -> xdp.Action:
    ip = ctx.parse(IPv4, 14)
    if ip is None:
        return xdp.DROP
    slot = traffic.lookup(Traffic.slot(ip.protocol))
    pair = pairs.lookup(0)
    if slot is None or pair is None:
        return xdp.ABORTED
    slot.add(ctx.length)
    if ip.protocol == 6:
        pair.tcp.add(ctx.length, times=u64(2))
    else:
        pair.others.add(ctx.length)
    pair.turn()
    mine = Traffic(packets=u64(1), octets=u64(400))
    mine.note(ctx.length)
    if slot.mean() > mine.mean():
        return xdp.TX
    return xdp.DROP if mine.exceeds(slot, u64(0)) and mine.largest > 60 else xdp.PASS
