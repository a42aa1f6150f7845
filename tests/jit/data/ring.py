"""What the packet says is done to a ring buffer."""

from __future__ import annotations

from bombus.bpf import Struct, helpers, map, u32, u64, xdp


class Command(Struct, packed=True):
    what: u32
    flags: u32
    number: u64


class Record(Struct):
    number: u64
    cpu: u32
    filler: u32


class Small(Struct, packed=True):
    number: u64
    filler: u32


records = map.ringbuf(max_entries=4096)


@xdp
def act(ctx: xdp.Context) -> u32:
    command = ctx.parse(Command, 16)
    if command is None:
        return u32(0)
    if command.what == 0 or command.what == 1:
        with records.reserve(Record) as record:
            if record is None:
                return u32(77)
            record.number = command.number
            record.cpu = helpers.get_smp_processor_id()
            if command.what == 1:
                records.discard(record)
                return u32(2)
        return u32(1)
    if command.what == 2:
        small = Small(number=command.number)
        return u32(records.output(small, u64(command.flags)))
    return u32(records.query(u64(command.what - 3)))
