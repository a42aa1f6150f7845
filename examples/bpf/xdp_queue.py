"""Give each packet a number from a queue, and take numbers back."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import map, u32, u64, xdp

free = map.queue(u32, max_entries=8)
used = map.stack(u32, max_entries=8)
results = map.array(u32, u64, max_entries=4)


def note(index: u32, value: u64) -> None:
    slot = results.lookup(index)
    if slot is not None:
        slot.value = slot.value * 31 + value


@xdp
def numbers(ctx: xdp.Context) -> xdp.Action:
    number = bpf.local(u32(0))
    if free.pop(number) != 0:
        for i in range(4):
            free.push(u32(i) * 7 + 1)
        return xdp.DROP
    note(u32(0), u64(number.value))
    if used.push(number.value) != 0:
        top = bpf.local(u32(0))
        if used.peek(top) == 0:
            note(u32(1), u64(top.value))
        for _ in range(8):
            if used.pop(top) != 0 or top.value == 1:
                break
            note(u32(2), u64(top.value))
    return xdp.PASS
