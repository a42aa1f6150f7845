"""Records of any length, through a dynptr."""

from __future__ import annotations

from bombus.bpf import Array, Struct, array, helpers, map, u8, u32, u64, xdp


class Dynptr(Struct, name="bpf_dynptr"):
    room: Array[u64] = array(2)


class Head(Struct):
    length: u32
    kind: u8


events = map.ringbuf(max_entries=4096)
sent = map.array(u32, u64, max_entries=1)


@xdp
def copy(ctx: xdp.Context) -> xdp.Action:
    dynptr = Dynptr()
    size = u32(8) + ctx.length % 16
    if helpers.ringbuf_reserve_dynptr(events, size, 0, dynptr) != 0:
        helpers.ringbuf_discard_dynptr(dynptr, 0)
        return xdp.DROP
    head = Head(length=size, kind=u8(1))
    helpers.dynptr_write(dynptr, 0, head, 8, 0)
    helpers.ringbuf_submit_dynptr(dynptr, 0)
    sent.update(0, u64(size))
    return xdp.PASS
