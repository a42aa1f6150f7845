"""One packet after the other through one program, with the set-up done once."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from bombus.errors import VmFault
from bombus.kernel.user.hooks.skbrun import KINDS, MAX_DATA, finish_packet, prepare
from bombus.kernel.user.hooks.skbrun import borrow as borrow_skb
from bombus.kernel.user.hooks.skbrun import give_back as give_back_skb
from bombus.kernel.user.hooks.testrun import refuse
from bombus.kernel.user.hooks.xdp import ETH_HLEN, HEADROOM, PAGE, TAILROOM
from bombus.kernel.user.hooks.xdprun import borrow as borrow_xdp
from bombus.kernel.user.hooks.xdprun import give_back as give_back_xdp
from bombus.kernel.user.maps.storage import drop_test_run, storages
from bombus.kernel.user.progfault import located
from bombus.kernel.user.world import world_of

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog

PacketRunner = Callable[[bytes, int], tuple[int, bytes]]
_LINEAR = PAGE - HEADROOM - TAILROOM


def packet_runner(kernel: UserKernel, prog: Prog) -> PacketRunner | None:
    """(packet, ifindex) -> (verdict, packet afterwards); None for a program type without packets.

    The runner keeps its buffer for as long as the program lives; `Prog.give_back` takes it away then.
    """
    if prog.type.short == "xdp":
        return _xdp(kernel, prog)
    if prog.type.name in KINDS:
        return _skb(kernel, prog)
    return None


def _xdp(kernel: UserKernel, prog: Prog) -> PacketRunner:
    world = world_of(kernel)
    buff = borrow_xdp(kernel, world)
    prog.give_back = lambda: give_back_xdp(world, buff)
    ctx = buff.ctx.start

    def run_frame(data: bytes, ifindex: int) -> tuple[int, bytes]:
        size = len(data)
        if size < ETH_HLEN:
            raise refuse(errno.EINVAL, f"a frame has at least {ETH_HLEN} bytes, not {size}")
        buff.ifindex = ifindex
        if buff.fill(data, HEADROOM, min(size, _LINEAR), 0):
            raise refuse(errno.ENOMEM, "the frame needs more than 17 fragments")
        try:
            verdict = prog.compiled.run(ctx) & 0xFFFF_FFFF  # what is attached to it may change
        except VmFault as fault:
            raise located(prog, fault) from None
        out = bytes(buff.frame.view[buff.data : buff.end])
        return verdict, out + b"".join(buff.frags) if buff.frags else out

    return run_frame


def _skb(kernel: UserKernel, prog: Prog) -> PacketRunner:
    world = world_of(kernel)
    skb = borrow_skb(kernel, world)
    prog.give_back = lambda: give_back_skb(world, skb)
    has_storage = bool(storages(prog))
    ctx = skb.ctx.start

    def run_skb(data: bytes, ifindex: int) -> tuple[int, bytes]:
        if not ETH_HLEN <= len(data) <= MAX_DATA:
            raise refuse(errno.EINVAL, f"a packet has {ETH_HLEN} to {MAX_DATA} bytes, not {len(data)}")
        layer2 = prepare(skb, prog, data, world, ifindex, at_hook=True)
        skb.sync()
        try:
            verdict = prog.compiled.run(ctx) & 0xFFFF_FFFF  # what is attached to it may change
        except VmFault as fault:
            raise located(prog, fault) from None
        finally:
            if has_storage:
                drop_test_run(prog)
        return verdict, finish_packet(skb, layer2)

    return run_skb
