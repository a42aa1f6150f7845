"""Test runs of programs on socket buffers: socket filters, tc, cgroup_skb, lightweight tunnels.

Source: Linux 6.12 net/bpf/test_run.c bpf_prog_test_run_skb, convert___skb_to_skb, convert_skb_to___skb.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from bombus.kernel.user.helpers.checksum import fold, partial
from bombus.kernel.user.hooks import test_run
from bombus.kernel.user.hooks.skb import (
    CHECKSUM_COMPLETE,
    CTX_SIZE,
    ETH_HLEN,
    ETH_P_IP,
    ETH_P_IPV6,
    Skb,
)
from bombus.kernel.user.hooks.testrun import F_CSUM_COMPLETE, context_in, context_out, finish, only, refuse, repeat
from bombus.kernel.user.world import world_of
from bombus.spec.tcp import TcpState
from bombus.spec.version import since

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.world.world import World

_NAMES: Final = ("SOCKET_FILTER", "SCHED_CLS", "SCHED_ACT", "CGROUP_SKB", "LWT_IN", "LWT_OUT", "LWT_XMIT")
# LWT_SEG6LOCAL has no BPF_PROG_TEST_RUN in Linux, but `run_packet` runs it.
KINDS: Final = frozenset("BPF_PROG_TYPE_" + name for name in (*_NAMES, "LWT_SEG6LOCAL"))
_LAYER2: Final = frozenset({"BPF_PROG_TYPE_SCHED_CLS", "BPF_PROG_TYPE_SCHED_ACT"})
_DIRECT: Final = _LAYER2 | {"BPF_PROG_TYPE_LWT_IN", "BPF_PROG_TYPE_LWT_OUT", "BPF_PROG_TYPE_LWT_XMIT"}

_CGROUP_SKB: Final = "BPF_PROG_TYPE_CGROUP_SKB"
_CGROUP_DIRECT: Final = since("6.18")  # seen there; not in the source of 6.12

MAX_DATA: Final = 4096 - 64 - 320  # a page less NET_SKB_PAD and the shared info, x86-64
_GSO_MAX_SEGS: Final = 65535
_GSO_MAX_SIZE: Final = 65536

# Bytes of ctx_in that the caller may set: (offset, size).
_ALLOWED: Final = ((8, 4), (32, 4), (36, 4), (40, 4), (48, 20), (152, 8), (160, 4), (164, 4), (176, 4), (184, 8))
_FORBIDDEN: Final = tuple(
    byte for byte in range(CTX_SIZE) if not any(start <= byte < start + size for start, size in _ALLOWED)
)
# Members of ctx_out that come from the packet (convert_skb_to___skb): (offset, size).
_OUT: Final = ((8, 4), (32, 4), (36, 4), (40, 4), (48, 20), (152, 8), (160, 4), (164, 4), (184, 8))
_SOCK_SIZE: Final = 80  # struct bpf_sock


def borrow(kernel: UserKernel, world: World) -> Skb:
    """A buffer that no run uses just now."""
    skb = world.spare["skb"].pop() if world.spare.get("skb") else Skb(kernel.memory)
    world.contexts[skb.ctx.start] = skb
    if skb.socket is None:
        skb.socket = kernel.memory.allocate(_SOCK_SIZE, name="bpf_sock", kind="btf", writable=False)
    world.contexts[skb.socket.start] = skb.socket
    return skb


def give_back(world: World, skb: Skb) -> None:
    del world.contexts[skb.ctx.start]
    world.spare.setdefault("skb", []).append(skb)


def prepare(skb: Skb, prog: Prog, data: bytes, world: World, ifindex: int, *, at_hook: bool = False) -> bool:
    """Fill a buffer as the kernel does before a run. Returns whether the program sees the Ethernet header.

    at_hook: not BPF_PROG_TEST_RUN, which gave cgroup_skb programs data pointers only since 6.18.
    Raises KernelError(ENODEV, EINVAL).
    """
    name = prog.type.name
    cgroup = name == _CGROUP_SKB and (at_hook or prog.kernel.version >= _CGROUP_DIRECT)
    skb.reset(data, direct=cgroup or name in _DIRECT)
    device = world.devices.get(ifindex)
    if device is None:
        raise refuse(errno.ENODEV, f"there is no device {ifindex}")
    skb.ifindex = ifindex
    skb.eth_type_trans(device.address)
    _fill_socket(skb)
    layer2 = name in _LAYER2
    if layer2:
        skb.data -= ETH_HLEN
    return layer2


def _fill_socket(skb: Skb) -> None:
    """The dummy socket takes its addresses from the packet. struct bpf_sock."""
    view = skb.buffer.view
    at = skb.data
    assert skb.socket is not None
    out = skb.socket.view
    out[:] = bytes(_SOCK_SIZE)
    if skb.protocol == ETH_P_IP:
        if skb.length < 20:
            raise refuse(errno.EINVAL, "an IPv4 header has 20 bytes")
        struct.pack_into("<I", out, 4, 2)  # family
        out[24:28] = view[at + 12 : at + 16]  # src_ip4: the socket's own address
        out[52:56] = view[at + 16 : at + 20]  # dst_ip4
    elif skb.protocol == ETH_P_IPV6:
        if skb.length < 40:
            raise refuse(errno.EINVAL, "an IPv6 header has 40 bytes")
        struct.pack_into("<I", out, 4, 10)
        out[28:44] = view[at + 8 : at + 24]
        out[56:72] = view[at + 24 : at + 40]
    struct.pack_into("<I", out, 72, TcpState.CLOSE)


def finish_packet(skb: Skb, layer2: bool) -> bytes:
    """The packet as data_out shows it: with a blank Ethernet header where the program saw none."""
    return skb.output() if layer2 else bytes(ETH_HLEN) + skb.output()


def _take_context(skb: Skb, ctx: bytearray | None) -> None:
    if ctx is None:
        return
    for byte in _FORBIDDEN:
        if ctx[byte]:
            raise refuse(errno.EINVAL, f"ctx_in: byte {byte} of __sk_buff cannot be set")
    view = skb.ctx.view
    for offset, size in _ALLOWED:
        if offset != 40:
            view[offset : offset + size] = ctx[offset : offset + size]
    wire_len, gso_segs = struct.unpack_from("<II", ctx, 160)
    if wire_len == 0:
        struct.pack_into("<I", view, 160, skb.length)
    elif wire_len < skb.length or wire_len > _GSO_MAX_SIZE:
        raise refuse(errno.EINVAL, f"ctx_in: wire_len {wire_len}")
    if gso_segs > _GSO_MAX_SEGS:
        raise refuse(errno.EINVAL, f"ctx_in: gso_segs {gso_segs}")
    gso_size = struct.unpack_from("<I", ctx, 176)[0] & 0xFFFF
    struct.pack_into("<I", view, 176, gso_size)
    skb.gso = gso_size != 0


@test_run(*_NAMES)
def run_skb(kernel: UserKernel, prog: Prog, attr: Attr) -> int:
    only(attr, F_CSUM_COMPLETE)
    size = attr.get("data_size_in")
    if size < ETH_HLEN:
        raise refuse(errno.EINVAL, f"data_in of {size} bytes; a packet has at least {ETH_HLEN}")
    if size > MAX_DATA:
        raise refuse(errno.EINVAL, f"data_in of {size} bytes; at most {MAX_DATA} fit")
    data = attr.read(attr.get("data_in"), size)
    ctx = context_in(attr, CTX_SIZE)
    world = world_of(kernel)
    ifindex = struct.unpack_from("<I", ctx, 40)[0] if ctx is not None else 1
    complete = bool(attr.get("flags") & F_CSUM_COMPLETE)
    skb = borrow(kernel, world)
    try:
        layer2 = prepare(skb, prog, data, world, max(ifindex, 1))
        _take_context(skb, ctx)
        if complete:
            skb.csum = partial(skb.buffer.view[skb.network : skb.end])
            skb.ip_summed = CHECKSUM_COMPLETE
        skb.sync()
        retval, duration = repeat(prog, skb.ctx.start, attr.get("repeat"))
        if complete and fold(skb.csum) != fold(partial(skb.buffer.view[skb.network : skb.end])):
            raise refuse(errno.EBADMSG, "the packet's checksum (CHECKSUM_COMPLETE) is not that of its bytes")
        if ctx is not None:
            skb.sync()
            for offset, count in _OUT:
                ctx[offset : offset + count] = skb.ctx.view[offset : offset + count]
        out = finish_packet(skb, layer2)
    finally:
        give_back(world, skb)
    finish(attr, out, len(out), retval, duration)
    context_out(attr, ctx)
    return 0
