"""Print what arrives."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import u16, u64, xdp
from bombus.bpf.net import Ethernet

LICENSE = bpf.license("GPL")


@xdp
def show(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None:
        return xdp.DROP
    bpf.printk("a packet: 100%")
    bpf.printk(f"{ctx.length} bytes, protocol {eth.protocol:#x}")
    s = eth.source
    bpf.printk(f"{s[0]:02x}:{s[1]:02x}:{s[2]:02x}:{s[3]:02x}:{s[4]:02x}:{s[5]:02x} {u64(u64.MAX)} {u16(s[0]):5d}")
    return xdp.PASS
