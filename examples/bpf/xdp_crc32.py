"""The CRC-32 of the first 32 bytes."""

from __future__ import annotations

from bombus.bpf import Array, Struct, array, map, u8, u32, xdp


class Block(Struct):
    data: Array[u8] = array(32)


crcs = map.array(u32, u32, max_entries=1)


@xdp
def crc(ctx: xdp.Context) -> xdp.Action:
    block = ctx.parse(Block)
    if block is None:
        return xdp.DROP
    value = u32(u32.MAX)
    for byte in block.data:
        value ^= u32(byte)
        for _ in range(8):
            value = (value >> 1) ^ 0xEDB88320 if value & 1 != 0 else value >> 1
    crcs.update(0, ~value)
    return xdp.PASS
