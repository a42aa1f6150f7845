"""Sum a packet's bytes in a loop that the verifier looks at once; packets of odd length end the program."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, map, u8, u16, u32, u64, xdp

LICENSE = bpf.license("GPL")
sums = map.array(u32, u64, max_entries=4)


class Byte(Struct):
    value: u8


class Start(Struct):
    data: Array[u8] = array(14)


@xdp
def checksum(ctx: xdp.Context) -> xdp.Action:
    assert ctx.parse(Start) is not None
    total = u64(0)
    for i in bpf.iterate(range(u16(min(ctx.length, u32(1500))))):
        byte = ctx.parse(Byte, i)
        if byte is None:
            break
        total = total * 31 + u64(byte.value)
    if ctx.length & 1:
        bpf.throw(u64(total & 3))
    sums.update(ctx.length & 3, total)
    return xdp.PASS
