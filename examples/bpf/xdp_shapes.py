"""Structs in structs, unions, packed structs, arrays of structs, bit-fields of signed numbers."""

from __future__ import annotations

from bombus.bpf import Array, Struct, Union, array, be32, bits, map, s8, s16, s32, u8, u16, u32, u64, xdp


class Point(Struct):
    x: s16
    y: s16


class Packed(Struct, packed=True):
    kind: u8
    size: u32
    tag: u16
    wide: u64


class Either(Union):
    word: u32
    halves: Array[u16] = array(2)
    bytes: Array[u8] = array(4)


class Bits(Struct):
    low: u32 = bits(3)
    middle: s32 = bits(7)
    high: u32 = bits(22)
    sign: s8 = bits(2)


class Whole(Struct):
    points: Array[Point] = array(3)
    packed: Packed
    either: Either
    fields: Bits
    flag: bool
    grid: Array[Array[u16]] = array(2, 3)
    net: be32


shapes = map.array(u32, Whole, max_entries=1)


class Start(Struct, packed=True):
    data: Array[u8] = array(14)
    word: be32


@xdp
def draw(ctx: xdp.Context) -> xdp.Action:
    start = ctx.parse(Start)
    whole = shapes.lookup(0)
    if start is None or whole is None:
        return xdp.DROP
    n = u32(start.word)
    for i in range(3):
        point = whole.points[i]
        point.x = s16(n >> u32(i))
        point.y = -point.x
    whole.packed.kind = u8(n)
    whole.packed.size += n
    whole.packed.tag = u16(n >> 8)
    whole.packed.wide = u64(n) * 0x100000001
    whole.either.word = n
    whole.either.halves[1] += 1
    whole.either.bytes[0] ^= 0x55
    fields = whole.fields
    fields.low = n & 7
    fields.middle = s32(n >> 3)
    fields.high += 1
    fields.sign = s8(n)
    whole.flag = n > 1000 or not whole.flag
    for row in range(2):
        for column in range(3):
            whole.grid[row][column] += u16(row * 3 + column)
    whole.net = start.word
    total = s32(fields.middle) + s32(fields.sign) + s32(whole.points[2].y)
    copy = Point(x=s16(total))
    whole.points[0] = copy
    return xdp.TX if total < 0 else xdp.PASS
