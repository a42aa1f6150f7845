"""Test runs of XDP programs. Source: Linux 6.12 net/bpf/test_run.c bpf_prog_test_run_xdp, xdp_convert_md_to_buff."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bombus.errors import NotSupported
from bombus.kernel.user.hooks import test_run
from bombus.kernel.user.hooks.testrun import F_XDP_LIVE, context_in, context_out, finish, only, refuse, repeat
from bombus.kernel.user.hooks.xdp import ETH_HLEN, FRAME_HEADER, HEADROOM, MAX_META, PAGE, TAILROOM, XdpBuff
from bombus.kernel.user.world import world_of
from bombus.spec.attachtypes import ATTACH_TYPE

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.world.world import World

_NO_RUN = (ATTACH_TYPE["BPF_XDP_DEVMAP"].id, ATTACH_TYPE["BPF_XDP_CPUMAP"].id)
_BUFFERS = "xdp"
MD_SIZE = 24


def borrow(kernel: UserKernel, world: World) -> XdpBuff:
    """A frame that no run uses just now."""
    buff = world.spare[_BUFFERS].pop() if world.spare.get(_BUFFERS) else XdpBuff(kernel.memory)
    world.contexts[buff.ctx.start] = buff
    return buff


def give_back(world: World, buff: XdpBuff) -> None:
    del world.contexts[buff.ctx.start]
    buff.ifindex, buff.queue, buff.egress = 1, 0, 0
    world.spare.setdefault(_BUFFERS, []).append(buff)


@test_run("XDP")
def run_xdp(kernel: UserKernel, prog: Prog, attr: Attr) -> int:
    if prog.expected_attach_type in _NO_RUN:
        raise refuse(errno.EINVAL, "programs for devmap and cpumap entries have no test run")
    only(attr, F_XDP_LIVE, batch=bool(attr.get("flags") & F_XDP_LIVE), cpu=True)
    if attr.get("flags") & F_XDP_LIVE:
        if attr.get("batch_size") > 256:
            raise refuse(errno.E2BIG, "batch_size is at most 256")
        raise NotSupported("BPF_F_TEST_XDP_LIVE_FRAMES", "the user kernel has no network to send frames into")
    md = context_in(attr, MD_SIZE)
    size = linear = attr.get("data_size_in")
    meta, headroom, ingress, queue = 0, HEADROOM, 0, 0
    if md is not None:
        data, end, data_meta, ingress, queue, egress = struct.unpack("<6I", md)
        if data_meta or end > size or data > end:
            raise refuse(errno.EINVAL, "ctx_in: data_meta must be 0, data at most data_end, data_end within data_in")
        meta, linear = data, end
        if meta % 4 or meta > MAX_META or meta > HEADROOM - FRAME_HEADER:
            raise refuse(errno.EINVAL, f"ctx_in: {meta} bytes of metadata")
        headroom -= meta
    linear = min(linear, PAGE - headroom - TAILROOM)
    if (size - meta) & 0xFFFF_FFFF < ETH_HLEN:
        raise refuse(errno.EINVAL, f"data_in of {size - meta} bytes; a frame has at least {ETH_HLEN}")
    packet = attr.read(attr.get("data_in"), linear)
    world = world_of(kernel)
    if md is not None:
        if egress or (queue and not ingress):
            raise refuse(errno.EINVAL, "ctx_in: egress_ifindex must be 0, rx_queue_index needs ingress_ifindex")
        if ingress:
            device = world.devices.get(ingress)
            if device is None:
                raise refuse(errno.ENODEV, f"there is no device {ingress}")
            if queue >= device.rx_queues:
                raise refuse(errno.EINVAL, f"{device.name} has {device.rx_queues} receive queues")
    if size > linear:
        packet += attr.read(attr.get("data_in") + linear, size - linear)
    buff = borrow(kernel, world)
    try:
        buff.ifindex, buff.queue = ingress or 1, queue
        problem = buff.fill(packet, headroom, linear, meta)
        if problem:
            raise refuse(-problem, "the frame needs more than 17 fragments")
        retval, duration = repeat(prog, buff.ctx.start, attr.get("repeat"))
        out = buff.output()
        if md is not None:
            struct.pack_into("<II", md, 0, buff.data - buff.meta, buff.end - buff.meta)
        frags = sum(map(len, buff.frags))
    finally:
        give_back(world, buff)
    finish(attr, out, len(out), retval, duration, frags)
    context_out(attr, md)
    return 0
