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
    kernel_has,
    kfunc,
    license,
    local,
    noinline,
    ntohl,
    ntohs,
    offsetof,
    printk,
    ref,
    sizeof,
    snprintf,
    var,
)
from bombus.bpf.ints import be16, be32, be64, bswap, s8, s16, s32, s64, u8, u16, u32, u64
from bombus.bpf.machine import machine, use
from bombus.bpf.program import (
    Program,
    fentry,
    fexit,
    fmod_ret,
    iterator,
    kprobe,
    kretprobe,
    lsm,
    perf_event,
    raw_tracepoint,
    section,
    sk_lookup,
    sock_ops,
    socket_filter,
    tc,
    tp_btf,
    tracepoint,
    uprobe,
    uretprobe,
    xdp,
)
from bombus.bpf.special import SpinLock, Timer
from bombus.bpf.struct import Array, Opaque, Pointer, Ref, Struct, Union, array, bits, zeros

__all__ = [
    "Array",
    "Opaque",
    "Pointer",
    "Program",
    "Ref",
    "SpinLock",
    "Struct",
    "Timer",
    "Union",
    "array",
    "atomic",
    "be16",
    "be32",
    "be64",
    "bits",
    "bswap",
    "compare_exchange",
    "config",
    "configure",
    "contexts",
    "exchange",
    "fentry",
    "fetch_add",
    "fetch_and",
    "fetch_or",
    "fetch_xor",
    "fexit",
    "fmod_ret",
    "global_function",
    "helpers",
    "htonl",
    "htons",
    "inline",
    "iterator",
    "kernel_has",
    "kfunc",
    "kprobe",
    "kretprobe",
    "license",
    "local",
    "lsm",
    "machine",
    "map",
    "noinline",
    "ntohl",
    "ntohs",
    "offsetof",
    "perf_event",
    "printk",
    "raw_tracepoint",
    "ref",
    "s8",
    "s16",
    "s32",
    "s64",
    "section",
    "sizeof",
    "sk_lookup",
    "snprintf",
    "sock_ops",
    "socket_filter",
    "tc",
    "tp_btf",
    "tracepoint",
    "u8",
    "u16",
    "u32",
    "u64",
    "uprobe",
    "uretprobe",
    "use",
    "var",
    "xdp",
    "zeros",
]  # fmt: skip
