"""BPF in typed Python: what programs import.

    from bombus import bpf
    from bombus.bpf import map, u32, u64, xdp

    packets = map.percpu_array(u32, u64, max_entries=1)

    @xdp
    def count(ctx: xdp.Context) -> xdp.Action:
        slot = packets.lookup(0)
        if slot is not None:
            slot.value += 1
        return xdp.PASS

The function runs as plain Python (`count.run(packet)`) and compiles to BPF (`bombus build`). docs/dialect.md has the
whole language.
"""

from __future__ import annotations

from bombus.bpf import contexts, helpers, map
from bombus.bpf.core import (
    atomic,
    compare_exchange,
    config,
    configure,
    exchange,
    fetch_add,
    fetch_and,
    fetch_or,
    fetch_xor,
    global_function,
    htonl,
    htons,
    inline,
    license,
    local,
    noinline,
    ntohl,
    ntohs,
    offsetof,
    printk,
    ref,
    sizeof,
    var,
)
from bombus.bpf.ints import be16, be32, be64, bswap, s8, s16, s32, s64, u8, u16, u32, u64
from bombus.bpf.machine import machine, use
from bombus.bpf.program import Program, section, tc, xdp
from bombus.bpf.struct import Array, Pointer, Ref, Struct, Union, array, bits, zeros

__all__ = [
    "Array", "Pointer", "Program", "Ref", "Struct", "Union", "array", "atomic", "be16", "be32", "be64", "bits", "bswap",
    "compare_exchange", "config", "configure", "contexts", "exchange", "fetch_add", "fetch_and", "fetch_or",
    "fetch_xor", "global_function", "helpers", "htonl", "htons", "inline", "license", "local", "machine", "map",
    "noinline", "ntohl", "ntohs", "offsetof", "printk", "ref", "s8", "s16", "s32", "s64", "section", "sizeof", "tc",
    "u8", "u16", "u32", "u64", "use", "var", "xdp", "zeros",
]  # fmt: skip
